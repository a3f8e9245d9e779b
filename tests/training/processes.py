"""Trainings of a tiny Aurora in processes of their own; light, each process imports it."""

import hashlib
import multiprocessing
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor

from tests import small_data as small
from tests.backbones.small_aurora import activate, build, state_dict
from weatherpeft import cli
from weatherpeft.backbones.aurora.model import AuroraBackbone
from weatherpeft.interfaces import TuningContext
from weatherpeft.peft import AnyMethod
from weatherpeft.samples.batch import Batch, Fields, Samples
from weatherpeft.samples.frames import SampleFrames
from weatherpeft.samples.rollout import Feedback
from weatherpeft.tasks.downscaling import Downscaling
from weatherpeft.tasks.forecasting import Forecasting
from weatherpeft.training import checkpoint, distributed, loop
from weatherpeft.training.fisher import estimate_fisher
from weatherpeft.training.interruption import Interruption
from weatherpeft.training.memory import save_memory
from weatherpeft.training.rollout import Forecasts
from weatherpeft.training.spec import Rollout, Training
from weatherpeft.training.tuning import TunedModel, attach, task_loss

METHODS: TypeAdapter[Any] = TypeAdapter(AnyMethod)
TADP, SFAS = {"name": "tadp", "prompts": 2}, {"name": "sfas", "preset": "published", "fraction": 0.01}
LISTS: dict[str, list[dict[str, Any]]] = {
    "full": [{"name": "full"}],
    "linear_probe": [{"name": "linear_probe"}],
    "lora": [{"name": "lora", "rank": 2}],
    "tadp": [TADP],
    "sfas": [SFAS],
    "weatherpeft": [TADP, SFAS],
}
FORECASTS = Forecasting(name="forecasting", grid=small.FINE, residual=True, steps=2)
TRAIN, VALIDATION = small.period("2001-01-01", "2001-01-03"), small.period("2001-02-01", "2001-02-02")
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.training.processes"])


@dataclass
class Job:
    """A training, and what is to happen to it on the way.

    Attributes:
        data: folder with the training and the validation period.
        methods: key of ``LISTS``.
        training: changes to the schedule.
        strike: signal that a process sends itself, in the step, on the rank, at the place.
        budget_minutes: of the job.
        double: in float64, where numbers of processes are compared.
        gradient: that of rollouts of two steps, in a training of forecasts in place of downscaling.
    """

    data: Path
    methods: str
    training: dict[str, Any] = field(default_factory=dict)
    strike: tuple[int, int, int, str] | None = None
    budget_minutes: float | None = None
    checkpoint_minutes: float | None = None
    double: bool = False
    gradient: str | None = None

    def spec(self) -> Training:
        values: dict[str, Any]
        values = {"steps": 8, "batch_size": 4, "learning_rate": 1e-2, "warmup_steps": 1, "clip_norm": 0.5}
        values |= {"validate_every": 3, "validation_samples": 3, "checkpoint_every": 3}
        if self.gradient:
            values["rollout"] = {"steps": 2, "gradient": self.gradient}
        return Training.parse(values | self.training)

    def samples(self) -> tuple[Samples, Samples]:
        window = FORECASTS.training_window(FORECASTS.steps) if self.gradient else small.WINDOW
        return tuple(  # type: ignore[return-value]
            Samples(SampleFrames(window, small.FIELDS, [self.data / period.label], small.split(period)))
            for period in (TRAIN, VALIDATION)
        )

    def model(self) -> TunedModel:
        spec = self.spec()
        model = tiny_aurora()
        context = TuningContext(spec.steps, seed=3, accumulation=spec.accumulation)
        tuned = attach(
            model.double() if self.double else model,
            [METHODS.validate_python(method) for method in LISTS[self.methods]],
            context,
        )
        save_memory(tuned.model, spec.precision, spec.recompute)
        return tuned

    def run(self, work: Path) -> dict[str, Any]:
        """Train, and return all that must not depend on what happened on the way."""
        spec, tuned = self.spec(), self.model()
        shown: list[list[str]] = []
        loss = tiny_loss(self.double, spec.rollout)

        def watched(model: Any, batch: Batch) -> Tensor:
            if model.training:
                shown.append([str(time) for time in batch.times])
                self._strike(now[0], "pass")
            return loss(model, batch)

        now = [0]
        with Interruption(self.budget_minutes) as interruption:
            rate, to_disk = loop.learning_rate, checkpoint.to_disk

            def stepped(training: Training, step: int, peak: float | None = None) -> float:
                now[0] = step
                self._strike(step, "step")
                return rate(training, step, peak)

            def written(path: Path) -> None:
                if path.suffix == ".partial":
                    self._strike(now[0], "checkpoint")
                to_disk(path)

            loop.learning_rate, checkpoint.to_disk = stepped, written
            try:
                history = loop.train(
                    tuned.model,
                    tuned.dense_parameters(),
                    tuned.adapters,
                    *self.samples(),
                    watched,
                    spec,
                    3,
                    work,
                    interruption,
                    self.checkpoint_minutes,
                )
            finally:
                loop.learning_rate, checkpoint.to_disk = rate, to_disk
        weights = {name: value.detach().clone() for name, value in state_dict(tuned.model).items()}
        states = [adapter.state_dict() for adapter in tuned.adapters]
        curves = {name: values for name, values in vars(history).items() if name not in ("seconds", "kept")}
        return {"weights": weights, "states": states, "history": curves, "shown": shown}

    def _strike(self, step: int, place: str) -> None:
        if self.strike and self.strike[1:] == (step, distributed.rank(), place):
            os.kill(os.getpid(), self.strike[0])


def tiny_aurora() -> AuroraBackbone:
    """A model for downscaling with active blocks."""
    return activate(build(small.FIELDS, residual=True))


def tiny_loss(double: bool, rollout: Rollout | None = None) -> Callable[[Any, Batch], Tensor]:
    """The loss of downscaling, or of forecasts."""
    task = Downscaling(name="downscaling", residual=True, input_grid=small.COARSE, target_grid=small.FINE)
    scale = Fields({"2m_temperature": torch.tensor(5.0)}, {"temperature": torch.full((2, 1, 1), 5.0)})
    forecasts = Forecasts(Feedback(small.FIELDS), rollout)
    loss = task_loss(FORECASTS if rollout else task, scale, torch.device("cpu"), None, forecasts)
    return lambda model, batch: loss(model, batch.map(Tensor.double) if double else batch)


def write_data(folder: Path) -> Path:
    """Eleven training samples and seven for validation."""
    for seed, period in enumerate((TRAIN, VALIDATION)):
        small.write_period(folder, period, seed=seed)
    return folder


def digest(result: dict[str, Any]) -> str:
    """Of the bits of a result, but for what a process was shown, which begins anew when it resumes."""
    found = hashlib.sha256(repr(result["history"]).encode())
    for tensors in (result["weights"], *result["states"]):
        for name, tensor in sorted(tensors.items()):
            found.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return found.hexdigest()


def train_rank(jobs: dict[str, Job], folder: Path) -> None:
    """Save the results of several jobs, one after the other, of this rank."""
    distributed.BUCKET_BYTES = 2**16  # several buckets, also of a tiny model
    with distributed.process_group():
        results = {name: job.run(folder / f"work-{name}") for name, job in jobs.items()}
        torch.save(results, folder / f"{distributed.rank()}.pt")


def fisher_rank(data: Path, folder: Path, strike: tuple[int, int, int] | None = None) -> None:
    """Estimate the Fisher information from seven samples; signal, batch and rank of a strike."""
    job, loss, done = Job(data, "full"), tiny_loss(False), [0]

    def watched(model: Any, batch: Batch) -> Tensor:
        if strike and strike[1:] == (done[0], distributed.rank()):
            os.kill(os.getpid(), strike[0])
        done[0] += 1
        return loss(model, batch)

    with distributed.process_group(), Interruption() as interruption:
        batches = loop.single_batches(job.samples()[0], 7, seed=0)
        path, work = folder / "fisher.zarr", folder / "work"
        samples = estimate_fisher(tiny_aurora(), batches, watched, path, work=work, interruption=interruption)
        assert samples == 7
        (folder / f"{distributed.rank()}.computed").write_text(str(done[0]))


def command_rank(arguments: list[str]) -> None:
    """The command line, and its exit status."""
    sys.exit(cli.main(arguments))


def start(count: int, work: Callable[..., None], *arguments: Any) -> list[BaseProcess]:
    """Start processes as torchrun would."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    group: list[BaseProcess] = [
        _CONTEXT.Process(target=_in_environment, args=(rank, count, port, work, arguments))
        for rank in range(count)
    ]
    for process in group:
        process.start()
    return group


def finish(group: list[BaseProcess], seconds: float = 300) -> list[int | None]:
    """Exit codes; a process that hangs is killed, and has none."""
    for process in group:
        process.join(seconds)
    codes = [process.exitcode for process in group]
    for process in group:
        process.kill()
    return codes


def run(count: int, work: Callable[..., None], *arguments: Any) -> list[int | None]:
    """Exit codes of processes."""
    return finish(start(count, work, *arguments))


def _in_environment(rank: int, count: int, port: int, work: Callable[..., None], arguments: Any) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    work(*arguments)
