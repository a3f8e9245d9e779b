"""What the command line's help takes from the docstring of a stage."""

import inspect
import re
from collections.abc import Callable
from typing import Any

Function = Callable[..., Any]


def summary(function: Function) -> str:
    """The first line."""
    return _documentation(function).partition("\n")[0]


def arguments(function: Function) -> dict[str, str]:
    """The text for each parameter in the section ``Args``."""
    entries = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", _section(function, "Args"), re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def example(function: Function) -> str:
    """The command in the section ``Example``, whose lines a shell takes for one; empty without a section."""
    lines = _section(function, "Example").split("\n")
    return " \\\n".join(line.removeprefix("    ") for line in lines if line)


def _section(function: Function, name: str) -> str:
    found = re.search(rf"^{name}:\n((?: .*\n?|\n)*)", _documentation(function), re.MULTILINE)
    return found[1] if found else ""


def _documentation(function: Function) -> str:
    """A docstring without the marks of reStructuredText, which a terminal would show."""
    return (inspect.getdoc(function) or "").replace("``", "")
