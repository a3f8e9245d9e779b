"""Runs of an experiment side by side: over seeds, and against one of them.

    python benchmarks/compare_runs.py results/default --against weatherpeft
    python benchmarks/compare_runs.py results/postprocessing_toy --against ensemble --score crps

The first table has a line for every run and field:

- Mean: over the test times and the seeds, in SI units; *± seeds*: sample standard deviation over the seeds.
- Difference: from the run that all are compared with, of the same seed, or of its only one where it has no
  seed of its own; *± days*: its standard error over the days of the test, as if these were independent.

The second table sums up all fields of scores of which lower is better and none is negative:

- Higher %: by how much the score lies above that of the other run, as the geometric mean over the fields;
  mean, least and greatest of the seeds.
- Clearly lower, clearly higher: fields whose means over the seeds differ by more than the larger of the two
  standard deviations.
"""

import argparse
import math
import operator
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import xarray as xr
from table import machine, save, show

from weatherpeft.artifacts import store

Runs = dict[str, dict[int, xr.DataArray]]
"""A score by run and seed, ``(time, field)``; a baseline has seed 0."""
LEAD = "prediction_timedelta"
SIGNED = ("acc", "bias")
"""Scores that have no geometric mean."""


def read_runs(results: Path, score: str) -> Runs:
    """A score of all runs and baselines of an experiment that have it, members averaged.

    Raises:
        ValueError: none of them has it.
    """
    runs: Runs = {}
    for path in sorted((results / "scores").iterdir()):
        dataset = store.open_dataset(path / "scores.zarr")
        if score in dataset:
            name, _, seed = path.name.partition("-seed")
            runs.setdefault(name, {})[int(seed or 0)] = by_field(dataset[score].load())
    if not runs:
        raise ValueError(f"{results}: found no run with the score {score!r}")
    return runs


def by_field(values: xr.DataArray) -> xr.DataArray:
    """From ``(time, ...)`` to ``(time, field)``, a field at each of several lead times one of its own."""
    if "channel" not in values.dims:
        values = values.expand_dims(channel=[values.name])
    values = values.mean([name for name in values.dims if name not in ("time", "channel", LEAD)])
    labels = [str(label) for label in values["channel"].values]
    if LEAD in values.dims:
        hours = [int(lead / np.timedelta64(1, "h")) for lead in values[LEAD].values]
        labels = [f"{label}+{lead}h" for label in labels for lead in hours]
        values = values.stack(field=("channel", LEAD), create_index=False).drop_vars(("channel", LEAD))
    else:
        values = values.rename(channel="field").drop_vars("field")
    return values.transpose("time", "field").assign_coords(field=labels)


def pairs(runs: Runs, name: str, against: str) -> list[tuple[xr.DataArray, xr.DataArray]]:
    """A run's scores beside those of the other one with the same seed, or with its only one."""
    others = runs[against]
    if len(others) == 1:
        others = dict.fromkeys(runs[name], *others.values())
    return [(values, others[seed]) for seed, values in runs[name].items() if seed in others]


def higher_percent(scores: xr.DataArray, other: xr.DataArray) -> float:
    """By how much the means over time lie above others, as the geometric mean over the fields."""
    logarithms = np.log(scores.mean("time") / other.mean("time"))
    return 100 * (math.exp(float(logarithms.mean())) - 1)


def spread(values: list[float]) -> float | None:
    """Sample standard deviation, where there are several values."""
    return stdev(values) if len(values) > 1 else None


def field_rows(runs: Runs, against: str) -> list[dict[str, Any]]:
    """Of the first table."""
    rows = []
    for field in next(iter(runs[against].values()))["field"].values:
        for name, seeds in runs.items():
            means = [float(values.sel(field=field).mean()) for values in seeds.values()]
            apart = [(one - other).sel(field=field) for one, other in pairs(runs, name, against)]
            difference = error = None
            if apart and name != against:
                average = sum(apart[1:], start=apart[0]) / len(apart)
                days = average.groupby("time.date").mean()
                difference, error = float(average.mean()), float(days.std(ddof=1)) / math.sqrt(len(days))
            rows.append(
                {
                    "field": str(field),
                    "run": name,
                    "seeds": len(seeds),
                    "mean": mean(means),
                    "± seeds": spread(means),
                    "difference": difference,
                    "± days": error,
                }
            )
    return rows


def overall_rows(runs: Runs, against: str, fields: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of the second table, from the lines of the first one."""
    known = {(row["field"], row["run"]): row for row in fields}
    rows = []
    for name in runs:
        if name == against:
            continue
        higher = [higher_percent(one, other) for one, other in pairs(runs, name, against)]
        apart, margins = [], []
        for field in dict.fromkeys(row["field"] for row in fields):
            one, other = known[field, name], known[field, against]
            apart.append(one["mean"] - other["mean"])
            margins.append(max(one["± seeds"] or 0.0, other["± seeds"] or 0.0))
        rows.append(
            {
                "run": name,
                "seeds": len(higher),
                "higher %": mean(higher) if higher else None,
                "least": min(higher, default=None),
                "greatest": max(higher, default=None),
                "fields": len(apart),
                "clearly lower": sum(map(operator.lt, apart, (-margin for margin in margins))),
                "clearly higher": sum(map(operator.gt, apart, margins)),
            }
        )
    return sorted(rows, key=lambda row: row["higher %"] or 0.0)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Runs of an experiment side by side.")
    parser.add_argument("results", type=Path, help="results/<experiment>")
    parser.add_argument("--against", default="weatherpeft", help="run or baseline to compare with")
    parser.add_argument("--score", default="rmse", help="of scores.zarr: rmse, crps, acc, seeps, …")
    parser.add_argument("--fields", nargs="+", metavar="FIELD", help="of the first table; default: all")
    parser.add_argument("--output", type=Path, help="also write the first table here, .json or .csv")
    arguments = parser.parse_args()
    runs = read_runs(arguments.results, arguments.score)
    if arguments.against not in runs:
        parser.error(f"found no {arguments.against!r} with {arguments.score}, only {', '.join(runs)}")
    rows = field_rows(runs, arguments.against)
    fields = dict.fromkeys(row["field"] for row in rows)
    if unknown := set(arguments.fields or ()) - fields.keys():
        parser.error(f"found no field {', '.join(sorted(unknown))}, only {', '.join(fields)}")
    shown = [row for row in rows if not arguments.fields or row["field"] in arguments.fields]
    show(f"{arguments.score} of {arguments.results}, against {arguments.against}", shown, digits=4)
    if arguments.score not in SIGNED:
        show("All fields", overall_rows(runs, arguments.against, rows))
    if arguments.output:
        save(arguments.output, machine(["cpu"]), shown)


if __name__ == "__main__":
    main()
