"""The number of samples of each split."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weatherpeft.config import Experiment
from weatherpeft.fields.variables import accumulation
from weatherpeft.interfaces import DataRequest, Source, Task
from weatherpeft.samples.counts import whole
from weatherpeft.samples.splits import Split
from weatherpeft.sources.ens10.spec import Ens10
from weatherpeft.spec import HOUR, Period

NAMES = ("train", "validation", "test")
"""The splits."""


def counts(experiment: Experiment, task: Task) -> dict[str, int]:
    """Number of samples of each split, of data that has all that it is asked for.

    Args:
        experiment: gives splits, step and variables.
        task: the experiment's task, or that of its pretraining.
    """
    return {name: _count(experiment, task, getattr(experiment.splits, name)) for name in NAMES}


def too_few(experiment: Experiment) -> Iterator[str]:
    """Splits in which no whole sample lies."""
    tasks: dict[str, Task] = {"task": experiment.task}
    if experiment.pretraining:
        tasks["pretraining.task"] = experiment.pretraining.task
    for key, task in tasks.items():
        span = max(task.window.target_hours) - min(task.window.input_hours)
        needed = NAMES if key == "task" else NAMES[:2]
        found = counts(experiment, task)
        periods = [period for name in NAMES for period in getattr(experiment.splits, name).periods]
        if all(period.stop - period.first <= span * HOUR for period in periods):
            yield f"{key}: a sample spans {span} h, more than each period of the splits"
            continue
        for name in needed:
            if not found[name]:
                yield (
                    f"splits.{name}: expected a whole sample of {key}, which spans {span} h at steps of "
                    f"{experiment.step_hours} h, {_why_none(experiment, getattr(experiment.splits, name))}"
                )


def _why_none(experiment: Experiment, split: Split) -> str:
    labels = ", ".join(period.label for period in split.periods) or "no periods"
    parts = [_times(experiment.source, period, experiment.step_hours) for period in split.periods]
    times = [time for part in parts for time in part.tolist()]
    hours = ", ".join(f"{hour:02d}" for hour in sorted({time.hour for time in times}))
    return f"found none in {labels}" + (
        f", where the data has {len(times)} times, at {hours} UTC" if hours else ""
    )


def _count(experiment: Experiment, task: Task, split: Split) -> int:
    window = task.window
    if task.needs_forecasts:
        return sum(_forecasts(experiment, period, max(window.target_hours)) for period in split.periods)
    sums = [found[1] for name in experiment.variables.sums if (found := accumulation(name))]
    total = 0
    for period in split.periods:
        times = _times(experiment.source, period, experiment.step_hours)
        if sums:
            hourly = _times(experiment.source, period, experiment.step_hours, sums=True)
            for hours in range(max(sums)):
                times = times[np.isin(times - np.timedelta64(hours, "h"), hourly)]
        total += whole(window, times).size
    return total * len(split.members or (None,)) * len(window.target_hours)


def _forecasts(experiment: Experiment, period: Period, lead: int) -> int:
    """Number of forecasts that start and are valid in a period; each needs an analysis."""
    own = experiment.forecasts
    assert own
    valid = _times(own.source or experiment.source, period, own.step_hours)
    if isinstance(own.source, Ens10):  # which knows its times
        request = DataRequest(
            variables=own.variables, period=period, members=own.members, lead_hours=own.lead_hours
        )
        valid = np.array(own.source.starts(request), "datetime64[h]") + np.timedelta64(own.lead_hours, "h")
    known = np.isin(valid, _times(experiment.source, period, experiment.step_hours))
    started = valid - np.timedelta64(lead, "h") >= np.datetime64(period.first, "h")
    return int((known & started).sum())


def _times(source: Source, period: Period, step_hours: int, sums: bool = False) -> NDArray[Any]:
    """Times (UTC) in a period at which a source has fields; of sums the ends of their hours."""
    parts = [part for own in source.periods() if (part := own.within(period.first, period.stop))]
    found = [time for part in parts for time in (part.sum_times if sums else part.times)(step_hours)]
    times = np.array(found, "datetime64[h]")
    if period.hours and not sums:
        times = times[np.isin(times.astype(np.int64) % 24, period.hours)]
    for gap in period.gaps:
        times = times[(times < np.datetime64(gap.first, "h")) | (times >= np.datetime64(gap.stop, "h"))]
    return times
