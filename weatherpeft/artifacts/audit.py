"""The state of all artifacts below some folders: what is damaged, and what was made from it."""

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from weatherpeft.artifacts.claim import UNFINISHED
from weatherpeft.artifacts.manifest import (
    MANIFEST,
    PROVENANCE,
    DamagedError,
    artifact_of,
    faults,
    remake_command,
    shown,
)

State = Literal["ok", "corrupt", "incomplete", "foreign"]
_STORES = ("zarr.json", ".zgroup", ".zarray")


@dataclass(frozen=True)
class Finding:
    """What a check of one artifact found.

    Attributes:
        path: the artifact.
        state: whether it is as it was written.
        problems: what is wrong, by file and chunk.
        users: artifacts that were made from it, directly or through others, if something is wrong.
    """

    path: Path
    state: State
    problems: tuple[str, ...] = ()
    users: tuple[Path, ...] = ()

    @property
    def is_artifact(self) -> bool:
        """Whether it is an artifact, sound or not. What a job has not finished is none."""
        return self.state != "foreign" and not self.path.name.endswith(UNFINISHED)

    @property
    def is_bad(self) -> bool:
        """Whether it is an artifact that must not be used."""
        return self.is_artifact and self.state != "ok"

    def lines(self) -> Iterator[str]:
        """One line; further ones say what is wrong and what to do."""
        yield f"{self.state:<12}{shown(self.path)}"
        for problem in self.problems:
            yield f"{'':12}{problem}"
        if self.users:
            yield f"{'':12}used by: {', '.join(str(shown(user)) for user in self.users)}"
        if self.is_bad:
            yield f"{'':12}make it again with: {remake_command(self.path)}"


def audit(paths: Sequence[Path]) -> Iterator[Finding]:
    """Read everything in all artifacts below some folders, several at a time.

    Args:
        paths: folders, artifacts, or parts of artifacts.

    Yields:
        A finding for each artifact, for each store that belongs to none, for each folder that an unfinished
        job left, and for each path without any of them.

    Raises:
        ValueError: a path does not exist.
    """
    found: dict[Path, State] = {}
    for path in paths:
        if not path.exists():
            raise ValueError(f"{path}: no such file or directory")
        root = artifact_of(path)
        below: dict[Path, State] = {root: "ok"} if root else dict(_below(path))
        found |= below or {path: "foreign"}
    roots = [path for path, state in found.items() if state == "ok"]
    records = {root: _record(root) for root in roots}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        examined = {path: pool.submit(_examine, path) for path in roots}
        for path, state in found.items():
            if state != "ok":
                yield Finding(path, state, (_WHY[state],))
                continue
            state, problems, is_known = examined[path].result()
            yield Finding(path, state, problems, () if state == "ok" else _users(path, records, is_known))


_WHY: dict[State, str] = {
    "incomplete": "left by a job that has not finished",
    "foreign": "not an artifact of weatherpeft; there is nothing to compare it with",
}


def _below(path: Path) -> Iterator[tuple[Path, State]]:
    """Artifacts and what else might be taken for one, sorted, with a first guess of their state."""
    for name, folders, files in os.walk(path):
        folder = Path(name)
        state: State | None = None
        if folder.name.startswith(".") and folder.name.endswith(UNFINISHED):
            state = "incomplete"
        elif PROVENANCE in files or MANIFEST in files:
            state = "ok"
        elif any(mark in files for mark in _STORES):
            state = "foreign"
        folders[:] = [] if state else sorted(folders)
        if state:
            yield folder, state


def _examine(root: Path) -> tuple[State, tuple[str, ...], bool]:
    """State and problems of an artifact, and whether its record can be trusted."""
    from weatherpeft.artifacts.chunks import damaged_inner_chunks

    problems = []
    try:
        for fault in faults(root):
            inner = damaged_inner_chunks(fault.file) if fault.file.is_file() else []
            place = f", inner chunk {', '.join(inner)}" if inner else ""
            problems.append(f"{fault.file.relative_to(root)}{place}: {fault.problem}")
    except DamagedError as fault:
        return "corrupt", (f"{fault.file.relative_to(root)}: {fault.problem}",), False
    except ValueError as error:  # a part is missing, or the version is another one
        problem = str(error).removeprefix(f"{shown(root)}: ").partition("; make it again")[0]
        return "incomplete", (problem,), False
    except OSError as error:
        return "corrupt", (f"{error.filename}: {error.strerror}",), False
    return ("corrupt" if problems else "ok"), tuple(problems), True


def _record(root: Path) -> dict[str, Any]:
    """The record of an artifact, as far as it can be read."""
    try:
        record = json.loads((root / PROVENANCE).read_bytes())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) and isinstance(record.get("inputs"), dict) else {}


def _users(root: Path, records: dict[Path, dict[str, Any]], is_known: bool) -> tuple[Path, ...]:
    """Artifacts that name one among their inputs, and those that name these.

    Args:
        root: the artifact.
        records: records of all artifacts.
        is_known: whether the artifact's own record, with its digest, can be trusted.
    """
    users: dict[Path, None] = {}
    waiting = [(root, records[root].get("digest") if is_known else None)]
    while waiting:
        source, digest = waiting.pop()
        for user, record in records.items():
            if user != root and user not in users and _names(record, source, digest):
                users[user] = None
                waiting.append((user, record.get("digest")))
    return tuple(sorted(users))


def _names(record: dict[str, Any], source: Path, digest: str | None) -> bool:
    """Whether a record has an artifact, or a file in it, among its inputs."""
    for name, found in {**record.get("inputs", {}), **record.get("parts", {})}.items():
        parts = tuple(name.split("/"))
        if digest in (None, found) and (parts == source.parts[-2:] or parts[0] == source.name):
            return True
    return False
