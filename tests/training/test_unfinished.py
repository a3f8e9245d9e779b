"""Work folders of trainings: one job at a time, another one waits, and finds what was made."""

import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from tests.training.processes import finish, start
from weatherpeft.artifacts import store
from weatherpeft.artifacts.claim import Claim, claims
from weatherpeft.artifacts.manifest import BOOKKEEPING, check_artifact
from weatherpeft.spec import Spec
from weatherpeft.training.distributed import process_group, rank, wait_for_all
from weatherpeft.training.interruption import STATUS, Interrupted, Interruption
from weatherpeft.training.unfinished import artifact, remove_work, work_directory, working

CODE = "weatherpeft.spec"


class Made(Spec):
    note: str = "made"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "lora-seed0"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"


@pytest.fixture
def running(work: Path, output: Path) -> Iterator[Path]:
    """The work folder, while another job trains in it."""
    folder = work_directory(work, output, Made(), CODE, [])
    folder.mkdir(parents=True)
    (folder / "checkpoint.pt").touch()
    with Claim(folder).wait():
        yield folder


def test_a_work_folder_is_known_and_goes_with_the_finished_job(work: Path, output: Path) -> None:
    with pytest.raises(KeyboardInterrupt), working(work, output, Made(), CODE, [], Interruption()) as folder:
        folder.mkdir()
        (folder / "checkpoint.pt").touch()
        raise KeyboardInterrupt
    assert [path.name for path in work.iterdir()] == [folder.name], "a retry finds it"
    with working(work, output, Made(), CODE, [], Interruption()) as again:
        assert again == folder and (again / "checkpoint.pt").is_file()
    assert list(work.iterdir()) == []


def test_a_second_training_waits_as_long_as_its_time(work: Path, output: Path, running: Path) -> None:
    with (
        pytest.raises(Interrupted) as caught,
        Interruption(0.01) as interruption,
        working(work, output, Made(), CODE, [], interruption),
    ):
        raise AssertionError("two trainings in one folder")
    assert caught.value.code == STATUS
    assert (running / "checkpoint.pt").is_file()
    with pytest.raises(Interrupted), artifact(running, Made(), CODE, [], Interruption(0)):
        raise AssertionError("two jobs write one artifact")


@pytest.mark.parametrize("note", ["made", "otherwise"])
def test_a_second_training_finds_what_the_first_made(work: Path, output: Path, note: str) -> None:
    claim = Claim(work_directory(work, output, Made(), CODE, [])).wait()

    def finish() -> None:
        time.sleep(0.3)
        with store.artifact(output, Made(note=note), CODE) as directory:
            (directory / "content").write_text("first")
        claim.release()

    other = Thread(target=finish)
    other.start()
    if note == "made":
        with pytest.raises(store.AlreadyMadeError), working(work, output, Made(), CODE, [], Interruption()):
            raise AssertionError("trained again")
    else:
        with working(work, output, Made(), CODE, [], Interruption()):
            pass
    other.join()
    assert (output / "content").read_text() == "first"
    assert list(work.iterdir()) == []


FOUND = 7
"""Exit status of a process that finds the artifact made."""


def written_rank(work: Path, output: Path) -> None:
    """One of several processes that write a file each."""
    logger = logging.getLogger("weatherpeft")
    logger.addHandler(logging.FileHandler(work.with_name("log")))
    logger.setLevel(logging.INFO)
    try:
        with (
            process_group(),
            Interruption() as interruption,
            working(work, output, Made(), CODE, [], interruption) as folder,
            artifact(output, Made(), CODE, [], interruption) as directory,
        ):
            folder.mkdir(exist_ok=True)
            (directory / f"rank-{rank()}").touch()
            wait_for_all()
    except store.AlreadyMadeError:
        sys.exit(FOUND)


@pytest.mark.parametrize("made", [False, True])
def test_several_processes_wait_and_go_on_together(work: Path, output: Path, made: bool) -> None:
    log = work.with_name("log")
    held = Claim(work_directory(work, output, Made(), CODE, [])).wait()
    group = start(2, written_rank, work, output)
    deadline = time.monotonic() + 300
    while not (log.exists() and "waiting for the job" in log.read_text()):
        assert time.monotonic() < deadline and all(process.is_alive() for process in group)
        time.sleep(0.05)
    if made:
        with store.artifact(output, Made(), CODE) as directory:
            (directory / "content").touch()
    held.release()
    assert finish(group) == ([FOUND, FOUND] if made else [0, 0])
    check_artifact(output)
    names = {"content"} if made else {"rank-0", "rank-1"}
    assert {path.name for path in output.iterdir()} - set(BOOKKEEPING) == names
    assert list(work.iterdir()) == [] and list(output.parent.iterdir()) == [output]


def test_work_of_another_living_job_stays(work: Path, output: Path, running: Path) -> None:
    changed = work / f"{output.name}-{'0' * 16}"
    changed.mkdir()
    remove_work(work, output)
    assert not changed.exists() and (running / "checkpoint.pt").is_file()
    assert len(claims(running)) == 1
