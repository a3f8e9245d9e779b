"""Time to look through many small files for the first time, again, and when other fields are looked for.

    python benchmarks/inventory.py [--files 10000]

Of each kind there are so many files, NetCDF-4 with four times on two levels and GRIB 2 with one field.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import xarray as xr

from weatherpeft.fields.variables import VariableSet
from weatherpeft.sources.formats.inventory import Inventory

LATITUDE, LONGITUDE = np.arange(50.0, 45, -1), np.arange(0.0, 8)
VARIABLES = VariableSet(atmospheric=("temperature",), levels_hpa=(500, 850))
MORE = VariableSet(
    surface=("2m_temperature",), atmospheric=("temperature", "geopotential"), levels_hpa=(500, 700, 850)
)


def write_netcdf(path: Path, day: np.datetime64) -> None:
    """A day of temperature on two levels."""
    values = np.full((4, 2, LATITUDE.size, LONGITUDE.size), 280, "f4")
    coordinates = {
        "time": day + np.arange(0, 24, 6).astype("timedelta64[h]"),
        "level": ("level", [500, 850], {"units": "hPa"}),
        "latitude": LATITUDE,
        "longitude": LONGITUDE,
    }
    dims = ("time", "level", "latitude", "longitude")
    xr.Dataset({"t": (dims, values, {"units": "K"})}, coordinates).to_netcdf(path)


def write_grib(path: Path, day: np.datetime64) -> None:
    """A field of temperature."""
    import eccodes

    handle = eccodes.codes_grib_new_from_samples("regular_ll_pl_grib2")
    corners = (LATITUDE[0], LATITUDE[-1], LONGITUDE[0], LONGITUDE[-1])
    ends = ("latitudeOfFirst", "latitudeOfLast", "longitudeOfFirst", "longitudeOfLast")
    for end, degrees in zip(ends, corners, strict=True):
        eccodes.codes_set(handle, f"{end}GridPointInDegrees", float(degrees))
    sizes = {"Ni": LONGITUDE.size, "Nj": LATITUDE.size, "level": 500, "paramId": 130}
    for key, number in (sizes | {"dataDate": int(str(day).replace("-", "")), "dataTime": 0}).items():
        eccodes.codes_set(handle, key, number)
    for key in ("iDirectionIncrementInDegrees", "jDirectionIncrementInDegrees"):
        eccodes.codes_set(handle, key, 1.0)
    eccodes.codes_set_values(handle, np.full(LATITUDE.size * LONGITUDE.size, 280.0))
    path.write_bytes(eccodes.codes_get_message(handle))
    eccodes.codes_release(handle)


def main() -> None:
    """Print a line for each kind of file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    count = parser.parse_args().files
    days = np.datetime64("1990-01-01") + np.arange(count)
    with tempfile.TemporaryDirectory() as name:
        for kind, write in (("NetCDF", write_netcdf), ("GRIB", write_grib)):
            folder = Path(name) / kind
            folder.mkdir()
            for number, day in enumerate(days):
                write(folder / f"{number:06d}", day)
            files = sorted(folder.iterdir())
            print(f"{kind}, {count} files:", end="", flush=True)
            for which, variables in (("first", VARIABLES), ("again", VARIABLES), ("more variables", MORE)):
                start, spent = time.perf_counter(), time.process_time()
                found = Inventory(variables, cache=Path(name) / "cache").read(files)
                wall, processor = time.perf_counter() - start, time.process_time() - spent
                assert sum(len(each.held) for each in found) == count * (2 if kind == "NetCDF" else 1)
                print(f" {which} {wall:.1f} s ({processor:.1f} s of processor)", end="", flush=True)
            print()


if __name__ == "__main__":
    main()
