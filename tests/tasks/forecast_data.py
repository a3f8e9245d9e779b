"""Forecasts and analyses with known values, as the regrid stage leaves them."""

from pathlib import Path

import numpy as np
import xarray as xr

from tests.small_data import period, split, write_store
from weatherpeft.artifacts import store
from weatherpeft.fields.grid import Grid
from weatherpeft.fields.variables import FieldSet, VariableSet
from weatherpeft.spec import Period
from weatherpeft.tasks.postprocessing import Postprocessing, Target

GRID = Grid(resolution_deg=11.25)
LEVELS = (500, 850)
ANALYSES = VariableSet(
    surface=("2m_temperature",), atmospheric=("temperature",), levels_hpa=LEVELS, static=("land_sea_mask",)
)
FORECASTS = VariableSet(
    surface=("2m_temperature", "sea_surface_temperature", "total_precipitation_48hr"),
    atmospheric=("temperature", "vertical_velocity"),
    levels_hpa=LEVELS,
)
FIELDS = FieldSet(measured=FORECASTS.model_copy(update={"static": ("land_sea_mask",)}))
MEMBERS = 4
TARGETS = (
    Target(variable="2m_temperature", weight=14.0),
    Target(variable="temperature", level_hpa=850, weight=8.0),
)
TASK = Postprocessing(name="postprocessing", grid=GRID, members=MEMBERS, targets=TARGETS)
EVERY_MEMBER = TASK.model_copy(update={"frames": "members"})
YEARS = {
    "train": [period("2001-01-01", "2001-01-08"), period("2002-01-03", "2002-01-08")],
    "test": [period("2003-01-02", "2003-01-07")],
}
TRAIN, TEST = (split(*YEARS[name]) for name in ("train", "test"))
SEA = np.random.default_rng(9).uniform(0, 1, GRID.shape) < 0.6
SCALE = {
    "2m_temperature": (280, 5),
    "temperature": (260, 4),
    "sea_surface_temperature": (290, 2),
    "total_precipitation_48hr": (0.01, 0.003),
    "vertical_velocity": (0, 0.3),
}


def analyses(covered: Period, seed: int) -> xr.Dataset:
    """At 00 and 12 UTC."""
    random, times = np.random.default_rng(seed), _times(covered, 12)
    return _dataset(random, ANALYSES, ("time",), (times.size,), {"time": times}).assign(
        land_sea_mask=(("latitude", "longitude"), (~SEA).astype(np.float32))
    )


def forecasts(covered: Period, seed: int, members: int = MEMBERS) -> xr.Dataset:
    """Valid every day at 00 UTC, 48 h ahead: so the first two started before the period."""
    random, times = np.random.default_rng(100 + seed), _times(covered, 24)
    coords = {
        "member": np.arange(1, members + 1),
        "time": times,
        "init_time": ("time", times - np.timedelta64(48, "h")),
    }
    found = _dataset(random, FORECASTS, ("member", "time"), (members, times.size), coords)
    sea = found["sea_surface_temperature"]
    return found.assign(sea_surface_temperature=sea.where(xr.DataArray(SEA, dims=("latitude", "longitude"))))


def written(dataset: xr.Dataset, variables: VariableSet, directory: Path) -> Path:
    """As an artifact of the regrid stage."""
    with store.artifact(directory, GRID, "weatherpeft.spec") as temporary:
        write_store(dataset, GRID, variables, temporary / f"{GRID.label}.zarr")
    return directory


def write_all(folder: Path) -> tuple[list[Path], list[Path]]:
    """Analyses and forecasts of every year, two artifacts each: training, then test."""
    both: tuple[list[Path], list[Path]] = ([], [])
    for seed, covered in enumerate((*YEARS["train"], *YEARS["test"])):
        both[0].append(written(analyses(covered, seed), ANALYSES, folder / "analyses" / covered.label))
        both[1].append(written(forecasts(covered, seed), FORECASTS, folder / "forecasts" / covered.label))
    return both


def _times(covered: Period, hours: int) -> np.ndarray:
    end = np.datetime64(covered.end, "ns") + np.timedelta64(1, "D")
    return np.arange(np.datetime64(covered.start, "ns"), end, np.timedelta64(hours, "h"))


def _dataset(
    random: np.random.Generator,
    variables: VariableSet,
    dims: tuple[str, ...],
    sizes: tuple[int, ...],
    coords: dict,
) -> xr.Dataset:
    def field(name: str, *inner: int) -> np.ndarray:
        center, spread = SCALE[name]
        return (center + spread * random.standard_normal((*sizes, *inner, *GRID.shape))).astype(np.float32)

    plane = ("latitude", "longitude")
    return xr.Dataset(
        {
            **{name: ((*dims, *plane), field(name)) for name in variables.surface},
            **{name: ((*dims, "level", *plane), field(name, len(LEVELS))) for name in variables.atmospheric},
        },
        coords={**coords, "level": list(LEVELS), "latitude": GRID.latitude, "longitude": GRID.longitude},
    )
