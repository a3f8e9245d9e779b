"""Makes the datasets of this folder with anemoi-datasets, which the tests do not need.

    pip install anemoi-datasets && python make.py

The recipes read GRIB files that this script writes into a temporary folder, of values without rounding. The
formula is that of ``tests.sources.cloud_stores.value``. Made with anemoi-datasets 0.5.47.
"""

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import eccodes
import numpy as np

HERE = Path(__file__).resolve().parent
LATITUDE, LONGITUDE = np.arange(82.5, -90, -15), np.arange(0, 360, 15.0)
TIMES = np.arange(np.datetime64("2001-01-01T00"), np.datetime64("2001-01-04T00"), np.timedelta64(6, "h"))
HOURS = np.arange(np.datetime64("2001-01-01T00"), np.datetime64("2001-01-02T00"), np.timedelta64(1, "h"))
BASE = {
    "2t": 280, "lsm": 0.5, "z": 1000, "tp": 0.001, "t_500": 250, "t_850": 250, "z_500": 50_000,
    "z_850": 50_000,
}  # fmt: skip
"""What a field varies around, by its name in the dataset."""


def values(name: str, time: np.datetime64) -> np.ndarray:
    """A field row by row, in the units of its GRIB parameter."""
    level = int(name.partition("_")[2] or 0)
    hours = 0 if name in ("lsm", "z") else int((time - TIMES[0]) / np.timedelta64(1, "h"))
    place = LATITUDE[:, None] / 90 + LONGITUDE / 3600 + level / 1e4
    return np.float32(BASE[name] * (1 + 0.1 * place + hours / 1e4)).ravel()


def message(name: str, time: np.datetime64, member: int | None = None, period: int = 0) -> bytes:
    """A field of an analysis, a member of an ensemble or a sum over a period in hours, as GRIB 1."""
    handle = eccodes.codes_grib_new_from_samples("regular_ll_sfc_grib1")
    short, _, level = name.partition("_")
    start = time - np.timedelta64(period, "h")
    year, month, day, hour = str(start.astype("datetime64[h]")).replace("T", "-").split("-")
    keys = {
        "Ni": LONGITUDE.size, "Nj": LATITUDE.size, "iDirectionIncrementInDegrees": 15,
        "jDirectionIncrementInDegrees": 15, "latitudeOfFirstGridPointInDegrees": LATITUDE[0],
        "latitudeOfLastGridPointInDegrees": LATITUDE[-1], "longitudeOfFirstGridPointInDegrees": LONGITUDE[0],
        "longitudeOfLastGridPointInDegrees": LONGITUDE[-1], "centre": "ecmf", "class": "ea",
        "stream": "oper" if member is None else "enda", "type": "fc" if period else "an", "expver": "0001",
        "dataDate": int(year + month + day), "dataTime": int(hour) * 100,
        "typeOfLevel": "isobaricInhPa" if level else "surface", "shortName": short,
        "packingType": "grid_ieee", "precision": 1,
        **({"level": int(level)} if level else {}),
        **({} if member is None else {"number": member, "totalNumber": 2}),
        **({"stepType": "accum", "startStep": 0, "endStep": period} if period else {}),
    }  # fmt: skip
    for key, value in keys.items():
        eccodes.codes_set(handle, key, value)
    field = values(name, time) * np.float32(1 if member is None else 1 + member / 8)
    eccodes.codes_set_values(handle, field.astype(np.float64))
    return bytes(eccodes.codes_get_message(handle))


def main() -> None:
    """Write the GRIB files, run the recipes and pack what they made."""
    files = {
        "analyses": [message(name, time) for time in TIMES for name in BASE if name != "tp"],
        "ensemble": [message("2t", time, member) for time in TIMES for member in (0, 1)],
        "rain": [message("tp", time, period=1) for time in HOURS],
        "rain_3h": [message("tp", time, period=3) for time in HOURS],
    }
    with TemporaryDirectory() as folder:
        for name, messages in files.items():
            Path(folder, f"{name}.grib").write_bytes(b"".join(messages))
        for recipe in sorted(HERE.glob("*.yaml")):
            made = Path(folder, f"{recipe.stem}.zarr")
            program = Path(sys.executable).with_name("anemoi-datasets")
            subprocess.run([program, "create", recipe, made], check=True, cwd=folder)
            shutil.make_archive(str(HERE / made.name), "zip", made)


if __name__ == "__main__":
    main()
