"""Forecasts of variables of one's own: like built-in ones, and with a transformation for the model alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from tests.backbones.small_aurora import small_spec
from tests.tasks import forecast_data as small
from tests.tasks.forecast_data import GRID, MEMBERS, TEST, TRAIN, YEARS
from tests.tasks.test_postprocessing_model import seen_by_the_encoder
from weatherpeft.artifacts import store
from weatherpeft.backbones.aurora.ensemble import SMALLEST_SPREAD, EnsembleAuroraBackbone
from weatherpeft.fields.variables import FieldSet, VariableSet
from weatherpeft.samples.batch import Samples
from weatherpeft.stages.baseline import BaselineSpec, baseline
from weatherpeft.stages.efi import EfiSpec, efi
from weatherpeft.stages.evaluate import EvaluateSpec, evaluate
from weatherpeft.stages.standardization import StandardizationSpec, standardization
from weatherpeft.tasks.postprocessing import Postprocessing
from weatherpeft.training.tuning import build_model

pytestmark = pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")

COPIES: dict[str, dict[str, Any]] = {
    "2m_temperature": {"kind": "surface", "units": "K"},
    "temperature": {"kind": "atmospheric", "units": "K"},
    "sea_surface_temperature": {"kind": "surface", "units": "K", "partial": True},
    "total_precipitation_48hr": {"kind": "surface", "units": "m", "forecast_hours": 48},
}
"""Built-in variables, and how one would define them oneself."""
SCALE = 2.0


def copied(name: str) -> str:
    return f"own_{name}".removesuffix("hr")


class Case:
    """Data and task of ``forecast_data`` with some variables as one's own."""

    def __init__(self, folder: Path, changes: dict[str, dict[str, Any]]) -> None:
        self.folder, self.names = folder, {name: copied(name) for name in changes}
        define = {copied(name): values for name, values in changes.items()}

        def renamed(variables: VariableSet) -> VariableSet:
            values = variables.model_dump(mode="json")
            for kind in ("surface", "atmospheric"):
                values[kind] = [self.names.get(name, name) for name in values[kind]]
            named = {*values["surface"], *values["atmospheric"]}
            own = {name: each for name, each in define.items() if name in named}
            return VariableSet.parse({**values, "define": own})

        self.forecasts, analyses = renamed(small.FORECASTS), renamed(small.ANALYSES)
        self.fields = FieldSet(measured=self.forecasts.model_copy(update={"static": ("land_sea_mask",)}))
        targets: list[dict[str, Any]] = []
        for target in small.TARGETS:
            name = self.names.get(target.variable, target.variable)
            own = {name: define[name]} if name in define else {}
            values = target.model_dump(mode="json", exclude={"define"})
            targets.append({**values, "variable": name, "define": own})
        grid = GRID.model_dump(mode="json")
        self.task = Postprocessing.parse(
            {"name": "postprocessing", "grid": grid, "members": MEMBERS, "targets": targets}
        )
        self.data: list[Path] = []
        self.inputs: list[Path] = []
        for seed, covered in enumerate((*YEARS["train"], *YEARS["test"])):
            for found, variables, paths, kind in (
                (small.analyses(covered, seed), analyses, self.data, "analyses"),
                (small.forecasts(covered, seed), self.forecasts, self.inputs, "forecasts"),
            ):
                here = {name: own for name, own in self.names.items() if name in found}
                paths.append(small.written(found.rename(here), variables, folder / kind / covered.label))

    def standardized(self) -> Path:
        spec = StandardizationSpec(window=self.task.window, fields=self.fields, train=TRAIN)
        output = self.folder / "standardization"
        standardization(spec, self.data[:2], self.inputs[:2], output)
        return output

    def model(self) -> EnsembleAuroraBackbone:
        model = build_model(small_spec(), self.fields, self.task, 0, None, self.standardized()).eval()
        assert isinstance(model, EnsembleAuroraBackbone)
        return model

    def batch(self) -> Any:
        frames = self.task.window.frames(self.fields, self.data[:2], TRAIN, self.inputs[:2])
        return Samples(frames).batch([0, 3])

    def made(self) -> dict[str, xr.Dataset]:
        """What the stages make without a network."""
        found, window = {"standardization": self.standardized() / "standardization.zarr"}, self.task.window
        index = self.folder / "efi"
        efi(EfiSpec(window=window, fields=self.fields, train=TRAIN, test=TEST), self.data, self.inputs, index)
        predicted = self.task.predicted(self.forecasts)
        for name in ("ensemble", "emos"):
            spec = BaselineSpec(
                baseline=name,
                fields=self.fields,
                predicted=predicted,
                window=window,
                train=TRAIN,
                test=TEST,
            )
            output, scores = self.folder / name, self.folder / "scores" / name
            baseline(spec, self.data, output, forecasts=self.inputs)
            scoring = self.task.scoring(self.forecasts, {})
            evaluate(EvaluateSpec(scoring=scoring), self.data, output, scores, efi=index)
            found |= {name: output / "predictions.zarr", f"{name}, scores": scores / "scores.zarr"}
        return {name: store.open_dataset(path).load() for name, path in found.items()}


def assert_same(found: dict[str, xr.Dataset], expected: dict[str, xr.Dataset], leave: str = "") -> None:
    """Byte for byte, whatever the variables' names."""
    for name, theirs in expected.items():
        if name != leave:
            pairs = zip(found[name].data_vars.values(), theirs.data_vars.values(), strict=True)
            for one, other in pairs:
                assert one.dims == other.dims and one.dtype == other.dtype
                assert one.values.tobytes() == other.values.tobytes(), (name, one.name)


@pytest.fixture(scope="module")
def built_in(tmp_path_factory: pytest.TempPathFactory) -> dict[str, xr.Dataset]:
    return Case(tmp_path_factory.mktemp("built_in"), {}).made()


@pytest.mark.slow
def test_the_stages_make_the_same_of_copies(built_in: dict[str, xr.Dataset], tmp_path: Path) -> None:
    assert_same(Case(tmp_path, COPIES).made(), built_in)


LOG: dict[str, dict[str, Any]] = {
    "2m_temperature": {
        "kind": "surface",
        "units": "K",
        "transformation": {"name": "log1p", "scale": SCALE},
    }
}


@pytest.mark.slow
def test_a_transformation_changes_nothing_but_what_the_model_sees(
    built_in: dict[str, xr.Dataset], tmp_path: Path
) -> None:
    """Ensembles, EMOS and scores are in the variable's units; the frames' statistics are of logarithms."""
    case = Case(tmp_path, LOG)
    found = case.made()
    assert_same(found, built_in, leave="standardization")
    frames = case.task.window.frames(case.fields, case.data[:2], TRAIN, case.inputs[:2])
    name = copied("2m_temperature")
    means = [frames.inputs(sample)[1][name].astype(float) for sample in frames.samples]
    expected = np.log1p(np.array(means) / SCALE).mean(axis=0)
    own = found["standardization"]["mean"].sel(channel=name, frame="mean").values
    np.testing.assert_allclose(own, expected, rtol=1e-6)


@pytest.mark.slow
@torch.no_grad()
def test_the_model_sees_logarithms_and_predicts_in_units(tmp_path: Path) -> None:
    case, name = Case(tmp_path, LOG), copied("2m_temperature")
    model, batch = case.model(), case.batch()
    frames = batch.inputs.surface[name]
    spread, mean = frames.unbind(1)
    assert mean.mean() > 200 and batch.target.surface[name].mean() > 200, "the samples are in kelvin"
    center, scale = (model.get_buffer(f"{name}_{part}") for part in ("mean", "scale"))
    seen = seen_by_the_encoder(model, batch).surf_vars[f"own_{name}"]
    torch.testing.assert_close(seen, (torch.log1p(frames / SCALE) - center) / scale, rtol=1e-4, atol=1e-3)
    found = model(batch).surface  # close to the raw ensemble at first
    assert ((found[name] - mean).abs() / spread).max() < 0.1
    torch.testing.assert_close(found[f"{name}_std"], spread, rtol=0.1, atol=0)

    batch.inputs.surface[name][:, 0] = 0  # without a spread: a small step of the logarithm
    smallest = SMALLEST_SPREAD * scale[-1] * (SCALE + mean)
    torch.testing.assert_close(model(batch).surface[f"{name}_std"], smallest, rtol=0.1, atol=0)
