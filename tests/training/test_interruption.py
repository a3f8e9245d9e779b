"""Trainings that are killed, told to stop or out of time, and go on to the bits of an unbroken one."""

import random
import signal
from pathlib import Path

import pytest
import torch

from tests.training.processes import Job, digest, fisher_rank, run, train_rank, write_data
from weatherpeft.training.interruption import SIGNALS, STATUS, Interrupted, Interruption

STEPS = 8
SCHEDULE = {"steps": STEPS, "batch_size": 2, "validate_every": 5, "validation_samples": 3}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


def job(data: Path, **changes: object) -> Job:
    return Job(data, "weatherpeft", SCHEDULE, **changes)  # type: ignore[arg-type]


def saved_step(folder: Path) -> int:
    """Of the checkpoint that a broken training has left."""
    return int(torch.load(folder / "work-it/checkpoint.pt")["step"])


@pytest.fixture(scope="module")
def unbroken(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    """Digest by number of processes."""
    digests = {}
    for count in (1, 2):
        folder = tmp_path_factory.mktemp(f"unbroken-{count}")
        assert run(count, train_rank, {"it": job(data)}, folder) == [0] * count
        digests[count] = digest(torch.load(folder / "0.pt")["it"])
    return digests


@pytest.mark.slow
@pytest.mark.parametrize(("count", "times"), [(1, 5), (2, 3)])
def test_killed_at_random_steps(
    data: Path, unbroken: dict[int, str], tmp_path: Path, count: int, times: int
) -> None:
    choose = random.Random(count)
    strikes = [(step, choose.choice(("step", "pass"))) for step in choose.sample(range(STEPS), times - 1)]
    strikes.append((choose.choice((2, 5)), "checkpoint"))  # when it is written but does not bear its name
    for step, place in sorted(strikes):
        who = 0 if place == "checkpoint" else choose.randrange(count)
        codes = run(count, train_rank, {"it": job(data, strike=(signal.SIGKILL, step, who, place))}, tmp_path)
        assert codes[who] == -signal.SIGKILL, (step, place)
        assert None not in codes and 0 not in codes, "the others end too, and do not hang"
        assert not (tmp_path / "0.pt").exists()
    assert run(count, train_rank, {"it": job(data)}, tmp_path) == [0] * count
    found = torch.load(tmp_path / "0.pt")["it"]
    assert digest(found) == unbroken[count]
    assert len(found["shown"]) < STEPS, "it went on from a checkpoint"


@pytest.mark.parametrize(("count", "number"), [(1, signal.SIGTERM), (1, signal.SIGUSR1), (2, signal.SIGUSR1)])
def test_told_to_stop(
    data: Path, unbroken: dict[int, str], tmp_path: Path, count: int, number: signal.Signals
) -> None:
    told = job(data, strike=(number, 3, count - 1, "pass"))  # the last rank alone hears it
    assert run(count, train_rank, {"it": told}, tmp_path) == [STATUS] * count
    assert saved_step(tmp_path) == 4, "the step is finished and saved"
    assert run(count, train_rank, {"it": job(data)}, tmp_path) == [0] * count
    found = torch.load(tmp_path / "0.pt")["it"]
    assert digest(found) == unbroken[count] and len(found["shown"]) == STEPS - 4


def test_told_to_stop_in_the_last_step(data: Path, unbroken: dict[int, str], tmp_path: Path) -> None:
    told = job(data, strike=(signal.SIGTERM, STEPS - 1, 0, "pass"))
    assert run(1, train_rank, {"it": told}, tmp_path) == [0]
    assert digest(torch.load(tmp_path / "0.pt")["it"]) == unbroken[1]


def test_out_of_time(data: Path, unbroken: dict[int, str], tmp_path: Path) -> None:
    for done in (1, 2):  # each try gets on by a step at least
        assert run(1, train_rank, {"it": job(data, budget_minutes=1e-6)}, tmp_path) == [STATUS]
        assert saved_step(tmp_path) == done
    assert run(1, train_rank, {"it": job(data, budget_minutes=60.0)}, tmp_path) == [0]
    assert digest(torch.load(tmp_path / "0.pt")["it"]) == unbroken[1]


def test_checkpoints_by_time(data: Path, tmp_path: Path) -> None:
    for minutes, expected in ((0.0, 2), (60.0, 0)):
        folder = tmp_path / str(expected)
        folder.mkdir()
        killed = job(data, strike=(signal.SIGKILL, 2, 0, "step"), checkpoint_minutes=minutes)
        assert run(1, train_rank, {"it": killed}, folder) == [-signal.SIGKILL]
        if expected:
            assert saved_step(folder) == expected
        else:
            assert not (folder / "work-it").exists()


def test_in_another_number_of_processes_it_goes_on_to_rounding(data: Path, tmp_path: Path) -> None:
    expected, folder = tmp_path / "expected", tmp_path / "moved"
    for each in (expected, folder):
        each.mkdir()
    whole = Job(data, "weatherpeft", SCHEDULE, double=True)
    told = Job(data, "weatherpeft", SCHEDULE, (signal.SIGTERM, 4, 0, "step"), double=True)
    assert run(1, train_rank, {"it": whole}, expected) == [0]
    assert run(2, train_rank, {"it": told}, folder) == [STATUS] * 2
    assert run(1, train_rank, {"it": whole}, folder) == [0]
    one, other = (torch.load(each / "0.pt")["it"] for each in (expected, folder))
    assert len(other["shown"]) == STEPS - 5
    for name, value in one["weights"].items():
        torch.testing.assert_close(other["weights"][name], value, rtol=1e-6, atol=1e-12)
    assert other["history"]["train_loss"] == pytest.approx(one["history"]["train_loss"], rel=1e-9)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, STATUS)])
def test_a_fisher_warm_up_goes_on(data: Path, tmp_path: Path, number: signal.Signals, code: int) -> None:
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    for folder in (straight, broken):
        folder.mkdir()
    assert run(2, fisher_rank, data, straight) == [0, 0]
    codes = run(2, fisher_rank, data, broken, (number, 1, 1))
    assert codes[1] == code and codes[0] not in (0, None)
    assert not (broken / "fisher.zarr").exists()
    assert run(2, fisher_rank, data, broken) == [0, 0]
    # the first had done all of its four, the second one, or two when it was told to stop
    computed = [int((broken / f"{rank}.computed").read_text()) for rank in (0, 1)]
    assert computed == [0, 1 if number == signal.SIGTERM else 2]
    files = [path.relative_to(straight) for path in (straight / "fisher.zarr").rglob("*") if path.is_file()]
    assert files
    assert all((straight / path).read_bytes() == (broken / path).read_bytes() for path in files)


class TestInterruption:
    @pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
    def test_signals_are_noted_inside_only(self, number: signal.Signals) -> None:
        heard = []
        before = signal.signal(number, lambda *_: heard.append(number))
        try:
            with Interruption() as interruption:
                assert interruption.reason is None
                signal.raise_signal(number)
                assert interruption.reason == number.name and not heard
            signal.raise_signal(number)
            assert heard == [number]
        finally:
            signal.signal(number, before)

    def test_a_budget(self) -> None:
        assert Interruption(1000.0).reason is None
        assert Interruption(0.0).reason == "time budget of 0 minutes"

    def test_the_status_asks_for_another_try(self, caplog: pytest.LogCaptureFixture) -> None:
        assert Interrupted("SIGTERM", "3 of 9 steps").code == STATUS == 75
        assert caplog.messages == [
            "interrupted (SIGTERM) after 3 of 9 steps; the same command goes on from there"
        ]
