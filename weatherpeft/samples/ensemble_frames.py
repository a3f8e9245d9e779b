"""Samples of ensemble forecasts with the analyses of their valid times, as arrays."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from weatherpeft.artifacts import store
from weatherpeft.artifacts.fields import FieldReader
from weatherpeft.artifacts.period_stores import PeriodStores
from weatherpeft.fields.grid import Grid
from weatherpeft.fields.variables import STD, FieldSet, VariableSet
from weatherpeft.samples.ensemble import Ensemble
from weatherpeft.samples.ensemble_window import EnsembleWindow
from weatherpeft.samples.frames import Sample, SampleFrames
from weatherpeft.samples.splits import Split


class EnsembleFrames(SampleFrames):
    """The samples of one split: forecasts with an analysis that start and are valid in the same period.

    The time of a sample is the start of its forecast.

    Args:
        window: window of the samples, whose only target is at the forecast's valid time.
        fields: variables of the forecasts, static fields of the analyses and declared placeholders.
        directories: artifacts of the regrid stage with analyses.
        split: periods; analyses have no members.
        forecasts: artifacts of the regrid stage with forecasts.

    Raises:
        ValueError: the split has no sample, or the forecasts do not have the lead time or the number of
            members of the window.
    """

    ensemble: Ensemble
    """Ensemble of the window."""
    members: list[int]
    """Numbers of the forecasts' members."""

    window: EnsembleWindow

    def __init__(
        self,
        window: EnsembleWindow,
        fields: FieldSet,
        directories: Sequence[Path],
        split: Split,
        forecasts: Sequence[Path],
    ) -> None:
        self.window, self.fields, self.split, self.ensemble = window, fields, split, window.ensemble
        targets, measured = self.ensemble.variables, fields.measured
        self._analyses = FieldReader(
            directories, window.target_grid, (*targets.surface, *targets.atmospheric)
        )
        self._target_levels = _level_places(directories, window, targets.levels_hpa)
        self._forecasts = FieldReader(
            forecasts, window.input_grid, (*measured.surface, *measured.atmospheric)
        )
        self.members = _members(forecasts, window)
        self.static = {
            name: self._fill(name) if name in fields.placeholders else self._analyses.static(name)
            for name in fields.all.static
        }
        self.samples = self._find()
        if not self.samples:
            periods = ", ".join(period.label for period in split.periods)
            raise ValueError(
                f"no forecast and its analysis lie in one of the periods {periods}: of {self.expected} "
                f"forecasts that start and are valid there, none is valid at a time of the analyses"
            )

    def _find(self) -> list[Sample]:
        (hours,) = self.window.target_hours
        lead, found, self.expected = np.timedelta64(hours, "h"), [], 0
        for period in self.split.periods:
            known = set(self._analyses.times([period]))
            starts = [time - lead for time in self._forecasts.times([period])]
            starts = [start for start in starts if start >= np.datetime64(period.first)]
            self.expected += len(starts)
            found += [Sample(start, None, hours) for start in starts if start + lead in known]
        return sorted(found, key=lambda sample: sample.time)

    @property
    def input_label(self) -> str:
        """See ``SampleFrames.input_label``."""
        return "Ensemble mean" if self.ensemble.frames == "moments" else "Last member"

    @property
    def target_variables(self) -> VariableSet:
        """Variables and levels of the targets."""
        return self.ensemble.variables

    def told(self, sample: Sample) -> tuple[np.datetime64, int]:
        """The valid time and a lead time of 0, because input and target are valid at the same time."""
        return self.valid(sample), 0

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Endings of the names of a predicted distribution's mean and standard deviation."""
        return "", STD

    def seen(self, fields: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The fields: the prediction is relative to their mean and spread, so the model transforms them."""
        return fields

    def in_units(self, fields: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The fields. A predicted mean and spread are in their variable's units."""
        return fields

    def facts(self) -> list[tuple[str, str]]:
        """Number of members, lead time and what the model sees of the members."""
        seen = "their standard deviation and mean"
        seen = seen if self.ensemble.frames == "moments" else "every one of them"
        lead = self.window.target_hours[0]
        text = f"{self.ensemble.members} members, forecasts of {lead} h; the model sees {seen}"
        return [("Ensemble", text)]

    def levels_left_out(self, name: str) -> list[int]:
        """Indices of the levels at which an atmospheric variable is not a target."""
        wanted = self.ensemble.variables
        if name in wanted.surface:
            return []
        targets = {(target.variable, target.level_hpa) for target in self.ensemble.targets}
        return [place for place, level in enumerate(wanted.levels_hpa) if (name, level) not in targets]

    @staticmethod
    def valid(sample: Sample) -> np.datetime64:
        """Valid time of a forecast."""
        return sample.time + np.timedelta64(sample.lead_hours, "h")

    def forecast(self, sample: Sample) -> dict[str, np.ndarray]:
        """Fields of every member by name, ``(member, [level,] latitude, longitude)`` each."""
        members = [self._forecasts.read(self.valid(sample), member) for member in self.members]
        return {name: np.stack([fields[name] for fields in members]) for name in members[0]}

    def inputs(self, sample: Sample) -> list[dict[str, np.ndarray]]:
        """The input frames, with placeholders: standard deviation and mean, or every member.

        Returns:
            Fields by name of each frame, ``([level,] latitude, longitude)`` each.
        """
        forecast = self.forecast(sample)
        if self.ensemble.frames == "moments":
            pairs = {name: moments_of(members) for name, members in forecast.items()}
            frames = [{name: pair[place] for name, pair in pairs.items()} for place in (1, 0)]
        else:
            count = len(self.members)
            frames = [{name: fields[place] for name, fields in forecast.items()} for place in range(count)]
        return [
            {**frame, **{name: self._fill(name) for name in self.fields.placeholders}} for frame in frames
        ]

    def target(self, sample: Sample) -> dict[str, np.ndarray]:
        """The analysis of the targets' variables at their levels, ``([level,] latitude, longitude)`` each."""
        surface = self.ensemble.variables.surface
        fields = self._analyses.read(self.valid(sample), None)
        return {
            name: field if name in surface else field[self._target_levels] for name, field in fields.items()
        }

    def of_targets(self, fields: dict[str, np.ndarray]) -> np.ndarray:
        """Select the targets from fields of the forecasts.

        Args:
            fields: fields by name, ``(..., [level,] latitude, longitude)`` each.

        Returns:
            ``(..., target, latitude, longitude)``.
        """
        levels = self.fields.measured.levels_hpa
        return np.stack(
            [
                fields[one.variable]
                if one.level_hpa is None
                else fields[one.variable][..., levels.index(one.level_hpa), :, :]
                for one in self.ensemble.targets
            ],
            axis=-3,
        )

    def at_target_levels(self, fields: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Select the targets' variables and levels from fields of the forecasts.

        Args:
            fields: fields by name, ``(..., [level,] latitude, longitude)`` each.

        Returns:
            Fields by name, ``(..., [level,] latitude, longitude)`` each.
        """
        wanted, levels = self.ensemble.variables, self.fields.measured.levels_hpa
        places = [levels.index(level) for level in wanted.levels_hpa]
        surface = {name: fields[name] for name in wanted.surface}
        return surface | {name: fields[name][..., places, :, :] for name in wanted.atmospheric}

    def true_targets(self, sample: Sample) -> np.ndarray:
        """The analysis of every target, ``(target, latitude, longitude)``."""
        fields, levels = self.target(sample), self.ensemble.variables.levels_hpa
        return np.stack(
            [
                fields[one.variable]
                if one.level_hpa is None
                else fields[one.variable][levels.index(one.level_hpa)]
                for one in self.ensemble.targets
            ]
        )


def moments_of(members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of an ensemble; the variance has the number of members − 1 as divisor.

    Both are computed in float32 from the differences to the first member, so that a large mean costs no
    digits.

    Args:
        members: values of the members, ``(member, ...)``.

    Returns:
        Mean and standard deviation, ``(...)`` each.
    """
    differences = members[1:] - members[0]
    shift = differences.sum(axis=0) / np.float32(len(members))
    squares = (differences**2).sum(axis=0) - np.float32(len(members)) * shift**2
    deviation = np.sqrt(np.maximum(squares, 0) / np.float32(len(members) - 1))
    return members[0] + shift, deviation


def stored_levels(directory: Path, grid: Grid) -> list[int]:
    """Pressure levels of regridded fields in hPa, in their order.

    Args:
        directory: artifact of the regrid stage.
        grid: one of its grids.

    Raises:
        ValueError: there is no such store.
    """
    found: list[int] = []
    for path in PeriodStores(directory, grid).paths:
        stored = store.open_stored(path)
        found = found or (stored[store.FIELDS].attrs["levels_hpa"] if store.FIELDS in stored else [])
    return found


def _level_places(
    directories: Sequence[Path], window: EnsembleWindow, levels_hpa: Sequence[int]
) -> list[int]:
    """Indices of levels among those of the analyses' stores."""
    found = stored_levels(directories[0], window.target_grid)
    missing = [level for level in levels_hpa if level not in found]
    if missing:
        raise ValueError(f"{directories[0]}: levels {missing} hPa are missing; found {found}")
    return [found.index(level) for level in levels_hpa]


def _members(forecasts: Sequence[Path], window: EnsembleWindow) -> list[int]:
    """Numbers of the members of all stores, after a check of their count and of the lead time."""
    lead = np.timedelta64(window.target_hours[0], "h")
    members: list[int] = []
    for directory in forecasts:
        path = PeriodStores(directory, window.input_grid).main
        stored = store.open_stored(path)
        members = stored["member"].values.tolist() if "member" in stored.dims else []
        if len(members) != window.ensemble.members:
            raise ValueError(f"{path}: expected {window.ensemble.members} members, found {len(members)}")
        if "init_time" not in stored:
            raise ValueError(f"{path}: no init_time; these are no forecasts")
        found = np.unique(stored["time"].values - stored["init_time"].values)
        if found.size != 1 or found[0] != lead:
            hours = (found / np.timedelta64(1, "h")).tolist()
            raise ValueError(f"{path}: expected forecasts of {window.target_hours[0]} h, found {hours}")
    return members
