"""The base class of every specification: frozen, strict, without unknown keys; ranges of numbers; periods.

A number without a range of its own takes one of those below, so that each one that a user writes is finite
and in a stated range.
"""

import ast
import hashlib
import inspect
import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import CoreSchema

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

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """A JSON schema whose properties have the docstrings of the fields as descriptions.

        Pydantic itself would parse the source of each class when it is imported, which takes a third of the
        time of importing all specs.
        """
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, text in _field_docstrings(cls).items():
            if name in properties:
                properties[name].setdefault("description", text)
        return schema

    @classmethod
    def parse(cls, values: Any, context: Mapping[str, Any] | None = None) -> Self:
        """Validate what a YAML or JSON reader returned.

        Validation runs in pydantic's JSON mode: a list may stand for a tuple and a string for a date, and
        every other type must match exactly.

        Args:
            values: nested dicts, lists, strings, numbers, dates.
            context: what the validators of nested specs know of the whole.

        Raises:
            pydantic.ValidationError: if a key is unknown, missing or of a wrong type, or a number is out of
                range; the message names every such key.
            ValueError: see ``check_plain``.
        """
        check_plain(values)
        return cls.model_validate_json(json.dumps(values, default=str), context=context)

    def canonical_json(self) -> str:
        """JSON with sorted keys; equal specs have the same."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    def digest(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the canonical JSON."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()[:16]


@cache
def _field_docstrings(kind: type[Spec]) -> dict[str, str]:
    """The docstrings of a spec's fields: the texts that follow them in its source and in its bases'."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        if not issubclass(each, Spec):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(each))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, text in pairwise([*body.body, ast.Pass()]):
            if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
                continue
            found.pop(field.target.id, None)  # defined anew
            if (
                isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
                and isinstance(text.value.value, str)
            ):
                found[field.target.id] = inspect.cleandoc(text.value.value)
    return found


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


HOUR, DAY = timedelta(hours=1), timedelta(days=1)
_MOMENT = r"\d{4}-\d\d-\d\d([T ]\d\d(:00(:00)?)?)?"


def _moment(value: Any) -> date:
    """A day, or an hour of a day (UTC) as a datetime."""
    try:
        if isinstance(value, str) and re.fullmatch(_MOMENT, value):
            value = datetime.fromisoformat(value) if len(value) > 10 else date.fromisoformat(value)
        if isinstance(value, date) and (not isinstance(value, datetime) or value == _hour_of(value)):
            return value
    except ValueError:
        pass
    raise ValueError(f"expected a day such as 2020-01-31 or an hour such as 2020-01-31T12, found {value!r}")


def _hour_of(moment: datetime) -> datetime:
    return datetime(moment.year, moment.month, moment.day, moment.hour)


def written(moment: date) -> str:
    """A day, or an hour of it, as a user writes it.

    >>> written(date(2020, 1, 31)), written(datetime(2020, 1, 31, 12))
    ('2020-01-31', '2020-01-31T12')
    """
    return moment.isoformat("T", "hours") if isinstance(moment, datetime) else moment.isoformat()


def _compact(moment: date) -> str:
    return written(moment).replace("-", "")


def _whole_day(hour: int) -> AfterValidator:
    """The day itself in place of its first or last hour, so that equal periods are written alike."""
    return AfterValidator(
        lambda moment: moment.date() if isinstance(moment, datetime) and moment.hour == hour else moment
    )


_Moment = Annotated[
    date,
    PlainValidator(_moment),
    PlainSerializer(written, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": f"^{_MOMENT}$"}),
]
HourOfDay = Annotated[int, Field(ge=0, le=23)]
"""Hour of the day in UTC."""


class Interval(Spec):
    """All hours from a first day or hour to a last one, both included."""

    start: Annotated[_Moment, _whole_day(0)]
    """First day, or first hour in UTC such as ``2020-01-31T06``."""
    end: Annotated[_Moment, _whole_day(23)]
    """Last day, or last hour in UTC, included."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.stop <= self.first:
            raise ValueError(f"period ends on {written(self.end)}, before its start {written(self.start)}")
        return self

    def __str__(self) -> str:
        return f"{written(self.start)} to {written(self.end)}"

    @property
    def first(self) -> datetime:
        """The first hour."""
        return self.start if isinstance(self.start, datetime) else datetime.combine(self.start, time())

    @property
    def stop(self) -> datetime:
        """The hour after the last one."""
        if isinstance(self.end, datetime):
            return self.end + HOUR
        return datetime.combine(self.end, time()) + DAY

    def overlaps(self, other: "Interval") -> bool:
        """Whether the two share an hour."""
        return self.first < other.stop and other.first < self.stop


class Period(Interval):
    """A period of whole days or hours, of which some hours of the day and some gaps may be left out."""

    hours: tuple[HourOfDay, ...] = Field(default=(), exclude_if=lambda hours: not hours)
    """Hours of the day in UTC at which there are fields, such as ``[0, 12]``; by default every
    ``step_hours`` from 00 UTC. Hourly sums come for every hour, or for these alone if ``step_hours`` is 1."""
    gaps: tuple[Interval, ...] = Field(default=(), exclude_if=lambda gaps: not gaps)
    """Days or hours without fields, each with ``start`` and ``end``."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if list(self.hours) != sorted(set(self.hours)):
            raise ValueError(f"hours must increase without repeats, found {list(self.hours)}")
        for gap in self.gaps:
            if not gap.overlaps(self):
                raise ValueError(f"the gap {gap} lies outside of the period {self}")
        return self

    @property
    def label(self) -> str:
        """Name of the period in paths, such as ``20010115-20010223`` or ``20010115T12-20010223``."""
        return f"{_compact(self.start)}-{_compact(self.end)}"

    @property
    def days(self) -> int:
        """Number of days, of which the first and the last may be there in part."""
        return len(self.dates)

    @property
    def dates(self) -> range:
        """The proleptic ordinals of the days."""
        return range(self.start.toordinal(), self.end.toordinal() + 1)

    def times(self, step_hours: int) -> Iterator[datetime]:
        """Times (UTC) of the instantaneous fields, in order, given the time step of the data."""
        gaps = [(gap.first, gap.stop) for gap in self.gaps]
        start, end = self.first, self.stop
        for ordinal in self.dates:
            day = datetime.fromordinal(ordinal)
            for hour in self.hours or range(0, 24, step_hours):
                moment = day + hour * HOUR
                inside = start <= moment < end
                if inside and not (gaps and any(first <= moment < stop for first, stop in gaps)):
                    yield moment

    def sum_times(self, step_hours: int) -> Iterator[datetime]:
        """Ends (UTC) of the hours of hourly sums, in order, given the time step of instantaneous fields."""
        whole = self if step_hours == 1 else self.model_copy(update={"hours": ()})
        return whole.times(1)

    def holds(self, moment: datetime) -> bool:
        """Whether a time lies in the period, at one of its hours and in no gap."""
        inside = self.first <= moment < self.stop and (not self.hours or moment.hour in self.hours)
        return inside and not any(gap.first <= moment < gap.stop for gap in self.gaps)

    def meets(self, other: "Period") -> bool:
        """Whether the two share an hour of their hours of the day, outside of their gaps."""
        part = self.within(other.first, other.stop) if self.overlaps(other) else None
        return part is not None and any(map(other.holds, part.times(1)))

    def within(self, first: datetime, stop: datetime) -> "Period | None":
        """The part from an hour on to before another one; None where the two have no hour in common."""
        first, stop = max(first, self.first), min(stop, self.stop)
        if stop <= first:
            return None
        clipped = [(max(first, gap.first), min(stop, gap.stop)) for gap in self.gaps]
        gaps = tuple(Interval(start=one, end=end - HOUR) for one, end in clipped if one < end)
        return Period(start=first, end=stop - HOUR, hours=self.hours, gaps=gaps)
