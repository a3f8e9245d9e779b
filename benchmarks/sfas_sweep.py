"""The choices of SFAS, side by side: what ``config/overlays/sfas_sweep.yaml`` trained and scored.

    snakemake --configfile config/default.yaml config/overlays/sfas_sweep.yaml
    python benchmarks/sfas_sweep.py [results/sfas_sweep]

- Skill: how much lower the RMSE is than that of the linear probe with the same seed, in percent, as the
  geometric mean over all scored fields; mean and sample standard deviation over the seeds.
- Better: the same against the published rule, seed by seed; *z* is its mean over its standard error.
- T850: RMSE in K, mean and standard deviation.
- Touched: backbone entries that any step updated, the size of the delta, in multiples of the k of one step.
"""

import argparse
import math
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import xarray as xr
from compare_runs import read_runs
from safetensors import safe_open
from table import machine, save, show

from weatherpeft.artifacts import store
from weatherpeft.artifacts.manifest import checked

REFERENCE, PUBLISHED = "linear_probe", "published"


def touched(run: Path) -> float | None:
    """Entries of a run's delta over those of one step; None where the run has no delta."""
    with safe_open(str(checked(run / "tuned.safetensors")), "pt") as file:
        names = [name for name in file.keys() if ".sfas." in name and name.endswith(".index")]  # noqa: SIM118
        entries = sum(file.get_slice(name).get_shape()[0] for name in names)
    selected = store.read_provenance(run)["trainable_backbone"]
    return entries / selected if entries else None


def higher_percent(scores: xr.DataArray, other: xr.DataArray) -> float:
    """By how much the means over time lie above others, as the geometric mean over the fields."""
    logarithms = np.log(scores.mean("time") / other.mean("time"))
    return 100 * math.expm1(float(logarithms.mean()))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="The choices of SFAS, side by side.")
    parser.add_argument("results", type=Path, nargs="?", default=Path("results/sfas_sweep"))
    parser.add_argument("--output", type=Path, help="also write the rows here, .json or .csv")
    arguments = parser.parse_args()
    runs = read_runs(arguments.results, "rmse").items()
    found = {name: seeds for name, seeds in runs if (arguments.results / "runs" / f"{name}-seed0").exists()}
    probe, published = found[REFERENCE], found[PUBLISHED]
    rows: list[dict[str, Any]] = []
    for name, seeds in found.items():
        shared = [seed for seed in seeds if seed in probe and seed in published]
        skill = [-higher_percent(seeds[seed], probe[seed]) for seed in shared]
        better = [-higher_percent(seeds[seed], published[seed]) for seed in shared]
        t850 = [float(seeds[seed].sel(field="t850").mean()) for seed in shared]
        error = stdev(better) / math.sqrt(len(better)) if len(shared) > 1 else math.nan
        rows.append(
            {
                "run": name,
                "seeds": len(shared),
                "skill %": mean(skill),
                "± ": stdev(skill) if len(shared) > 1 else None,
                "better %": mean(better) if name != PUBLISHED else None,
                "±": stdev(better) if name != PUBLISHED and len(shared) > 1 else None,
                "z": mean(better) / error if name != PUBLISHED and error > 0 else None,
                "T850 K": mean(t850),
                "±  ": stdev(t850) if len(shared) > 1 else None,
                "touched / k": touched(arguments.results / "runs" / f"{name}-seed{shared[0]}"),
            }
        )
    rows.sort(key=lambda row: row["skill %"])
    show(f"SFAS on {arguments.results}", rows)
    if arguments.output:
        save(arguments.output, machine(["cpu"]), rows)


if __name__ == "__main__":
    main()
