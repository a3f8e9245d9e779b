"""Named parts of a grid, which are scored beside the whole and may be held out of training."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from weatherpeft.fields.grid import Grid, Region


class NamedRegion(Region):
    """A part of the task's grid that is scored beside the whole grid."""

    held_out: bool = False
    """Whether the region's targets are left out of the losses of tuning, validation and Fisher warm-up."""

    @property
    def box(self) -> Region:
        """The borders alone, without ``held_out``."""
        return Region.model_validate(self.model_dump(exclude={"held_out"}))


def held_out(regions: Mapping[str, NamedRegion]) -> tuple[Region, ...]:
    """The boxes whose targets are left out of the losses."""
    return tuple(region.box for region in regions.values() if region.held_out)


def training_points(grid: Grid, without: Sequence[Region]) -> NDArray[np.int64] | None:
    """The grid points whose targets count in a loss.

    Args:
        grid: grid of the targets.
        without: regions whose points do not count.

    Returns:
        Increasing indices into a flattened field ``(latitude, longitude)``; None where all points count.
    """
    if not without:
        return None
    counts = np.ones(grid.shape, bool)
    for region in without:
        counts[np.ix_(*grid.inside(region))] = False
    return np.flatnonzero(counts)


def check_regions(grid: Grid, regions: Mapping[str, NamedRegion]) -> None:
    """Refuse a region without points of the grid, and held-out regions that leave none to train on.

    Raises:
        ValueError: regions do not fit the grid. The message names the grid and the region at fault.
    """
    for name, region in regions.items():
        rows, columns = grid.inside(region)
        if not rows.size or not columns.size:
            raise ValueError(f"regions.{name}: holds no point of the grid {grid.label}")
    points = training_points(grid, held_out(regions))
    if points is not None and not points.size:
        raise ValueError(f"regions: what is held out is all of the grid {grid.label}")
