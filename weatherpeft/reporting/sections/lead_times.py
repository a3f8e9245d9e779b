"""The RMSE by lead time."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from weatherpeft.fields.grid import Grid
from weatherpeft.reporting.figures import Image, color_of, image_of, pretty_units, style
from weatherpeft.reporting.scores import Channel, Row, headline, ordered

_COLUMNS = 4
_DASHES = ("-", "--", ":", "-.")


class LeadTimesSection:
    """The RMSE by lead time (see ``reporting.section.Section``), made from the rows' own scores."""

    template = "lead_times.html.jinja"

    def read(self, path: Path, channels: Sequence[Channel]) -> dict[str, np.ndarray]:
        """No further scores."""
        return {}

    def columns(self, skill: Mapping[str, np.ndarray]) -> Sequence[str]:
        """No further scores."""
        return []

    def units(self, score: str, channel: Channel) -> str:
        """Units of the data."""
        return channel.units

    def text(self, rows: Sequence[Row], channels: Sequence[Channel]) -> list[str]:
        """One table for each field that represents the others."""
        return [_text(table) for table in lead_time_tables(rows, channels)]

    def content(self, rows: Sequence[Row], channels: Sequence[Channel], grid: Grid) -> dict[str, Any] | None:
        """The same tables, and the curves."""
        tables = lead_time_tables(rows, channels)
        return {"tables": tables, "curves": lead_time_curves(rows, channels)} if tables else None


def _leads(channels: Sequence[Channel], field: str) -> dict[int, int]:
    """The index of a field's scores by lead time in hours, of several lead times."""
    found = [(channel.lead_hours, place) for place, channel in enumerate(channels) if channel.field == field]
    return {lead: place for lead, place in found if lead is not None}


def lead_time_tables(rows: Sequence[Row], channels: Sequence[Channel]) -> list[dict[str, Any]]:
    """For each field that represents the others a table with a line a row and a column a lead time.

    The best of every column is marked. There are no tables without several lead times.
    """
    rows = ordered(rows, channels)
    tables = []
    for field in (channels[index].field for index in headline(channels)):
        leads = _leads(channels, field)
        if not leads:
            return []
        factor, units = channels[next(iter(leads.values()))].display
        values = factor * np.array([[row.rmse[place] for place in leads.values()] for row in rows])
        best = values.min(axis=0)
        lines = [
            {
                "name": row.name,
                "kind": row.kind,
                "cells": [
                    {"text": f"{value:.4g}", "best": bool(value == least)}
                    for value, least in zip(own, best, strict=True)
                ],
            }
            for row, own in zip(rows, values, strict=True)
        ]
        tables.append({"field": field, "units": units, "leads": list(leads), "lines": lines})
    return tables


def _text(table: dict[str, Any]) -> str:
    """A table as aligned plain text."""
    width = max(len("lead time"), *(len(line["name"]) for line in table["lines"]))
    heads = "".join(f"{lead:>7} h" for lead in table["leads"])
    text = [
        f"RMSE of {table['field']} by lead time, {table['units']}",
        f"{'lead time':<{width}}{heads}",
        "-" * width + "".join("  -------" for _ in table["leads"]),
        *(
            line["name"].ljust(width) + "".join(f"{cell['text']:>9}" for cell in line["cells"])
            for line in table["lines"]
        ),
    ]
    return "\n".join(text)


def lead_time_curves(rows: Sequence[Row], channels: Sequence[Channel]) -> Image:
    """RMSE against lead time, a panel for each field that represents the others."""
    fields = [channels[index] for index in headline(channels)]
    names = [row.name for row in rows]
    columns = min(_COLUMNS, len(fields))
    with style():
        count = -(-len(fields) // columns)
        figure = Figure(figsize=(12.2, 3.4 * count + 0.5), layout="constrained")
        axes = figure.subplots(count, columns, squeeze=False).ravel()
        for axis, channel in zip(axes, fields, strict=False):
            factor, units = channel.display
            leads = _leads(channels, channel.field)
            for row in rows:
                axis.plot(
                    list(leads),
                    factor * row.rmse[list(leads.values())],
                    color="#8a94a0" if row.kind == "baseline" else color_of(row.name, names),
                    linestyle=_dashes(row, rows),
                    linewidth=1.5,
                    marker="o",
                    markersize=2.5,
                    label=row.name,
                )
            axis.set_title(f"{channel.field}, {pretty_units(units)}")
            axis.set_xlabel("Lead time in hours")
            axis.set_ylim(bottom=0)
        for axis in axes[len(fields) :]:
            axis.set_axis_off()
        axes[0].set_ylabel("RMSE")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(5, len(labels)))
        return image_of(figure, f"RMSE by lead time of {', '.join(names)}", 140)


def _dashes(row: Row, rows: Sequence[Row]) -> str:
    """Baselines are gray and differ by their dashes."""
    if row.kind == "method":
        return "-"
    baselines = [other.name for other in rows if other.kind == "baseline"]
    return _DASHES[baselines.index(row.name) % len(_DASHES)]
