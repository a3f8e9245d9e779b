"""Files in the layout of ENS-10, written with ecCodes: an independent hand from the package's reader."""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import eccodes
import numpy as np

SHAPE = (7, 12)
SURFACE = {"sst": 34, "tcw": 136, "tcwv": 137, "cp": 143, "msl": 151, "tcc": 164, "10u": 165, "10v": 166}
SURFACE |= {"2t": 167, "tp": 228, "skt": 235}
UPPER = {"z": 129, "t": 130, "u": 131, "v": 132, "q": 133, "w": 135, "d": 155}
STEPS = (0, 24, 48)


def values(param: int, level: int, start: datetime, step: int, member: int) -> np.ndarray:
    """A field that no other message has, ``(latitude, longitude)``, north first."""
    row, column = np.mgrid[: SHAPE[0], : SHAPE[1]]
    key = param + level / 7 + start.toordinal() / 11 + step / 13 + member / 3
    return np.sin(key + 0.3 * row) + 0.1 * np.cos(key * (column + 1))


def write(
    path: Path,
    years: Iterable[int],
    members: Iterable[int],
    *,
    steps: Iterable[int] = STEPS,
    levels: Iterable[int] = (500, 850),
    without: tuple[int, int, int] | None = None,
) -> Path:
    """Write ``output.sfc.2018MMDD`` or ``output.pl.2018MMDD``: every start, step, member and field.

    ``without`` leaves out the message of one (param id, step, member).
    """
    _, kind, day = path.name.split(".")
    fields = [(param, 0) for param in SURFACE.values()]
    if kind == "pl":
        fields = [(param, level) for param in UPPER.values() for level in levels]
    with path.open("wb") as stream:
        for year in years:
            start = datetime(year, int(day[4:6]), int(day[6:]))
            for step in steps:
                for member in members:
                    for param, level in fields:
                        if (param, step, member) != without:
                            _message(stream, param, level, start, step, member)
    return path


def _message(stream: object, param: int, level: int, start: datetime, step: int, member: int) -> None:
    sample = "regular_ll_pl_grib1" if level else "regular_ll_sfc_grib1"
    handle = eccodes.codes_grib_new_from_samples(sample)
    settings: dict[str, int | float | str] = {
        "Ni": SHAPE[1],
        "Nj": SHAPE[0],
        "latitudeOfFirstGridPointInDegrees": 90.0,
        "latitudeOfLastGridPointInDegrees": -90.0,
        "longitudeOfFirstGridPointInDegrees": 0.0,
        "longitudeOfLastGridPointInDegrees": 330.0,
        "iDirectionIncrementInDegrees": 30.0,
        "jDirectionIncrementInDegrees": 30.0,
        "setLocalDefinition": 1,
        "localDefinitionNumber": 26,
        "class": "od",
        "type": "pf",
        "stream": "enfh",
        "expver": "0001",
        "perturbationNumber": member,
        "numberOfForecastsInEnsemble": 10,
        "referenceDate": 20180000 + start.month * 100 + start.day,
        "dataDate": int(f"{start:%Y%m%d}"),
        "dataTime": 0,
        "paramId": param,
    }
    if level:
        settings["level"] = level
    for key, value in settings.items():
        eccodes.codes_set(handle, key, value)
    if param == 143 and step:  # one sum with its start in the header, and one, tp, without
        eccodes.codes_set(handle, "stepType", "accum")
        eccodes.codes_set(handle, "startStep", 0)
    eccodes.codes_set(handle, "endStep", step)
    field = values(param, level, start, step, member)
    if param == 34:  # no sea surface on land
        eccodes.codes_set(handle, "bitmapPresent", 1)
        eccodes.codes_set(handle, "missingValue", 9999.0)
        field[2:4, 3:6] = 9999.0
    eccodes.codes_set(handle, "bitsPerValue", 16)
    eccodes.codes_set_values(handle, field.ravel())
    eccodes.codes_write(handle, stream)
    eccodes.codes_release(handle)
