"""What is wrong with a configuration, one line a key, with the key as it stands in the YAML file."""

import re
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

from pydantic import ValidationError

from weatherpeft.spec import Spec, did_you_mean

Place: TypeAlias = tuple[str | int, ...]
"""The keys and positions that lead to a value."""


class RefusedError(ValueError):
    """A configuration is refused.

    Attributes:
        lines: what is wrong, one line each, with file, line and key.
    """

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = list(lines)


def error_lines(error: ValidationError) -> list[str]:
    """Describe each error of a spec in one line: the key's dotted path, the problem and the value found.

    >>> from weatherpeft.spec import Period
    >>> try:
    ...     Period.parse({"start": "2001-01-15", "stop": "2001-01-20"})
    ... except ValidationError as error:
    ...     error_lines(error)
    ['end: missing', 'stop: unknown key']
    """
    return [_dotted(item["loc"], _message(item)) for item in error.errors(include_url=False)]


def problems(error: ValidationError, values: Any, kind: type[Spec]) -> list[str]:
    """The errors of a configuration by key, without those that only follow from another one.

    A key that is not recognized may be the one that is missing. A list of which an item is refused may be
    too short without it. A value that may be of two kinds is refused as both. A list of candidates is
    written out before it is validated, and each candidate is refused.

    Args:
        error: what ``kind.parse`` raised.
        values: what it parsed.
        kind: the spec.

    Returns:
        A line for each key, which begins with the key's dotted path in the values.
    """
    found: dict[Place, list[str]] = {}
    meant: set[Place] = set()
    for item in error.errors(include_url=False):
        place, message = _in_values(item["loc"], values), _message(item)
        if item["type"] == "missing":
            place = (*place, item["loc"][-1])
        if item["type"].startswith("union_tag") and isinstance(item["input"], Mapping):
            place = (*place, "name")
        if item["type"] == "extra_forbidden":
            known = _keys(kind, item["loc"][:-1])
            message += (guess := did_you_mean(str(place[-1]), known))
            meant.update((*place[:-1], name) for name in known if repr(name) in guess)
        messages = found.setdefault(place, [])
        if message not in messages:
            messages.append(message)
    return [
        _dotted(place, " or ".join(messages))
        for place, messages in found.items()
        if not (messages == ["missing"] and place in meant)
        and not any(other != place and other[: len(place)] == place for other in found)
    ]


def _dotted(place: Place, message: str) -> str:
    """A message after the key that it is about."""
    keys = ".".join(str(part) if str(part).isprintable() else repr(part) for part in place)
    return f"{keys}: {message}" if keys else message


def _message(item: Any) -> str:
    """What is wrong, without the key."""
    if item["type"] in ("extra_forbidden", "missing"):
        return {"extra_forbidden": "unknown key", "missing": "missing"}[item["type"]]
    message: str = item["msg"].removeprefix("Value error, ")
    if item["type"] == "value_error":
        return message
    found, context = item["input"], item.get("ctx", {})
    if item["type"] == "union_tag_invalid":
        known = context["expected_tags"].replace("'", "").split(", ")
        found = context["tag"]
        return f"unknown {found!r}{did_you_mean(found, known)}; known here: {', '.join(known)}"
    if item["type"] == "union_tag_not_found":
        return "missing" if isinstance(found, Mapping) else "expected a mapping with a name"
    if isinstance(found, str | int | float | None) and item["type"] != "json_invalid":
        message += f", found {found!r}"
    if item["type"] == "literal_error":
        message += did_you_mean(str(found), re.findall(r"'([^']*)'", context["expected"]))
    return message


def _in_values(location: Place, values: Any) -> Place:
    """A location without the parts that pydantic adds: which kind of a union, and which candidate."""
    place: list[str | int] = []
    for part in location:
        if isinstance(values, Mapping) and part in values:
            values = values[part]
        elif isinstance(values, list | tuple) and isinstance(part, int) and part < len(values):
            values = values[part]
        else:
            continue
        place.append(part)
    return tuple(place)


def _keys(kind: type[Spec], location: Place) -> list[str]:
    """The keys of the spec at a location."""
    kinds: list[Any] = [kind]
    for part in location:
        kinds = [inner for each in kinds for inner in _inside(each, part)]
    return [key for each in kinds for key in _fields(each)]


def _fields(kind: Any) -> dict[str, Any]:
    """The types of a spec's fields by key; empty for other types."""
    if not (isinstance(kind, type) and issubclass(kind, Spec)):
        return {}
    return {key: field.annotation for key, field in kind.model_fields.items()}


def _inside(kind: Any, part: str | int) -> Iterator[Any]:
    """The types that a key, a position or the name of a member of a union leads to."""
    fields = _fields(kind)
    if fields:
        if part in fields:
            yield from _members(fields[part])
        elif part in _names(kind):
            yield kind
    elif get_origin(kind) in (tuple, list) and isinstance(part, int):
        yield from _members(get_args(kind)[0])
    elif get_origin(kind) is dict:
        yield from _members(get_args(kind)[1])


def _names(kind: type[Spec]) -> tuple[Any, ...]:
    """What pydantic calls a spec in a location: the name by which a union selects it, or its class."""
    name = kind.model_fields.get("name")
    selected = get_args(name.annotation) if name and get_origin(name.annotation) is Literal else ()
    return (*selected, kind.__name__)


def _members(annotation: Any) -> Iterator[Any]:
    """The types that an annotation stands for."""
    if get_origin(annotation) is Annotated:
        yield from _members(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from _members(member)
    else:
        yield annotation
