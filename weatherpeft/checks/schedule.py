"""Hours and steps that do not go together."""

from collections.abc import Iterator, Mapping
from typing import Any

from weatherpeft.config import Experiment
from weatherpeft.interfaces import Task


def hours(experiment: Experiment) -> Iterator[str]:
    """Steps that differ from day to day, and frames of samples between the times of the data."""
    given = {"step_hours": experiment.step_hours}
    if experiment.forecasts:
        given["forecasts.step_hours"] = experiment.forecasts.step_hours
    for key, step in given.items():
        if 24 % step:
            yield f"{key}: {step} does not divide 24; expected 1, 2, 3, 4, 6, 8, 12 or 24"
            return
    tasks: dict[str, Task] = {"task": experiment.task}
    if experiment.pretraining:
        tasks["pretraining.task"] = experiment.pretraining.task
    for key, task in tasks.items():
        if not task.needs_forecasts:
            yield from _between(key, task, experiment.step_hours)


def _between(key: str, task: Task, step: int) -> Iterator[str]:
    """Hours of a task that are no multiple of the step of the data."""
    for name, value in vars(task).items():
        if name.endswith("_hours"):
            for each in value if isinstance(value, tuple) else (value,):
                if each % step:
                    yield f"{key}.{name}: {each} is no multiple of step_hours {step}, which the data has"


def steps(values: Mapping[str, Any]) -> Iterator[str]:
    """Validations that a training never comes to, where a file asks for them.

    A command line may shorten a training, which then validates at its end.

    Args:
        values: what the files of the configuration say.
    """
    pretraining = values.get("pretraining")
    trainings = {
        "training": values.get("training"),
        "pretraining.training": pretraining.get("training") if isinstance(pretraining, Mapping) else None,
    }
    for key, training in trainings.items():
        if isinstance(training, Mapping) and {"steps", "validate_every"} <= training.keys():
            count, every = training["steps"], training["validate_every"]
            if every > count:
                yield (
                    f"{key}.validate_every: {every} is more than {key}.steps {count}; expected at most that"
                )
