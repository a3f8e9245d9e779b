"""The option ``fit``: grids of an experiment's tasks, made as large as its backbone can take."""

import json
import logging
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from weatherpeft.backbones import AnyBackbone
from weatherpeft.fields.boxes import written
from weatherpeft.fields.grid import Grid
from weatherpeft.interfaces import BackboneSpec
from weatherpeft.tasks import AnyTask

Fit = Literal["exact", "crop", "pad"]
"""Whether the grid of a task must fit the backbone, or becomes the nearest box inside it or around it."""
_log = logging.getLogger(__name__)


def fitted(values: Mapping[str, Any]) -> dict[str, Any]:
    """A config with grids that fit, where its ``fit`` says crop or pad. The log says what became of each.

    Args:
        values: what a YAML reader returned. What is wrong with it is left to the config to refuse.
    """
    side = {"crop": 0, "pad": 1}.get(str(values.get("fit")))
    try:
        backbone = _parse(AnyBackbone, values.get("backbone"))
    except ValidationError:
        side = None
    if side is None:
        return dict(values)
    found = {**values, "task": _fit_task("task", values.get("task"), backbone, side)}
    pretraining = values.get("pretraining")
    if isinstance(pretraining, Mapping):
        task = _fit_task("pretraining.task", pretraining.get("task"), backbone, side)
        found["pretraining"] = {**pretraining, "task": task}
    return found


def _parse(kind: Any, values: Any) -> Any:
    return TypeAdapter(kind).validate_json(json.dumps(values, default=str))


def _fit_task(key: str, values: Any, backbone: BackboneSpec, side: int) -> Any:
    """A task whose grid of the model is the nearest one that fits."""
    try:
        grid: Grid = _parse(AnyTask, values).window.target_grid
    except ValidationError:
        return values
    near = backbone.nearest(grid)[side]
    if near is None or (near.rows, near.shape) == (grid.rows, grid.shape):
        return values
    return {name: _replaced(f"{key}.{name}", each, grid, near) for name, each in values.items()}


def _replaced(key: str, value: Any, grid: Grid, near: Grid) -> Any:
    """The nearest grid in place of a value that is the grid."""
    try:
        if not isinstance(value, Mapping) or Grid.parse(value) != grid:
            return value
    except ValueError:
        return value
    _log.warning("%s: %d x %d points became %d x %d, region %s", key, *grid.shape, *near.shape, written(near))
    return near.model_dump(mode="json")
