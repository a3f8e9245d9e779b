"""A small regridded data set with known values, for tests that need samples."""

from pathlib import Path

import numpy as np
import xarray as xr

from weatherpeft.artifacts import store
from weatherpeft.artifacts.field_store import FieldWriter, shard_times
from weatherpeft.fields.grid import Grid
from weatherpeft.fields.variables import FieldSet, VariableSet
from weatherpeft.samples.splits import Split
from weatherpeft.samples.window import Window
from weatherpeft.spec import Period

COARSE, FINE = Grid(resolution_deg=22.5), Grid(resolution_deg=11.25)
VARIABLES = VariableSet(
    surface=("2m_temperature",),
    atmospheric=("temperature",),
    levels_hpa=(500, 850),
    static=("land_sea_mask",),
)
FIELDS = FieldSet(measured=VARIABLES)
WINDOW = Window(input_grid=COARSE, target_grid=FINE, input_hours=(-6, 0), target_hours=(0,))


def period(start: str, end: str) -> Period:
    return Period.parse({"start": start, "end": end})


def split(*periods: Period, members: tuple[int, ...] = ()) -> Split:
    return Split(periods=periods, members=members)


def write_period(directory: Path, covered: Period, members: tuple[int, ...] = (), seed: int = 0) -> Path:
    """Write a period as the regrid stage does: random numbers, 6-hourly, on both grids."""
    random = np.random.default_rng(seed)
    times = np.arange(
        np.datetime64(covered.start, "ns"),
        np.datetime64(covered.end, "ns") + np.timedelta64(1, "D"),
        np.timedelta64(6, "h"),
    )
    leading = {"member": len(members), "time": len(times)} if members else {"time": len(times)}
    output = directory / covered.label
    with store.artifact(output, covered, "weatherpeft.spec") as temporary:
        for grid in (COARSE, FINE):
            flat = {**leading, "latitude": grid.shape[0], "longitude": grid.shape[1]}
            deep = {**leading, "level": 2, "latitude": grid.shape[0], "longitude": grid.shape[1]}

            mask = np.random.default_rng(0).uniform(0, 1, grid.shape)  # the same in every period

            def field(dims: dict[str, int]) -> tuple[tuple[str, ...], np.ndarray]:
                return tuple(dims), random.normal(280, 5, tuple(dims.values())).astype(np.float32)

            dataset = xr.Dataset(
                {
                    "2m_temperature": field(flat),
                    "temperature": field(deep),
                    "land_sea_mask": (("latitude", "longitude"), mask.astype(np.float32)),
                },
                coords={
                    "time": times,
                    "level": [500, 850],
                    "latitude": grid.latitude,
                    "longitude": grid.longitude,
                    **({"member": list(members)} if members else {}),
                },
            )
            write_store(dataset, grid, VARIABLES, temporary / f"{grid.label}.zarr")
    return output


def write_store(dataset: xr.Dataset, grid: Grid, variables: VariableSet, path: Path) -> None:
    """Write a canonical dataset as the regrid stage lays it out."""
    writer = FieldWriter(path, dataset, grid, variables, shard_times([grid], variables), {"grid": grid.label})
    fields = [
        dataset[name] if level is None else dataset[name].sel(level=level, drop=True)
        for name, level in variables.channels()
    ]
    for name, array in dataset.drop_vars([*variables.surface, *variables.atmospheric]).data_vars.items():
        writer.write(str(name), (), array.values)
    if fields:
        writer.write(store.FIELDS, (), np.stack([field.values for field in fields], axis=-3))
