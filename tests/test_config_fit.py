"""Regions that do not fit: what the error proposes, and what ``fit`` makes of them."""

import logging
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from tests.experiments import changed, put
from weatherpeft.config import Experiment
from weatherpeft.fields.grid import Grid
from weatherpeft.jobs import Jobs

BOX = {"north": 58, "south": 50.25, "west": -10, "east": 1.75}
"""31 x 48 points at 0.25 degrees."""


def boxed(**options: Any) -> Experiment:
    """The test experiment of a region across Greenwich, which two rows of patches more would fit."""
    target = {"resolution_deg": 0.25, "region": BOX}
    wide = {"resolution_deg": 1.0, "region": {"north": 60, "south": 48, "west": -12, "east": 4}}
    return changed(
        put("task.target_grid", target),
        put("task.input_grid", wide),
        put("pretraining.task.grid", target),
        *(put(name, value) for name, value in options.items()),
    )


def shapes(experiment: Experiment) -> set[tuple[int, int]]:
    assert experiment.pretraining
    windows = (experiment.task.window, experiment.pretraining.task.window)
    return {window.target_grid.shape for window in windows}


def proposed(message: str) -> list[dict[str, float]]:
    """The regions that a message writes."""
    return [yaml.safe_load(f"{{{part.partition('}')[0]}}}") for part in message.split("{")[1:]]


def test_the_error_names_the_nearest_regions_and_they_fit() -> None:
    with pytest.raises(ValidationError) as caught:
        boxed()
    (error,) = caught.value.errors()
    assert (
        "of 31 x 48 points; the nearest regions that fit: {north: 57.75, south: 50.75, west: " in error["msg"]
    )
    inner, outer = proposed(error["msg"])
    for region, shape in ((inner, (28, 48)), (outer, (32, 48))):
        grid = {"resolution_deg": 0.25, "region": region}
        experiment = boxed(**{"task.target_grid": grid, "pretraining.task.grid": grid})
        assert shapes(experiment) == {shape}


@pytest.mark.parametrize(("fit", "shape"), [("crop", (28, 48)), ("pad", (32, 48))])
def test_grids_become_the_nearest_that_fit(
    caplog: pytest.LogCaptureFixture, fit: str, shape: tuple[int, int]
) -> None:
    with caplog.at_level(logging.WARNING):
        experiment = boxed(fit=fit)
    assert shapes(experiment) == {shape}
    assert [record.message.partition(", region")[0] for record in caplog.records] == [
        f"{key}: 31 x 48 points became {shape[0]} x 48"
        for key in ("task.target_grid", "pretraining.task.grid")
    ]
    assert experiment.task.window.input_grid.shape == (12, 17), "which the backbone does not see"
    caplog.clear()
    again = Experiment.parse(experiment.model_dump(mode="json"))
    assert again == experiment and not caplog.records, "a grid that fits stays as it is"


def test_fit_leaves_what_fits_and_what_is_wrong() -> None:
    plain, fitted = changed(), changed(put("fit", "crop"))
    assert fitted.task == plain.task
    label = Jobs(plain).periods()[0]
    assert Jobs(plain).regrid(label).digest() == Jobs(fitted).regrid(label).digest()
    with pytest.raises(ValidationError, match="fit\n.*'exact', 'crop' or 'pad'"):
        changed(put("fit", "stretch"))
    with pytest.raises(ValidationError, match="patch_size"):
        changed(put("fit", "crop"), put("backbone.patch_size", 0))
    with pytest.raises(ValidationError, match="resolution_deg"):
        changed(put("fit", "crop"), put("task.target_grid.resolution_deg", -1))


def test_what_cannot_be_cropped_is_refused_with_the_region_that_fits() -> None:
    small = {"resolution_deg": 0.25, "region": {"north": 52, "south": 51.6, "west": 0, "east": 3}}
    with pytest.raises(ValidationError) as caught:
        boxed(**{"task.target_grid": small, "fit": "crop"})
    (error,) = caught.value.errors()
    assert "of 2 x 13 points; the nearest regions that fit: {north: " in error["msg"]
    assert len(proposed(error["msg"])) == 1


def test_an_input_box_that_is_too_small_is_refused_with_one_that_reaches() -> None:
    """Cells of 1 degree have their centers on half degrees from north to south and on whole ones else."""
    target = {"resolution_deg": 0.25, "region": {"north": 58, "south": 50, "west": -10, "east": 1.75}}
    tight = {"resolution_deg": 1.0, "region": {"north": 58, "south": 50, "west": -10, "east": 1}}
    parts = {"task.target_grid": target, "pretraining.task.grid": target}
    message = (
        "input_grid 1deg-58N-50N-350E-1E: the region is too small: it ends before 1 of 48 columns of the "
        "target, the first at 1.75°; a region that reaches them: {north: "
    )
    with pytest.raises(ValidationError) as caught:
        boxed(**parts, **{"task.input_grid": tight})
    (error,) = caught.value.errors()
    assert error["loc"][0] == "task" and message in error["msg"]
    (region,) = proposed(error["msg"])
    assert region == {"north": 59, "south": 49, "west": -10, "east": 2}
    grid = boxed(
        **parts, **{"task.input_grid": {"resolution_deg": 1.0, "region": region}}
    ).task.window.input_grid
    assert grid == Grid.parse({"resolution_deg": 1.0, "region": region})
