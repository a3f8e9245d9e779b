"""The stages in two processes, through the command line; once under torchrun itself."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import small_data as small
from tests.backbones.small_aurora import small_spec
from tests.training.processes import METHODS, command_rank, run, start
from tests.training.processes import finish as finish_group
from weatherpeft.artifacts import manifest, store
from weatherpeft.peft.sfas.fisher_store import read_fisher
from weatherpeft.samples.splits import Splits
from weatherpeft.spec import Spec
from weatherpeft.stages.fisher import FisherSpec
from weatherpeft.stages.moments import MomentsSpec, moments
from weatherpeft.stages.predict import PredictSpec
from weatherpeft.stages.pretrain import PretrainSpec
from weatherpeft.stages.statistics import StatisticsSpec, statistics
from weatherpeft.tasks.downscaling import Downscaling
from weatherpeft.tasks.forecasting import Forecasting
from weatherpeft.training.interruption import STATUS
from weatherpeft.training.model import FinetuneSpec, TunedModelSpec
from weatherpeft.training.spec import Precision, Training

PERIODS = [small.period(f"200{year}-01-01", f"200{year}-01-02") for year in (1, 2, 3)]
SPLITS = Splits(**dict(zip(("train", "validation", "test"), map(small.split, PERIODS), strict=True)))
TASK = Downscaling(name="downscaling", input_grid=small.COARSE, target_grid=small.FINE, residual=True)
STEPS = 6


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with data and statistics, and the Fisher information that two processes have estimated."""
    root = tmp_path_factory.mktemp("project")
    for seed, period in enumerate(PERIODS):
        small.write_period(root, period, seed=seed)
    spec = MomentsSpec(variables=small.VARIABLES, grid=small.FINE, train=SPLITS.train)
    moments(spec, [root / PERIODS[0].label], root / "moments")
    statistics(StatisticsSpec(variables=small.VARIABLES), [root / "moments"], root / "statistics")
    assert run(2, command_rank, fisher(root, root / "fisher")) == [0, 0]
    return root


def model(*methods: dict[str, Any]) -> TunedModelSpec:
    parsed = tuple(METHODS.validate_python(method) for method in methods)
    return TunedModelSpec(
        backbone=small_spec(), fields=small.FIELDS, task=TASK, methods=parsed, pretrained=False, seed=0
    )


SMOOTHED = model(
    {"name": "tadp", "prompts": 2}, {"name": "sfas", "preset": "published", "fraction": 0.01, "beta": 0.5}
)


def schedule(**changes: Any) -> Training:
    values = {"steps": STEPS, "batch_size": 2, "learning_rate": 1e-2, "checkpoint_every": 2}
    return Training.parse({**values, "validation_samples": 3, **changes})


def command(stage: str, spec: Spec, root: Path, output: Path, *more: str, data: slice) -> list[str]:
    paths = [str(root / period.label) for period in PERIODS[data]]
    return [stage, "--spec", spec.canonical_json(), "--data", *paths, "--output", str(output), *more]


def fisher(root: Path, output: Path) -> list[str]:
    spec = FisherSpec(
        backbone=small_spec(),
        fields=small.FIELDS,
        task=TASK,
        train=SPLITS.train,
        samples=5,
        pretrained=False,
        seed=0,
        precision="autocast",
        recompute=True,
    )
    more = ["--statistics", str(root / "statistics"), "--work", str(root / "work")]
    return command("fisher", spec, root, output, *more, data=slice(1))


def finetune(
    root: Path, output: Path, tuned: TunedModelSpec = SMOOTHED, *more: str, **changes: Any
) -> list[str]:
    spec = FinetuneSpec(model=tuned, splits=SPLITS, training=schedule(**changes))
    paths = {"statistics": root / "statistics", "work": root / "work", "fisher": root / "fisher"}
    options = [text for name, path in paths.items() for text in (f"--{name}", str(path))]
    return command("finetune", spec, root, output, *options, *more, data=slice(2))


def torchrun(arguments: list[str]) -> subprocess.Popen[str]:
    program = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.Popen(
        [*program, "-m", "weatherpeft", *arguments], stderr=subprocess.PIPE, text=True, cwd=Path.cwd()
    )


def workers(agent: int) -> list[int]:
    return [int(number) for number in Path(f"/proc/{agent}/task/{agent}/children").read_text().split()]


@pytest.mark.slow
def test_a_killed_rank_ends_torchrun_and_a_retry_ends_with_the_same_digest(
    project: Path, tmp_path: Path
) -> None:
    steps = 30
    assert run(2, command_rank, finetune(project, tmp_path / "straight", steps=steps)) == [0, 0]
    output = tmp_path / "killed"
    agent = torchrun(finetune(project, output, steps=steps))
    while not list(project.glob("work/killed-*/checkpoint.pt")):
        assert agent.poll() is None, agent.stderr and agent.stderr.read()
        time.sleep(0.05)
    os.kill(workers(agent.pid)[1], signal.SIGKILL)
    _, said = agent.communicate(timeout=300)
    assert agent.returncode not in (0, None) and not output.exists(), said
    agent = torchrun(finetune(project, output, steps=steps))
    _, said = agent.communicate(timeout=300)
    assert agent.returncode == 0, said
    assert said.count("resuming at step") == 1, "the first rank alone says so"
    assert store.artifact_digest(output) == store.artifact_digest(tmp_path / "straight")
    assert not list(project.glob("work/killed-*"))


class TestFisher:
    def test_two_processes_write_what_one_writes(self, project: Path, tmp_path: Path) -> None:
        assert run(1, command_rank, fisher(project, tmp_path / "fisher")) == [0]
        one, two = (dict(read_fisher(root / "fisher/fisher.zarr")) for root in (tmp_path, project))
        assert one.keys() == two.keys() and any(values.any() for values in one.values())
        assert all(np.allclose(values, two[name], rtol=2e-7, atol=0) for name, values in one.items())
        assert not list((project / "work").glob("fisher-*"))


class TestFinetune:
    def test_out_of_time_the_command_says_so(self, project: Path, tmp_path: Path) -> None:
        output, budget = tmp_path / "run", ("--time-budget-minutes", "0")
        assert run(2, command_rank, finetune(project, output, SMOOTHED, *budget)) == [STATUS] * 2
        assert not output.exists() and len(list(project.glob("work/run-*/checkpoint.pt"))) == 1
        # a changed run does not go on from there, and leaves nothing behind when it is complete
        assert run(2, command_rank, finetune(project, output, seed_of(1))) == [0, 0]
        assert output.exists() and not list(project.glob("work/run-*"))

    def test_processes_that_cannot_share_a_step_are_refused_at_once(
        self, project: Path, tmp_path: Path
    ) -> None:
        refused = finetune(project, tmp_path / "run", batch_size=3)
        refused[refused.index("--data") + 1] = str(tmp_path / "never-read")
        assert run(2, command_rank, refused) == [1, 1]

    def test_an_error_ends_all(self, project: Path, tmp_path: Path) -> None:
        group = start(1, command_rank, finetune(project, tmp_path / "one", learning_rate=1e30))
        group += start(2, command_rank, finetune(project, tmp_path / "two", learning_rate=1e30))
        codes = finish_group(group)
        assert None not in codes and 0 not in codes
        assert not (tmp_path / "one").exists() and not (tmp_path / "two").exists()

    @pytest.mark.parametrize("tuned", [SMOOTHED, model({"name": "full"})], ids=["sfas", "full"])
    @pytest.mark.parametrize("count", [1, 2])
    def test_a_candidate_that_diverges_ends_with_a_record(
        self, project: Path, tmp_path: Path, count: int, tuned: TunedModelSpec
    ) -> None:
        training = schedule(learning_rate=1e30)
        spec = FinetuneSpec(model=tuned, splits=SPLITS, training=training, is_candidate=True)
        arguments = finetune(project, tmp_path / "run")
        arguments[arguments.index("--spec") + 1] = spec.canonical_json()
        assert run(count, command_rank, arguments) == [0] * count
        assert " at step 1" in store.read_provenance(tmp_path / "run")["diverged"]
        assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
            manifest.MANIFEST,
            manifest.PROVENANCE,
        ]
        assert not list(project.glob("work/run-*"))


class TestPredict:
    @pytest.mark.parametrize("precision", ["float32", "bfloat16"])
    def test_two_processes_write_what_one_writes(
        self, project: Path, tmp_path: Path, precision: Precision
    ) -> None:
        tuned = model({"name": "lora", "rank": 2})
        trained = finetune(project, tmp_path / "run", tuned, precision=precision, recompute=True)
        assert run(2, command_rank, trained) == [0, 0]
        spec = PredictSpec(model=tuned, test=SPLITS.test, precision=precision)
        for count in (1, 2):
            more = ("--run", str(tmp_path / "run"), "--statistics", str(project / "statistics"))
            output = tmp_path / str(count)
            arguments = command("predict", spec, project, output, *more, data=slice(2, 3))
            assert run(count, command_rank, arguments) == [0] * count
        assert store.artifact_digest(tmp_path / "1") == store.artifact_digest(tmp_path / "2")
        found = store.open_dataset(tmp_path / "2/predictions.zarr")
        assert len(found["time"]) == 7 and np.isfinite(found["temperature"]).all()


def seed_of(number: int) -> TunedModelSpec:
    return SMOOTHED.model_copy(update={"seed": number})


class TestPretrain:
    def test_two_processes_equal_one(self, project: Path, tmp_path: Path) -> None:
        task = Forecasting(name="forecasting", grid=small.FINE, residual=True)
        more = ["--statistics", str(project / "statistics"), "--work", str(project / "work")]
        for count, passes in ((1, 2), (2, 1)):
            training = schedule(steps=3, accumulation=passes)
            spec = PretrainSpec(
                backbone=small_spec(),
                fields=small.FIELDS,
                task=task,
                splits=SPLITS,
                seed=0,
                training=training,
            )
            output = tmp_path / str(count)
            arguments = command("pretrain", spec, project, output, *more, data=slice(2))
            assert run(count, command_rank, arguments) == [0] * count
        curves = [store.open_dataset(tmp_path / name / "history.zarr").load() for name in "12"]
        for name in ("train_loss", "validation_loss"):
            np.testing.assert_allclose(curves[1][name], curves[0][name], rtol=1e-6)
