"""Scores as text: tidy CSV for programs and aligned columns for the terminal."""

import csv
import io
from collections.abc import Sequence

import numpy as np

from weatherpeft.reporting.choices import Choice
from weatherpeft.reporting.scores import (
    SCORES,
    Channel,
    Entry,
    Row,
    difference_percent,
    full_tuning,
    headline,
    ordered,
)
from weatherpeft.reporting.section import Section

WIDTH = 120
"""Width of a terminal in columns."""
_CSV_COLUMNS = (
    *("run", "name", "seed", "start", "kind", "variable", "level_hpa", "channel", "score", "value", "units"),
    *("trainable_backbone", "trainable_total"),
)


def csv_text(entries: Sequence[Entry], channels: Sequence[Channel], sections: Sequence[Section] = ()) -> str:
    """Tidy CSV with a line for every run, field and score, in SI units with seven digits.

    Args:
        entries: scores of runs and baselines.
        channels: fields of the scores.
        sections: sections with further scores.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS)
    for entry in entries:
        for index, channel in enumerate(channels):
            values = [(score, getattr(entry, score)[index], channel.units) for score in SCORES]
            values += [
                (score, entry.skill[score][index], section.units(score, channel))
                for section in sections
                for score in section.columns(entry.skill)
            ]
            for score, value, units in values:
                writer.writerow(
                    [entry.label, entry.name, entry.seed, entry.start, entry.kind]
                    + [channel.variable, channel.level_hpa, channel.label, score, f"{value:.6e}", units]
                    + [entry.trainable_backbone, entry.trainable_total]
                )
    return stream.getvalue()


def decimals(values: np.ndarray) -> int:
    """Number of decimals with which the median of the positive values has four digits.

    >>> decimals(np.array([1.2345])), decimals(np.array([50.421])), decimals(np.array([0.0]))
    (3, 2, 3)
    """
    positive = values[values > 0]
    if positive.size == 0:
        return 3
    return int(np.clip(3 - np.floor(np.log10(np.median(positive))), 0, 6))


def count_text(counts: Sequence[int]) -> str:
    """Number of parameters as text: a range if seeds differ, a dash for a baseline.

    >>> count_text((1234567,)), count_text((10, 2000)), count_text(())
    ('1,234,567', '10-2,000', '-')
    """
    return "-".join(f"{count:,}" for count in dict.fromkeys((counts[0], counts[-1]))) if counts else "-"


def percent_text(value: float) -> str:
    """A signed percentage as text.

    >>> percent_text(12.345), percent_text(-0.04), percent_text(float("nan"))
    ('+12.3%', '-0.0%', '-')
    """
    return f"{value:+.1f}%" if np.isfinite(value) else "-"


def terminal_text(
    title: Sequence[str],
    rows: Sequence[Row],
    channels: Sequence[Channel],
    sections: Sequence[Section] = (),
    choices: Sequence[Choice] = (),
) -> str:
    """The score table as aligned plain text, at most ``WIDTH`` columns wide.

    Args:
        title: lines above the table.
        rows: methods and baselines.
        channels: fields of the rows' scores.
        sections: sections whose tables follow.
        choices: choices among candidates, whose tables come last.

    Returns:
        RMSE of the headline fields, or of the first of them if not all fit, next to the difference to full
        tuning in percent. A second table has the spread over seeds of methods with several.
    """
    rows, shown = ordered(rows, channels), headline(channels)
    full = full_tuning(rows)
    labels = [channels[index].label for index in shown]
    compared = [labels.index(label) for label in ("t850", "10u") if label in labels] or [0]
    first = [["", "", "name"], *[[row.name] for row in rows]]
    counts = [
        [["trainable", "backbone", ""], *[[count_text(row.trainable_backbone)] for row in rows]],
        [["trainable", "total", ""], *[[count_text(row.trainable_total)] for row in rows]],
    ]
    relative: list[_Column] = []
    if full:
        for place in compared:
            percent = [difference_percent(row, full)[shown[place]] for row in rows]
            relative.append([[labels[place], "vs full", ""], *[[percent_text(value)] for value in percent]])
    fields = [_field(channels[index], [row.rmse[index] for row in rows]) for index in shown]
    lines = _aligned([first, *counts], fields, relative)
    blocks = ["\n".join(title), "Latitude-weighted RMSE, mean over test samples and seeds\n" + lines]
    spread = [row for row in rows if row.rmse_spread is not None]
    if spread:
        names = [["", "", "name"], *[[row.name] for row in spread]]
        seeds = [["", "", "seeds"], *[[str(row.seeds)] for row in spread]]
        reference = {index: np.array([row.rmse[index] for row in rows]) for index in shown}
        values = np.stack([row.rmse_spread for row in rows if row.rmse_spread is not None])
        fields = [_field(channels[index], values[:, index], reference[index]) for index in shown]
        lines = _aligned([names, seeds], fields, [])
        blocks.append("Sample standard deviation of the RMSE over seeds\n" + lines)
    for section in sections:
        blocks += section.text(rows, channels)
    blocks += [choice.text() for choice in choices]
    return "\n\n".join(blocks) + "\n"


_Column = list[list[str]]
"""Three header lines, then one cell for each row."""


def _field(
    channel: Channel, values: Sequence[float] | np.ndarray, reference: np.ndarray | None = None
) -> _Column:
    factor, units = channel.display
    scaled = np.asarray(values) * factor
    places = decimals(scaled if reference is None else reference * factor)
    return [["RMSE", channel.label, units], *[[f"{value:.{places}f}"] for value in scaled]]


def _aligned(first: list[_Column], fields: list[_Column], last: list[_Column]) -> str:
    """Put columns side by side, without the rightmost fields that do not fit."""
    while fields:
        lines = _lines([*first, *fields, *last])
        if max(map(len, lines)) <= WIDTH:
            break
        fields = fields[:-1]
    else:
        lines = _lines([*first, *last])
    return "\n".join(lines)


def _lines(columns: list[_Column]) -> list[str]:
    flat = [[*column[0], *(cell for (cell,) in column[1:])] for column in columns]
    widths = [max(map(len, cells)) for cells in flat]
    lines = []
    for number in range(len(flat[0])):
        cells = [cells[number] for cells in flat]
        aligned = [
            cells[0].ljust(widths[0]),
            *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True)),
        ]
        lines.append("  ".join(aligned).rstrip())
        if number == 2:
            lines.append("  ".join("-" * width for width in widths))
    return lines
