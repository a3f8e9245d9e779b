"""Runs of an experiment against one of them, by any score of which lower is better.

    python benchmarks/compare_runs.py results/default --against weatherpeft
    python benchmarks/compare_runs.py results/postprocessing_toy --against ensemble --score crps

The report compares with one reference by one score. This command takes any of both, from finished scores.
The first table has a line for every run and field, the second sums up all fields. *lower* and *upper* are the
ends of 95 % intervals over days and seeds; with one seed, over days only. *Better* and *worse* count fields
after a correction for their number. ``weatherpeft/verification/significance.py`` says how.

Scores of which higher is better, such as ``acc``, have differences and intervals, but better means worse.
"""

import argparse
import math
from pathlib import Path
from typing import Any

import xarray as xr
from table import machine, save, show

from weatherpeft.artifacts import store
from weatherpeft.verification.score_series import Runs, compare_series, read_series
from weatherpeft.verification.significance import Comparison


def read_runs(results: Path, score: str) -> dict[str, Runs]:
    """A score of all runs and baselines of an experiment that have it, by name.

    Raises:
        ValueError: none of them has it.
    """
    runs: dict[str, dict[int | None, xr.DataArray]] = {}
    for path in sorted((results / "scores").iterdir()):
        if score in store.open_dataset(path / "scores.zarr"):
            name, _, seed = path.name.partition("-seed")
            runs.setdefault(name, {})[int(seed) if seed else None] = read_series(path, score)
    if not runs:
        raise ValueError(f"{results}: found no run with the score {score!r}")
    return dict(runs)


def field_rows(runs: dict[str, Runs], compared: dict[str, Comparison]) -> list[dict[str, Any]]:
    """Of the first table."""
    fields = next(iter(next(iter(runs.values())).values()))["field"].values
    return [
        {
            "field": str(field),
            "run": name,
            "seeds": found.seeds,
            "mean": float(sum(values[:, place].mean() for values in runs[name].values()) / len(runs[name])),
            "difference": float(found.difference[place]),
            "lower": float(found.lower[place]),
            "upper": float(found.upper[place]),
            "p": float(found.p[place]),
            "q": float(found.q[place]),
        }
        for place, field in enumerate(fields)
        for name, found in compared.items()
    ]


def overall_rows(compared: dict[str, Comparison]) -> list[dict[str, Any]]:
    """Of the second table."""
    rows = [
        {
            "run": name,
            "seeds": found.seeds,
            "higher %": None if math.isnan(found.mean_percent) else found.mean_percent,
            "lower": None if math.isnan(found.mean_percent) else found.mean_percent_lower,
            "upper": None if math.isnan(found.mean_percent) else found.mean_percent_upper,
            "fields": found.p.size,
            "better": int(found.better.sum()),
            "worse": int(found.worse.sum()),
            "block days": found.block_days,
        }
        for name, found in compared.items()
    ]
    return sorted(rows, key=lambda row: row["higher %"] or 0.0)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Runs of an experiment against one of them.")
    parser.add_argument("results", type=Path, help="results/<experiment>")
    parser.add_argument("--against", default="weatherpeft", help="run or baseline to compare with")
    parser.add_argument("--score", default="rmse", help="of scores.zarr: rmse, crps, acc, seeps, …")
    parser.add_argument("--fields", nargs="+", metavar="FIELD", help="of the first table; default: all")
    parser.add_argument("--output", type=Path, help="also write the first table here, .json or .csv")
    arguments = parser.parse_args()
    runs = read_runs(arguments.results, arguments.score)
    if arguments.against not in runs:
        parser.error(f"found no {arguments.against!r} with {arguments.score}, only {', '.join(runs)}")
    reference = runs[arguments.against]
    compared = {n: compare_series(own, reference) for n, own in runs.items() if n != arguments.against}
    rows = field_rows(runs, compared)
    fields = dict.fromkeys(row["field"] for row in rows)
    if unknown := set(arguments.fields or ()) - fields.keys():
        parser.error(f"found no field {', '.join(sorted(unknown))}, only {', '.join(fields)}")
    shown = [row for row in rows if not arguments.fields or row["field"] in arguments.fields]
    show(f"{arguments.score} of {arguments.results}, against {arguments.against}", shown, digits=4)
    show("All fields", overall_rows(compared))
    if arguments.output:
        save(arguments.output, machine(["cpu"]), shown)


if __name__ == "__main__":
    main()
