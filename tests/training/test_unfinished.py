"""Work folders of trainings: one job at a time, another one waits, and finds what was made."""

import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from weatherpeft.artifacts import store
from weatherpeft.artifacts.claim import Claim, claims
from weatherpeft.spec import Spec
from weatherpeft.training.checkpoint import remove_work, work_directory
from weatherpeft.training.interruption import STATUS, Interrupted, Interruption
from weatherpeft.training.unfinished import artifact, working

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


def test_work_of_another_living_job_stays(work: Path, output: Path, running: Path) -> None:
    changed = work / f"{output.name}-{'0' * 16}"
    changed.mkdir()
    remove_work(work, output)
    assert not changed.exists() and (running / "checkpoint.pt").is_file()
    assert len(claims(running)) == 1
