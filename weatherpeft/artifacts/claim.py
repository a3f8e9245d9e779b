"""One writer at a time for a path, on file systems that several machines share.

A job that makes ``name`` owns a folder ``.name.<host>-<machine>-<process>-<random>.partial`` beside it. This
folder is the job's place for what is unfinished, and its claim: as long as the job lives, others wait. The
name is never used again. So whoever removes the folder of a dead job cannot hit that of another one, which a
lock with a fixed name cannot promise. Two jobs that claim at once see each other, because each one makes its
folder before it looks. Both step back and try again.

A job on the same machine is dead when its process is gone. Of any other job one sees the file ``.alive``,
which it touches every few seconds. The job is dead when the file has not changed for ``LEASE_S`` by the clock
of the one who waits. No two clocks are compared, and no lock of the kernel is needed.

A job that stood still for long and goes on may be dead to others. What it would publish is therefore taken
from it in one step, a renaming, before anything is removed file by file.

NFS answers from caches what a path is, for up to a minute. Opening a file or listing a folder asks the
server. So only these tell what other machines do. NFS also repeats requests whose answers it has lost.
"""

import errno
import hashlib
import logging
import os
import random
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from itertools import islice
from pathlib import Path
from threading import Event, Thread
from typing import Self

HEARTBEAT_S = 10.0
"""Seconds between two signs of life."""
LEASE_S = 180.0
"""Seconds without a sign of life after which a job counts as dead."""
UNFINISHED = ".partial"
"""Suffix of claims."""
_ALIVE = ".alive"
_PAUSE_S = (0.1, 3.0)
"""First and longest pause between two attempts."""
_REMOVALS = 6
"""Attempts to remove a folder."""
_NAME = re.compile(r"(?P<host>\w*)-(?P<machine>[0-9a-f]{8})-(?P<process>\d+)-[0-9a-f]{8}")
_HELD: set[str] = set()
"""Names of the claims of this process, with those that it just tries to take."""
_log = logging.getLogger(__name__)


class Claim:
    """The right to write a path, for one job at a time.

    A claim that is taken is a context, at whose end it is given back.

    Attributes:
        path: the path.
        folder: folder of this job alone for what is unfinished. It goes with the claim.
        waited: whether another job had the claim when it was first tried.

    Args:
        path: path that is to be written. It need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.waited = False
        own = f"{_host()}-{_machine()}-{os.getpid()}-{secrets.token_hex(4)}"
        self.folder = path.with_name(f".{path.name}.{own}{UNFINISHED}")
        self._seen: dict[str, tuple[int | None, float]] = {}
        self._beating: Thread | None = None
        self._stop = Event()

    def take(self) -> bool:
        """Take the claim, if no living job has it, and remove what dead ones left."""
        if not self._rivals():
            _HELD.add(self.folder.name)
            self.folder.mkdir(parents=True, exist_ok=True)  # there already: a request that NFS repeated
            (self.folder / _ALIVE).touch()
            if not self._rivals():
                self._beating = Thread(target=self._beat, name=f"claim {self.path}", daemon=True)
                self._beating.start()
                return True
            self._remove()
        self.waited = True
        return False

    def wait(self) -> Self:
        """Take the claim as soon as no living job has it."""
        for pause in pauses():
            if self.take():
                break
            time.sleep(pause)
        return self

    def check(self) -> None:
        """Check that the claim is still this job's.

        Raises:
            ValueError: another job took this one for dead, because it has given no sign of life for long.
        """
        with suppress(FileNotFoundError):
            if _ALIVE in _listed(self.folder):
                return
        raise ValueError(
            f"{self.path}: another job took this one for dead and has removed what it made; try again"
        )

    def publish(self, made: Path) -> None:
        """Give what is complete its name, in place of what has it.

        Args:
            made: the entry of ``folder`` with the name of the path.

        Raises:
            ValueError: another job took this one for dead.
        """
        self.check()
        if self.path.exists():  # moved away as a whole, because it would look finished when half removed
            _rename(self.path, self.folder / ".replaced")
        _rename(made, self.path)

    def release(self) -> None:
        """Give the claim back and remove the folder."""
        self._stop.set()
        if self._beating:
            self._beating.join()
        self._remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        try:
            if isinstance(error, OSError | RuntimeError | ValueError):  # perhaps because the folder is gone
                self.check()
        finally:
            self.release()

    def _remove(self) -> None:
        try:
            _remove(self.folder)
        finally:
            _HELD.discard(self.folder.name)

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            try:
                os.utime(self.folder / _ALIVE)
            except FileNotFoundError:  # taken for dead; check() tells
                return
            except OSError as error:  # the file system may answer again
                _log.warning("%s: no sign of life can be given (%s)", self.path, error)

    def _rivals(self) -> list[Path]:
        """Claims of other living jobs; those of dead ones are removed."""
        living = []
        for folder in claims(self.path):
            if folder == self.folder:
                continue
            try:
                dead = self._is_dead(folder)
            except FileNotFoundError:  # released, and only a cache still lists it
                continue
            if dead:
                _log.info("removing what an interrupted job left at %s", folder)
                bury(folder)
            else:
                living.append(folder)
        if living and not self.waited:
            _log.info("waiting for the job that makes %s (%s)", self.path, living[0].name)
        return living

    def _is_dead(self, folder: Path) -> bool:
        if _is_gone(folder):
            return True
        sign, now = _sign_of_life(folder), time.monotonic()
        last, since = self._seen.get(folder.name, (sign, now))
        if sign != last:
            since = now
        self._seen[folder.name] = sign, since
        return now - since > LEASE_S


def claims(path: Path) -> list[Path]:
    """Folders of jobs, dead or alive, that claim a path."""
    start = f".{path.name}."
    try:
        names = sorted(os.listdir(path.parent))
    except FileNotFoundError:
        return []
    return [
        path.with_name(name)
        for name in names
        if name.startswith(start)
        and name.endswith(UNFINISHED)
        and _NAME.fullmatch(name[len(start) : -len(UNFINISHED)])
    ]


def bury(folder: Path) -> None:
    """Remove the claim of a dead job, which might go on at any moment and publish what is still there."""
    with suppress(OSError):
        (folder / _ALIVE).unlink()
    with suppress(OSError):
        for name in _listed(folder):
            (folder / name).rename(folder / f".dead-{secrets.token_hex(4)}")
    _remove(folder)


def pauses() -> Iterator[float]:
    """Seconds to wait between attempts, longer and longer, and not the same for two jobs."""
    longest, own = _PAUSE_S[0], random.SystemRandom()  # no training's random numbers, none that forks share
    while True:
        yield own.uniform(0.5, 1) * longest
        longest = min(1.5 * longest, _PAUSE_S[1])


def _is_gone(folder: Path) -> bool:
    """Whether a claim was of a process of this machine that has ended, or that has let go of it."""
    found = _NAME.search(folder.name.removesuffix(UNFINISHED))
    if found is None or found["machine"] != _machine():
        return False
    if int(found["process"]) == os.getpid():
        return folder.name not in _HELD
    try:
        os.kill(int(found["process"]), 0)
    except ProcessLookupError:
        return True
    except OSError:  # it belongs to another user
        return False
    return False


def _sign_of_life(folder: Path) -> int | None:
    """Time of the last sign in nanoseconds, by the file server's clock; None if there is none.

    Raises:
        FileNotFoundError: the folder is gone.
    """
    for _ in range(2):
        with suppress(OSError), (folder / _ALIVE).open("rb") as stream:
            return os.fstat(stream.fileno()).st_mtime_ns
        with suppress(PermissionError):
            if _ALIVE not in _listed(folder):  # else a cache did not know it yet
                break
    return None


def _listed(folder: Path) -> list[str]:
    """Names in a folder.

    Raises:
        FileNotFoundError: the folder is gone.
    """
    try:
        return os.listdir(folder)
    except OSError as error:
        if error.errno == errno.ESTALE:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder)) from error
        raise


def _rename(source: Path, target: Path) -> None:
    """Rename a folder, also if NFS repeats the request, whose source is then gone."""
    number = source.stat().st_ino
    try:
        source.rename(target)
    except FileNotFoundError:
        if not target.exists() or target.stat().st_ino != number:
            raise


def _remove(folder: Path) -> None:
    """Remove a folder. On NFS a file that another process just reads stays in it under a name ``.nfs...``."""
    for pause in islice(pauses(), _REMOVALS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            break
        time.sleep(pause)


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "_", socket.gethostname().partition(".")[0])[:32]


@cache
def _machine() -> str:
    """Tells apart machines, boots and containers, in each of which process numbers mean something else."""
    parts = [socket.gethostname()]
    for read in (
        lambda: Path("/proc/sys/kernel/random/boot_id").read_text(),
        lambda: os.readlink("/proc/self/ns/pid"),
    ):
        try:
            parts.append(read())
        except OSError:  # not Linux
            continue
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]
