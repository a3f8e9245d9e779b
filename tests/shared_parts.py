"""The artifacts that catalogs of raw and regridded data name."""

from pathlib import Path

from weatherpeft.artifacts import catalog


def raw_of(directory: Path) -> Path:
    """The only part of a catalog of raw data."""
    (part,) = catalog.read(directory)
    return part.path


def store_of(directory: Path, grid: str) -> Path:
    """The only store of a grid in a catalog of regridded data."""
    (part,) = (part for part in catalog.read(directory) if part.grid == grid)
    return part.path / f"{grid}.zarr"
