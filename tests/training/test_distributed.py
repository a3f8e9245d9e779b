"""Training in two processes over gloo: the same bits on both, and what one process makes of it."""

import math
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed
from torch import nn

from tests.training.processes import Job, digest, fisher_rank, run, train_rank, write_data
from weatherpeft.peft.sfas.fisher_store import read_fisher
from weatherpeft.training import distributed
from weatherpeft.training.distributed import GradientMean, check_same, process_group, ranks

STEPS = {"full": 6, "lora": 6, "tadp": 6, "sfas": 20, "weatherpeft": 20}
Results = list[dict[str, dict[str, Any]]]


def results(count: int, folder: Path, jobs: dict[str, Job]) -> Results:
    """Of every rank, by job."""
    folder.mkdir()
    assert run(count, train_rank, jobs, folder) == [0] * count
    return [torch.load(folder / f"{rank}.pt") for rank in range(count)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def two(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    jobs = {name: Job(data, name, {"steps": STEPS[name]}) for name in STEPS}
    return results(2, tmp_path_factory.mktemp("two") / "run", jobs)


@pytest.fixture(scope="module")
def one(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    jobs = {name: Job(data, name, {"steps": STEPS[name], "accumulation": 2}) for name in STEPS}
    return results(1, tmp_path_factory.mktemp("one") / "run", jobs)


def compare(found: dict[str, Any], expected: dict[str, Any], relative: float) -> None:
    """Weights and curves; biases whose gradient is zero but for rounding move by 1e-11 or so."""
    assert found["weights"].keys() == expected["weights"].keys()
    for name, value in expected["weights"].items():
        torch.testing.assert_close(found["weights"][name], value, rtol=relative, atol=1e-9, msg=name)
    for name, curve in expected["history"].items():
        assert found["history"][name] == pytest.approx(curve, rel=relative), name


@pytest.mark.parametrize("methods", STEPS)
class TestTwoProcesses:
    def test_they_hold_the_same_bits(self, two: Results, methods: str) -> None:
        first, second = (result[methods] for result in two)
        assert first["history"] == second["history"]
        for name, value in first["weights"].items():
            assert torch.equal(value, second["weights"][name]), name
        for own, other in zip(first["states"], second["states"], strict=True):
            assert own.keys() == other.keys()
            assert all(torch.equal(value, other[name]) for name, value in own.items())

    def test_they_equal_one_with_twice_the_passes(self, two: Results, one: Results, methods: str) -> None:
        compare(two[0][methods], one[0][methods], 1e-6)
        history = one[0][methods]["history"]
        assert len(history["train_loss"]) == STEPS[methods]
        assert len(history["validation_loss"]) == math.ceil(STEPS[methods] / 3)
        assert history["train_loss"][-1] < history["train_loss"][0]

    def test_each_sample_goes_to_one(self, two: Results, one: Results, methods: str) -> None:
        steps = zip(*(result[methods]["shown"] for result in two), strict=True)
        found = [list(chain(*shares)) for shares in steps]
        passes = one[0][methods]["shown"]
        assert found == [[*early, *late] for early, late in zip(passes[::2], passes[1::2], strict=True)]
        assert all(len(set(times)) == 4 for times in found[:2])


def test_several_processes_with_several_passes(data: Path, tmp_path: Path) -> None:
    def jobs(passes: int) -> dict[str, Job]:
        schedule = {"steps": 5, "accumulation": passes, "clip_norm": 1e-3}
        return {name: Job(data, name, schedule, double=True) for name in ("lora", "weatherpeft")}

    found, expected = results(2, tmp_path / "two", jobs(2)), results(1, tmp_path / "one", jobs(4))
    for name in ("lora", "weatherpeft"):
        compare(found[0][name], expected[0][name], 1e-9)


def test_rollouts_in_several_processes_with_several_passes(data: Path, tmp_path: Path) -> None:
    def jobs(passes: int) -> dict[str, Job]:
        schedule = {"steps": 3, "accumulation": passes}
        return {
            gradient: Job(data, "weatherpeft", schedule, double=True, gradient=gradient)
            for gradient in ("pushforward", "backpropagation")
        }

    found, expected = results(2, tmp_path / "two", jobs(2)), results(1, tmp_path / "one", jobs(4))
    for gradient in jobs(1):
        assert digest(found[0][gradient]) == digest(found[1][gradient])
        compare(found[0][gradient], expected[0][gradient], 1e-9)


def means_rank() -> None:
    """Gradients of several passes, of parameters that are reached and of one that is not."""
    distributed.BUCKET_BYTES = 32
    with process_group():
        rank = distributed.rank()
        sizes = ((3,), (2, 4), (), (5,), (7,))
        parameters = [nn.Parameter(torch.ones(size, dtype=torch.float64)) for size in sizes]
        parameters.insert(2, nn.Parameter(torch.ones(3, dtype=torch.float32)))
        gradients = GradientMean(parameters)
        for _ in range(2):
            for number in range(2):
                if number == 1:
                    gradients.expect()
                terms = torch.stack([(i + 1) * p.sum() for i, p in enumerate(parameters) if i != 4])
                (terms.sum() * (10 * rank + number)).backward()
            gradients.finish()
            for i, parameter in enumerate(parameters):
                if i == 4:
                    assert parameter.grad is None
                else:  # (0 + 1 + 10 + 11) / 2
                    assert parameter.grad is not None
                    assert torch.equal(parameter.grad, torch.full_like(parameter, 11.0 * (i + 1))), i
                parameter.grad = None


def differ_rank(kind: str, folder: Path) -> None:
    """Say what the check finds."""
    with process_group():
        rank = distributed.rank()
        weights = [torch.arange(6.0).view(2, 3), torch.tensor(1.0, dtype=torch.bfloat16)]
        if kind == "weight" and rank == 1:
            weights[0][1, 1] = torch.nextafter(weights[0][1, 1], torch.tensor(9.0))
        if kind == "half" and rank == 1:
            weights[1] += 2**-7
        try:
            check_same("it", 3 + (kind == "number") * rank, weights)
        except ValueError as error:
            (folder / f"{rank}").write_text(str(error))


class TestParts:
    def test_gradients_are_means(self) -> None:
        assert run(2, means_rank) == [0, 0]

    @pytest.mark.parametrize("kind", ["none", "number", "weight", "half"])
    def test_processes_that_differ_are_found(self, kind: str, tmp_path: Path) -> None:
        assert run(2, differ_rank, kind, tmp_path) == [0, 0]
        said = [path.read_text() for path in tmp_path.iterdir()]
        assert len(said) == (0 if kind == "none" else 2)
        assert all(text.startswith("it differs between processes: found [[3, ") for text in said)

    def test_a_process_without_torchrun_is_alone(self) -> None:
        with process_group() as device:
            assert ranks() == 1 and distributed.rank() == 0
            assert not torch.distributed.is_initialized()
            assert device == torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")

    def test_a_step_that_they_cannot_share(self, data: Path) -> None:
        spec = Job(data, "full", {"batch_size": 6, "accumulation": 2}).spec()
        spec.check_processes(3)
        with pytest.raises(
            ValueError, match="batch_size 6 must be a multiple of accumulation 2 x 2 processes"
        ):
            spec.check_processes(2)


class TestFisher:
    def test_two_processes_equal_one(self, data: Path, tmp_path: Path) -> None:
        found = []
        for count in (1, 2):
            folder = tmp_path / str(count)
            folder.mkdir()
            assert run(count, fisher_rank, data, folder) == [0] * count
            computed = [int((folder / f"{rank}.computed").read_text()) for rank in range(count)]
            assert computed == ([7] if count == 1 else [4, 3])
            found.append(dict(read_fisher(folder / "fisher.zarr")))
        assert found[0].keys() == found[1].keys()
        for name, values in found[0].items():
            assert values.any()
            torch.testing.assert_close(found[1][name], values, rtol=2e-7, atol=0)
