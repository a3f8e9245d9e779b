"""Grids of a downscaling of some data, and a backbone that fits them and the machine."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import floor

import numpy as np
from pydantic import TypeAdapter

from weatherpeft.backbones import AnyBackbone
from weatherpeft.fields.boxes import check_reach, within
from weatherpeft.fields.grid import Grid, is_regular, latitude_bounds, longitude_cells
from weatherpeft.interfaces import BackboneSpec
from weatherpeft.sources.formats.fields import Layout

FACTORS = (4, 3, 2, 5, 6)
"""How many cells of the target an input cell is wide, the first that fits."""
POINTS = 8192
"""Most points of a target, 64 x 128, for a training without a GPU."""
JOB_BYTES, FIELD_BYTES = 10**9, 10_000
"""Memory of a training: of any, and more for each field at a point."""
SMALL = {
    "name": "aurora",
    "embed_dim": 16,
    "encoder_depths": (1, 1),
    "encoder_num_heads": (2, 4),
    "decoder_depths": (1, 1),
    "decoder_num_heads": (4, 2),
    "num_heads": 2,
    "window_size": (2, 2, 4),
    "patch_size": 2,
}
"""For boxes of few points and machines of little memory. With fewer latent levels than the default one window
holds all of them, and upstream fails on narrow boxes."""
LARGE = {
    "name": "aurora",
    "embed_dim": 64,
    "encoder_depths": (1, 2, 1),
    "encoder_num_heads": (2, 4, 8),
    "decoder_depths": (1, 2, 1),
    "decoder_num_heads": (8, 4, 2),
    "num_heads": 4,
    "window_size": (2, 4, 8),
}
"""That of ``config/default.yaml``."""
LARGE_POINTS = 16 * 16
"""Least points of a target of the large backbone."""


@dataclass(frozen=True)
class Choice:
    """Grids and backbone of an experiment.

    Attributes:
        input_grid: coarse grid, which the data reaches everywhere.
        target_grid: fine grid, which the backbone can take.
        backbone: keys of the backbone, as in a config.
        own: whether rows and columns of the target are those of the data.
    """

    input_grid: Grid
    target_grid: Grid
    backbone: dict[str, object]
    own: bool


def choose(layout: Layout, fields: int) -> Choice:
    """The finest downscaling that the data has and this machine can train.

    Args:
        layout: grid of the data.
        fields: number of fields that the model sees.

    Raises:
        ValueError: the data has too few rows or columns for any.
    """
    points, latitude, longitude = most_points(fields), *_borders(layout)
    sizes = (LARGE, SMALL) if points >= LARGE_POINTS else (SMALL,)
    for (whole, own), values in product(_grids(layout), sizes):
        backbone: BackboneSpec = TypeAdapter(AnyBackbone).validate_python(values)
        intervals = round(180 / whole.resolution_deg)
        for factor in (each for each in FACTORS if intervals % each == 0 and intervals > each):
            coarse = within(Grid(resolution_deg=180 * factor / intervals), latitude, longitude)
            target = _target(whole, coarse, layout, backbone) if coarse else None
            if coarse and target and target.shape[0] * target.shape[1] <= points:
                return Choice(coarse, target, values, own)
    raise ValueError(f"the grid {layout} of the files is too small: no model fits a part of it")


def most_points(fields: int) -> int:
    """Most points of a grid that this machine can train on, with half of its memory.

    Args:
        fields: number of fields that the model sees.
    """
    import psutil

    rest = psutil.virtual_memory().total / 2 - JOB_BYTES
    return min(POINTS, max(floor(rest / (FIELD_BYTES * fields)), 0))


def _grids(layout: Layout) -> Iterator[tuple[Grid, bool]]:
    """Global grids as fine as the data and coarser, finest first, and whether the rows are the data's own."""
    north, spacing = float(layout.latitude[0]), _spacing(layout)
    intervals = round(180 / spacing)
    if abs(180 / intervals - spacing) < 1e-6:
        numbers = [intervals // times for times in range(1, intervals) if intervals % times == 0]
    else:  # not a divisor of 180, as on Gaussian grids: coarser ones with few digits
        numbers = [n for n in range(floor(180 / spacing), 1, -1) if abs(round(180 / n, 6) * n - 180) < 1e-9]
    offset = north / spacing % 1
    for number in (each for each in numbers if each > 1):
        own = number == intervals and is_regular(layout.latitude) and _is_own(layout, spacing)
        yield Grid(resolution_deg=180 / number, poles=own and min(offset, 1 - offset) < 1e-3), own


def _is_own(layout: Layout, spacing: float) -> bool:
    """Whether rows lie on whole or half steps, and columns on whole ones, one step apart."""
    rows, columns = layout.latitude[0] / spacing * 2, layout.longitude[0] / spacing
    steps = (-np.diff(layout.latitude)[0], longitude_cells(layout.longitude)[1])
    on_them = all(abs(each - round(each)) < 1e-3 for each in (rows, columns))
    return on_them and all(abs(step - spacing) < 1e-6 for step in steps)


def _spacing(layout: Layout) -> float:
    """The distance of rows or of columns in degrees, whichever is larger."""
    return float(max(np.abs(np.diff(layout.latitude)).max(), longitude_cells(layout.longitude)[1]))


def _borders(layout: Layout) -> tuple[tuple[float, float], tuple[float, float]]:
    """Southern and northern, western and eastern borders of the data in degrees."""
    rows = latitude_bounds(layout.latitude)
    west, width = longitude_cells(layout.longitude)
    return (float(rows[-1]), float(rows[0])), (float(west.min()), float(west.max() + width))


def _target(whole: Grid, coarse: Grid, layout: Layout, backbone: BackboneSpec) -> Grid | None:
    """The largest box that data and input reach and the backbone takes; None where there is none."""
    latitude, longitude = _borders(layout)
    bounds = coarse.latitude_bounds()
    latitude = max(latitude[0], float(bounds[-1])), min(latitude[1], float(bounds[0]))
    if coarse.shape[1] < round(360 / coarse.resolution_deg):
        edges = coarse.longitude_bounds()
        longitude = float(edges[0]), float(edges[-1])
    box = within(whole, latitude, longitude)
    target = backbone.nearest(box)[0] if box else None
    if target is None:
        return None
    target = whole if target.shape == whole.shape else target
    try:
        check_reach(coarse, target)
    except ValueError:
        return None
    return target
