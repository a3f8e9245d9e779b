"""Arguments on the command line of a job: as they are or, where they are long, by file.

A system limits the length of an argument, Linux to 131,072 bytes, and a job's inputs grow with the period.
"""

import hashlib
import shlex
from collections.abc import Iterable
from pathlib import Path

from weatherpeft.artifacts.caches import replace

LONGEST = 8192
"""Bytes of an argument, quoted for a shell, from which on it goes by file."""
FOLDER = Path(".snakemake/arguments")
"""Folder of these files. Each is named by its content, and written again if it is gone."""


def argument(text: str) -> str:
    """The text itself or, if it is long, ``@`` and a file that holds it.

    Args:
        text: a spec as JSON, or paths, one a line.
    """
    content = text.encode()
    if len(shlex.quote(text).encode()) <= LONGEST:
        return text
    path = FOLDER / hashlib.sha256(content).hexdigest()[:16]
    if not path.exists() or path.read_bytes() != content:
        replace(path, content)  # jobs on other nodes may write it too
    return f"@{path}"


def options(inputs: Iterable[tuple[str, str | Iterable[str]]]) -> str:
    """The options of a command line that give it its inputs, quoted for a shell.

    >>> options([("data", ["a month", "b"]), ("forecasts", []), ("statistics", "c")])
    "--data 'a month' b --statistics c"

    Args:
        inputs: names of options with a path or with paths. One without paths is left out.
    """
    words = []
    for name, given in inputs:
        paths = [given] if isinstance(given, str) else list(given)
        if paths:
            text = "\n".join(paths)
            short = argument(text)
            words += [f"--{name}", *(paths if short == text else [short])]
    return shlex.join(words)
