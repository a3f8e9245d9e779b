"""The names that a user gives to the variables of files whose own names do not tell what they are."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field

from weatherpeft.fields.table import VARIABLES, variable_meant
from weatherpeft.sources.formats.names import HEIGHTS


def _check(rename: dict[str, str]) -> dict[str, str]:
    known = [*VARIABLES, *HEIGHTS]
    for theirs, ours in rename.items():
        if ours not in known:
            guess = variable_meant(ours, known) or f"; known: {', '.join(known)}"
            raise ValueError(f"{theirs}: unknown variable {ours!r}{guess}")
    for ours in set(rename.values()):
        names = [theirs for theirs, other in rename.items() if other == ours]
        if len(names) > 1:
            raise ValueError(f"{ours}: expected one name in files, found {', '.join(names)}")
    return rename


Rename: TypeAlias = Annotated[
    dict[str, str], AfterValidator(_check), Field(exclude_if=lambda rename: not rename)
]
"""WeatherBench 2 names, or those of ``HEIGHTS``, by the names in the data; each once."""
