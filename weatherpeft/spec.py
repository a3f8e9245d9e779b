"""The base class of every specification: frozen, strict, without unknown keys; and the ranges of numbers.

A number without a range of its own takes one of those below, so that each one that a user writes is finite
and in a stated range.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

VALUES = 100_000
"""Most values of a config, written out."""
DEPTH = 50
"""Most levels of a config."""
LARGEST = 1e30
"""Largest number of a config that has no closer range; products with weights still fit into float32."""
LABEL = r"^[a-z0-9][a-z0-9_]*$"
"""Form of a name that is part of file names."""
Count = Annotated[int, Field(ge=1, le=10**9)]
"""A number of things, at least one."""
Whole = Annotated[int, Field(ge=-(10**9), le=10**9)]
"""A whole number, negative or not."""
Size = Annotated[int, Field(ge=1, le=2**16)]
"""A width, a depth or a number of parts of a model."""
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""Seed of random numbers."""
Member = Annotated[int, Field(ge=0, lt=10**4)]
"""Number of an ensemble member."""
LevelHpa = Annotated[int, Field(ge=1, le=1100)]
"""Pressure level in hPa."""
Step = Annotated[int, Field(ge=1, le=24)]
"""Hours from one time of a day to the next."""
Hours = Annotated[int, Field(ge=1, le=24 * 366)]
"""Hours, up to a leap year."""
Offset = Annotated[int, Field(ge=-24 * 366, le=24 * 366)]
"""Hours before (negative) or after a time, up to a leap year."""
Days = Annotated[int, Field(ge=1, le=366)]
"""Days, up to a leap year."""
Positive = Annotated[float, Field(gt=0, le=LARGEST)]
"""A finite number above 0."""
NotNegative = Annotated[float, Field(ge=0, le=LARGEST)]
"""A finite number from 0 on."""
Real = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
"""A finite number."""
Latitude = Annotated[float, Field(ge=-90, le=90)]
"""Degrees north, negative in the southern hemisphere."""
Longitude = Annotated[float, Field(ge=-360, le=360)]
"""Degrees east, negative in the western hemisphere, or from 0 on."""
Decay = Annotated[float, Field(ge=0, lt=1)]
"""Decay rate of a running mean."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of an error message that guesses which name was meant; empty where none is close.

    >>> did_you_mean("2m_temprature", ["2m_temperature", "temperature"]), did_you_mean("x", ["y"])
    ("; did you mean '2m_temperature'?", '')
    """
    from difflib import get_close_matches

    close = get_close_matches(name, list(known), 1)
    return f"; did you mean {close[0]!r}?" if close else ""


class Spec(BaseModel):
    """A frozen, strict pydantic model; a misspelt key is an error that names the key.

    Specs are light: a module that defines one imports nothing heavy at its top, so that Snakemake
    can parse the workflow without importing torch or xarray.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @classmethod
    def parse(cls, values: Any) -> Self:
        """Validate what a YAML or JSON reader returned.

        Validation runs in pydantic's JSON mode: a list may stand for a tuple and a string for a date, and
        every other type must match exactly.

        Args:
            values: nested dicts, lists, strings, numbers, dates.

        Raises:
            pydantic.ValidationError: if a key is unknown, missing or of a wrong type, or a number is out of
                range; the message names every such key.
            ValueError: see ``check_plain``.
        """
        check_plain(values)
        return cls.model_validate_json(json.dumps(values, default=str))

    def canonical_json(self) -> str:
        """JSON with sorted keys; equal specs have the same."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    def digest(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the canonical JSON."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()[:16]


def check_plain(values: Any) -> None:
    """Refuse what a YAML reader returns without a complaint and what is no specification.

    Aliases of aliases are a few lines of YAML and, written out, more than fits into memory. A name such as
    ``on`` or ``1e3`` is no text unless it is quoted, and would become another one.

    Raises:
        ValueError: there are more than ``VALUES`` values, they are nested more than ``DEPTH`` deep, or a key
            is no text. The message names the place.
    """
    found, left = 0, [("", values, 0)]
    while left:
        place, value, depth = left.pop()
        found += 1
        if isinstance(value, Mapping):
            for key in value:
                if not isinstance(key, str):
                    raise ValueError(
                        f"{place or 'top level'}: expected text as a key, found {key!r}; quote it"
                    )
        elif not isinstance(value, list | tuple):
            continue
        if depth > DEPTH or found + len(left) + len(value) > VALUES:
            raise ValueError(
                f"{place}: expected at most {VALUES} values in all, {DEPTH} deep, found more; "
                "do aliases repeat each other?"
            )
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        left += [(f"{place}.{key}" if place else str(key), each, depth + 1) for key, each in items]


class Period(Spec):
    """A period of whole days, both ends included."""

    start: date
    """First day."""
    end: date
    """Last day, included."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.end < self.start:
            raise ValueError(f"period ends on {self.end}, before its start {self.start}")
        return self

    @property
    def label(self) -> str:
        """Name of the period in paths, for example ``20010115-20010223``."""
        return f"{self.start:%Y%m%d}-{self.end:%Y%m%d}"

    @property
    def days(self) -> int:
        """Number of days."""
        return (self.end - self.start + timedelta(days=1)).days

    def overlaps(self, other: "Period") -> bool:
        """Whether the two periods share a day."""
        return self.start <= other.end and other.start <= self.end
