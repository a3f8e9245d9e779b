"""What the methods cost: numbers of entries and bytes, and where a run measured them, time and memory."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from weatherpeft.artifacts import store
from weatherpeft.artifacts.costs import COST, SIZES
from weatherpeft.artifacts.manifest import checked
from weatherpeft.reporting.comparison import Compared
from weatherpeft.reporting.pareto import Point
from weatherpeft.reporting.plain_text import table_text

AT_A_STEP, TOUCHED, BYTES = "Entries trained at a step", "Entries touched in all", "Adapter (bytes)"
SECONDS, MEMORY = "Seconds per step", "Peak memory (GB)"
SAME = (AT_A_STEP, TOUCHED, BYTES)
"""Costs that two runs of the same experiment share. The others differ from run to run."""
VARYING = (SECONDS, MEMORY)


def read_costs(runs: Sequence[Path]) -> dict[str, float]:
    """Mean costs of a method's runs.

    Args:
        runs: artifacts of the finetune stage.

    Raises:
        ValueError: a record lacks a size. The message names the path.
    """
    found: dict[str, list[float]] = {}
    for run in runs:
        record, cost = store.read_provenance(run), json.loads(checked(run / COST).read_text())
        if missing := [size for size in SIZES if not isinstance(record.get(size), int)]:
            raise ValueError(f"{run}: the record lacks {', '.join(missing)}; not of the finetune stage")
        sizes = (record["trainable_backbone"], record["touched_backbone"], record["adapter_bytes"])
        values = (*sizes, cost["seconds_per_step"], cost["peak_memory_bytes"] / 1e9)
        for name, value in zip((*SAME, *VARYING), values, strict=True):
            found.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in found.items()}


def points(compared: Compared, costs: Mapping[str, Mapping[str, float]]) -> list[Point]:
    """Methods with their scores and costs, the reference among them.

    Args:
        compared: methods and baselines against one of them.
        costs: by the name of the method.
    """
    found = []
    for name, own in costs.items():
        if name == compared.reference:
            skill, interval = 0.0, (0.0, 0.0)
        else:
            of = compared.comparisons[name]
            skill, interval = of.mean_percent, (of.mean_percent_lower, of.mean_percent_upper)
        found.append(Point(name, skill, interval, own))
    return found


def text(costs: Mapping[str, Mapping[str, float]]) -> str:
    """The costs that do not vary as aligned plain text, by rising size of the adapter."""
    rows = [["name", *SAME]]
    for name, own in sorted(costs.items(), key=lambda item: (item[1][BYTES], item[0])):
        rows.append([name, *(f"{own[cost]:,.0f}" for cost in SAME)])
    return f"What the methods cost between encoder and decoder, mean over seeds\n{table_text(rows)}"
