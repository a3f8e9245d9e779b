"""Scores of runs and baselines, averaged over times and members, then over seeds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from weatherpeft.artifacts import store
from weatherpeft.fields.definition import definition_of
from weatherpeft.fields.variables import VARIABLES, Definition, Variable, channel_label

if TYPE_CHECKING:
    import xarray as xr

SCORES = ("rmse", "bias")
_HEADLINE = (("2t",), ("10u",), ("10v",), ("t850",), ("u850",), ("z500",), ("q850", "q700"))
_FEATURED = ("t850", "10u", "2t")
_DISPLAY = {"kg kg-1": (1e3, "g kg-1"), "m": (1e3, "mm")}


@dataclass(frozen=True)
class Channel:
    """A scored field.

    Attributes:
        variable: WeatherBench 2 name.
        level_hpa: pressure level in hPa; None at the surface.
        label: short label, for example ``t850`` or, at one of several lead times, ``tp+24h``.
        lead_hours: lead time in hours, if there are several; None if there is only one.
        definition: of a variable that the table lacks.
    """

    variable: str
    level_hpa: int | None
    label: str
    lead_hours: int | None = None
    definition: Definition | None = None

    @property
    def field(self) -> str:
        """The label without the lead time."""
        return channel_label(self.variable, self.level_hpa)

    @property
    def units(self) -> str:
        """Units of the data."""
        return self._row.units

    @property
    def _row(self) -> Variable:
        return self.definition.row(self.variable) if self.definition else VARIABLES[self.variable]

    @property
    def display(self) -> tuple[float, str]:
        """Factor and units for readers: humidity in g kg-1, precipitation in mm, other fields in SI units."""
        return _DISPLAY.get(self.units, (1.0, self.units))

    @property
    def what(self) -> str:
        """Name of the variable for titles."""
        return self._row.long_name

    @property
    def long_name(self) -> str:
        """Name for titles, for example ``Temperature at 850 hPa``."""
        name = self._row.long_name
        name += "" if self.level_hpa is None else f" at {self.level_hpa} hPa"
        return name if self.lead_hours is None else f"{name}, {self.lead_hours} h ahead"


def scored_channels(
    fields: Sequence[tuple[str, int | None]],
    leads: Sequence[int] = (0,),
    define: Mapping[str, Definition] | None = None,
) -> list[Channel]:
    """Every scored field at every lead time.

    Args:
        fields: variable and level of every field, in the order of the scores.
        leads: lead times in hours.
        define: definitions of the variables that the table lacks.
    """
    own = define or {}
    if len(leads) == 1:
        return [
            Channel(name, level, channel_label(name, level), definition=definition_of(name, own))
            for name, level in fields
        ]
    return [
        Channel(name, level, f"{channel_label(name, level)}+{lead}h", lead, definition_of(name, own))
        for name, level in fields
        for lead in leads
    ]


def headline(channels: Sequence[Channel]) -> list[int]:
    """Indices of the fields that represent the others, or the first six if there are none of them.

    Of several lead times it is the longest.
    """
    position = {channel.field: index for index, channel in enumerate(channels)}
    groups = [[position[label] for label in labels if label in position] for labels in _HEADLINE]
    return [group[0] for group in groups if group] or list(range(min(6, len(channels))))


def featured(channels: Sequence[Channel]) -> list[int]:
    """Indices of the fields that maps show, or the first three of ``headline`` if there are none of them.

    Of several lead times it is the first.
    """
    position = {channel.field: index for index, channel in reversed([*enumerate(channels)])}
    return [position[label] for label in _FEATURED if label in position] or headline(channels)[:3]


@dataclass(frozen=True)
class Entry:
    """Scores of one run or baseline.

    Attributes:
        label: folder name of its artifacts.
        name: name of its row in the tables.
        kind: whether it is a run or a baseline.
        seed: seed of a run.
        start: weights that a run started from.
        recipe: everything that defines a run except its seed and its initial weights.
        reference: whether a run tunes all parameters, so that others are compared with it.
        trainable_backbone: number of parameters of a run that are trained at a step, without encoder and
            decoder.
        trainable_total: number of all parameters of a run that are trained at a step.
        rmse: mean over times and members, ``(channel,)``, in SI units.
        bias: mean over times and members, ``(channel,)``, in SI units.
        skill: further scores by name, ``(channel, ...)`` each; see ``section.Section.read``.
    """

    label: str
    name: str
    kind: Literal["method", "baseline"]
    rmse: np.ndarray
    bias: np.ndarray
    seed: int | None = None
    start: Literal["pretrained", "random"] | None = None
    recipe: str = ""
    reference: bool = False
    trainable_backbone: int | None = None
    trainable_total: int | None = None
    skill: dict[str, np.ndarray] = field(default_factory=dict)


def read_scores(path: Path, channels: Sequence[Channel], times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean RMSE and bias of an artifact of the evaluate stage, over times and members.

    Args:
        path: the artifact.
        channels: fields that the artifact must hold, and no others.
        times: times of the samples that the artifact must hold, and no others, ``(time,)``.

    Returns:
        RMSE and bias in SI units, ``(channel,)`` each.

    Raises:
        ValueError: scores are absent, not finite, or of other fields or times. The message names the path.
    """
    dataset = store.open_dataset(path / "scores.zarr")
    missing = [name for name in (*SCORES, "channel", "time") if name not in dataset.variables]
    if missing:
        raise ValueError(f"{path}: scores.zarr lacks {', '.join(missing)}")
    expected = list(dict.fromkeys(channel.field for channel in channels))
    found = [str(v) for v in dataset.channel.values]
    if set(expected) != set(found) or len(expected) != len(found):
        lacking = ", ".join(label for label in expected if label not in found) or "none"
        extra = ", ".join(label for label in found if label not in expected) or "none"
        raise ValueError(
            f"{path}: channels differ from the experiment's; missing: {lacking}; unexpected: {extra}"
        )
    if not np.array_equal(np.sort(dataset.time.values), np.sort(times)):
        raise ValueError(
            f"{path}: scored times are not those of the test split: "
            f"expected {_span(times)}, found {_span(dataset.time.values)}"
        )
    means = []
    for name in SCORES:
        scores = [of_channel(dataset[name], channel, path).values for channel in channels]
        mean = np.array([score.mean(dtype=np.float64) for score in scores])
        if not np.isfinite(mean).all():
            wrong = [c.label for c, value in zip(channels, mean, strict=True) if not np.isfinite(value)]
            raise ValueError(f"{path}: {name} is not finite for {', '.join(wrong)}")
        means.append(mean)
    return means[0], means[1]


def of_channel(scores: "xr.DataArray", channel: Channel, path: Path) -> "xr.DataArray":
    """Select the scores of a field at its lead time.

    Args:
        scores: scores that may have the dims ``channel`` and ``prediction_timedelta``.
        channel: field to select.
        path: artifact of the scores, for the error message.

    Returns:
        Scores without these dims.

    Raises:
        ValueError: the lead time is missing. The message names the path.
    """
    chosen = scores.sel(channel=channel.field) if "channel" in scores.dims else scores
    if channel.lead_hours is None:
        return chosen
    lead = np.timedelta64(channel.lead_hours, "h")
    if "prediction_timedelta" not in chosen.dims or lead not in chosen["prediction_timedelta"].values:
        raise ValueError(f"{path}: no scores {channel.lead_hours} h ahead")
    return chosen.sel(prediction_timedelta=lead)


def _span(times: np.ndarray) -> str:
    if times.size == 0:
        return "no times"
    ends = np.datetime_as_string(np.sort(times)[[0, -1]], unit="h")
    return f"{times.size} from {ends[0]} to {ends[1]}"


@dataclass(frozen=True)
class Row:
    """Scores of a method over its seeds, or of a baseline.

    Attributes:
        name: name of the method or baseline.
        kind: whether it is a method or a baseline.
        start: weights that the runs started from.
        recipe: everything that defines the runs except their seeds and their initial weights.
        reference: whether the runs tune all parameters, so that others are compared with them.
        seeds: number of runs.
        trainable_backbone: different counts of the runs, increasing; empty for a baseline.
        trainable_total: different total counts of the runs, increasing; empty for a baseline.
        rmse: mean over seeds in SI units, ``(channel,)``.
        rmse_spread: sample standard deviation over seeds in SI units, ``(channel,)``; None for a single run.
        bias: mean over seeds in SI units, ``(channel,)``.
        skill: mean over seeds of further scores by name, ``(channel, ...)`` each.
    """

    name: str
    kind: Literal["method", "baseline"]
    start: Literal["pretrained", "random"] | None
    recipe: str
    reference: bool
    seeds: int
    trainable_backbone: tuple[int, ...]
    trainable_total: tuple[int, ...]
    rmse: np.ndarray
    rmse_spread: np.ndarray | None
    bias: np.ndarray
    skill: dict[str, np.ndarray] = field(default_factory=dict)


def rows_of(entries: Sequence[Entry]) -> list[Row]:
    """One row for each name, in the order of the first entries.

    Args:
        entries: scores of runs and baselines.

    Raises:
        ValueError: runs with the same name started from different weights.
    """
    rows = []
    for name in dict.fromkeys(entry.name for entry in entries):
        group = [entry for entry in entries if entry.name == name]
        if len({(entry.kind, entry.start) for entry in group}) > 1:
            labels = ", ".join(entry.label for entry in group)
            raise ValueError(f"{name}: runs with this name started from different weights: {labels}")
        rmse = np.stack([entry.rmse for entry in group])
        rows.append(
            Row(
                name=name,
                kind=group[0].kind,
                start=group[0].start,
                recipe=group[0].recipe,
                reference=group[0].reference,
                seeds=len(group),
                trainable_backbone=_counts(entry.trainable_backbone for entry in group),
                trainable_total=_counts(entry.trainable_total for entry in group),
                rmse=rmse.mean(axis=0),
                rmse_spread=rmse.std(axis=0, ddof=1) if len(group) > 1 else None,
                bias=np.stack([entry.bias for entry in group]).mean(axis=0),
                skill={
                    name: np.stack([entry.skill[name] for entry in group]).mean(axis=0)
                    for name in group[0].skill
                },
            )
        )
    return rows


def _counts(values: Iterable[int | None]) -> tuple[int, ...]:
    return tuple(sorted({value for value in values if value is not None}))


def ordered(rows: Sequence[Row], channels: Sequence[Channel]) -> list[Row]:
    """Baselines, then methods, both from the largest to the smallest RMSE of t850 (or the first field).

    Of several lead times the longest counts for t850.
    """
    column = {channel.field: index for index, channel in enumerate(channels)}.get("t850", 0)
    return sorted(rows, key=lambda row: (row.kind == "method", -row.rmse[column], row.name))


def full_tuning(rows: Sequence[Row]) -> Row | None:
    """The row of full tuning of the pretrained model, with which others are compared."""
    return next((row for row in rows if row.reference and row.start == "pretrained"), None)


def difference_percent(row: Row, reference: Row) -> np.ndarray:
    """Difference of a row's RMSE to a reference row's in percent of the reference, ``(channel,)``.

    It is NaN where the reference is zero.
    """
    zero = reference.rmse == 0
    return np.where(zero, np.nan, 100 * (row.rmse / np.where(zero, 1, reference.rmse) - 1))


def random_starts(rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Pairs of rows with the same methods and training, from pretrained and from random weights."""
    pretrained = {row.recipe: row for row in reversed(rows) if row.start == "pretrained"}
    return [
        (pretrained[row.recipe], row) for row in rows if row.start == "random" and row.recipe in pretrained
    ]


def best_baseline(rows: Sequence[Row]) -> np.ndarray | None:
    """Smallest RMSE of the baselines in each field, ``(channel,)``; None without baselines."""
    found = [row.rmse for row in rows if row.kind == "baseline"]
    return np.min(found, axis=0) if found else None
