"""Scores of a run or baseline over time: the reader of what the evaluate stage wrote for each time."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr

from weatherpeft.artifacts import store
from weatherpeft.verification.significance import Comparison, compare

LEAD = "prediction_timedelta"
Runs = Mapping[int | None, xr.DataArray]
"""A score of runs by their seed, ``(time, field)`` each. A baseline has None in place of seeds."""


def main_score(path: Path) -> str:
    """The score that an artifact of the evaluate stage is compared by: CRPS if it has one, otherwise RMSE."""
    return "crps" if "crps" in store.open_dataset(path / "scores.zarr") else "rmse"


def read_series(path: Path, score: str) -> xr.DataArray:
    """A score at every time of an artifact of the evaluate stage, members averaged.

    Args:
        path: the artifact.
        score: name of the score in ``scores.zarr``.

    Returns:
        Float64 ``(time, field)``, in order of time. A channel at each of several lead times is a field of its
        own, such as ``tp+24h``. A score without channels is one field with the score's name.

    Raises:
        ValueError: the artifact lacks the score. The message names the path.
    """
    dataset = store.open_dataset(path / "scores.zarr")
    if score not in dataset:
        raise ValueError(f"{path}: scores.zarr lacks {score}")
    values = dataset[score].load().astype(np.float64)
    if "channel" not in values.dims:
        values = values.expand_dims(channel=[score])
    values = values.mean([name for name in values.dims if name not in ("time", "channel", LEAD)])
    labels = [str(label) for label in values["channel"].values]
    if values.sizes.get(LEAD) == 1:
        values = values.isel({LEAD: 0}, drop=True)
    if LEAD in values.dims:
        hours = [int(lead / np.timedelta64(1, "h")) for lead in values[LEAD].values]
        labels = [f"{label}+{lead}h" for label in labels for lead in hours]
        values = values.stack(field=("channel", LEAD), create_index=False).drop_vars(("channel", LEAD))
    else:
        values = values.rename(channel="field").drop_vars("field")
    return values.transpose("time", "field").assign_coords(field=labels).sortby("time")


def compare_series(runs: Runs, reference: Runs) -> Comparison:
    """Compare runs with runs of the same seeds, or with a baseline.

    Args:
        runs: scores by seed.
        reference: scores by seed, of the same times and fields.

    Raises:
        ValueError: times or fields differ, both sides have seeds but share none, or a score is not finite.
    """
    if None in runs or None in reference:
        scores, others = list(runs.values()), list(reference.values())
    else:
        shared = [seed for seed in runs if seed in reference]
        if not shared:
            raise ValueError(f"expected a seed in common, found {list(runs)} and {list(reference)}")
        scores, others = ([side[seed] for seed in shared] for side in (runs, reference))
    first = scores[0]
    for each in (*scores, *others):
        for name in ("time", "field"):
            if not np.array_equal(each[name].values, first[name].values):
                raise ValueError(f"expected scores of the same {name}s, found different ones")
    ours, theirs = (np.stack([each.values for each in side]) for side in (scores, others))
    return compare(ours, theirs, first["time"].values)
