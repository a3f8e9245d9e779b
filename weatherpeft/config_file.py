"""Configuration files: YAML that is read as it is written, or refused with its file, line and key.

Folders that Snakemake cannot work in are refused here, too. The module imports nothing of the package, so
that it can come before the workflow.
"""

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import yaml

MOST_VALUES = 1_000_000
"""Number of values that a file may stand for once its aliases are written out."""

_FORMATTED = "{}"
"""Characters of a path that Snakemake takes for names to fill in."""
_BETWEEN_QUOTES = _FORMATTED + '$`"\\%'
"""Those, and what a shell acts on between double quotes, and what Slurm fills in in the name of a log."""
_NO_QUOTES = "@+=:,./-_"
"""Characters, beside letters and digits, that are themselves in a shell without quotes."""
_TEXT, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
_FLOAT = "tag:yaml.org,2002:float"
_KEY = re.compile(r"\w[\w-]*")
"""A key that a command line can set."""
_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
"""A number such as ``1e-3``, which YAML 1.1 takes for a text because it wants a point and a sign."""


@cache
def _loader() -> "type[yaml.SafeLoader]":
    """The class that reads YAML 1.1 with the numbers of YAML 1.2."""
    import yaml

    class Loader(yaml.SafeLoader):
        def number(self, node: yaml.ScalarNode) -> float:
            """A whole number where it is one, so that ``1e5`` may be a number of steps."""
            value: float = self.construct_yaml_float(node)
            whole = _EXPONENT.fullmatch(node.value) and "." not in node.value and abs(value) < 2**53
            return int(value) if whole and value.is_integer() else value

    Loader.add_implicit_resolver(_FLOAT, re.compile(rf"{_EXPONENT.pattern}$"), list("-+.0123456789"))
    Loader.add_constructor(_FLOAT, Loader.number)
    return Loader


def read(path: Path) -> dict[str, Any]:
    """Read the YAML or JSON file of a configuration.

    Args:
        path: the file.

    Returns:
        Nested dicts, lists, texts, numbers and dates.

    Raises:
        ValueError: the file is not UTF-8 or not a YAML mapping, a key is no text or is there twice, or
            aliases stand for too much. The message names the file, the line and the key.
    """
    content = path.read_bytes()
    try:
        return parse(content.decode(), str(path))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start)
        before = content[: error.start].rpartition(b"\n")[2].decode()
        byte = content[error.start]
        raise ValueError(
            f"{path}:{line + 1}: expected UTF-8, found the byte 0x{byte:02x} after {before!r}; "
            "save the file as UTF-8"
        ) from error


def parse(text: str, label: str) -> dict[str, Any]:
    """Read a YAML or JSON mapping.

    Args:
        text: the mapping.
        label: where the text comes from, for messages.

    Returns:
        Nested dicts, lists, texts, numbers and dates.

    Raises:
        ValueError: see ``read``.
    """
    import yaml

    try:
        loader = _loader()(text)
        try:
            node = loader.get_single_node()
            if not isinstance(node, yaml.MappingNode):
                kind = type(node).__name__ if node else "nothing"
                found = {"nothing": kind, "SequenceNode": "a list"}.get(kind, "a text")
                raise ValueError(f"{label}: not a YAML mapping of KEY: VALUE, found {found}")
            _count(node, "", {})
            try:
                values: dict[str, Any] = loader.construct_document(node)
            except ValueError as error:  # of a date or a number
                raise ValueError(f"{label}: {error}") from error
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{label}:{mark.line + 1}" if mark else label
        raise ValueError(f"{place}: {_problem(error)}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{label}: {error}") from error
    except RecursionError as error:
        raise ValueError(f"{label}: nested too deeply") from error
    except _Refused as error:
        raise ValueError(f"{label}:{error.line}: {error}") from error
    return values


def _problem(error: "yaml.MarkedYAMLError") -> str:
    """What YAML says of a text, with where what is wrong began, and what often helps."""
    problem, context = error.problem or "", error.context or ""
    if not problem or problem.startswith("but "):
        return ", ".join(filter(None, (context, problem)))
    if error.context_mark and error.problem_mark and error.context_mark.line < error.problem_mark.line:
        context += f" that begins in line {error.context_mark.line + 1}"
    hint = ""
    if "'\\t'" in problem:
        hint = "; indent with spaces, not with tabs"
    elif "cannot start any token" in problem or context.startswith(
        ("while scanning an a", "while scanning a d")
    ):
        hint = "; put the text in quotes"
    elif problem.startswith("mapping values"):
        hint = "; check the indentation, and quotes around a text with a colon"
    return f"{problem} ({context}){hint}" if context else f"{problem}{hint}"


def merged(paths: Sequence[Path], entries: Sequence[str] = ()) -> dict[str, Any]:
    """Read the files and the settings of a command line that together are a configuration.

    Snakemake reads them too, by other rules: it takes ``1e-3`` for a text, and whatever stands inside a
    mapping of the command line.

    Args:
        paths: YAML or JSON files; what stands in a later one replaces or completes what stands before.
        entries: ``key=value`` each, which come last; the value is what would stand in a file.

    Raises:
        ValueError: a file or an entry is refused (see ``read``).
    """
    values: dict[str, Any] = {}
    for path in paths:
        values = _updated(values, read(path))
    for entry in entries:
        values = _updated(values, parse(*_entry(entry)))
    return values


def _entry(entry: str) -> tuple[str, str]:
    """The YAML that a setting of a command line stands for, and its label in messages."""
    key, equals, text = entry.partition("=")
    if not equals or not _KEY.fullmatch(key):
        raise ValueError(
            f"--config {entry}: expected KEY=VALUE with a key of the file's top level, for example "
            "training='{steps: 80}'"
        )
    return f"{key}: {text}", f"--config {key}"


def _updated(values: Any, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The values with the changes, mapping by mapping."""
    result = dict(values) if isinstance(values, Mapping) else {}
    for key, value in changes.items():
        result[key] = _updated(result.get(key), value) if isinstance(value, Mapping) else value
    return result


def where(paths: Sequence[Path], place: Sequence[str | int], entries: Sequence[str] = ()) -> str:
    """The file and the line of a key, or of the innermost mapping around it that is there.

    Args:
        paths: files of a configuration, in the order in which they are merged.
        place: the keys and positions that lead to the key; if there are none, no line is given.
        entries: settings of a command line, which come last.

    Returns:
        ``FILE:LINE``, with the file as seen from the working directory, or ``--config KEY``; empty without
        a file.
    """
    found, depth = (", ".join(map(_shown, paths)), 0)
    for path in paths:
        line, reached = _line(path.read_text(encoding="utf-8"), place)
        if line and reached >= depth:
            found, depth = f"{_shown(path)}:{line}", reached
    for text, label in map(_entry, entries):
        line, reached = _line(text, place)
        if line and reached >= depth:
            found, depth = label, reached
    return found


def _shown(path: Path) -> str:
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _line(text: str, place: Sequence[str | int]) -> tuple[int, int]:
    """The line of the last key of a place that a YAML text holds, and the number of these keys."""
    import yaml

    node = yaml.compose(text, _loader())
    line = 0
    for depth, part in enumerate(place):
        children: dict[str | int, tuple[int, yaml.Node]] = {}
        if isinstance(node, yaml.MappingNode):
            children = {key.value: (key.start_mark.line, value) for key, value in node.value}
        elif isinstance(node, yaml.SequenceNode):
            children = {index: (child.start_mark.line, child) for index, child in enumerate(node.value)}
        if part not in children:
            return line, depth
        line, node = children[part][0] + 1, children[part][1]
    return line, len(place)


def check_command(arguments: Sequence[str]) -> None:
    """End the process with one line if Snakemake's command line names a file that ``read`` refuses.

    Snakemake reads such files itself, before the workflow and with a traceback. In a file that says so it
    even runs what stands there as Python. Nor can it be in a folder with braces in its name. A profile calls
    this function, because profiles are read first.

    Args:
        arguments: the command line.

    Raises:
        SystemExit: a file or a folder is refused.
    """
    options = _options(arguments)
    _check_characters([options.snakefile.absolute()], _FORMATTED, "Snakemake")
    for path in options.configfile:
        if not path.is_file():
            continue  # Snakemake says so
        try:
            templated = "__use_yte__" in read(path)
        except ValueError as error:
            sys.exit(str(error))
        if templated:
            sys.exit(f"{path}: __use_yte__: a configuration is no program; unknown key")


def check_slurm(arguments: Sequence[str], python: str = sys.executable) -> None:
    """End the process with one line if a path would run as a command when a job goes to Slurm.

    Snakemake's executor for Slurm writes the command of a job between double quotes, and this Python's path
    in it without quotes. Paths in configs are checked with the configs.

    Args:
        arguments: Snakemake's command line.
        python: path of the Python that runs Snakemake.

    Raises:
        SystemExit: a path is refused.
    """
    options = _options(arguments)
    paths = [Path(), options.snakefile, options.directory, *options.configfile]
    _check_characters([path.absolute() for path in paths], _BETWEEN_QUOTES, "the shell of a job on Slurm")
    for character in python:
        if not character.isalnum() and character not in _NO_QUOTES:
            sys.exit(
                f"{python!r}: expected a Python whose path has letters, digits and {' '.join(_NO_QUOTES)} "
                f"alone, found {character!r}, which the shell of a job on Slurm would act on; install the "
                "environment in another folder"
            )


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    """The paths in Snakemake's command line."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--configfile", "--configfiles", nargs="+", type=Path, default=[])
    parser.add_argument("--snakefile", "-s", nargs="?", type=Path, default=Path(), const=Path())
    parser.add_argument("--directory", "-d", nargs="?", type=Path, default=Path(), const=Path())
    return parser.parse_known_args(arguments)[0]


def _check_characters(paths: Sequence[Path], special: str, actor: str) -> None:
    """End the process if a path has a character that somebody acts on."""
    for path in paths:
        for character in str(path):
            if character in special or not character.isprintable():
                sys.exit(
                    f"{str(path)!r}: expected a path without {' '.join(special)} and control characters, "
                    f"found {character!r}, which {actor} would act on; use another folder"
                )


class _Refused(Exception):
    """What is wrong with a node.

    Args:
        node: the node.
        place: dotted path of the mapping or value.
        message: what is wrong.
    """

    def __init__(self, node: "yaml.Node", place: str, message: str) -> None:
        super().__init__(f"{place}: {message}" if place else message)
        self.line = node.start_mark.line + 1


def _count(node: "yaml.Node", place: str, counts: dict[int, int | None]) -> int:
    """Number of values that a node stands for, aliases written out; refuses keys that YAML changes or loses.

    Args:
        node: the node.
        place: dotted path of the node.
        counts: of nodes that were seen, by identity; None while a node is being counted.
    """
    import yaml

    if id(node) in counts:
        known = counts[id(node)]
        if known is None:
            raise _Refused(node, place, "an alias refers to what it is part of")
        return known
    counts[id(node)] = None
    children: list[tuple[str, yaml.Node]] = []
    if isinstance(node, yaml.MappingNode):
        keys = set()
        for key, value in node.value:
            if key.tag != _MERGE:
                name = str(key.value) if isinstance(key, yaml.ScalarNode) else "that is a list or a mapping"
                if key.tag != _TEXT:
                    kind = key.tag.rpartition(":")[2]
                    message = f"the key {name} is of the type {kind} in YAML; put it in quotes"
                    raise _Refused(key, place, message)
                if name in keys:
                    raise _Refused(key, place, f"the key {name} is there twice")
                keys.add(name)
                children.append((f"{place}.{name}" if place else name, value))
            else:
                children.append((place, value))
    elif isinstance(node, yaml.SequenceNode):
        children = [(f"{place}.{index}", value) for index, value in enumerate(node.value)]
    total = 1
    for name, child in children:
        total += _count(child, name, counts)
        if total > MOST_VALUES:
            raise _Refused(child, name, f"aliases stand for more than {MOST_VALUES} values")
    counts[id(node)] = total
    return total
