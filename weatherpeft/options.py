"""Options of a subcommand, made from the signature of a stage."""

import argparse
import inspect
import types
import typing
from collections.abc import Callable, Sequence
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import TypeAdapter

from weatherpeft.artifacts.manifest import look_anew
from weatherpeft.spec import Spec

Stage = Callable[..., None]
Prepare = Callable[[argparse.Namespace], Callable[[], None]]
"""Makes the call of a subcommand from its options."""

_REQUIRED = inspect.Parameter.empty


def parameters(stage: Stage) -> dict[str, tuple[Any, Any]]:
    """Annotation and default of each parameter. A parameter that may be None has the default None.

    Raises:
        TypeError: a parameter has no type.
    """
    annotations = typing.get_type_hints(stage, include_extras=True)
    found = {}
    for name, parameter in inspect.signature(stage).parameters.items():
        if name not in annotations:
            raise TypeError(f"parameter {name} of stage {stage.__name__} has no type")
        annotation, default = annotations[name], parameter.default
        members = get_args(annotation)
        if get_origin(annotation) in (Union, types.UnionType) and types.NoneType in members:
            annotation = reduce(or_, [member for member in members if member is not types.NoneType])
            default = None if default is _REQUIRED else default
        found[name] = (annotation, default)
    return found


def _is_spec(annotation: Any) -> bool:
    """Tell whether a type is a spec or a union of specs."""
    if get_origin(annotation) is Annotated:
        return _is_spec(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return all(_is_spec(member) for member in get_args(annotation))
    return inspect.isclass(annotation) and issubclass(annotation, Spec)


def _are_paths(annotation: Any) -> bool:
    return get_origin(annotation) in (list, Sequence) and get_args(annotation) == (Path,)


def add_option(parser: argparse.ArgumentParser, name: str, annotation: Any, default: Any, text: str) -> None:
    """Add the option of a parameter.

    Args:
        parser: the subcommand's parser.
        name: name of the parameter.
        annotation: its type.
        default: its default; ``inspect.Parameter.empty`` if the option is required.
        text: help.

    Raises:
        TypeError: no option can be made from the type.
    """
    if isinstance(default, str | int | float | Path):
        text = f"{text} (default: {default})".strip()
    settings: dict[str, Any] = {"required": True} if default is _REQUIRED else {"default": default}
    settings["help"] = text.replace("%", "%%")
    if _is_spec(annotation):
        settings |= {"metavar": "JSON|@FILE"}
    elif annotation is Path:
        settings |= {"type": Path, "metavar": "PATH"}
    elif _are_paths(annotation):
        settings |= {"metavar": "PATH|@FILE", "nargs": "+" if default is _REQUIRED else "*"}
    elif annotation is bool:
        settings |= {"action": argparse.BooleanOptionalAction}
    elif annotation in (int, float, str):
        settings |= {"type": annotation, "metavar": annotation.__name__.upper()}
    elif get_origin(annotation) is Literal:
        choices = get_args(annotation)
        settings |= {"type": type(choices[0]), "choices": choices}
    else:
        raise TypeError(f"no option can be made from the parameter {name}: {annotation}")
    parser.add_argument("--" + name.replace("_", "-"), dest=name, **settings)


def binder(stage: Stage, taken: dict[str, tuple[Any, Any]]) -> Prepare:
    """Make the function that reads specs and lists of paths and returns the call of the stage."""

    def prepare(options: argparse.Namespace) -> Callable[[], None]:
        values = {name: getattr(options, name) for name in taken}
        for name, (annotation, _) in taken.items():
            if _is_spec(annotation) and isinstance(values[name], str):
                text = values[name]
                if text.startswith("@"):
                    text = Path(text[1:]).read_text(encoding="utf-8")
                values[name] = TypeAdapter(annotation).validate_json(text)
            elif _are_paths(annotation) and values[name] is not None:
                values[name] = [path for word in values[name] for path in _paths(word)]
        given = [value if isinstance(value, list) else [value] for value in values.values()]
        look_anew(path for paths in given for path in paths if isinstance(path, Path))
        return lambda: stage(**values)

    return prepare


def _paths(word: str) -> list[Path]:
    """The path that a word is, or the paths in the lines of the file that it names after ``@``."""
    if not word.startswith("@"):
        return [Path(word)]
    return [Path(line) for line in Path(word[1:]).read_text(encoding="utf-8").split("\n") if line]
