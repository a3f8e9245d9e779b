"""What fingerprints found in source files, kept from one process to the next."""

import hashlib
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from weatherpeft.artifacts.caches import remember, remembered


class Import(NamedTuple):
    """``import module`` or, with a name, ``from module import name``."""

    module: str
    name: str | None


class Source(NamedTuple):
    """The parts of a file that count.

    Attributes:
        digest: digest of its code.
        imports: first-party imports of the code.
        exports: names that the file imports at its top level, for modules that import them from it.
        files: names that the code may give to files of its folder. The digest covers those that are there.
    """

    digest: str
    imports: list[Import]
    exports: dict[str, Import]
    files: list[str]


def files_there(names: Iterable[str], folder: Path) -> Iterator[Path]:
    """The files of a folder among some names."""
    return (folder / name for name in names if (folder / name).is_file())


class Memory:
    """A JSON file with a ``Source`` for each module.

    An entry counts as long as the module has the same bytes, so have the files that it names, and the same
    Python with the same code made it.

    Args:
        path: the JSON file. One that cannot be read or written remembers nothing.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._changed = path, False
        self._entries: dict[str, Any] = {}
        self._made_by = _digest(path.read_bytes() for path in (_HERE, _HERE.with_name("fingerprint.py")))
        known = remembered(path)
        with suppress(ValueError, AttributeError):
            if known.get("made_by") == self._made_by:
                self._entries = dict(known["modules"])

    def get(self, module: str, path: Path, content: bytes) -> Source | None:
        """What was found in a module's file, if it is still the same."""
        try:
            key, digest, imports, exports, files = self._entries[module]
            source = Source(
                digest,
                [Import(*each) for each in imports],
                {name: Import(*each) for name, each in exports.items()},
                files,
            )
            return source if key == _key(path, content, files) else None
        except (KeyError, ValueError, TypeError, AttributeError):
            return None

    def put(self, module: str, path: Path, content: bytes, source: Source) -> None:
        """Remember what was found in a module's file."""
        self._entries[module] = [_key(path, content, source.files), *source]
        self._changed = True

    def write(self) -> None:
        """Write what is new; of two who write the same, the later one counts."""
        if not self._changed:
            return
        self._changed = False
        remember(self._path, {"made_by": self._made_by, "modules": self._entries})


_HERE = Path(__file__)


def _key(path: Path, content: bytes, files: Iterable[str]) -> str:
    there = sorted(files_there(files, path.parent))
    return _digest([path.name.encode(), content, *(part for file in there for part in _named(file))])


def _named(file: Path) -> tuple[bytes, bytes]:
    return file.name.encode(), file.read_bytes()


def _digest(parts: Iterable[bytes]) -> str:
    """SHA-256 of some bytes and this Python's version."""
    total = hashlib.sha256(sys.version.encode())
    for part in parts:
        total.update(b"%d " % len(part) + part)
    return total.hexdigest()
