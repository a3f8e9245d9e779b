"""Stages ``pretrain``, ``fisher``, ``finetune`` and ``predict`` on a small data set, a few steps each."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from pydantic import TypeAdapter

from tests import small_data as small
from tests.backbones.small_aurora import build, small_spec
from weatherpeft.artifacts import manifest, store
from weatherpeft.artifacts.costs import COST
from weatherpeft.backbones.aurora.model import AuroraBackbone
from weatherpeft.fields.variables import FieldSet
from weatherpeft.interfaces import TuningContext
from weatherpeft.peft import AnyMethod
from weatherpeft.peft.sfas.fisher_store import read_fisher
from weatherpeft.samples.batch import Batch, Samples
from weatherpeft.samples.frames import SampleFrames
from weatherpeft.samples.splits import Splits
from weatherpeft.stages.finetune import finetune
from weatherpeft.stages.fisher import FisherSpec, fisher
from weatherpeft.stages.moments import MomentsSpec, moments
from weatherpeft.stages.predict import PredictSpec, predict
from weatherpeft.stages.pretrain import PretrainSpec, pretrain
from weatherpeft.stages.statistics import StatisticsSpec, statistics
from weatherpeft.tasks.downscaling import Downscaling
from weatherpeft.tasks.forecasting import Forecasting
from weatherpeft.training import tuning
from weatherpeft.training.checkpoint import load_tensors
from weatherpeft.training.model import FinetuneSpec, TunedModelSpec
from weatherpeft.training.spec import Training

METHODS: TypeAdapter[Any] = TypeAdapter(AnyMethod)
BACKBONE = small_spec()
FIELDS = FieldSet(measured=small.VARIABLES, placeholders={"mean_sea_level_pressure": 101325.0})
PERIODS = [small.period(f"200{year}-01-01", f"200{year}-01-02") for year in (1, 2, 3)]
SPLITS = Splits(**dict(zip(("train", "validation", "test"), map(small.split, PERIODS), strict=True)))
FORECASTING = Forecasting(name="forecasting", grid=small.FINE, residual=True)
DOWNSCALING = Downscaling(name="downscaling", input_grid=small.COARSE, target_grid=small.FINE, residual=True)
TRAINING = Training(steps=3, learning_rate=1e-2, validate_every=2, validation_samples=1, checkpoint_every=2)
FULL, PROBE = {"name": "full"}, {"name": "linear_probe"}
WEATHERPEFT = ({"name": "tadp", "prompts": 2}, {"name": "sfas", "preset": "published", "fraction": 0.01})
SMOOTHED = {"name": "sfas", "preset": "published", "fraction": 0.01, "beta": 0.5}


@dataclass(frozen=True)
class Project:
    """Data and statistics, and everything made from them."""

    root: Path
    data: list[Path]

    @property
    def statistics(self) -> Path:
        return self.root / "statistics"

    @property
    def pretrained(self) -> Path:
        return self.root / "pretrained"

    @property
    def fisher(self) -> Path:
        return self.root / "fisher"

    @property
    def work(self) -> Path:
        return self.root / "work"

    def pretrain(self, output: Path, **changes: Any) -> Path:
        values = {"backbone": BACKBONE, "fields": FIELDS, "task": FORECASTING, "splits": SPLITS}
        spec = PretrainSpec(**{**values, "training": TRAINING, "seed": 0, **changes})
        pretrain(spec, self.data[:2], self.statistics, output, self.work)
        return output

    def make_fisher(self, output: Path, weights: Path | None, **changes: Any) -> Path:
        values = {"backbone": BACKBONE, "fields": FIELDS, "task": DOWNSCALING, "train": SPLITS.train}
        spec = FisherSpec(**{**values, "samples": 2, "pretrained": True, "seed": 0, **changes})
        fisher(spec, self.data[:1], self.statistics, output, weights)
        return output

    def model(self, *methods: dict[str, Any], **changes: Any) -> TunedModelSpec:
        values = {"backbone": BACKBONE, "fields": FIELDS, "task": DOWNSCALING, "pretrained": True, "seed": 0}
        parsed = tuple(METHODS.validate_python(method) for method in methods)
        return TunedModelSpec(**{**values, "methods": parsed, **changes})

    def finetune(
        self,
        output: Path,
        model: TunedModelSpec,
        pretrained: Path | None = None,
        fisher: Path | None = None,
        **changes: Any,
    ) -> Path:
        training = TRAINING.model_copy(update=changes)
        spec = FinetuneSpec(model=model, splits=SPLITS, training=training)
        finetune(spec, self.data[:2], self.statistics, output, self.work, pretrained, fisher)
        return output

    def predict(
        self, output: Path, model: TunedModelSpec, run: Path, pretrained: Path | None = None
    ) -> xr.Dataset:
        spec = PredictSpec(model=model, test=SPLITS.test)
        predict(spec, self.data[2:], self.statistics, output, run, pretrained)
        return store.open_dataset(output / "predictions.zarr").load()


def prepared(root: Path) -> Project:
    """Data and statistics, before any training."""
    data = [small.write_period(root / "regridded", period, seed=seed) for seed, period in enumerate(PERIODS)]
    made = Project(root, data)
    spec = MomentsSpec(variables=small.VARIABLES, grid=small.FINE, train=SPLITS.train)
    moments(spec, data[:1], root / "moments")
    statistics(StatisticsSpec(variables=small.VARIABLES), [root / "moments"], made.statistics)
    return made


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = prepared(tmp_path_factory.mktemp("project"))
    made.pretrain(made.pretrained)
    made.make_fisher(made.fisher, made.pretrained)
    return made


def loaded(path: Path) -> AuroraBackbone:
    model = build(FIELDS, lead_hours=DOWNSCALING.lead_hours, residual=True)
    model.load(path / "pretrained.ckpt")
    return model


def files(path: Path) -> set[str]:
    return {file.name for file in path.iterdir() if file.name not in manifest.BOOKKEEPING}


def empty(work: Path) -> bool:
    return not work.exists() or not list(work.iterdir())


class TestPretrain:
    def test_it_writes_weights_and_curves(self, project: Project) -> None:
        assert files(project.pretrained) == {"pretrained.ckpt", "history.zarr"}
        weights = torch.load(project.pretrained / "pretrained.ckpt", weights_only=True)
        start = build(FIELDS, residual=True).model.state_dict()
        assert weights.keys() == start.keys()
        moved = {name.split(".")[0] for name, value in weights.items() if not torch.equal(value, start[name])}
        assert moved == {"encoder", "backbone", "decoder"}
        record = store.read_provenance(project.pretrained)
        assert record["parameters"] == sum(value.numel() for value in loaded(project.pretrained).parameters())
        assert set(record["inputs"]) == {
            f"{project.root.name}/statistics",
            *(f"regridded/{period.label}" for period in PERIODS[:2]),
        }
        history = store.open_dataset(project.pretrained / "history.zarr").load()
        assert history["train_loss"].shape == (3,) and history["validation_step"].values.tolist() == [2, 3]
        assert np.isfinite(history["train_loss"]).all() and np.isfinite(history["validation_loss"]).all()
        assert empty(project.work)

    def test_the_same_twice_is_the_same_and_another_seed_is_not(
        self, project: Project, tmp_path: Path
    ) -> None:
        again, other = project.pretrain(tmp_path / "again"), project.pretrain(tmp_path / "other", seed=1)
        expected = store.artifact_digest(project.pretrained)
        assert store.artifact_digest(again) == expected != store.artifact_digest(other)


class TestFisher:
    def test_it_writes_an_array_a_backbone_parameter(self, project: Project) -> None:
        assert files(project.fisher) == {"fisher.zarr"}
        found = dict(read_fisher(project.fisher / "fisher.zarr"))
        expected = loaded(project.pretrained).backbone_parameters()
        assert found.keys() == expected.keys()
        assert all(found[name].shape == parameter.shape for name, parameter in expected.items())
        assert all((values >= 0).all() for values in found.values())
        assert any(values.any() for values in found.values())

    def test_it_depends_on_weights_seed_and_samples(self, project: Project, tmp_path: Path) -> None:
        digests = {
            name: store.artifact_digest(project.make_fisher(tmp_path / name, path, **changes))
            for name, path, changes in (
                ("same", project.pretrained, {}),
                ("random", None, {"pretrained": False}),
                ("ignored", project.pretrained, {"pretrained": False}),
                ("seed", project.pretrained, {"seed": 1}),
                ("more", project.pretrained, {"samples": 3}),
            )
        }
        assert digests["same"] == store.artifact_digest(project.fisher)
        assert digests["random"] == digests["ignored"]
        assert len(set(digests.values())) == 4

    def test_pretrained_weights_must_be_given_where_they_are_asked_for(
        self, project: Project, tmp_path: Path
    ) -> None:
        with pytest.raises(ValueError, match="pretrained weights"):
            project.make_fisher(tmp_path / "fisher", None)
        assert not (tmp_path / "fisher").exists()

    def test_more_samples_than_the_split_has_are_an_error(self, project: Project, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="99 samples asked for, the split has 7"):
            project.make_fisher(tmp_path / "fisher", project.pretrained, samples=99)
        assert not (tmp_path / "fisher").exists()


@pytest.mark.parametrize(
    ("methods", "start"),
    [
        ((FULL,), "pretrained"),
        ((PROBE,), "pretrained"),
        ((PROBE,), "random"),
        (WEATHERPEFT, "pretrained"),
    ],
    ids=["full", "linear_probe", "linear_probe-random", "weatherpeft"],
)
def test_a_run_from_training_to_predictions(
    project: Project, tmp_path: Path, methods: tuple[dict[str, Any], ...], start: str
) -> None:
    pretrained = project.pretrained if start == "pretrained" else None
    model = project.model(*methods, pretrained=pretrained is not None)
    run = project.finetune(tmp_path / "run", model, pretrained)
    sparse = any(method["name"] == "sfas" for method in methods)
    names = {"tuned.safetensors", "history.zarr", COST}
    assert files(run) == (names | {"updates.zarr"} if sparse else names)
    assert empty(project.work)

    # what the record counts, and what the file holds
    context = TuningContext(TRAINING.steps, seed=0)
    reference = build(FIELDS, residual=True)
    if pretrained:
        reference.load(pretrained / "pretrained.ckpt")
    before = {name: value.clone() for name, value in reference.backbone_parameters().items()}
    tuned = tuning.attach(reference, model.methods, context)
    record = store.read_provenance(run)
    assert {key: record[key] for key in tuned.counts()} == tuned.counts()
    assert record["trainable_total"] > record["trainable_backbone"] == tuned.counts()["trainable_backbone"]
    tensors = load_tensors(run / "tuned.safetensors")
    own = [value for name, value in tensors.items() if not name.startswith(("encoder.", "decoder."))]
    assert record["adapter_bytes"] == sum(value.nbytes for value in own)
    if sparse:
        updates = store.open_dataset(run / "updates.zarr").load()
        selected = tuned.adapters[-1].trainable_backbone()
        assert updates["updates"].sum("parameter").values.tolist() == [selected] * TRAINING.steps
        assert all(
            int(updates["entries"].sel(parameter=name)) == before[name].numel()
            for name in updates["parameter"].values
        )
        prompts = tuned.adapters[0].trainable_backbone()
        touched = [len(value) for name, value in tensors.items() if name.endswith(".value")]
        assert record["touched_backbone"] == prompts + sum(touched)
    else:
        assert record["touched_backbone"] == record["trainable_backbone"]
    cost = json.loads((run / COST).read_text())
    assert 0 < cost["seconds_per_step"] < 60
    assert 2**24 < cost["peak_memory_bytes"] < 2**36
    tuned.load_result(tensors)
    moved = any(not torch.equal(before[name], p) for name, p in reference.backbone_parameters().items())
    assert moved == (methods != (PROBE,))
    history = store.open_dataset(run / "history.zarr").load()
    assert history["train_loss"].shape == (3,) and history["validation_step"].values.tolist() == [2, 3]

    # predictions are those of the rebuilt model
    found = project.predict(tmp_path / "predictions", model, run, pretrained)
    samples = Samples(SampleFrames(DOWNSCALING.window, FIELDS, project.data[2:], SPLITS.test))
    assert list(found["time"].values) == [sample.time for sample in samples.frames.samples]
    assert set(found.data_vars) == {"2m_temperature", "temperature"}
    with torch.inference_mode():
        for index in (0, len(samples) - 1):
            expected = reference.eval()(samples.batch([index]))
            for name, field in (("2m_temperature", expected.surface), ("temperature", expected.atmospheric)):
                assert np.array_equal(found[name].isel(time=index).values, field[name][0].numpy())


@pytest.mark.parametrize("best", [2, 3])
def test_the_best_weights_are_kept_and_predicted_with(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, best: int
) -> None:
    """SFAS touches entries after step 2 that are no part of the best weights then."""
    model, losses = project.model(*WEATHERPEFT), {2: [1.0, 2.0], 3: [2.0, 1.0]}[best]
    last = project.finetune(tmp_path / "last", model, project.pretrained)
    with monkeypatch.context() as patch:
        patch.setattr("weatherpeft.training.loop.validate", lambda *_: losses.pop(0))
        run = project.finetune(tmp_path / "best", model, project.pretrained, keep="best")
    assert losses == [] and empty(project.work)
    kept, ended = (load_tensors(path / "tuned.safetensors") for path in (run, last))
    touched, touched_in_all = (
        sum(tensor.numel() for name, tensor in tensors.items() if name.endswith(".value"))
        for tensors in (kept, ended)
    )
    same = kept.keys() == ended.keys() and all(torch.equal(kept[name], ended[name]) for name in kept)
    assert same == (best == 3) and (touched < touched_in_all) == (best == 2)
    found = [
        project.predict(tmp_path / f"{path.name}-predictions", model, path, project.pretrained)
        for path in (run, last)
    ]
    assert found[0].equals(found[1]) == (best == 3)


@pytest.mark.parametrize("methods", [(FULL,), WEATHERPEFT], ids=["full", "weatherpeft"])
def test_the_same_twice_is_the_same_artifact(
    project: Project, tmp_path: Path, methods: tuple[dict[str, Any], ...]
) -> None:
    model, digests = project.model(*methods), []
    for name in ("one", "two"):
        torch.manual_seed(len(name))
        run = project.finetune(tmp_path / name, model, project.pretrained)
        project.predict(tmp_path / f"{name}-predictions", model, run, project.pretrained)
        paths = (run, tmp_path / f"{name}-predictions")
        digests.append([store.artifact_digest(path) for path in paths])
    assert digests[0] == digests[1]
    other = project.finetune(tmp_path / "seed", project.model(*methods, seed=1), project.pretrained)
    assert store.artifact_digest(other) != digests[0][0]


class Killed(BaseException):
    """Stands for a signal: nothing catches it."""


def test_a_stage_that_was_killed_goes_on_and_ends_the_same(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = project.model(*WEATHERPEFT)
    expected = project.finetune(tmp_path / "straight", model, project.pretrained)
    computed: list[tuple[datetime, ...]] = []

    def counted(limit: int) -> Callable[..., Any]:
        def build(*arguments: Any) -> Any:
            loss = tuning_loss(*arguments)

            def counting(tuned: Any, batch: Batch) -> torch.Tensor:
                if tuned.training:
                    if len(computed) == limit:
                        raise Killed
                    computed.append(batch.times)
                return loss(tuned, batch)

            return counting

        return build

    tuning_loss = tuning.task_loss
    monkeypatch.setattr(tuning, "task_loss", counted(2))
    with pytest.raises(Killed):
        project.finetune(tmp_path / "run", model, project.pretrained)
    assert not (tmp_path / "run").exists() and not empty(project.work)
    # a training of another spec starts from its own beginning
    other = project.model(*WEATHERPEFT, seed=1)
    monkeypatch.setattr(tuning, "task_loss", counted(99))
    project.finetune(tmp_path / "other", other, project.pretrained)
    assert len(computed) == 2 + 3
    project.finetune(tmp_path / "run", model, project.pretrained)
    assert len(computed) == 2 + 3 + 1
    assert store.artifact_digest(tmp_path / "run") == store.artifact_digest(expected)
    assert empty(project.work)


def test_the_order_of_the_samples_is_by_the_seed(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []
    order = Samples.order

    def noted(self: Samples, seed: int, start: int = 0) -> Any:
        seeds.append(seed)
        return order(self, seed, start)

    monkeypatch.setattr(Samples, "order", noted)
    project.pretrain(tmp_path / "pretrained", seed=5)
    project.make_fisher(tmp_path / "fisher", project.pretrained, seed=6)
    project.finetune(tmp_path / "run", project.model(PROBE, seed=7), project.pretrained)
    assert seeds == [5, 6, 7]


def test_a_method_that_needs_the_fisher_store(project: Project, tmp_path: Path) -> None:
    model = project.model(SMOOTHED)
    with pytest.raises(ValueError, match="needs the Fisher warm-up's store, found none"):
        project.finetune(tmp_path / "run", model, project.pretrained)
    run = project.finetune(tmp_path / "run", model, project.pretrained, project.fisher)
    inputs = store.read_provenance(run)["inputs"]
    assert inputs[f"{project.root.name}/fisher"] == store.artifact_digest(project.fisher)
    found = project.predict(tmp_path / "predictions", model, run, project.pretrained)
    assert np.isfinite(found["temperature"].values).all()


def test_a_random_start_is_not_a_pretrained_one(project: Project, tmp_path: Path) -> None:
    pretrained = project.model(PROBE)
    random = project.model(PROBE, pretrained=False)
    runs = {
        "pretrained": project.finetune(tmp_path / "pretrained", pretrained, project.pretrained),
        "random": project.finetune(tmp_path / "random", random),
        "ignored": project.finetune(tmp_path / "ignored", random, project.pretrained),
    }
    digests = {name: store.artifact_digest(run) for name, run in runs.items()}
    assert digests["random"] == digests["ignored"] != digests["pretrained"]


def test_a_pretrained_start_needs_weights(project: Project, tmp_path: Path) -> None:
    model = project.model(PROBE)
    with pytest.raises(ValueError, match="starts from pretrained weights, but none are given"):
        project.finetune(tmp_path / "run", model)
    run = project.finetune(tmp_path / "run", model, project.pretrained)
    with pytest.raises(ValueError, match="starts from pretrained weights, but none are given"):
        project.predict(tmp_path / "predictions", model, run)
    assert not (tmp_path / "predictions").exists()


def test_a_run_is_predicted_with_its_own_methods(project: Project, tmp_path: Path) -> None:
    run = project.finetune(tmp_path / "run", project.model(FULL), project.pretrained)
    with pytest.raises(ValueError, match="unknown"):
        project.predict(tmp_path / "predictions", project.model(PROBE), run, project.pretrained)


def test_weights_from_a_file_of_somebody_else(project: Project, tmp_path: Path) -> None:
    file = tmp_path / "aurora.ckpt"
    file.write_bytes((project.pretrained / "pretrained.ckpt").read_bytes())
    model = project.model(*WEATHERPEFT)
    run = project.finetune(tmp_path / "run", model, file)
    expected = project.finetune(tmp_path / "expected", model, project.pretrained)
    assert store.artifact_digest(run) == store.artifact_digest(expected)
    project.predict(tmp_path / "predictions", model, run, file)
    inputs = store.read_provenance(tmp_path / "predictions")["inputs"]
    assert inputs[f"{tmp_path.name}/aurora.ckpt"] == store.artifact_digest(file)
    assert store.artifact_digest(project.make_fisher(tmp_path / "fisher", file)) == store.artifact_digest(
        project.fisher
    )
