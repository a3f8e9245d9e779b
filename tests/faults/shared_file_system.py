"""Jobs on two machines that share a file system: they race, die, stop and wait for each other.

    python -m tests.faults.shared_file_system FOLDER 0    # on one machine
    python -m tests.faults.shared_file_system FOLDER 1    # on the other one

or, with Slurm,

    srun --nodes 2 --ntasks 2 sh -c 'python -m tests.faults.shared_file_system FOLDER $SLURM_PROCID'

FOLDER is a new or empty folder on the shared file system. The machine 0 gives the orders over the network and
prints how many trials of each kind survived, and the longest and mean time in which a job or pair was done.
What fails stays in FOLDER. A pair that takes as long as the lease may have waited for a job that was gone.
"""

import argparse
import json
import multiprocessing
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

from weatherpeft.artifacts import claim, store
from weatherpeft.artifacts.manifest import check_artifact
from weatherpeft.spec import Spec

FORK = multiprocessing.get_context("fork")
BEATS = 18
"""Signs of life in a lease, as in the package."""
PATIENCE_S = 600
"""Within this time, beside the leases, a job ends, or it hangs."""
MEETING = "meeting.json"
LOST = "another job took this one for dead"


class Made(Spec):
    """What an artifact is made from."""

    note: str


@dataclass(frozen=True)
class Work:
    """A job that writes the same text into several files.

    Attributes:
        output: the artifact.
        note: what it is made from.
        parts: number of files.
        pause_s: longest pause before each.
        linger_s: pause after the last one.
    """

    output: Path
    note: str = "same"
    parts: int = 6
    pause_s: float = 0.004
    linger_s: float = 0.0


def run(work: Work, orders: "Connection[Any, Any]", delay_s: float) -> None:
    """Do the work as soon as it is ordered, and answer how it ended."""
    dice = random.Random()
    orders.send(os.getpid())
    orders.recv()
    time.sleep(dice.uniform(0, delay_s))
    try:
        with store.artifact(work.output, Made(note=work.note), "weatherpeft.spec") as directory:
            for number in range(work.parts):
                time.sleep(dice.uniform(0, work.pause_s))
                text = f"{work.note} {socket.gethostname()} {os.getpid()}"
                (directory / f"part-{number}").write_text(text)
            time.sleep(work.linger_s)
        orders.send("made")
    except store.AlreadyMadeError:
        orders.send("found")
    except Exception as error:
        orders.send(f"{type(error).__name__}: {error}")


class Machine:
    """The jobs of one machine. Methods take and return what can be sent to the other one."""

    def __init__(self, lease_s: float) -> None:
        claim.LEASE_S, claim.HEARTBEAT_S = lease_s, lease_s / BEATS
        self._jobs: dict[int, Connection[Any, Any]] = {}

    def start(self, work: Work, delay_s: float = 0.0) -> int:
        """Start a process that waits for ``go``; return its number."""
        ours, its = FORK.Pipe()
        FORK.Process(target=run, args=(work, its, delay_s), daemon=True).start()
        number = int(ours.recv())
        self._jobs[number] = ours
        return number

    def go(self, job: int) -> None:
        """Let a job begin."""
        self._jobs[job].send("go")

    def signal(self, job: int, number: int) -> None:
        """Send a signal to a job."""
        os.kill(job, number)

    def outcome(self, job: int, patience_s: float = PATIENCE_S) -> str:
        """Wait until a job has ended."""
        orders = self._jobs[job]
        try:
            return str(orders.recv()) if orders.poll(patience_s + 10 * claim.LEASE_S) else "hangs"
        except EOFError:
            return "killed"

    def unfinished(self, output: Path) -> int:
        """Number of files of the unfinished artifact; 0 if it is just removed."""
        pattern = f".{output.name}.*{claim.UNFINISHED}/{output.name}/part-*"
        try:
            return sum(1 for _ in output.parent.glob(pattern))
        except FileNotFoundError:
            return 0

    def content(self, output: Path) -> list[str]:
        """Number of parts and the texts in an artifact, whose checksums are compared, or the error."""
        try:
            check_artifact(output)
            parts = list(output.glob("part-*"))
            return [str(len(parts)), *sorted({part.read_text() for part in parts})]
        except (OSError, ValueError) as error:
            return [str(error)]

    def leftovers(self, folder: Path) -> list[str]:
        """Names of what is no artifact."""
        return sorted(name for name in os.listdir(folder) if name.startswith("."))


class Distant:
    """The other machine: what is asked of it goes over the network."""

    def __init__(self, line: "Connection[Any, Any]") -> None:
        self._line = line

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def ask(*arguments: Any) -> Any:
            self._line.send((name, arguments))
            return self._line.recv()

        return ask


Side = Any
"""A ``Machine``, here or distant."""


class Trials:
    """What is tried. Each trial returns the number of seconds that a job waited, or fails.

    Args:
        sides: this machine and the other one.
        lease_s: the lease.
        spread_s: jobs that race begin within this time.
        freeze: commands that freeze the other machine and let it go on. Without them only a job is stopped.
    """

    def __init__(
        self, sides: tuple[Side, Side], lease_s: float, spread_s: float, freeze: Sequence[str]
    ) -> None:
        self.sides, self.lease_s, self.spread_s, self.freeze = sides, lease_s, spread_s, freeze

    def race(self, output: Path, number: int) -> float:
        """Both make the same artifact, every other time from different specs, when both must write."""
        notes = ("same", "same") if number % 2 else ("one", "other")
        works = [Work(output, note) for note in notes]
        jobs = [side.start(work, self.spread_s) for side, work in zip(self.sides, works, strict=True)]
        began = time.monotonic()
        for side, job in list(zip(self.sides, jobs, strict=True))[::-1]:
            side.go(job)
        said = sorted(side.outcome(job) for side, job in zip(self.sides, jobs, strict=True))
        took = time.monotonic() - began
        assert said == (["found", "made"] if number % 2 else ["made", "made"]), said
        self._check(output, 6)
        return took

    def killed(self, output: Path, number: int) -> float:
        """A job is killed while one on the other machine waits, which then makes the artifact."""
        (one, other), lease = self._order(number), self.lease_s
        job = self._begun(one, Work(output, "killed", 1000, lease / 2))
        heir = self._begun(other, Work(output, "heir"), wait=False)
        time.sleep(lease / 4)
        one.signal(job, signal.SIGKILL)
        began = time.monotonic()
        assert (said := other.outcome(heir)) == "made", said
        took = time.monotonic() - began
        self._check(output, 6, "heir")
        return took

    def living(self, output: Path, number: int) -> float:
        """A job works for three leases while one on the other machine waits."""
        (one, other), began = self._order(number), time.monotonic()
        job = self._begun(one, Work(output, linger_s=3 * self.lease_s))
        waiting = self._begun(other, Work(output), wait=False)
        said = other.outcome(waiting), one.outcome(job)
        assert said == ("found", "made"), said
        self._check(output, 6)
        return time.monotonic() - began

    def stopped(self, output: Path, number: int) -> float:
        """A job, or its machine, stands still until the other one has made the artifact. Then it goes on."""
        (one, other) = self.sides[::-1] if self.freeze else self._order(number)
        job = self._begun(one, Work(output, "stopped", 20, self.lease_s / 10))
        heir = self._begun(other, Work(output, "heir"), wait=False)
        self._stop(one, job)
        try:
            said = other.outcome(heir)
        finally:
            self._go_on(one, job)
        assert said == "made", said
        assert LOST in (said := one.outcome(job)), said
        self._check(output, 6, "heir")
        return 0.0

    def woken(self, output: Path, number: int) -> float:
        """A job that has written all but its record goes on while the other one removes what it wrote."""
        (one, other), many = self._order(number), 300
        job = self._begun(one, Work(output, "woken", many, 0.0, self.lease_s), all_of=many)
        self._stop(one, job, machine=False)
        heir = self._begun(other, Work(output, "heir", 6, 0.5), wait=False)
        while len(self._names(output)) and other.unfinished(output) >= many:
            time.sleep(0.02)
        self._go_on(one, job, machine=False)
        said = one.outcome(job), other.outcome(heir)
        assert said[1] == "made" and said[0] not in ("made", "found", "hangs", "killed"), said
        self._check(output, 6, "heir")
        return 0.0

    def _order(self, number: int) -> tuple[Side, Side]:
        return self.sides if number % 2 else self.sides[::-1]

    def _names(self, output: Path) -> list[str]:
        return [name for name in os.listdir(output.parent) if name.startswith(f".{output.name}.")]

    def _begun(self, side: Side, work: Work, wait: bool = True, all_of: int = 2) -> int:
        job = int(side.start(work))
        side.go(job)
        end = time.monotonic() + PATIENCE_S
        while wait and side.unfinished(work.output) < all_of:
            assert time.monotonic() < end, "it does not begin"
            time.sleep(0.05)
        return job

    def _stop(self, side: Side, job: int, machine: bool = True) -> None:
        if machine and self.freeze:
            subprocess.run(self.freeze[0], shell=True, check=True)
        else:
            side.signal(job, signal.SIGSTOP)

    def _go_on(self, side: Side, job: int, machine: bool = True) -> None:
        if machine and self.freeze:
            subprocess.run(self.freeze[1], shell=True, check=True)
        else:
            side.signal(job, signal.SIGCONT)

    def _check(self, output: Path, parts: int, note: str = "") -> None:
        """Both machines see the same whole artifact of one job, and nothing else."""
        seen = [side.content(output) for side in self.sides]
        assert seen[0] == seen[1] and len(seen[0]) == 2 and seen[0][0] == str(parts), seen
        assert seen[0][1].startswith(note), seen
        left = [side.leftovers(output.parent) for side in self.sides]
        assert left == [[], []], left


KINDS = ("race", "killed", "living", "stopped", "woken")


def main(arguments: Sequence[str] | None = None) -> int:
    """Take part, and return 0 if no trial has failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="new folder on the shared file system")
    parser.add_argument("role", type=int, choices=(0, 1), help="0 gives the orders, 1 follows")
    parser.add_argument("--pairs", type=int, default=100, help="jobs that race (100)")
    parser.add_argument("--others", type=int, default=4, help="trials of each other kind (4)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="kinds of trials (all)")
    parser.add_argument(
        "--lease", type=float, default=20.0, help="lease in seconds; 180 is the real one (20)"
    )
    parser.add_argument(
        "--spread", type=float, default=0.02, help="jobs that race begin within these seconds"
    )
    parser.add_argument("--address", default=socket.gethostname(), help="name of machine 0 for the other one")
    parser.add_argument(
        "--freeze", nargs=2, default=(), metavar=("STOP", "CONT"), help="commands on machine 0"
    )
    options = parser.parse_args(arguments)
    folder = options.folder.absolute()
    if options.role:
        _follow(folder)
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    key = secrets.token_hex(16)
    with Listener(("", 0), authkey=key.encode()) as listener:
        meeting = {"address": [options.address, listener.address[1]], "key": key, "lease_s": options.lease}
        (folder / f"{MEETING}.part").write_text(json.dumps(meeting))
        (folder / f"{MEETING}.part").rename(folder / MEETING)
        with listener.accept() as line:
            (folder / MEETING).unlink()
            sides = (Machine(options.lease), Distant(line))
            trials = Trials(sides, options.lease, options.spread, options.freeze)
            times = {kind: options.pairs if kind == "race" else options.others for kind in options.kinds}
            return _try_all(trials, folder, times)


def _follow(folder: Path) -> None:
    """Do what the machine 0 orders, until it hangs up."""
    while not folder.is_dir() or MEETING not in os.listdir(folder):
        time.sleep(0.5)
    meeting = json.loads((folder / MEETING).read_text())
    machine = Machine(meeting["lease_s"])
    with Client(tuple(meeting["address"]), authkey=meeting["key"].encode()) as line:
        while True:
            try:
                name, arguments = line.recv()
            except EOFError:
                return
            line.send(getattr(machine, name)(*arguments))


def _try_all(trials: Trials, folder: Path, times: dict[str, int]) -> int:
    failed = 0
    print(f"{'kind':<10}{'tried':>8}{'survived':>10}{'failed':>8}   longest and mean time in s", flush=True)
    for kind, number in times.items():
        ended: Counter[bool] = Counter()
        took = []
        for trial in range(number):
            place = folder / f"{kind}-{trial}"
            place.mkdir()
            try:
                took.append(getattr(trials, kind)(place / "made", trial))
                ended[True] += 1
                shutil.rmtree(place)
            except AssertionError as error:
                ended[False] += 1
                print(f"{place}: {error}", file=sys.stderr, flush=True)
        times_s = f"{max(took):8.1f}{sum(took) / len(took):8.1f}" if took else ""
        row = f"{kind:<10}{ended.total():>8}{ended[True]:>10}{ended[False]:>8}   {times_s}"
        print(row, flush=True)
        failed += ended[False]
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
