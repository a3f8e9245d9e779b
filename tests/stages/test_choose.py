"""Stage ``choose``: the smallest validation loss, of the weights that a training keeps."""

import math
import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import xarray as xr

from tests.backbones.small_aurora import small_spec
from tests.stages.test_training_stages import DOWNSCALING, FIELDS, FULL, METHODS, SPLITS, TRAINING
from weatherpeft.artifacts import store
from weatherpeft.artifacts.costs import COST, SIZES
from weatherpeft.stages.choose import ChooseSpec, choose
from weatherpeft.stages.finetune import finetune
from weatherpeft.training.model import FinetuneSpec, TunedModelSpec, Tuning, chosen

CURVES = {"a": [5.0, 1.0, 4.0], "b": [5.0, 3.0, 2.0], "c": [9.0, 2.0, 2.0]}
"""Validation losses of three candidates: the last one is smallest for b, the best one for a."""


def spec_of(rate: float, keep: str = "last") -> FinetuneSpec:
    model = TunedModelSpec(
        backbone=small_spec(),
        fields=FIELDS,
        task=DOWNSCALING,
        methods=(METHODS.validate_python({**FULL, "learning_rate": rate}),),
        pretrained=True,
        seed=0,
    )
    return FinetuneSpec(model=model, splits=SPLITS, training=TRAINING.model_copy(update={"keep": keep}))


def made(folder: Path, curves: dict[str, list[float]], keep: str = "last") -> tuple[ChooseSpec, list[Path]]:
    """Artifacts as the finetune stage writes them, with these validation losses."""
    specs, paths = [], []
    for number, (name, losses) in enumerate(curves.items()):
        specs.append(spec_of(0.1 * (number + 1), keep))
        paths.append(folder / name)
        facts = {size: 10 * place + number for place, size in enumerate(SIZES)}
        code = "weatherpeft.stages.finetune"
        with store.artifact(paths[-1], specs[-1], code, (), facts, [COST]) as directory:
            (directory / COST).write_text(name)
            (directory / "tuned.safetensors").write_bytes(name.encode())
            history = xr.Dataset({"validation_loss": ("validation_step", np.array(losses))})
            store.write_dataset(history, directory / "history.zarr")
    return ChooseSpec(candidates=tuple(specs)), paths


@pytest.mark.parametrize(("keep", "expected"), [("last", "b"), ("best", "a")])
def test_the_smallest_loss_of_the_weights_that_are_kept(
    tmp_path: Path, keep: Literal["last", "best"], expected: str
) -> None:
    spec, paths = made(tmp_path, CURVES, keep)
    choose(spec, paths, tmp_path / "run")
    record = store.read_provenance(tmp_path / "run")
    number = list(CURVES).index(expected)
    assert record["candidate"] == number
    assert record["validation_loss"] == {"last": [4.0, 2.0, 2.0], "best": [1.0, 2.0, 2.0]}[keep]
    assert [record[size] for size in SIZES] == [number, 10 + number, 20 + number, 30 + number]
    assert (tmp_path / "run" / "tuned.safetensors").read_bytes() == expected.encode()
    found = store.open_dataset(tmp_path / "run" / "history.zarr")["validation_loss"].values
    assert found.tolist() == CURVES[expected]
    assert (tmp_path / "run" / COST).read_text() == expected
    assert record["digest"] == store.content_digest(tmp_path / "run", [COST])


def test_a_loss_that_is_not_finite_is_never_chosen(tmp_path: Path) -> None:
    spec, paths = made(tmp_path, {"a": [math.nan], "b": [7.0], "c": [-math.inf]})
    choose(spec, paths, tmp_path / "run")
    assert store.read_provenance(tmp_path / "run")["candidate"] == 1
    assert store.read_provenance(tmp_path / "run")["validation_loss"] == [None, 7.0, None]
    spec, paths = made(tmp_path / "best", {"a": [math.nan, 8.0], "b": [9.0, math.nan]}, "best")
    choose(spec, paths, tmp_path / "run")
    assert store.read_provenance(tmp_path / "run")["validation_loss"] == [8.0, 9.0]
    spec, paths = made(tmp_path / "none", {"a": [math.nan], "b": [math.inf]})
    with pytest.raises(ValueError, match="no candidate has a finite validation loss: .*none/a"):
        choose(spec, paths, tmp_path / "none" / "run")


def test_a_candidate_that_diverged_is_never_chosen(tmp_path: Path) -> None:
    spec, paths = made(tmp_path, {"a": [1.0], "b": [7.0]})
    shutil.rmtree(paths[0])
    with store.artifact(paths[0], spec.candidates[0], "weatherpeft.stages.finetune", facts={"diverged": ""}):
        pass
    choose(spec, paths, tmp_path / "run")
    record = store.read_provenance(tmp_path / "run")
    assert (record["candidate"], record["validation_loss"]) == (1, [None, 7.0])


def test_other_candidates_are_refused(tmp_path: Path) -> None:
    spec, paths = made(tmp_path, CURVES)
    with pytest.raises(ValueError, match="expected 3 candidates, found 2"):
        choose(spec, paths[:2], tmp_path / "run")
    with pytest.raises(ValueError, match="b: not the candidate of the spec"):
        choose(spec, [paths[1], paths[0], paths[2]], tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("record", [None, {}, {"candidate": 2}, {"candidate": -1}, {"candidate": "0"}])
def test_candidates_need_a_choice(record: dict[str, Any] | None) -> None:
    only = Tuning(model=spec_of(0.1).model)
    both = (only, Tuning(model=spec_of(0.2).model))
    assert chosen((), only, record) is only
    assert chosen(both, only, {"candidate": 1}) is both[1]
    with pytest.raises(ValueError, match="expected a choice among 2 candidates"):
        chosen(both, only, record)


def test_a_training_with_candidates_asks_for_the_choice_before_it_reads_data(tmp_path: Path) -> None:
    both = tuple(Tuning(model=spec_of(rate).model) for rate in (0.1, 0.2))
    spec = spec_of(0.1).model_copy(update={"candidates": both})
    with pytest.raises(ValueError, match="expected a choice among 2 candidates"):
        finetune(spec, [tmp_path / "nothing"], tmp_path, tmp_path / "run", tmp_path / "work")
