"""Named parts of a grid, scored beside the whole and, where the experiment says so, held out of training."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from weatherpeft.fields.grid import Grid, Region


class NamedRegion(Region):
    """A part of the task's grid that is scored beside the whole."""

    held_out: bool = False
    """Whether its targets stay out of the losses of tuning, validation and Fisher warm-up."""

    @property
    def box(self) -> Region:
        """The region without its role."""
        return Region.model_validate(self.model_dump(exclude={"held_out"}))


def held_out(regions: Mapping[str, NamedRegion]) -> tuple[Region, ...]:
    """The boxes whose targets stay out of the losses."""
    return tuple(region.box for region in regions.values() if region.held_out)


def training_points(grid: Grid, without: Sequence[Region]) -> NDArray[np.int64] | None:
    """The points whose targets count in a loss: those that lie in none of some regions.

    Args:
        grid: of the targets.
        without: regions.

    Returns:
        Places in a flattened field ``(latitude, longitude)``, increasing; None for all of them.
    """
    if not without:
        return None
    counts = np.ones(grid.shape, bool)
    for region in without:
        counts[np.ix_(*grid.inside(region))] = False
    return np.flatnonzero(counts)


def check_regions(grid: Grid, regions: Mapping[str, NamedRegion]) -> None:
    """Whether every region has points of a grid, and the held-out ones leave some to train on.

    Raises:
        ValueError: naming the region and the grid.
    """
    for name, region in regions.items():
        rows, columns = grid.inside(region)
        if not rows.size or not columns.size:
            raise ValueError(f"regions.{name}: holds no point of the grid {grid.label}")
    points = training_points(grid, held_out(regions))
    if points is not None and not points.size:
        raise ValueError(f"regions: what is held out is all of the grid {grid.label}")
