"""Scores of probabilistic forecasts: CRPS, ratio of spread to error, histograms and maps of skill."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from weatherpeft.artifacts import store
from weatherpeft.fields.grid import Grid
from weatherpeft.reporting.figures import Image, color_of, image_of, style
from weatherpeft.reporting.maps import geographic
from weatherpeft.reporting.scores import Channel, Row
from weatherpeft.verification.probabilistic import spread_skill_ratio

COLUMNS = ("crps", "crps_fair", "eecrps", "spread_skill")
"""Scores with one value per channel; the last has no units."""
REFERENCES = ("ensemble", "emos")
"""Baselines with which the others are compared."""
_TITLES = {
    "crps": "CRPS, mean over test samples, lower is better",
    "eecrps": "EECRPS: CRPS weighted by the extremeness of the raw ensemble, lower is better",
    "spread_skill": "Spread over error of the mean, 1 is reliable",
}


class EnsembleSection:
    """Scores of distributions and ensembles (see ``reporting.section.Section``)."""

    template = "ensemble.html.jinja"

    def read(self, path: Path, channels: Sequence[Channel]) -> dict[str, np.ndarray]:
        """See ``read_ensemble_skill``."""
        return read_ensemble_skill(path, channels)

    def columns(self, skill: Mapping[str, np.ndarray]) -> Sequence[str]:
        """CRPS, EECRPS and the ratio of spread to error."""
        return [score for score in COLUMNS if score in skill]

    def units(self, score: str, channel: Channel) -> str:
        """Units of the data; a ratio has none."""
        return "1" if score == "spread_skill" else channel.units

    def text(self, rows: Sequence[Row], channels: Sequence[Channel]) -> list[str]:
        """One table for each score."""
        return ensemble_text(rows, channels)

    def content(self, rows: Sequence[Row], channels: Sequence[Channel], grid: Grid) -> dict[str, Any] | None:
        """One table for each score, histograms, and maps of skill."""
        tables = ensemble_tables(rows, channels)
        if not tables:
            return None
        return {
            "tables": tables,
            "histograms": histograms(rows, channels),
            "skill_maps": skill_maps(rows, channels, grid),
        }


def read_ensemble_skill(path: Path, channels: Sequence[Channel]) -> dict[str, np.ndarray]:
    """Scores over all times of an artifact of the evaluate stage.

    Args:
        path: the artifact.
        channels: targets of the scores.

    Returns:
        ``COLUMNS``, ``(channel,)`` each; ``crps_fair`` for ensembles only. ``histogram`` is ``(channel,
        bin)`` and ``crps_map`` ``(channel, latitude, longitude)``. Empty if the artifact has no CRPS.
    """
    dataset = store.open_dataset(path / "scores.zarr").load()
    if "crps" not in dataset:
        return {}
    dataset = dataset.sel(channel=[channel.field for channel in channels])
    found = {
        name: dataset[name].mean("time", dtype=np.float64).values
        for name in ("crps", "crps_fair", "eecrps", "histogram")
        if name in dataset
    }
    variance, squares = (
        dataset[name].mean("time", dtype=np.float64).values for name in ("variance", "squared_error")
    )
    found["spread_skill"] = spread_skill_ratio(variance, squares, dataset.attrs["members"] or None)
    return found | {"crps_map": dataset["crps_map"].values}


def ensemble_tables(rows: Sequence[Row], channels: Sequence[Channel]) -> list[dict[str, Any]]:
    """One table of texts for each score, with the best of every column marked; empty without scores."""
    rows = [row for row in rows if "crps" in row.skill]
    if not rows:
        return []
    by_name = {row.name: row for row in rows}
    references = [by_name[name] for name in REFERENCES if name in by_name]
    tables = []
    for score, title in _TITLES.items():
        relative = references if score != "spread_skill" else []
        columns = []
        for index, channel in enumerate(channels):
            factor = 1.0 if score == "spread_skill" else channel.display[0]
            values = factor * np.array([row.skill[score][index] for row in rows])
            distance = np.abs(values - 1) if score == "spread_skill" else values
            columns.append(
                [
                    {
                        "text": f"{values[number]:.4g}",
                        "best": bool(distance[number] == distance.min()),
                        "relative": [_relative(row, other, score, index) for other in relative],
                    }
                    for number, row in enumerate(rows)
                ]
            )
        lines = [
            {"name": row.name, "kind": row.kind, "cells": [column[number] for column in columns]}
            for number, row in enumerate(rows)
        ]
        if score == "crps":
            lines += [_fair(row, channels, len(relative)) for row in rows if "crps_fair" in row.skill]
        tables.append(
            {
                "title": title,
                "heads": [_head(score, channel) for channel in channels],
                "references": [row.name for row in relative],
                "lines": lines,
            }
        )
    return tables


def _fair(row: Row, channels: Sequence[Channel], references: int) -> dict[str, Any]:
    """A further line: the expected CRPS of an ensemble with infinitely many members."""
    values = [channel.display[0] * row.skill["crps_fair"][index] for index, channel in enumerate(channels)]
    cells = [{"text": f"{value:.4g}", "best": False, "relative": [""] * references} for value in values]
    return {"name": f"{row.name}, fair", "kind": row.kind, "cells": cells}


def ensemble_text(rows: Sequence[Row], channels: Sequence[Channel]) -> list[str]:
    """The tables of ``ensemble_tables`` as blocks of aligned plain text."""
    blocks = []
    for table in ensemble_tables(rows, channels):
        width = max(len("name"), *(len(line["name"]) for line in table["lines"]))
        labels, units = (
            "".join(f"{head[part]:>10}" for head in table["heads"]) for part in ("label", "units")
        )
        text = [table["title"], " " * width + labels, "name".ljust(width) + units]
        text.append("-" * width + "  --------" * len(table["heads"]))
        for line in table["lines"]:
            text.append(line["name"].ljust(width) + "".join(f"{cell['text']:>10}" for cell in line["cells"]))
        for place, reference in enumerate(table["references"]):
            text.append(f"against {reference}")
            for line in table["lines"]:
                cells = [cell["relative"][place] for cell in line["cells"]]
                if any(cells):
                    text.append(line["name"].ljust(width) + "".join(f"{cell:>10}" for cell in cells))
        blocks.append("\n".join(text))
    return blocks


def histograms(rows: Sequence[Row], channels: Sequence[Channel]) -> Image | None:
    """Rank histograms of ensembles and PIT histograms of distributions, with a panel for each target."""
    rows = [row for row in rows if "crps" in row.skill]
    if not rows:
        return None
    names = [row.name for row in rows]
    with style():
        figure = Figure(figsize=(12.2, 3.9), layout="constrained")
        axes = figure.subplots(1, len(channels), sharey=True, squeeze=False)[0]
        for index, (axis, channel) in enumerate(zip(axes, channels, strict=True)):
            for row in rows:
                shares = row.skill["histogram"][index]
                edges = np.linspace(0, 1, shares.size + 1)
                axis.stairs(
                    shares * shares.size,
                    edges,
                    color=color_of(row.name, names),
                    label=row.name,
                    linewidth=1.5,
                )
            axis.axhline(1, color="#5b6670", linewidth=0.8)
            axis.set_title(channel.label)
            axis.set_xlabel("Rank or probability")
        axes[0].set_ylabel("Share, relative to flat")
        axes[0].set_ylim(bottom=0)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(8, len(labels)))
        text = "How often the analysis was at each rank among the members, or at each probability"
        return image_of(figure, text, 140)


def skill_maps(rows: Sequence[Row], channels: Sequence[Channel], grid: Grid) -> Image | None:
    """Maps of the skill relative to the raw ensemble, 1 - CRPS / CRPS of the ensemble, for each target.

    They show the method with the smallest CRPS of the first target.

    Args:
        rows: methods and baselines.
        channels: targets of the scores.
        grid: grid of the scores.

    Returns:
        The image; None without a method or without the raw ensemble.
    """
    scored = {row.name: row for row in rows if "crps" in row.skill}
    methods = [row for row in scored.values() if row.kind == "method"]
    if not methods or REFERENCES[0] not in scored:
        return None
    method = min(methods, key=lambda row: float(row.skill["crps"][0]))
    reference = scored[REFERENCES[0]].skill["crps_map"]
    skill = 1 - method.skill["crps_map"] / np.maximum(reference, np.finfo(np.float64).tiny)
    largest = float(np.percentile(np.abs(skill), 98)) or 1.0
    south_north, west_east = grid.latitude_bounds(), grid.longitude_bounds()
    columns = min(3, len(channels))
    lines = -(-len(channels) // columns)
    aspect = abs(south_north[0] - south_north[-1]) / (west_east[-1] - west_east[0])
    with style({"axes.grid": False, "axes.spines.top": True, "axes.spines.right": True}):
        figure = Figure(figsize=(12.2, lines * (3.9 * min(aspect, 1.3) + 0.5) + 0.9), layout="constrained")
        axes = figure.subplots(lines, columns, squeeze=False).ravel()
        for axis, channel, field in zip(axes, channels, skill, strict=False):
            mesh = axis.pcolormesh(
                west_east, south_north, field, rasterized=True, cmap="RdBu", vmin=-largest, vmax=largest
            )
            axis.set_title(channel.long_name)
            axis.set_aspect("equal", adjustable="box")
            geographic(axis)
        for axis in axes[len(channels) :]:
            axis.set_axis_off()
        figure.colorbar(
            mesh, ax=axes.tolist(), location="bottom", shrink=0.5, extend="both", label="CRPS skill score"
        )
        text = f"CRPS skill of {method.name} against the raw ensemble: blue where it is better"
        return image_of(figure, text, 140)


def _head(score: str, channel: Channel) -> dict[str, str]:
    units = "1" if score == "spread_skill" else channel.display[1]
    return {"label": channel.label, "units": units, "title": channel.long_name}


def _relative(row: Row, other: Row, score: str, index: int) -> str:
    if row is other:
        return ""
    value, reference = (each.skill[score][index] for each in (row, other))
    return f"{100 * (value / reference - 1):+.1f}%" if reference else "-"
