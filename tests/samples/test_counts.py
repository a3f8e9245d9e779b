"""Samples are whole windows: which there are, of how many, and why there is none."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from tests.small_data import COARSE, FIELDS, FINE, VARIABLES, WINDOW, split, write_store
from weatherpeft.artifacts import store
from weatherpeft.samples.counts import log_counts
from weatherpeft.samples.frames import SampleFrames
from weatherpeft.samples.splits import Split
from weatherpeft.spec import Period


def period(start: str, end: str, **more: Any) -> Period:
    return Period.parse({"start": start, "end": end, **more})


JANUARY = period("2001-01-01", "2001-01-06")


def written(folder: Path, source: Period, step: int) -> list[Path]:
    """Regridded data at the times of a source, one job a period."""
    times = np.array(list(source.times(step)), "datetime64[ns]")
    with store.artifact(folder / source.label, source, "weatherpeft.spec") as directory:
        for grid in (COARSE, FINE):
            flat = np.zeros((times.size, *grid.shape), np.float32)
            dataset = xr.Dataset(
                {
                    "2m_temperature": (("time", "latitude", "longitude"), flat),
                    "temperature": (
                        ("time", "level", "latitude", "longitude"),
                        np.stack([flat, flat], axis=1),
                    ),
                    "land_sea_mask": (("latitude", "longitude"), flat[0]),
                },
                {
                    "time": times,
                    "level": [500, 850],
                    "latitude": grid.latitude,
                    "longitude": grid.longitude,
                },
            )
            write_store(dataset, grid, VARIABLES, directory / f"{grid.label}.zarr")
    return [folder / source.label]


def frames(folder: Path, source: Period, step: int, history: int, own: Split) -> SampleFrames:
    window = WINDOW.model_copy(update={"input_hours": (-history, 0)})
    return SampleFrames(window, FIELDS, written(folder, source, step), own)


@pytest.mark.parametrize(
    ("source", "step", "history", "own", "expected", "of"),
    [
        # Four times a day, of which the first of all has no frame before it.
        (JANUARY, 6, 6, JANUARY, 23, 23),
        (JANUARY, 24, 24, JANUARY, 5, 5),
        (period("2001-01-01", "2001-01-06", hours=[12]), 24, 24, JANUARY, 5, 5),
        # Only 06 and 12 UTC have a frame six hours before.
        (period("2001-01-01", "2001-01-06", hours=[0, 6, 12]), 6, 6, JANUARY, 12, 12),
        (period("2001-01-01T12", "2001-01-05T12"), 6, 6, JANUARY, 16, 23),
        # Without the third and fourth day neither they nor 00 UTC of the fifth.
        (
            period("2001-01-01", "2001-01-06", gaps=[{"start": "2001-01-03", "end": "2001-01-04"}]),
            6, 6, JANUARY, 14, 23,
        ),
        (JANUARY, 6, 6, period("2001-01-02T06", "2001-01-02T18"), 2, 2),
        (JANUARY, 6, 12, period("2001-01-01", "2001-01-06", hours=[0, 12]), 11, 11),
        (
            JANUARY, 6, 6,
            period("2001-01-01", "2001-01-06", gaps=[{"start": "2001-01-01", "end": "2001-01-05T12"}]),
            4, 4,
        ),
    ],
)  # fmt: skip
def test_whole_windows(
    source: Period, step: int, history: int, own: Period, expected: int, of: int, tmp_path: Path
) -> None:
    found = frames(tmp_path, source, step, history, split(own))
    assert (len(found), found.expected) == (expected, of)
    # By brute force: both frames at times of the source, in the split.
    times = {time for time in source.times(step) if own.holds(time)}
    samples = [sample.time.astype("datetime64[s]").item() for sample in found.samples]
    hours = np.timedelta64(history, "h").item()
    assert samples == sorted(time for time in times if time - hours in times)


def test_each_split_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = period(
        "2001-01-01", "2001-01-06", hours=[12], gaps=[{"start": "2001-01-03", "end": "2001-01-03"}]
    )
    first, rest = period("2001-01-01", "2001-01-04"), period("2001-01-05", "2001-01-06")
    train = frames(tmp_path, source, 24, 24, split(first))
    validation = SampleFrames(train.window, FIELDS, [tmp_path / source.label], split(rest))
    with caplog.at_level(logging.INFO):
        counts = log_counts({"train": train, "validation": validation})
    assert counts == {"train": [1, 3], "validation": [1, 1]}
    assert "samples: train 1 of 3, validation 1 of 1" in caplog.text


def test_a_split_without_samples_is_refused_with_the_reason(tmp_path: Path) -> None:
    source = period("2001-01-01", "2001-01-06", hours=[12])
    message = (
        "no complete sample lies in the periods 20010101-20010106: it needs fields at -6, \\+0 h from its "
        "time, and the data has 6 times there, at 12 UTC"
    )
    with pytest.raises(ValueError, match=message):
        frames(tmp_path, source, 24, 6, split(JANUARY))
