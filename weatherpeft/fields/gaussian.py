"""Rows of regular Gaussian grids, whose latitudes are the zeros of a Legendre polynomial."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

MOST_ROWS = 8000
"""Most rows from pole to pole; the finest model of the globe has 5120."""


@lru_cache(maxsize=8)
def gaussian_latitudes(rows: int) -> NDArray[np.float64]:
    """Latitudes of a Gaussian grid of the globe in degrees, north to south, shape ``(rows,)``.

    Args:
        rows: number of rows from pole to pole, twice the N of names such as F320.

    >>> gaussian_latitudes(4).round(3).tolist()
    [59.444, 19.876, -19.876, -59.444]
    """
    from scipy.special import roots_legendre

    latitude: NDArray[np.float64] = np.degrees(np.arcsin(roots_legendre(rows)[0][::-1]))
    latitude.setflags(write=False)
    return latitude


def find_rows(latitude: NDArray[np.float64], tolerance: float) -> tuple[int, int] | None:
    """Find the Gaussian grid that consecutive rows belong to.

    Away from the poles rows lie π / (rows + ½) apart. Their mean spacing therefore tells the number of rows
    almost; the nearest numbers are tried.

    Args:
        latitude: row centers in degrees, north to south, at least two, shape ``(latitude,)``.
        tolerance: greatest distance in degrees of a row from that of the grid.

    Returns:
        Number of rows of the grid from pole to pole, and the first row's position; None if there is no such
        grid.
    """
    spacing = float(latitude[0] - latitude[-1]) / (latitude.size - 1)
    if spacing <= 0 or 180 / spacing > MOST_ROWS:
        return None
    guess = 2 * round((180 / spacing - 0.5) / 2)
    reach = 2 + 2 * round(0.01 * guess / latitude.size)
    for rows in sorted(range(guess - reach, guess + reach + 1, 2), key=lambda rows: abs(rows - guess)):
        if rows < max(latitude.size, 2):
            continue
        whole = gaussian_latitudes(rows)
        first = int(np.argmin(np.abs(whole - latitude[0])))
        own = whole[first : first + latitude.size]
        if own.size == latitude.size and np.abs(own - latitude).max() <= tolerance:
            return rows, first
    return None
