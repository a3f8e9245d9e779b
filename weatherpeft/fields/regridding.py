"""Regridding from regular and Gaussian grids to regular ones, with one small sparse matrix per axis.

On such grids conservative and bilinear weights are products of a latitude and a longitude factor. Two
sparse products therefore regrid a field, and a global 0.25° field takes milliseconds. Conservative
regridding is first-order: a target value is the mean over the target cell, weighted by area (Jones 1999,
doi:10.1175/1520-0493(1999)127<2204:FASOCR>2.0.CO;2).
"""

from typing import Literal

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from weatherpeft.fields.grid import Axis, Grid, is_regular, latitude_bounds, longitude_cells, snap_latitude

Method = Literal["conservative", "bilinear"]
MINIMUM_VALID_SHARE = 0.5
"""Share of a target cell's weight that must fall on valid source cells; below it the cell is NaN."""


class Regridder:
    """Weights from a regular or Gaussian source grid to a target grid.

    The source may be global or regional, have rows on the poles or not, go from south to north or from
    north to south, and start at any meridian. It must reach the whole target, because nothing is
    extrapolated. The one exception is half a source cell beyond an outer row or column, where bilinear
    values are those of that row or column.

    Args:
        source_latitude: row centers in degrees, shape ``(source_latitude,)``.
        source_longitude: column centers in degrees, shape ``(source_longitude,)``.
        target: grid to regrid to.
        method: ``conservative`` gives means over the target cells. ``bilinear`` gives values at the target
            centers, by coordinates and periodic in longitude.
        minimum_valid_share: share of a target cell's weight that must fall on source cells that exist and
            are not NaN. With less the cell is NaN; otherwise the weights of these cells are renormalized.

    Raises:
        ValueError: an axis is neither regular nor Gaussian, or the source does not reach a target row or
            column.
    """

    def __init__(
        self,
        source_latitude: Axis,
        source_longitude: Axis,
        target: Grid,
        method: Method,
        minimum_valid_share: float = MINIMUM_VALID_SHARE,
    ) -> None:
        if not 0 < minimum_valid_share <= 1:
            raise ValueError(f"minimum_valid_share: expected a value in (0, 1], found {minimum_valid_share}")
        if method == "conservative":
            latitude = _latitude_overlaps(source_latitude, target)
            longitude = _longitude_overlaps(source_longitude, target)
        elif method == "bilinear":
            latitude = _latitude_interpolation(source_latitude, target.latitude)
            longitude = _longitude_interpolation(source_longitude, target.longitude)
        else:
            raise ValueError(f"method: expected conservative or bilinear, found {method!r}")
        self.target = target
        self.method = method
        self.minimum_valid_share = minimum_valid_share
        self.latitude_matrix = _complete(latitude, target.latitude, "latitude", minimum_valid_share)
        self.longitude_matrix = _complete(longitude, target.longitude, "longitude", minimum_valid_share)
        self._weights = tuple(m.astype(np.float32) for m in (self.latitude_matrix, self.longitude_matrix))

    @property
    def source_shape(self) -> tuple[int, int]:
        """Numbers of source rows and columns."""
        return int(self.latitude_matrix.shape[1]), int(self.longitude_matrix.shape[1])

    def __call__(self, field: NDArray[np.floating]) -> NDArray[np.float32]:
        """Regrid fields.

        Source values that are NaN take no part in the weighted mean, which is divided by the share of
        valid weight. The result is NaN where that share is below ``minimum_valid_share``. NaN is never
        filled otherwise, and it does not spread any further.

        Args:
            field: values, shape ``(..., source_latitude, source_longitude)``.

        Returns:
            Values in float32, shape ``(..., latitude, longitude)``. The sums are in float32 too: their error
            of a few 1e-7 is far below that of fields packed in 16 bits, and they take less than half the
            time of float64.

        Raises:
            ValueError: the shape does not match the source grid.
        """
        if field.shape[-2:] != self.source_shape:
            raise ValueError(f"expected fields of shape (..., {self.source_shape}), found {field.shape}")
        slices = field.reshape(-1, *self.source_shape)
        result = np.empty((len(slices), *self.target.shape), np.float32)
        for index, one in enumerate(slices):
            result[index] = self._one(one)
        return result.reshape(*field.shape[:-2], *self.target.shape)

    def classes(self, field: NDArray[np.floating]) -> NDArray[np.float32]:
        """Regrid numbers that stand for classes, such as soil types, which have no mean.

        A target cell or point gets the class with the most weight. For ``conservative`` that is the class
        with the largest area in the cell. Of classes with equal weight it gets the smallest number.

        Args:
            field: few different numbers, shape ``(..., source_latitude, source_longitude)``.

        Returns:
            Class numbers in float32, shape ``(..., latitude, longitude)``.

        Raises:
            ValueError: the shape does not match the source grid.
        """
        shape = (*field.shape[:-2], *self.target.shape)
        found, most = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        for number in np.unique(field):
            share = self((field == number).astype(np.float32))
            more = share > most + 1e-6  # shares that differ by rounding alone are equal
            found[more], most[more] = number, share[more]
        return found

    def _one(self, field: NDArray[np.floating]) -> NDArray[np.float32]:
        result = self._apply(field)
        if not np.isnan(result).any():  # every source cell with weight is valid
            return result
        missing = np.isnan(field)
        total = self._apply(np.where(missing, 0, field))
        share = self._apply((~missing).astype(np.float32))
        enough = share >= self.minimum_valid_share - 1e-6
        return np.where(enough, total / np.where(enough, share, 1), np.float32(np.nan))

    def _apply(self, field: NDArray[np.floating]) -> NDArray[np.float32]:
        latitude, longitude = self._weights
        rows = latitude @ field.astype(np.float32, copy=False)
        result: NDArray[np.float32] = (longitude @ rows.T).T
        return result


def interpolation_matrices(source: Grid, target: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bilinear interpolation from one grid to another as two dense matrices.

    The interpolation goes by coordinates and is periodic in longitude. Where grids do not nest, enlarging
    the array like an image would shift the field. Target rows beyond the outer source row take its value.

    Args:
        source: coarse grid.
        target: fine grid.

    Returns:
        Matrices ``(target latitude, source latitude)`` and ``(target longitude, source longitude)``. The
        interpolated field is ``latitude_matrix @ field @ longitude_matrix.T``.

    Raises:
        ValueError: the source does not reach a target row or column.
    """
    regridder = Regridder(source.latitude, source.longitude, target, "bilinear", minimum_valid_share=1)
    return regridder.latitude_matrix.toarray(), regridder.longitude_matrix.toarray()


def _complete(
    matrix: scipy.sparse.csr_array, centers: Axis, axis: str, minimum_share: float
) -> scipy.sparse.csr_array:
    """Divide the rows of a matrix by their sums, which are the covered shares of the target cells."""
    share = np.asarray(matrix.sum(axis=1)).ravel()
    short = np.flatnonzero(share < minimum_share - 1e-9)
    if short.size:
        raise ValueError(
            f"the source does not reach {short.size} of {share.size} target {axis}s, the first at "
            f"{centers[short[0]]:g}°: expected {minimum_share:.0%} of the cell covered, "
            f"found {share[short[0]]:.0%}"
        )
    return scipy.sparse.csr_array(scipy.sparse.diags_array(1 / share) @ matrix)


def _overlaps(
    source: tuple[Axis, Axis], target: tuple[Axis, Axis], period: float | None
) -> scipy.sparse.csr_array:
    """Share of every target interval that each source interval covers, ``(target, source)``.

    Args:
        source: lower and upper borders.
        target: lower and upper borders.
        period: length of the circle on which the intervals lie, or None for a line.
    """
    rows, columns, shares = [], [], []
    for row, (low, high) in enumerate(zip(*target, strict=True)):
        for shift in (0.0,) if period is None else (-2 * period, -period, 0.0, period, 2 * period):
            overlap = np.minimum(source[1] + shift, high) - np.maximum(source[0] + shift, low)
            hit = np.flatnonzero(overlap > 1e-12)
            rows.append(np.full(hit.size, row))
            columns.append(hit)
            shares.append(overlap[hit] / (high - low))
    entries = (np.concatenate(shares), (np.concatenate(rows), np.concatenate(columns)))
    shape = (target[0].size, source[0].size)
    return scipy.sparse.csr_array(scipy.sparse.coo_array(entries, shape=shape))


def _latitude_overlaps(source: Axis, target: Grid) -> scipy.sparse.csr_array:
    """Overlaps in the sine of latitude, where equal lengths are equal areas."""
    found = np.sin(np.deg2rad(latitude_bounds(source)))
    wanted = np.sin(np.deg2rad(target.latitude_bounds()))
    return _overlaps(_ordered(found), _ordered(wanted), period=None)


def _ordered(bounds: Axis) -> tuple[Axis, Axis]:
    return np.minimum(bounds[:-1], bounds[1:]), np.maximum(bounds[:-1], bounds[1:])


def _longitude_overlaps(source: Axis, target: Grid) -> scipy.sparse.csr_array:
    west, width = longitude_cells(source)
    return _overlaps((west, west + width), _ordered(target.longitude_bounds()), period=360)


def _latitude_interpolation(source: Axis, points: Axis) -> scipy.sparse.csr_array:
    centers = snap_latitude(source)
    if centers.size < 2:
        raise ValueError(f"latitude: expected two or more source rows, found {centers.size}")
    if is_regular(centers):
        position = (points - centers[0]) / (centers[1] - centers[0])
    else:
        position = _position_between(points, centers)
    return _linear(position, np.arange(centers.size), periodic=False)


def _position_between(points: Axis, centers: Axis) -> Axis:
    """Fractional positions of points among unequal rows; an outer border is half a step outside."""
    bounds = latitude_bounds(centers)
    known = np.concatenate([bounds[:1], centers, bounds[-1:]])
    steps = np.concatenate([[-0.5], np.arange(centers.size), [centers.size - 0.5]])
    turn = np.sign(known[-1] - known[0])
    return np.interp(turn * points, turn * known, steps, left=-1, right=centers.size)


def _longitude_interpolation(source: Axis, points: Axis) -> scipy.sparse.csr_array:
    west, width = longitude_cells(source)
    order = np.argsort(west)  # eastward from the first column, whatever the order in the file
    periodic = source.size * width > 360 - width / 2
    position = (points - (west[order[0]] + width / 2)) / width
    if not periodic:  # counted from the middle, so that points beside both ends are near them
        middle, turn = (source.size - 1) / 2, 360 / width
        position = (position - middle + turn / 2) % turn + middle - turn / 2
    return _linear(position, order, periodic)


def _linear(position: Axis, order: NDArray[np.intp], periodic: bool) -> scipy.sparse.csr_array:
    """Weights of linear interpolation at fractional positions, ``(position, order)``.

    Args:
        position: positions of the target points in source steps.
        order: source column at each whole position.
        periodic: whether the first position follows the last. Otherwise a point up to half a step outside
            takes the outer value, and the row of a point farther outside is empty.
    """
    count = order.size
    if not periodic:
        reached = (position > -0.5 - 1e-6) & (position < count - 0.5 + 1e-6)
        position = np.clip(position, 0, count - 1)
    else:
        reached = np.ones(position.size, bool)
    position = np.where(np.abs(position - np.round(position)) < 1e-9, np.round(position), position)
    below = np.floor(position).astype(np.intp)
    above_share = np.where(reached, position - below, 0)
    below_share = np.where(reached, 1 - above_share, 0)
    above = (below + 1) % count
    rows = np.arange(position.size)
    entries = (
        np.concatenate([below_share, above_share]),
        (np.concatenate([rows, rows]), order[np.concatenate([below % count, above])]),
    )
    matrix = scipy.sparse.csr_array(scipy.sparse.coo_array(entries, shape=(position.size, count)))
    matrix.eliminate_zeros()
    return matrix
