"""One writer per artifact: real processes that race, die, stop and wait."""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from weatherpeft.artifacts import claim as claims
from weatherpeft.artifacts import manifest, store
from weatherpeft.artifacts.claim import Claim
from weatherpeft.spec import Spec

PAIRS = int(os.environ.get("WEATHERPEFT_PAIRS", "20"))
"""Pairs of jobs that race."""
PARTS = 6
FORK = multiprocessing.get_context("fork")


class Made(Spec):
    note: str = "same"


def make(output: Path, note: str = "same", pause: Callable[[], object] = lambda: None) -> None:
    """A job that writes its process number into several files, and a pause before each."""
    with store.artifact(output, Made(note=note), "weatherpeft.spec") as directory:
        for number in range(PARTS):
            pause()
            (directory / f"part-{number}").write_text(f"{note} {os.getpid()}")


def started(run: Callable[..., object], *arguments: Any) -> Any:
    """Start a process."""
    process = FORK.Process(target=run, args=arguments)
    process.start()
    return process


def content(output: Path) -> set[str]:
    manifest.check_artifact(output)
    parts = sorted(output.glob("part-*"))
    assert len(parts) == PARTS
    return {part.read_text() for part in parts}


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def racer(output: Path, note: str, seed: int, barrier: Any, said: Any) -> None:
    wait = random.Random(seed)
    barrier.wait()
    time.sleep(wait.uniform(0, 0.01))
    try:
        make(output, note, lambda: time.sleep(wait.uniform(0, 0.004)))
        said.put("made")
    except store.AlreadyMadeError:
        said.put("found")
    except Exception as error:
        said.put(repr(error))


def test_of_jobs_that_race_one_writes_and_the_other_waits(tmp_path: Path) -> None:
    """Every other pair makes the artifact from different specs, and both write."""
    outcomes = []
    for pair in range(PAIRS):
        notes = ("same", "same") if pair % 2 else ("one", "other")
        output, barrier, said = tmp_path / f"made-{pair}", FORK.Barrier(2), FORK.Queue()
        jobs = [started(racer, output, note, 2 * pair + row, barrier, said) for row, note in enumerate(notes)]
        found = sorted(said.get(timeout=120) for _ in jobs)
        for job in jobs:
            job.join()
        assert found in (["found", "made"], ["made", "made"]), found
        if notes[0] != notes[1]:
            assert found == ["made", "made"]
        assert len(content(output)) == 1, "the parts of one job"
        outcomes.append(found)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"made-{n}" for n in range(PAIRS))
    assert ["found", "made"] in outcomes, "some waited"


def test_a_killed_jobs_place_is_taken_at_once_and_cleaned_up(tmp_path: Path) -> None:
    output = tmp_path / "made"

    def killed() -> None:
        if len(list(tmp_path.glob(".made.*/made/part-*"))) == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    job = started(make, output, "same", killed)
    job.join()
    assert job.exitcode == -signal.SIGKILL
    assert len(list(tmp_path.glob(".made.*.partial/made/part-*"))) == 2 and not output.exists()
    began = time.monotonic()
    make(output)
    assert time.monotonic() - began < claims.LEASE_S / 10
    assert content(output) == {f"same {os.getpid()}"}
    assert list(tmp_path.iterdir()) == [output]


def test_a_job_that_waits_finds_what_the_other_made(tmp_path: Path) -> None:
    output = tmp_path / "made"
    job = started(make, output, "same", lambda: time.sleep(0.1))
    until(lambda: list(tmp_path.glob(".made.*")))
    with pytest.raises(store.AlreadyMadeError, match=f"{output}: another job has made it already"):
        make(output)
    assert content(output) == {f"same {job.pid}"}
    job.join()


def elsewhere(path: Path) -> Path:
    """A claim of a job on another machine."""
    folder = path.with_name(f".{path.name}.node1-00000000-{os.getpid()}-01234567.partial")
    (folder / path.name).mkdir(parents=True)
    (folder / ".alive").touch()
    return folder


def test_a_job_elsewhere_lives_as_long_as_it_gives_signs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clock may be wrong by years."""
    monkeypatch.setattr(claims, "LEASE_S", 0.6)
    output, signs = tmp_path / "made", 8
    folder = elsewhere(output)

    def beat() -> None:
        for number in range(signs):
            os.utime(folder / ".alive", (number, number))
            time.sleep(0.2)

    thread, began = Thread(target=beat), time.monotonic()
    thread.start()
    make(output)
    assert time.monotonic() - began >= 0.2 * (signs - 1) + 0.6
    thread.join()
    assert list(tmp_path.iterdir()) == [output]


def test_a_living_job_gives_signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "HEARTBEAT_S", 0.01)
    with Claim(tmp_path / "made").wait() as own:
        sign = own.folder / ".alive"
        before = sign.stat().st_mtime_ns
        until(lambda: sign.stat().st_mtime_ns > before)
        own.check()
    assert list(tmp_path.iterdir()) == []


def test_a_job_that_was_taken_for_dead_writes_nothing(tmp_path: Path) -> None:
    """What it goes on to write lies in a folder that it makes anew."""
    import shutil

    output = tmp_path / "made"
    with (
        pytest.raises(ValueError, match=f"{output}: another job took this one for dead"),
        store.artifact(output, Made(), "weatherpeft.spec") as directory,
    ):
        (directory / "part-0").write_text("lost")
        shutil.rmtree(directory.parent)
        directory.mkdir(parents=True)
        (directory / "part-1").write_text("late")
    assert list(tmp_path.iterdir()) == []


def test_a_job_that_was_taken_for_dead_and_fails_says_so(tmp_path: Path) -> None:
    import shutil

    with (
        pytest.raises(ValueError, match=f"{tmp_path / 'made'}: another job took this one for dead"),
        store.artifact(tmp_path / "made", Made(), "weatherpeft.spec") as directory,
    ):
        shutil.rmtree(directory.parent)
        (directory / "part-0").write_text("late")
    assert list(tmp_path.iterdir()) == []


def test_what_a_dead_job_could_publish_goes_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that stood still may go on while its claim is removed."""
    monkeypatch.setattr(claims, "LEASE_S", 0.0)
    many, seen = 3000, {0}
    unfinished = elsewhere(tmp_path / "made") / "made"
    for number in range(many):
        (unfinished / f"part-{number}").touch()
    taken = Event()

    def watch() -> None:
        while not taken.is_set():
            try:
                seen.add(len(os.listdir(unfinished)))
            except FileNotFoundError:
                continue

    thread = Thread(target=watch)
    thread.start()
    with Claim(tmp_path / "made").wait():
        taken.set()
    thread.join()
    assert seen <= {0, many}
    assert list(tmp_path.iterdir()) == []


def test_requests_that_a_file_server_carries_out_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS repeats a request if the server has restarted before it answered."""
    rename = Path.rename

    def twice(self: Path, target: Path) -> Path:
        rename(self, target)
        return rename(self, target)

    own = Claim(tmp_path / "made")
    own.folder.mkdir()
    assert own.take()
    own.release()
    monkeypatch.setattr(Path, "rename", twice)
    for note in ("first", "second"):
        make(tmp_path / "made", note)
        assert content(tmp_path / "made") == {f"{note} {os.getpid()}"}
    assert list(tmp_path.iterdir()) == [tmp_path / "made"]


def test_claims_are_told_apart(tmp_path: Path) -> None:
    names = ("a", "a.b", "a.b.c", "b")
    held = [Claim(tmp_path / name) for name in names]
    assert all(one.take() for one in held), "none is in the way of another"
    assert not any(Claim(tmp_path / name).take() for name in names)
    for one in held:
        one.release()
    assert list(tmp_path.iterdir()) == []
