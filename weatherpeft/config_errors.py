"""What is wrong with a configuration, one line a key, with the key as it stands in the YAML file."""

import re
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

from pydantic import ValidationError

from weatherpeft.spec import LABEL, Spec, did_you_mean

Place: TypeAlias = tuple[str | int, ...]
"""The keys and positions that lead to a value."""
_EXPECTED = {
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dict_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
    "string_type": "a text",
    "bool_type": "true or false",
    "date_type": "a day such as 2001-01-15",
    "date_parsing": "a day such as 2001-01-15",
    "date_from_datetime_parsing": "a day such as 2001-01-15",
}
"""What a value should be, by pydantic's name of the error, where its own words are of JSON or Python."""


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
    return [_dotted(item["loc"], _message(item) + _found(item)) for item in error.errors(include_url=False)]


def problems(error: ValidationError, values: Any, kind: type[Spec]) -> list[str]:
    """The errors of a configuration by key, without those that only follow from another one.

    A key that is not recognized may be the one that is missing, there or in another mapping. A list of
    which an item is refused may be too short without it. A value that may be of two kinds is refused as
    both. A list of candidates is written out before it is validated, and each candidate is refused.

    Args:
        error: what ``kind.parse`` raised.
        values: what it parsed.
        kind: the spec.

    Returns:
        A line for each key, which begins with the key's dotted path in the values.
    """
    found: dict[Place, list[str]] = {}
    tails: dict[Place, str] = {}
    items = error.errors(include_url=False)
    missing = [
        (*_in_values(item["loc"], values), item["loc"][-1]) for item in items if item["type"] == "missing"
    ]
    meant: set[Place] = set()
    for item in items:
        place, message, tail = _in_values(item["loc"], values), _message(item), _found(item)
        if item["type"] == "missing" and isinstance(item["loc"][-1], str):
            place = (*place, item["loc"][-1])
        if item["type"].startswith("union_tag") and isinstance(item["input"], Mapping):
            place = (*place, "name")
        if item["type"] == "extra_forbidden":
            guess, places = _guessed(kind, item, place, missing)
            message += guess
            meant.update(places)
        messages = found.setdefault(place, [])
        if message not in messages:
            messages.append(message)
        tails[place] = tail + _rewritten(kind, item)
    left = {
        place: " or ".join([messages[0], *(each.removeprefix("expected ") for each in messages[1:])])
        for place, messages in found.items()
        if not (messages == ["missing"] and place in meant)
        and not any(other != place and other[: len(place)] == place for other in found)
    }
    return [_dotted(place, left[place] + tails[place] + more) for place, more in _first_of_lists(left)]


def _guessed(
    kind: type[Spec], item: Any, place: Place, missing: Sequence[Place]
) -> tuple[str, Sequence[Place]]:
    """What an unknown key was meant to be, as the end of its message and as places of missing keys."""
    known = _keys(kind, item["loc"][:-1])
    if guess := did_you_mean(str(place[-1]), known):
        return guess, [(*place[:-1], name) for name in known if repr(name) in guess]
    elsewhere = [other for other in missing if other[-1] == place[-1]][:1]
    return "".join(f"; did you mean {'.'.join(map(str, other))}?" for other in elsewhere), elsewhere


def _first_of_lists(messages: Mapping[Place, str]) -> Iterator[tuple[Place, str]]:
    """The places without further items of a list of which the same is said, and how many these are."""
    alike: dict[tuple[Place, str], list[Place]] = {}
    for place, message in messages.items():
        key = place[:-1] if place and isinstance(place[-1], int) else place
        alike.setdefault((key, message), []).append(place)
    for places in alike.values():
        yield places[0], f" (and {len(places) - 1} more in this list)" if len(places) > 1 else ""


def _dotted(place: Place, message: str) -> str:
    """A message after the key that it is about."""
    keys = ".".join(str(part) if str(part).isprintable() else repr(part) for part in place)
    return f"{keys}: {message}" if keys else message


def _message(item: Any) -> str:
    """What is wrong, without the key and the value."""
    kind, found, context = item["type"], item["input"], item.get("ctx", {})
    if kind == "missing" and isinstance(item["loc"][-1], int):
        return f"expected more items, found {len(found)}"
    if kind in ("extra_forbidden", "missing"):
        return {"extra_forbidden": "unknown key", "missing": "missing"}[kind]
    if kind == "too_short":
        return f"expected {context['min_length']} or more items, found {context['actual_length']}"
    if kind == "too_long":
        return f"expected {context['max_length']} items at most, found {context['actual_length']}"
    if kind == "union_tag_invalid":
        known = context["expected_tags"].replace("'", "").split(", ")
        found = context["tag"]
        return f"unknown {found!r}{did_you_mean(found, known)}; known here: {', '.join(known)}"
    if kind == "union_tag_not_found":
        return "missing" if isinstance(found, Mapping) else "expected a mapping with a name"
    if kind == "string_pattern_mismatch":
        if context["pattern"] == LABEL:
            return "expected small letters, digits and _, which does not come first"
        return f"expected a text of the form {context['pattern']}"
    return f"expected {_EXPECTED[kind]}" if kind in _EXPECTED else item["msg"].removeprefix("Value error, ")


def _found(item: Any) -> str:
    """The value that is wrong and what may have been meant; empty where the message has said so."""
    kind, found = item["type"], item["input"]
    if kind in ("extra_forbidden", "missing", "value_error", "union_tag_invalid", "json_invalid"):
        return ""
    if found is None or isinstance(found, bool):
        return f", found {'nothing' if found is None else str(found).lower()}"
    if isinstance(found, list | tuple | Mapping):
        found_kind = "mapping" if isinstance(found, Mapping) else "list"
        return f", found a {found_kind}" if kind.endswith("_type") else ""
    text = f", found {found!r}" if isinstance(found, str | int | float) else ""
    if kind == "literal_error":
        text += did_you_mean(str(found), re.findall(r"'([^']*)'", item["ctx"]["expected"]))
    return text


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


def _rewritten(kind: type[Spec], item: Any) -> str:
    """The name of a spec, or one value, as it stands where a mapping or a list is expected."""
    found, place = item["input"], item["loc"]
    if isinstance(found, bool) or not isinstance(found, str | int | float):
        return ""
    if any(_fields(each) and found in _names(each) for each in _kinds(kind, place)):
        return f"; did you mean {{name: {found}}}?"
    if item["type"] in ("tuple_type", "list_type") and not any(map(_fields, _kinds(kind, (*place, 0)))):
        return f"; did you mean [{', '.join(str(found).replace(',', ' ').split())}]?"
    return ""


def _keys(kind: type[Spec], location: Place) -> list[str]:
    """The keys of the spec at a location."""
    return [key for each in _kinds(kind, location) for key in _fields(each)]


def _kinds(kind: type[Spec], location: Place) -> list[Any]:
    """The types that a value at a location may have."""
    kinds: list[Any] = [kind]
    for part in location:
        kinds = [inner for each in kinds for inner in _inside(each, part)]
    return kinds


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
