"""Regions as masks, cell by cell."""

import numpy as np

from weatherpeft.fields.grid import Grid, Region


def mask(grid: Grid, *regions: Region) -> np.ndarray:
    """Where a cell's center lies in one of some regions, cell by cell."""
    found = np.zeros(grid.shape, bool)
    for row, column in np.ndindex(*grid.shape):
        latitude, longitude = grid.latitude[row], grid.longitude[column] % 360
        for box in regions:
            between = box.west <= longitude <= box.east
            if box.west > box.east:
                between = longitude >= box.west or longitude <= box.east
            found[row, column] |= box.south <= latitude <= box.north and between
    return found
