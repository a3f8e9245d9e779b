"""Latitude/longitude geometry and area weights."""

import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from weatherpeft.fields.gaussian import find_rows, gaussian_latitudes
from weatherpeft.spec import Latitude, Longitude, Spec

Axis = NDArray[np.float64]
SNAP_TOLERANCE_DEG = 2e-3
"""Greatest distance of an axis from the regular one that replaces it. GRIB1 rounds to millidegrees."""


def _on_circle(longitude: float) -> float:
    """Degrees east in [0, 360). The second remainder is for -1e-15, whose first is 360."""
    return longitude % 360.0 % 360.0


class Region(Spec):
    """A box that holds the cell centers between its borders and on them.

    Longitudes may be given as -8 or as 352, and are kept in [0, 360). A box with ``west > east`` reaches
    across 0°. One of 360 degrees or more, such as -180 to 180, is the whole circle, from 0 to 360.

    >>> Region(north=60, south=50, west=-8, east=2).label, Region(north=9, south=0, west=-180, east=180).label
    ('60N-50N-352E-2E', '9N-0N-0E-360E')
    """

    north: Latitude
    """Northern border in degrees north."""
    south: Latitude
    """Southern border in degrees north, negative in the southern hemisphere."""
    west: Longitude
    """Western border in degrees east, negative west of Greenwich or from 0 on."""
    east: Longitude
    """Eastern border in degrees east, negative west of Greenwich or from 0 on."""

    @model_validator(mode="before")
    @classmethod
    def _eastward(cls, values: Any) -> Any:
        """Longitudes in [0, 360); those of the whole circle as 0 and 360."""
        if not isinstance(values, Mapping):
            return values
        west, east = (values.get(name, math.nan) for name in ("west", "east"))
        if not all(type(each) in (int, float) and abs(each) <= 360 for each in (west, east)):
            return values  # refused by their own ranges
        if east - west >= 360:
            return {**values, "west": 0.0, "east": 360.0}
        return {**values, "west": _on_circle(west), "east": _on_circle(east)}

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.south > self.north:
            raise ValueError(f"region expects south <= north, found {self.south}, {self.north}")
        return self

    @property
    def label(self) -> str:
        """The borders as part of a file name, for example ``58.5N-1.25S-74E-133.75E``."""
        rows = [f"{abs(value):g}{'S' if value < 0 else 'N'}" for value in (self.north, self.south)]
        return "-".join([*rows, f"{self.west:g}E", f"{self.east:g}E"])


class Grid(Spec):
    """A regular global grid, or the part whose cell centers lie in a region.

    >>> Grid(resolution_deg=5.625).shape, Grid(resolution_deg=0.25, poles=True).shape
    ((32, 64), (721, 1440))
    """

    resolution_deg: float = Field(ge=0.01, le=90)
    """Spacing of rows and columns in degrees, a divisor of 180."""
    poles: bool = False
    """Whether rows lie on the poles, so that row centers go from -90 to 90. Otherwise they go
    from -90+d/2 to 90-d/2 at spacing d, as in WeatherBench."""
    region: Region | None = None
    """Part of the globe to keep. By default the whole globe."""

    @model_validator(mode="after")
    def _regular(self) -> Self:
        intervals = 180 / self.resolution_deg
        if abs(intervals - round(intervals)) > 1e-9:
            raise ValueError(
                f"resolution_deg: expected a divisor of 180 and 360, found {self.resolution_deg} "
                f"(180 / {self.resolution_deg} = {intervals:.6g})"
            )
        if 0 in self.shape:
            raise ValueError(f"region holds no cell center of the grid, found shape {self.shape}")
        return self

    @property
    def latitude(self) -> Axis:
        """Row centers in degrees, north to south, shape ``(latitude,)``."""
        return self._global_latitude()[self.rows]

    @property
    def longitude(self) -> Axis:
        """Column centers in degrees, shape ``(longitude,)``.

        The centers increase within [0, 360). In a region across 0° they go from west to east and are
        negative west of 0°.

        >>> box = Region(north=60, south=50, west=350, east=4)
        >>> Grid(resolution_deg=5, poles=True, region=box).longitude.tolist()
        [-10.0, -5.0, 0.0]
        """
        longitude = self._global_longitude()
        if self.region is None:
            return longitude
        west, east = self.region.west, self.region.east
        if west <= east:
            return longitude[(longitude >= west) & (longitude <= east)]
        return np.concatenate([longitude[longitude >= west] - 360, longitude[longitude <= east]])

    @property
    def rows(self) -> slice:
        """The rows of the global grid that belong to the grid."""
        if self.region is None:
            return slice(0, self._global_latitude().size)
        latitude = self._global_latitude()
        return _span((latitude >= self.region.south) & (latitude <= self.region.north))

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns."""
        return self.latitude.size, self.longitude.size

    @property
    def label(self) -> str:
        """A file name for the grid.

        >>> Grid(resolution_deg=5.625).label, Grid(resolution_deg=3, poles=True).label
        ('5.625deg', '3deg-poles')
        """
        parts = [f"{self.resolution_deg:.10g}deg"]
        parts += ["poles"] if self.poles else []
        parts += [self.region.label] if self.region else []
        return "-".join(parts)

    def latitude_bounds(self) -> Axis:
        """Borders of the rows in degrees, the poles at ±90, shape ``(latitude + 1,)``, north to south."""
        rows = self.rows
        return latitude_bounds(self._global_latitude())[rows.start : rows.stop + 1]

    def longitude_bounds(self) -> Axis:
        """Borders of the columns in degrees, shape ``(longitude + 1,)``; on the whole globe from -d/2 on."""
        longitude = self.longitude
        return np.append(longitude, longitude[-1] + self.resolution_deg) - self.resolution_deg / 2

    def area_weights(self) -> Axis:
        """Cell areas relative to the mean cell of the global grid, shape ``(latitude,)``.

        The area of a row is the difference of the sines of its borders. The weights have mean 1 over the
        *global* grid, and a region takes its part of them. Weights computed on a crop would count the
        polar caps to the outer rows.
        """
        area = -np.diff(np.sin(np.deg2rad(latitude_bounds(self._global_latitude()))))
        return (area / area.mean())[self.rows]

    def inside(self, region: Region) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows and columns whose centers lie in a region or on its borders.

        >>> box = Region(north=60, south=30, west=350, east=10)
        >>> [places.tolist() for places in Grid(resolution_deg=30, poles=True).inside(box)]
        [[1, 2], [0]]
        """
        latitude, longitude = self.latitude, self.longitude % 360
        rows = (latitude >= region.south) & (latitude <= region.north)
        columns = [longitude >= region.west, longitude <= region.east]
        across = region.west > region.east
        return np.flatnonzero(rows), np.flatnonzero(
            columns[0] | columns[1] if across else columns[0] & columns[1]
        )

    def _global_latitude(self) -> Axis:
        intervals = round(180 / self.resolution_deg)
        if self.poles:
            return 90 - self.resolution_deg * np.arange(intervals + 1, dtype=np.float64)
        return 90 - self.resolution_deg * (np.arange(intervals, dtype=np.float64) + 0.5)

    def _global_longitude(self) -> Axis:
        return self.resolution_deg * np.arange(round(360 / self.resolution_deg), dtype=np.float64)


def _span(inside: NDArray[np.bool_]) -> slice:
    """The slice of a mask's true values, which must be contiguous."""
    kept = np.flatnonzero(inside)
    return slice(int(kept[0]), int(kept[-1]) + 1) if kept.size else slice(0, 0)


def snap_axis(values: Axis, name: str) -> Axis:
    """Recover the exact regular axis from values that were rounded to millidegrees.

    The spacing becomes 360/n for an integer n, and the first value a multiple of half the spacing,
    unless a value would then move by more than ``SNAP_TOLERANCE_DEG``.

    Args:
        values: degrees, increasing or decreasing, shape ``(n,)``.
        name: name of the axis, for the error message.

    Returns:
        The exact values in the given order, shape ``(n,)``.

    Raises:
        ValueError: the values are not finite or not regular to within the tolerance.

    >>> float(snap_axis(np.array([89.297, 87.891, 86.484]), "latitude")[0])
    89.296875
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise ValueError(
            f"{name}: expected a one-dimensional axis of finite values, found shape {values.shape}"
        )
    if values.size == 1:
        return values
    steps = np.arange(values.size)
    spacing = (values[-1] - values[0]) / steps[-1]
    candidates = [values[0] + spacing * steps]
    if spacing != 0:
        exact = np.copysign(360 / max(round(360 / abs(spacing)), 1), spacing)
        half = abs(exact) / 2
        first = round(values[0] / half) * half
        # The middle is the safest anchor where the first value is no multiple of half the spacing.
        middle = values.mean() - exact * steps.mean()
        candidates = [first + exact * steps, middle + exact * steps, *candidates]
    for candidate in candidates:
        if np.abs(candidate - values).max() <= SNAP_TOLERANCE_DEG and spacing != 0:
            return candidate
    found = np.diff(values)
    raise ValueError(
        f"{name}: expected a regular axis, found {values.size} values from {values[0]:g} to {values[-1]:g} "
        f"with spacings from {found.min():g} to {found.max():g}"
    )


def snap_latitude(latitude: Axis) -> Axis:
    """Recover the exact rows of a regular or of a Gaussian grid from values that were rounded.

    Rows that are regular to within the tolerance are taken as regular, as those of a part of a fine Gaussian
    grid are.

    Args:
        latitude: degrees, north or south first, shape ``(n,)``.

    Returns:
        The exact values in the given order, shape ``(n,)``.

    Raises:
        ValueError: the values are not finite, or neither regular nor consecutive rows of a Gaussian grid.

    >>> snap_latitude(np.array([59.444, 19.876, -19.876, -59.444])).round(4).tolist()
    [59.4444, 19.8757, -19.8757, -59.4444]
    """
    try:
        return snap_axis(latitude, "latitude")
    except ValueError:
        values = np.asarray(latitude, dtype=np.float64)
        if values.ndim != 1 or values.size < 2 or not np.isfinite(values).all():
            raise
        north_first = slice(None, None, 1 if values[0] > values[-1] else -1)
        found = find_rows(values[north_first], SNAP_TOLERANCE_DEG)
        if found is None:
            raise
        rows, first = found
        return gaussian_latitudes(rows)[first : first + values.size][north_first]


def is_regular(axis: Axis) -> bool:
    """Whether an exact axis has one spacing, as opposed to Gaussian latitudes."""
    return bool(np.ptp(np.diff(axis)) < 1e-9)


def latitude_bounds(latitude: Axis) -> Axis:
    """Borders of the rows of a regular or Gaussian axis, with or without poles, in the order of the axis.

    Borders lie half-way between rows. The outer borders lie half a spacing beyond the outer rows, but at
    most on the poles, so that a row on a pole is half as wide as the others. The outermost row of a Gaussian
    grid reaches to the pole.

    Args:
        latitude: row centers in degrees, at least two, in either order, shape ``(latitude,)``.

    Returns:
        Degrees, shape ``(latitude + 1,)``.

    Raises:
        ValueError: the axis is neither regular nor Gaussian, has a single row or leaves -90 … 90.

    >>> latitude_bounds(np.array([-90.0, 0.0, 90.0])).tolist()
    [-90.0, -45.0, 45.0, 90.0]
    """
    centers = snap_latitude(latitude)
    if centers.size < 2 or np.abs(centers).max() > 90 + SNAP_TOLERANCE_DEG:
        raise ValueError(
            f"latitude: expected two or more values in -90 … 90, found {centers.size} "
            f"from {centers[0]:g} to {centers[-1]:g}"
        )
    if not is_regular(centers):
        return _gaussian_bounds(centers)
    half = (centers[1] - centers[0]) / 2
    bounds = np.append(centers - half, centers[-1] + half)
    for edge in (0, -1):  # a border beyond a pole, or within rounding of it, is the pole
        if 90 - abs(bounds[edge]) <= SNAP_TOLERANCE_DEG:
            bounds[edge] = np.copysign(90, bounds[edge])
    return bounds


def _gaussian_bounds(centers: Axis) -> Axis:
    half = np.diff(centers) / 2
    bounds = np.concatenate([centers[:1] - half[:1], centers[:-1] + half, centers[-1:] + half[-1:]])
    for edge in (0, -1):
        if 90 - abs(centers[edge]) < 2 * abs(half[edge]):  # no other row fits between it and the pole
            bounds[edge] = np.copysign(90, centers[edge])
    return bounds


def longitude_cells(longitude: Axis) -> tuple[Axis, float]:
    """Western borders and common width of the columns of a regular axis.

    The axis may start at any meridian and wrap around the globe. For a region across 0° it may consist
    of both ends of [0, 360).

    Args:
        longitude: column centers in degrees, at least two, in any order, shape ``(longitude,)``.

    Returns:
        Western borders in degrees, in the given order, shape ``(longitude,)``, and the width in degrees.

    Raises:
        ValueError: the axis is not regular around the circle, has a single column or names a meridian
            twice.
    """
    start, order = _around(longitude)
    east = (np.asarray(longitude, dtype=np.float64)[order] - start) % 360
    east[east > 360 - SNAP_TOLERANCE_DEG] -= 360  # the first column, where the start was rounded up
    centers = snap_axis(start + east, "longitude")
    if centers.size < 2:
        raise ValueError(f"longitude: expected two or more values, found {centers.size}")
    width = float(centers[1] - centers[0])
    west = np.empty_like(centers)
    west[order] = centers - width / 2
    return west, width


def _around(longitude: Axis) -> tuple[float, NDArray[np.intp]]:
    """The first meridian after the widest gap, and the order of the columns eastward from there."""
    circle = np.round(np.asarray(longitude, dtype=np.float64) % 360, 6) % 360
    order = np.argsort(circle, kind="stable")
    gaps = np.diff(circle[order], append=circle[order[0]] + 360)
    if gaps.min() <= SNAP_TOLERANCE_DEG:
        raise ValueError(f"longitude: the meridian {circle[order][np.argmin(gaps)]:g}° is there twice")
    # All gaps of a global grid are equal: the order changes only where one is clearly wider.
    widest = int(np.argmax(gaps)) if gaps.max() > gaps.min() + 2 * SNAP_TOLERANCE_DEG else gaps.size - 1
    order = np.roll(order, -(widest + 1))
    return float(circle[order[0]]), order
