"""Hours and steps that do not go together."""

from collections.abc import Iterator

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


def steps(experiment: Experiment) -> Iterator[str]:
    """Validations that a training never comes to, where they were asked for."""
    trainings = {"training": experiment.training}
    if experiment.pretraining:
        trainings["pretraining.training"] = experiment.pretraining.training
    for key, training in trainings.items():
        if "validate_every" in training.model_fields_set and training.validate_every > training.steps:
            yield (
                f"{key}.validate_every: {training.validate_every} is more than {key}.steps "
                f"{training.steps}; expected at most that"
            )
