"""The base class of every specification: frozen, strict, and without unknown keys."""

import hashlib
import json
from datetime import date, timedelta
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, model_validator


class Spec(BaseModel):
    """A frozen, strict pydantic model; a misspelt key is an error that names the key.

    Specs are light: a module that defines one imports nothing heavy at its top, so that Snakemake
    can parse the workflow without importing torch or xarray.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)

    @classmethod
    def parse(cls, values: Any) -> Self:
        """Validate what a YAML or JSON reader returned.

        Validation runs in pydantic's JSON mode: a list may stand for a tuple and a string for a date, and
        every other type must match exactly.

        Args:
            values: nested dicts, lists, strings, numbers, dates.

        Raises:
            pydantic.ValidationError: if a key is unknown, missing or of a wrong type; the message names
                every such key.
        """
        return cls.model_validate_json(json.dumps(values, default=str))

    def canonical_json(self) -> str:
        """JSON with sorted keys; equal specs have the same."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    def digest(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the canonical JSON."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()[:16]


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
