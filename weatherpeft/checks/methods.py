"""Whether the backbone can have the methods of every run, found out on a model of shapes alone."""

import hashlib
import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weatherpeft.artifacts.caches import cache_folder
from weatherpeft.checks.weights import unfilled
from weatherpeft.config import Experiment
from weatherpeft.config_runs import Run
from weatherpeft.interfaces import PeftMethod

if TYPE_CHECKING:
    from weatherpeft.interfaces import Backbone

SMALL = 50_000_000
"""Parameters up to which a model is built whole where shapes alone do not tell."""
CACHE = "methods"
"""Name of the cache of what is known of models."""
_PACKAGE = Path(__file__).resolve().parents[1]
_RATES = ("learning_rate", "bias_learning_rate")
Methods = Sequence[PeftMethod]


def methods(experiment: Experiment, cache: Path | None = None) -> Iterator[str]:
    """The runs whose methods cannot be attached, such as of targets that are no layers of the backbone.

    The first time this imports torch and builds the model, in some seconds. What was attached once is
    remembered, as long as the code is the same.

    Args:
        experiment: the experiment.
        cache: folder of what is remembered; by default that of the user's caches.
    """
    attached = {name: list(_distinct(run)) for name, run in experiment.runs.items()}
    keys = sorted({_key(each) for lists in attached.values() for each in lists})
    marker = (cache or cache_folder(CACHE)) / model_key(experiment, keys)
    if marker.exists():
        return
    right, refused = set[str](), False
    for name, lists in attached.items():
        for each in lists:
            key = _key(each)
            if key in right:
                continue
            if found := _fault(experiment, each):
                number, message = found
                yield f"runs.{name}.methods.{number}: {message}"
                refused = True
                break
            right.add(key)
    if not refused:
        with suppress(OSError):  # a cache is no condition of any work
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.touch()


def _distinct(run: Run) -> Iterator[tuple[PeftMethod, ...]]:
    """The candidates' methods, without those of which every value was there in one before."""
    seen: set[str] = set()
    for choice in run.choices:
        values = {
            json.dumps([number, key, value])
            for number, method in enumerate(choice.methods)
            for key, value in _values(method).items()
        }
        if not values <= seen:
            yield choice.methods
        seen |= values


def _values(method: PeftMethod) -> dict[str, Any]:
    """Hyperparameters on which the attached layers may depend."""
    return {key: value for key, value in method.model_dump(mode="json").items() if key not in _RATES}


def _key(methods: Methods) -> str:
    return json.dumps([_values(method) for method in methods], sort_keys=True)


def model_key(experiment: Experiment, more: Iterable[str] = ()) -> str:
    """A name that changes with an experiment's model, the code that builds it, and some more texts."""
    code = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        code.update(path.read_bytes())
    parts = [
        *(each.canonical_json() for each in (experiment.backbone, experiment.inputs, experiment.task)),
        *more,
        *(version(name) for name in ("torch", "peft", "microsoft-aurora")),
        code.hexdigest(),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _fault(experiment: Experiment, methods: Methods) -> tuple[int, str] | None:
    """Position of the first method that cannot be attached after those before it, and why."""
    if _error(lambda: unfilled(experiment), methods) is None:
        return None
    for number in range(len(methods)):
        error = _error(lambda: unfilled(experiment), methods[: number + 1])
        if error and not isinstance(error, ValueError):
            # Perhaps it only asks for values, which a model of shapes does not have.
            error = _error(lambda: _small(experiment), methods[: number + 1])
        if error:
            message = " ".join(str(error).split())
            name = methods[number].name
            return number, message if message.startswith(name) else f"{name}: {message}"
    return None


def _small(experiment: Experiment) -> "Backbone | None":
    """The model with weights, if they take little memory."""
    if sum(parameter.numel() for parameter in unfilled(experiment).parameters()) > SMALL:
        return None
    return experiment.backbone.build(experiment.inputs, experiment.task, experiment.seed)


def _error(build: Callable[[], "Backbone | None"], methods: Methods) -> Exception | None:
    """What goes wrong when methods are attached; nothing where there is no model."""
    from weatherpeft.interfaces import TuningContext
    from weatherpeft.training.tuning import attach

    model = build()
    if model is None:
        return None
    try:
        with warnings.catch_warnings(action="ignore"):
            attach(model, methods, TuningContext(steps=0, seed=0)).counts()
    except Exception as error:  # of upstream packages, for an option that none of them expects
        return error
    return None
