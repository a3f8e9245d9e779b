"""Scores of precipitation and other sums against their climatology: SEEPS, ACC, RMSE and the categories."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from weatherpeft.artifacts import store
from weatherpeft.fields.grid import Grid
from weatherpeft.reporting.figures import Image, color_of, image_of, style
from weatherpeft.reporting.scores import Channel, Row, of_channel
from weatherpeft.verification.metrics import root_of_time_mean
from weatherpeft.verification.precipitation import DRY, HEAVY, LIGHT, forecast_given_observed

COLUMNS = {"seeps": ("SEEPS", "lower"), "acc": ("ACC", "higher"), "rmse_of_time_mean": ("RMSE", "lower")}
"""Name of each score for readers, and whether lower or higher values are better."""
_CATEGORIES = {DRY: "dry", LIGHT: "light", HEAVY: "heavy"}
_MISSING = "-"


class PrecipitationSection:
    """SEEPS, anomaly correlation and categories of precipitation (see ``reporting.section.Section``)."""

    template = "precipitation.html.jinja"

    def read(self, path: Path, channels: Sequence[Channel]) -> dict[str, np.ndarray]:
        """See ``read_skill``."""
        return read_skill(path, channels)

    def columns(self, skill: Mapping[str, np.ndarray]) -> Sequence[str]:
        """SEEPS, ACC and RMSE."""
        return [score for score in COLUMNS if score in skill]

    def units(self, score: str, channel: Channel) -> str:
        """Units of the data for the RMSE; the other scores have none."""
        return channel.units if score.startswith("rmse") else "1"

    def text(self, rows: Sequence[Row], channels: Sequence[Channel]) -> list[str]:
        """The scores next to each other."""
        text = skill_text(rows, channels)
        return [text] if text else []

    def content(self, rows: Sequence[Row], channels: Sequence[Channel], grid: Grid) -> dict[str, Any] | None:
        """The scores next to each other, and a figure of the categories."""
        table = skill_table(rows, channels)
        return table and {
            **table,
            "what": "Precipitation" if channels[0].definition is None else channels[0].what,
            "reliability": reliability(rows, channels),
        }


def read_skill(path: Path, channels: Sequence[Channel]) -> dict[str, np.ndarray]:
    """Means over times and members of an artifact of the evaluate stage.

    Args:
        path: the artifact.
        channels: fields of precipitation.

    Returns:
        ``seeps``, ``acc`` and ``rmse_of_time_mean`` (in the units of the data), ``(channel,)`` each, and
        ``contingency``, ``(channel, forecast, observed)``. The first and the last are left out without a dry
        threshold. Empty if there is no climatology.
    """
    dataset = store.open_dataset(path / "scores.zarr").load()
    if "acc" not in dataset:
        return {}
    by_category = "seeps" in dataset
    names = (*COLUMNS, "contingency") if by_category else (*COLUMNS,)[1:]
    found: dict[str, list[Any]] = {name: [] for name in names}
    for channel in channels:
        for name in ("seeps", "acc") if by_category else ("acc",):
            values = of_channel(dataset[name], channel, path).values
            found[name].append(np.nan if np.isnan(values).any() else values.mean(dtype=np.float64))
        squares = of_channel(dataset["rmse"], channel, path).values.ravel() ** 2
        found["rmse_of_time_mean"].append(root_of_time_mean(squares))
        if not by_category:
            continue
        table = (
            of_channel(dataset["contingency"], channel, path).transpose(..., "forecast", "observed").values
        )
        found["contingency"].append(table.reshape(-1, *table.shape[-2:]).mean(axis=0, dtype=np.float64))
    return {name: np.array(values) for name, values in found.items()}


def skill_table(rows: Sequence[Row], channels: Sequence[Channel]) -> dict[str, Any] | None:
    """The scores as texts, with the best of every column marked; None without scores."""
    rows = [row for row in rows if "acc" in row.skill]
    if not rows:
        return None
    heads, columns = [], []
    for score, (title, better) in COLUMNS.items():
        if score not in rows[0].skill:
            continue
        for index, channel in enumerate(channels):
            factor, units = channel.display if score == "rmse_of_time_mean" else (1.0, "")
            values = factor * np.array([row.skill[score][index] for row in rows])
            best = np.nanmax(values) if better == "higher" else np.nanmin(values)
            heads.append({"score": title, "field": channel.label, "units": units})
            texts = [_MISSING if np.isnan(value) else f"{value:.3f}" for value in values]
            columns.append([{"text": t, "best": bool(v == best)} for t, v in zip(texts, values, strict=True)])
    lines = [
        {"name": row.name, "kind": row.kind, "cells": [column[number] for column in columns]}
        for number, row in enumerate(rows)
    ]
    return {"heads": heads, "lines": lines}


def skill_text(rows: Sequence[Row], channels: Sequence[Channel]) -> str:
    """The table of ``skill_table`` as aligned plain text; empty without scores."""
    table = skill_table(rows, channels)
    if table is None:
        return ""
    cells = [["", "", "name"], *[["", "", line["name"]] for line in table["lines"]]]
    width = max(len(line[2]) for line in cells)
    text = [
        " " * width + "".join(f"{head[part]:>9}" for head in table["heads"])
        for part in ("score", "field", "units")
    ]
    text[2] = "name".ljust(width) + text[2][width:]
    text.append("-" * width + "".join("  -------" for _ in table["heads"]))
    for line in table["lines"]:
        text.append(line["name"].ljust(width) + "".join(f"{cell['text']:>9}" for cell in line["cells"]))
    what = "Precipitation" if channels[0].definition is None else channels[0].what
    seeps = "SEEPS (0 is perfect), " if "seeps" in rows[0].skill else ""
    title = f"{what} against its climatology: {seeps}ACC, RMSE (root of the mean over times)"
    return "\n".join([title, *(line.rstrip() for line in text)])


def reliability(rows: Sequence[Row], channels: Sequence[Channel]) -> Image | None:
    """How often each category was forecast where each was observed, at the first lead time."""
    rows = [row for row in rows if "seeps" in row.skill]
    if not rows:
        return None
    names = [row.name for row in rows]
    with style():
        figure = Figure(figsize=(12.2, 3.8), layout="constrained")
        axes = figure.subplots(1, 3, sharey=True)
        for observed, axis in zip(_CATEGORIES, axes, strict=True):
            for number, row in enumerate(rows):
                shares = forecast_given_observed(row.skill["contingency"][0])[:, observed]
                place = np.arange(3) + (number - (len(rows) - 1) / 2) * 0.8 / len(rows)
                axis.bar(place, shares, 0.75 / len(rows), color=color_of(row.name, names), label=row.name)
            axis.set_xticks(range(3), list(_CATEGORIES.values()))
            axis.set_xlabel("Forecast")
            axis.set_title(f"Where {_CATEGORIES[observed]} was observed")
            axis.set_ylim(0, 1)
        axes[0].set_ylabel("Share of the area")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(7, len(labels)))
        text = f"How often each category of {channels[0].long_name} was forecast, by what was observed"
        return image_of(figure, text, 140)
