"""Kinds of grids: those whose rows and columns are latitudes and longitudes, and what makes others so.

The commands were tried with CDO 2.1 on a field of each kind.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr

SEPARABLE = ("regular_ll", "regular_gg")
"""ecCodes' names of grids with one latitude for each row and one longitude for each column."""
_BOX = "cdo sellonlatbox,WEST,EAST,SOUTH,NORTH -remapbil,global_0.25 FILE NEW (a box inside the data)"
_COMMANDS = {
    "reduced_gg": ("a reduced Gaussian grid", "cdo setgridtype,regular FILE NEW"),
    "sh": ("spectral coefficients", "cdo sp2gp FILE NEW"),
    "lambert": ("a Lambert projection", _BOX),
    "polar_stereographic": ("a polar stereographic projection", _BOX),
    "rotated_ll": ("a rotated grid", _BOX),
    "curvilinear": ("a grid of two-dimensional latitudes and longitudes", _BOX),
    "unstructured": ("an unstructured grid", "cdo remapdis,global_0.25 FILE NEW"),
}
_OTHER = "interpolate it to latitudes and longitudes, or ask for such a grid (MARS: grid=0.25/0.25)"


def advice(kind: str) -> str:
    """What is wrong with a grid that is not separable, and what converts it.

    Args:
        kind: ecCodes' name of the grid, for example ``lambert``, or a kind of grid in NetCDF.
    """
    found, command = _COMMANDS.get(kind, (f"a grid of type {kind}", ""))
    how = f"convert it with: {command}" if command else _OTHER
    return f"expected rows of latitude and columns of longitude, found {found}; {how}"


def check_separable(latitude: "xr.DataArray", longitude: "xr.DataArray") -> None:
    """Refuse coordinates that are not those of rows and columns.

    Raises:
        ValueError: they have two dimensions, or share one.
    """
    if latitude.ndim > 1 or longitude.ndim > 1:
        raise ValueError(advice("curvilinear"))
    if latitude.dims and latitude.dims == longitude.dims:
        raise ValueError(advice("unstructured"))
