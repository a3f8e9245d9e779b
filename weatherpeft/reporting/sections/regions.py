"""Scores of the experiment's regions, both trained and held out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from weatherpeft.artifacts import store
from weatherpeft.fields.grid import Grid
from weatherpeft.fields.regions import NamedRegion
from weatherpeft.reporting.scores import Channel, Row, headline, of_channel, ordered

_TITLES = {
    "rmse": ("RMSE by region, lower is better", "lower"),
    "seeps": ("SEEPS by region, lower is better", "lower"),
    "acc": ("ACC by region, higher is better", "higher"),
}
_MISSING = "-"


class RegionsSection:
    """Scores by region (see ``reporting.section.Section``).

    Args:
        regions: regions of the experiment by name, at least one.
    """

    template = "regions.html.jinja"

    def __init__(self, regions: Mapping[str, NamedRegion]) -> None:
        self._regions = regions

    def read(self, path: Path, channels: Sequence[Channel]) -> dict[str, np.ndarray]:
        """See ``read_regional``."""
        return read_regional(path, channels, self._regions)

    def columns(self, skill: Mapping[str, np.ndarray]) -> Sequence[str]:
        """Every score of every region."""
        return [score for score in skill if ":" in score]

    def units(self, score: str, channel: Channel) -> str:
        """Units of the data for the RMSE; the other scores have none."""
        return channel.units if score.startswith("rmse") else "1"

    def text(self, rows: Sequence[Row], channels: Sequence[Channel]) -> list[str]:
        """One table for each score."""
        return regional_text(rows, channels, self._regions)

    def content(self, rows: Sequence[Row], channels: Sequence[Channel], grid: Grid) -> dict[str, Any] | None:
        """One table for each score."""
        return {"tables": regional_tables(rows, channels, self._regions)}


def read_regional(
    path: Path, channels: Sequence[Channel], regions: Mapping[str, NamedRegion]
) -> dict[str, np.ndarray]:
    """Means over times and members of an artifact of the evaluate stage.

    Args:
        path: the artifact.
        channels: fields of the scores.
        regions: regions of the experiment by name.

    Returns:
        ``rmse:<region>`` and, for precipitation, ``seeps:<region>`` and ``acc:<region>``, ``(channel,)``
        each. A score that is undefined at a time is NaN.

    Raises:
        ValueError: a region has no scores. The message names the path.
    """
    dataset = store.open_dataset(path / "regions.zarr").load()
    found = {}
    for name in regions:
        if name not in dataset["region"].values:
            raise ValueError(f"{path}: no scores of the region {name}")
        own = dataset.sel(region=name)
        for score in (score for score in _TITLES if score in own):
            values = [of_channel(own[score], channel, path).values for channel in channels]
            found[f"{score}:{name}"] = np.array([value.mean(dtype=np.float64) for value in values])
    return found


def regional_tables(
    rows: Sequence[Row], channels: Sequence[Channel], regions: Mapping[str, NamedRegion]
) -> list[dict[str, Any]]:
    """One table of texts for each score, with regions next to each other and the best of columns marked."""
    rows = ordered(rows, channels)
    tables = []
    names = sorted(regions, key=lambda name: regions[name].held_out)
    for score, (title, better) in _TITLES.items():
        if not names or f"{score}:{names[0]}" not in rows[0].skill:
            continue
        heads, columns = [], []
        for index in headline(channels):
            channel = channels[index]
            factor, units = channel.display if score == "rmse" else (1.0, "")
            for name in names:
                values = factor * np.array([row.skill[f"{score}:{name}"][index] for row in rows])
                defined = values[~np.isnan(values)]
                best = (defined.max() if better == "higher" else defined.min()) if defined.size else np.nan
                texts = [_MISSING if np.isnan(value) else f"{value:.4g}" for value in values]
                heads.append(
                    {
                        "field": channel.label,
                        "units": units,
                        "region": name,
                        "trained": "held out" if regions[name].held_out else "trained",
                    }
                )
                columns.append(
                    [{"text": t, "best": bool(v == best)} for t, v in zip(texts, values, strict=True)]
                )
        lines = [
            {"name": row.name, "kind": row.kind, "cells": [column[number] for column in columns]}
            for number, row in enumerate(rows)
        ]
        tables.append({"title": title, "heads": heads, "lines": lines})
    return tables


def regional_text(
    rows: Sequence[Row], channels: Sequence[Channel], regions: Mapping[str, NamedRegion]
) -> list[str]:
    """The tables of ``regional_tables`` as blocks of aligned plain text."""
    blocks = []
    for table in regional_tables(rows, channels, regions):
        parts = ("field", "region", "trained", "units")
        heads = [["", "", "", "name"], *([head[part] for part in parts] for head in table["heads"])]
        cells = [[line["name"] for line in table["lines"]]]
        cells += [[line["cells"][n]["text"] for line in table["lines"]] for n in range(len(table["heads"]))]
        flat = [[*head, *column] for head, column in zip(heads, cells, strict=True)]
        widths = [max(map(len, column)) for column in flat]
        lines = [
            "  ".join(
                text.ljust(width) if column == 0 else text.rjust(width)
                for column, (text, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in zip(*flat, strict=True)
        ]
        lines.insert(len(parts), "  ".join("-" * width for width in widths))
        blocks.append("\n".join([table["title"], *lines]))
    return blocks
