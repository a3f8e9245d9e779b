"""Regions: held out of losses, and scored apart, against masks made by hand."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
import zarr

from tests import small_data as small
from tests.region_masks import mask
from tests.stages.test_training_stages import (
    BACKBONE,
    DOWNSCALING,
    FIELDS,
    METHODS,
    PERIODS,
    SPLITS,
    TRAINING,
)
from weatherpeft.artifacts import store
from weatherpeft.fields.grid import Region
from weatherpeft.fields.regions import NamedRegion, training_points
from weatherpeft.reporting.scores import Entry, rows_of, scored_channels
from weatherpeft.reporting.sections.regions import read_regional, regional_tables, regional_text
from weatherpeft.samples.batch import Batch, Fields
from weatherpeft.stages.evaluate import EvaluateSpec, evaluate
from weatherpeft.stages.finetune import finetune
from weatherpeft.stages.fisher import FisherSpec, fisher
from weatherpeft.stages.moments import MomentsSpec, moments
from weatherpeft.stages.statistics import StatisticsSpec, statistics
from weatherpeft.tasks.precipitation import Precipitation
from weatherpeft.training.model import FinetuneSpec, TunedModelSpec
from weatherpeft.training.tuning import task_loss
from weatherpeft.verification.scoring import FieldScoring

BOX = Region(north=50, south=0, west=90, east=200)
ACROSS = Region(north=-10, south=-60, west=340, east=30)
RAIN = "total_precipitation_6hr"


class Constant(torch.nn.Module):
    """A model whose prediction is its parameters."""

    def __init__(self, fields: Fields) -> None:
        super().__init__()
        self.fields = fields

    def forward(self, batch: Batch) -> Fields:
        return self.fields


@pytest.mark.parametrize("name", ["downscaling", "precipitation"])
def test_loss_and_gradients_are_those_of_the_other_points(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    shape = small.FINE.shape

    def fields(requires_grad: bool) -> Fields:
        made = Fields(
            {"2m_temperature": torch.randn(2, *shape, generator=generator),
             RAIN: torch.randn(2, *shape, generator=generator)},
            {"temperature": torch.randn(2, 2, *shape, generator=generator)},
        )  # fmt: skip
        return made.map(lambda field: field.requires_grad_(requires_grad))

    predicted, target = fields(True), fields(False)
    scale = Fields(
        {"2m_temperature": torch.tensor(2.0), RAIN: torch.tensor(3.0)},
        {"temperature": torch.tensor([1.0, 4.0])[:, None, None]},
    )
    task = DOWNSCALING if name == "downscaling" else Precipitation(name="precipitation", grid=small.FINE)
    inside = mask(small.FINE, BOX)
    points = training_points(small.FINE, (BOX,))

    def of(values: float) -> tuple[float, list[torch.Tensor]]:
        """Loss and gradients, the targets inside being some values."""
        there = target.map(lambda field: field.masked_fill(torch.from_numpy(inside), values))
        batch: Any = Batch({}, {}, there, (), torch.zeros(0), torch.zeros(0), ())  # type: ignore[arg-type]
        leaves = [*predicted.surface.values(), *predicted.atmospheric.values()]
        model: Any = Constant(predicted)
        loss = task_loss(task, scale, torch.device("cpu"), points)(model, batch)
        gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
        return loss.item(), [each for each in gradients if each is not None]

    loss, gradients = of(0.0)
    for values in (1e6, float("nan")):
        other, same = of(values)
        assert other == loss and all(map(torch.equal, gradients, same))
    for gradient in gradients:
        assert not gradient[..., torch.from_numpy(inside)].any()
        assert (gradient[..., torch.from_numpy(~inside)] != 0).all()

    def difference(kind: str, field: str, by: float, level: int | None = None) -> np.ndarray:
        one, two = (getattr(each, kind)[field].detach().double().numpy() for each in (predicted, target))
        one, two = (one, two) if level is None else (one[:, level], two[:, level])
        return (one - two)[:, ~inside] / by

    if name == "downscaling":
        surface = [
            np.mean(difference("surface", key, by) ** 2) for key, by in (("2m_temperature", 2), (RAIN, 3))
        ]
        upper = np.mean([difference("atmospheric", "temperature", by, i) ** 2 for i, by in ((0, 1), (1, 4))])
        expected = DOWNSCALING.surface_weight * np.mean(surface) + upper
    else:
        expected = np.abs(difference("surface", RAIN, 3)).mean()
    assert loss == pytest.approx(expected, rel=1e-5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Data, statistics of it, and a copy of the data in which the fine fields differ in the box."""
    root = tmp_path_factory.mktemp("regions")
    for seed, days in enumerate(PERIODS):
        shutil.copytree(small.write_period(root / "clean", days, seed=seed), root / "poisoned" / days.label)
        group: Any = zarr.open_group(root / "poisoned" / days.label / f"{small.FINE.label}.zarr", mode="r+")
        fields = group["fields"][:]
        fields[..., mask(small.FINE, BOX)] += 50
        group["fields"][:] = fields
    spec = MomentsSpec(variables=small.VARIABLES, grid=small.FINE, train=SPLITS.train)
    moments(spec, [root / "clean" / PERIODS[0].label], root / "moments")
    statistics(StatisticsSpec(variables=small.VARIABLES), [root / "moments"], root / "statistics")
    yield root


def test_tuning_does_not_depend_on_targets_held_out(folder: Path, tmp_path: Path) -> None:
    """Training and validation; inputs come from the coarse fields, which are the same."""
    model = TunedModelSpec(
        backbone=BACKBONE,
        fields=FIELDS,
        task=DOWNSCALING,
        methods=(METHODS.validate_python({"name": "full"}),),
        pretrained=False,
        seed=0,
    )
    found = {}
    for regions in ((), (BOX,)):
        spec = FinetuneSpec(model=model, splits=SPLITS, training=TRAINING, held_out=regions)
        assert ("held_out" in spec.canonical_json()) == bool(regions)
        for kind in ("clean", "poisoned"):
            output, data = tmp_path / f"{kind}{len(regions)}", [folder / kind / p.label for p in PERIODS[:2]]
            finetune(spec, data, folder / "statistics", output, tmp_path / "work")
            history = store.open_dataset(output / "history.zarr").load()
            found[kind, len(regions)] = ((output / "tuned.safetensors").read_bytes(), history)
    assert found["clean", 1][0] == found["poisoned", 1][0]
    xr.testing.assert_identical(found["clean", 1][1], found["poisoned", 1][1])
    assert found["clean", 0][0] != found["poisoned", 0][0] and found["clean", 0][0] != found["clean", 1][0]


def test_the_fisher_warm_up_does_not_depend_on_them(folder: Path, tmp_path: Path) -> None:
    digests = {}
    for regions in ((), (BOX,)):
        spec = FisherSpec(
            backbone=BACKBONE,
            fields=FIELDS,
            task=DOWNSCALING,
            train=SPLITS.train,
            samples=2,
            pretrained=False,
            seed=0,
            held_out=regions,
        )
        assert ("held_out" in spec.canonical_json()) == bool(regions)
        for kind in ("clean", "poisoned"):
            output = tmp_path / f"{kind}{len(regions)}"
            fisher(spec, [folder / kind / PERIODS[0].label], folder / "statistics", output)
            digests[kind, len(regions)] = store.artifact_digest(output)
    assert digests["clean", 1] == digests["poisoned", 1] != digests["clean", 0] != digests["poisoned", 0]


def test_scores_of_a_region_are_those_of_a_mask(folder: Path, tmp_path: Path) -> None:
    data = folder / "clean" / PERIODS[2].label
    target = store.open_dataset(data / f"{small.FINE.label}.zarr").load()
    random = np.random.default_rng(7)
    forecast = target[["2m_temperature", "temperature"]].map(
        lambda field: (field + random.normal(0.5, 2, field.shape)).astype(np.float32)
    )
    with store.artifact(tmp_path / "predictions", PERIODS[2], "weatherpeft.spec") as directory:
        store.write_dataset(forecast.drop_encoding(), directory / "predictions.zarr")
    plain = EvaluateSpec(scoring=FieldScoring(variables=small.VARIABLES, grid=small.FINE))
    boxes = {"box": BOX, "across": ACROSS}
    spec = EvaluateSpec(scoring=plain.scoring.model_copy(update={"regions": boxes}))
    assert "regions" not in plain.canonical_json() and "regions" in spec.canonical_json()
    evaluate(plain, [data], tmp_path / "predictions", tmp_path / "plain")
    evaluate(spec, [data], tmp_path / "predictions", tmp_path / "scores")
    whole, same = (store.open_dataset(tmp_path / name / "scores.zarr").load() for name in ("plain", "scores"))
    xr.testing.assert_identical(whole, same)
    assert not (tmp_path / "plain" / "regions.zarr").exists()

    found = store.open_dataset(tmp_path / "scores" / "regions.zarr").load()
    assert found["rmse"].dims == ("region", "time", "channel")
    areas = np.repeat(small.FINE.area_weights()[:, None], small.FINE.shape[1], axis=1)
    places: tuple[tuple[str, dict[str, Any]], ...] = (
        ("2t", {}), ("t500", {"level": 500}), ("t850", {"level": 850}),
    )  # fmt: skip
    for name, box in boxes.items():
        weights = np.where(mask(small.FINE, box), areas, 0)
        for time in target["time"].values:
            for channel, place in places:
                key = "temperature" if place else "2m_temperature"
                one, two = (
                    each[key].sel(time=time, **place).values.astype(float) for each in (forecast, target)
                )
                score = found.sel(region=name, time=time, channel=channel)
                squared = np.average((one - two) ** 2, weights=weights)
                assert float(score["rmse"]) == pytest.approx(np.sqrt(squared), rel=1e-9)
                assert float(score["bias"]) == pytest.approx(np.average(one - two, weights=weights), rel=1e-6)

    # The report shows them side by side, the held-out one last.
    regions = {
        "across": NamedRegion(**ACROSS.model_dump(), held_out=True),
        "box": NamedRegion(**BOX.model_dump()),
    }
    channels = scored_channels(small.VARIABLES.channels())
    skill = read_regional(tmp_path / "scores", channels, regions)
    expected = found["rmse"].sel(region="across").mean("time").values
    np.testing.assert_allclose(skill["rmse:across"], expected, rtol=1e-12)
    rmse = whole["rmse"].mean("time").values
    rows = rows_of([Entry("a", "a", "method", rmse, rmse, skill=skill)])
    (table,) = regional_tables(rows, channels, regions)
    assert [(head["field"], head["region"], head["trained"]) for head in table["heads"]] == [
        ("2t", "box", "trained"),
        ("2t", "across", "held out"),
        ("t850", "box", "trained"),
        ("t850", "across", "held out"),
    ]
    assert table["lines"][0]["cells"][3]["text"] == f"{expected[2]:.4g}"
    assert regional_text(rows, channels, regions)[0].splitlines()[1].split() == ["2t", "2t", "t850", "t850"]
    assert regional_text(rows, channels, {}) == []
    with pytest.raises(ValueError, match="no scores of the region north"):
        read_regional(tmp_path / "scores", channels, {"north": regions["box"]})
