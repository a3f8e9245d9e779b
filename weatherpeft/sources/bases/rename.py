"""The names that a user gives to the variables of files whose own names do not tell what they are."""

from __future__ import annotations

import re
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field, ValidationInfo

from weatherpeft.fields.definition import OWN_NAME
from weatherpeft.fields.table import VARIABLES, variable_meant
from weatherpeft.sources.formats.names import HEIGHTS


def _check(rename: dict[str, str], info: ValidationInfo) -> dict[str, str]:
    """Refuse unknown variables; only ``Experiment.parse`` tells those of one's own."""
    define = (info.context or {}).get("define")
    known = [*VARIABLES, *HEIGHTS, *(define or ())]
    for theirs, ours in rename.items():
        a_name = re.fullmatch(OWN_NAME, ours)
        if ours not in known and (define is not None or not a_name):
            own = [each.row(name) for name, each in (define or {}).items()]
            guess = variable_meant(ours, known, own) or f"; known: {', '.join(known)}"
            raise ValueError(f"{theirs}: unknown variable {ours!r}{guess}")
    for ours in set(rename.values()):
        names = [theirs for theirs, other in rename.items() if other == ours]
        if len(names) > 1:
            raise ValueError(f"{ours}: expected one name in files, found {', '.join(names)}")
    return rename


Rename: TypeAlias = Annotated[
    dict[str, str], AfterValidator(_check), Field(exclude_if=lambda rename: not rename)
]
"""WeatherBench 2 names, those of ``HEIGHTS`` or one's own, by the names in the data; each once."""
