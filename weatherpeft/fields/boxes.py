"""Boxes of a global grid: those of a size that a model takes, and those that reach around others."""

import math

import numpy as np

from weatherpeft.fields.grid import Grid, Region


def written(grid: Grid) -> str:
    """The region of a grid as one would write it into a config.

    >>> written(Grid(resolution_deg=5, region=Region(north=50, south=40, west=-8, east=2)))
    '{north: 50, south: 40, west: -8, east: 2}'
    """
    region = grid.region or Region(north=90, south=-90, west=0, east=360)
    west = region.west - 360 if region.west > region.east else region.west
    borders = {"north": region.north, "south": region.south, "west": west, "east": region.east}
    return f"{{{', '.join(f'{name}: {value:.10g}' for name, value in borders.items())}}}"


def nearest(grid: Grid, multiple: int, least: int) -> tuple[Grid | None, Grid | None]:
    """The nearest boxes whose rows and columns are multiples of a number, without rows on the poles.

    Args:
        grid: a grid or a part of it.
        multiple: number that divides rows and columns.
        least: least number of rows and of columns, a multiple too.

    Returns:
        The largest such box inside the grid, with as much cut off at one side as at the other, and the
        smallest one around it; None where there is none.

    >>> box = Grid(resolution_deg=5, region=Region(north=50, south=-1, west=10, east=40))
    >>> [written(found) for found in nearest(box, 4, 4) if found]
    ['{north: 45, south: 5, west: 15, east: 30}', '{north: 55, south: -5, west: 10, east: 45}']
    """
    total, columns = (_whole(grid).shape[axis] for axis in (0, 1))
    outer = int(grid.poles)
    first, last = max(grid.rows.start, outer), min(grid.rows.stop, total - outer)
    west = round(grid.longitude[0] / grid.resolution_deg)
    found: list[Grid | None] = []
    for resize in (_crop, _pad):
        rows = resize(first, last - first, multiple, least, total - 2 * outer)
        around = resize(west, grid.longitude.size, multiple, least, columns)
        if rows is None or around is None:
            found.append(None)
            continue
        start = min(max(rows[0], outer), total - outer - rows[1])
        found.append(_box(grid, (start, rows[1]), around))
    return found[0], found[1]


def enclosing(grid: Grid, target: Grid) -> Grid:
    """The least box of a grid whose centers lie around all those of a target.

    Rows between the outer row of the grid and a pole are left out, because no center lies beyond them.
    """
    latitude, step = _whole(grid).latitude, grid.resolution_deg
    first = int(np.sum(latitude >= target.latitude[0] - 1e-9)) - 1
    last = int(np.sum(latitude > target.latitude[-1] + 1e-9))
    first, last = max(first, 0), min(last, latitude.size - 1)
    west = math.floor(target.longitude[0] / step + 1e-9)
    east = math.ceil(target.longitude[-1] / step - 1e-9)
    return _box(grid, (first, last - first + 1), (west, min(east - west + 1, _whole(grid).shape[1])))


def within(grid: Grid, latitude: tuple[float, float], longitude: tuple[float, float]) -> Grid | None:
    """The largest box of a global grid whose cells lie between borders; None where no cell does.

    Args:
        grid: a global grid.
        latitude: southern and northern border in degrees.
        longitude: western and eastern border in degrees, the eastern one the larger.

    >>> box = within(Grid(resolution_deg=5), (0, 50), (-8, 12))
    >>> written(box), box.shape
    ('{north: 50, south: 0, west: -5, east: 5}', (10, 3))
    """
    step, around = grid.resolution_deg, grid.shape[1]
    bounds, slack = grid.latitude_bounds(), 1e-6 * step
    rows = np.flatnonzero((bounds[:-1] <= latitude[1] + slack) & (bounds[1:] >= latitude[0] - slack))
    west = math.ceil(longitude[0] / step + 0.5 - 1e-6)
    columns = math.floor(longitude[1] / step - 0.5 + 1e-6) - west + 1
    if longitude[1] - longitude[0] >= 360 - slack:
        west, columns = 0, around
    if not rows.size or columns < 1:
        return None
    if (rows.size, columns) == grid.shape:
        return grid
    return _box(grid, (int(rows[0]), rows.size), (west, columns))


def check_reach(grid: Grid, target: Grid) -> None:
    """Refuse a grid that cannot be interpolated to all points of a target.

    It may end half a cell before them (see ``regridding.interpolation_matrices``).

    Raises:
        ValueError: a row or column of the target lies outside. The message names the first one and a box of
            the grid that does.
    """
    if min(grid.shape) < 2:
        raise ValueError(f"expected two or more rows and columns, found {grid.shape[0]} x {grid.shape[1]}")
    bounds, slack = grid.latitude_bounds(), 1e-6 * grid.resolution_deg
    rows = (target.latitude > bounds[0] + slack) | (target.latitude < bounds[-1] - slack)
    west, east = grid.longitude_bounds()[[0, -1]]
    middle, half = (west + east) / 2, (east - west) / 2
    away = np.abs((target.longitude - middle + 180) % 360 - 180)
    columns = (away > half + slack) & (half < 180 - grid.resolution_deg / 4)
    for outside, centers, name in ((rows, target.latitude, "row"), (columns, target.longitude, "column")):
        if outside.any():
            raise ValueError(
                f"the region is too small: it ends before {outside.sum()} of {outside.size} {name}s of the "
                f"target, the first at {centers[np.argmax(outside)]:g}°; a region that reaches them: "
                f"{written(enclosing(grid, target))}"
            )


def _whole(grid: Grid) -> Grid:
    return grid.model_copy(update={"region": None})


def _crop(start: int, count: int, multiple: int, least: int, most: int) -> tuple[int, int] | None:
    size = count // multiple * multiple
    return (start + (count - size) // 2, size) if size >= least else None


def _pad(start: int, count: int, multiple: int, least: int, most: int) -> tuple[int, int] | None:
    size = max(-(-count // multiple) * multiple, least)
    return (start - (size - count) // 2, size) if size <= most else None


def _box(grid: Grid, rows: tuple[int, int], columns: tuple[int, int]) -> Grid:
    """A part of the global grid, from first positions and numbers of rows and columns."""
    step = grid.resolution_deg
    latitude = _whole(grid).latitude[rows[0] : rows[0] + rows[1]]
    north, south = (
        _border(float(center), sign * step, on_center=grid.poles)
        for center, sign in ((latitude[0], 1), (latitude[-1], -1))
    )
    west, east = 0.0, 360.0
    around = _whole(grid).shape[1]
    if columns[1] < around:
        first, last = (number % around * step for number in (columns[0], columns[0] + columns[1] - 1))
        west, east = _border(first, -step, on_center=True), _border(last, step, on_center=True)
    region = Region(north=min(north, 90), south=max(south, -90), west=west, east=east)
    return grid.model_copy(update={"region": region})


def _border(center: float, outward: float, *, on_center: bool) -> float:
    """A border that holds the center: on it where few digits say it exactly, else half a step outside."""
    if on_center and round(center, 6) == center:
        return round(center, 6)
    return round(center + outward / 2, 6)
