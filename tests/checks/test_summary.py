"""What a check says that an experiment will do is what it does."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.experiments import changed, put
from tests.workflow.workflow import Checkout
from weatherpeft.checks.samples import counts
from weatherpeft.checks.summary import jobs_by_rule
from weatherpeft.config import Experiment, load
from weatherpeft.jobs import Jobs


@pytest.mark.slow
@pytest.mark.parametrize("name", ["test", "precipitation_toy", "postprocessing_toy", "forecasting_toy"])
def test_the_jobs_are_those_that_snakemake_plans(name: str, tmp_path: Path) -> None:
    checkout = Checkout.of_repository(tmp_path / "empty")
    config = f"config/{name}.yaml"
    planned = Counter(job.partition(" ")[0] for job in checkout.planned(config))
    assert jobs_by_rule(Jobs(load(checkout.folder / config))) == planned


@pytest.mark.slow
def test_candidates_packed_data_and_weights_are_counted(tmp_path: Path) -> None:
    checkout = Checkout.of_repository(tmp_path / "empty")
    weights = {"repository": "a/b", "file": "c", "revision": "0" * 40}

    def change(config: dict) -> None:
        put("runs.full.methods", [{"name": "lora", "rank": [2, 4]}])(config)
        config |= {"seeds": [0, 1], "training_store": "int16", "checkpoint": weights}
        del config["pretraining"]

    config = checkout.changed_config(change)
    planned = Counter(job.partition(" ")[0] for job in checkout.planned(config))
    found = jobs_by_rule(Jobs(load(checkout.folder / config)))
    assert found == planned
    assert (found["finetune_candidate"], found["choose"], found["weights"], found["pack"]) == (2, 1, 1, 2)


def whole(experiment: Experiment, name: str) -> int:
    """The samples of a split, one time after the other."""
    found = 0
    split = getattr(experiment.splits, name)
    step = np.timedelta64(experiment.step_hours, "h")
    for period in split.periods:
        start, stop = np.datetime64(period.start, "h"), np.datetime64(period.end, "h") + 24
        times = set(np.arange(start, stop, step).tolist())
        hours = (*experiment.task.window.input_hours, *experiment.task.window.target_hours)
        found += sum(
            all((np.datetime64(time, "h") + offset).tolist() in times for offset in hours) for time in times
        )
    return found * len(split.members or (None,))


@pytest.mark.parametrize("step", [1, 3, 6, 12])
@pytest.mark.parametrize("history", [12, 24])
def test_samples_are_whole_windows_inside_a_period(step: int, history: int) -> None:
    experiment = changed(put("step_hours", step), put("task.history_hours", history))
    found = counts(experiment, experiment.task)
    assert found == {name: whole(experiment, name) for name in ("train", "validation", "test")}
    assert all(found.values())
