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

import numpy as np
from safetensors import safe_open
from table import machine, save, show

from weatherpeft import store

REFERENCE, PUBLISHED = "linear_probe", "published"


def rmse(scores: Path) -> dict[str, float]:
    """Mean over the test times, by field."""
    dataset = store.open_dataset(scores / "scores.zarr")
    values = dataset["rmse"].transpose("channel", ...).values
    means = values.reshape(len(values), -1).mean(axis=1, dtype=np.float64)
    return dict(zip((str(label) for label in dataset["channel"].values), means.tolist(), strict=True))


def lower_percent(scores: dict[str, float], reference: dict[str, float]) -> float:
    """By how much scores lie below others: geometric mean over the fields."""
    return 100 * (1 - math.exp(mean(math.log(scores[name] / reference[name]) for name in reference)))


def touched(run: Path) -> float | None:
    """Entries of a run's delta over those of one step; None where the run has no delta."""
    with safe_open(str(run / "tuned.safetensors"), "pt") as file:
        names = [name for name in file.keys() if ".sfas." in name and name.endswith(".index")]  # noqa: SIM118
        entries = sum(file.get_slice(name).get_shape()[0] for name in names)
    selected = store.read_provenance(run)["trainable_backbone"]
    return entries / selected if entries else None


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="The choices of SFAS, side by side.")
    parser.add_argument("results", type=Path, nargs="?", default=Path("results/sfas_sweep"))
    parser.add_argument("--output", type=Path, help="also write the rows here, .json or .csv")
    arguments = parser.parse_args()
    found: dict[str, dict[int, dict[str, float]]] = {}
    for path in sorted((arguments.results / "scores").iterdir()):
        name, _, seed = path.name.rpartition("-seed")
        if name:
            found.setdefault(name, {})[int(seed)] = rmse(path)
    probe, published = found[REFERENCE], found[PUBLISHED]
    rows = []
    for name, seeds in found.items():
        shared = sorted(seeds.keys() & probe.keys() & published.keys())
        skill = [lower_percent(seeds[seed], probe[seed]) for seed in shared]
        better = [lower_percent(seeds[seed], published[seed]) for seed in shared]
        t850 = [seeds[seed]["t850"] for seed in shared]
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
