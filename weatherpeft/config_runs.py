"""The runs of a configuration: methods that are trained together, and candidates to choose among."""

from collections.abc import Mapping
from itertools import product
from math import prod
from typing import Any, Literal, get_args

from pydantic import Field, TypeAdapter, ValidationError

from weatherpeft.peft import AnyMethod, AnyMethods
from weatherpeft.spec import Count, Positive, Spec
from weatherpeft.training.spec import Precision, Rollout

CANDIDATES = 1000
"""Most candidates of a run."""


class Candidate(Spec):
    """Hyperparameters that a run may have."""

    methods: AnyMethods
    """Methods in the order in which they are attached to the backbone."""
    learning_rate: Positive | None = None
    """Peak learning rate of encoder and decoder; by default the experiment's."""


class Run(Spec):
    """Methods that are trained together, and what differs from the experiment's training."""

    methods: AnyMethods
    """Methods in the order in which they are attached to the backbone."""
    start: Literal["pretrained", "random"] = "pretrained"
    """Weights that the run starts from."""
    learning_rate: Positive | None = None
    """Peak learning rate of encoder and decoder; by default the experiment's. Each method has a peak of its
    own for what it trains between them."""
    steps: Count | None = None
    """Number of optimizer steps of the run; by default the experiment's."""
    precision: Precision | None = None
    """Number format that the backbone computes in; by default the experiment's."""
    rollout: Rollout | None = Field(default=None, exclude_if=lambda rollout: rollout is None)
    """Steps of a forecast that the run's loss sees; by default the experiment's."""
    candidates: tuple[Candidate, ...] = Field(default=(), exclude_if=lambda candidates: not candidates)
    """Hyperparameters to choose among, in place of ``methods`` and ``learning_rate``. Each candidate is
    trained with the first seed. The one with the smallest validation loss is trained with the other seeds
    and predicts. A list in place of a hyperparameter is a short form of this."""

    @property
    def choices(self) -> tuple[Candidate, ...]:
        """The candidates, or the run's own hyperparameters alone."""
        return self.candidates or (Candidate(methods=self.methods, learning_rate=self.learning_rate),)

    @property
    def varied(self) -> tuple[dict[str, Any], ...]:
        """Of every candidate the hyperparameters that the candidates do not share, such as ``sfas.gamma``."""
        flat = [
            {
                "learning_rate": candidate.learning_rate,
                **{
                    f"{method.name}.{key}": value
                    for method in candidate.methods
                    for key, value in method.model_dump(mode="json").items()
                },
            }
            for candidate in self.candidates
        ]
        keys = dict.fromkeys(key for values in flat for key in values)
        differing = [key for key in keys if any(each.get(key) != flat[0].get(key) for each in flat)]
        return tuple({key: each.get(key) for key in differing} for each in flat)


def with_candidates(run: Any) -> Any:
    """A run whose lists of hyperparameters are written out as candidates.

    A list in place of a number, a text or a switch stands for one candidate for each of its values. Several
    lists give every combination; the first list varies slowest.

    >>> run = with_candidates({"methods": [{"name": "lora", "rank": [4, 8], "targets": ["qkv"]}]})
    >>> [candidate["methods"][0]["rank"] for candidate in run["candidates"]], run["methods"][0]["rank"]
    ([4, 8], 4)

    Args:
        run: what a YAML reader returned.

    Returns:
        The run with the first candidate's values and, if there are lists, ``candidates``. What is no run
        comes back as it is.

    Raises:
        ValueError: there are more than ``CANDIDATES`` combinations.
    """
    if not isinstance(run, Mapping) or not isinstance(run.get("methods"), list) or "candidates" in run:
        return run
    parts = [run, *run["methods"]]
    places = [
        (number, key)
        for number, part in enumerate(parts)
        if isinstance(part, Mapping)
        for key, value in part.items()
        if _are_choices(part, key, value)
    ]
    if not places:
        return run
    count = prod(len(parts[number][key]) for number, key in places)
    if count > CANDIDATES:
        raise ValueError(f"a run's lists give {count} candidates, expected at most {CANDIDATES}")
    candidates = []
    for values in product(*(parts[number][key] for number, key in places)):
        changed = [dict(part) if isinstance(part, Mapping) else part for part in parts]
        for (number, key), value in zip(places, values, strict=True):
            changed[number][key] = value
        candidates.append({"methods": changed[1:], "learning_rate": changed[0].get("learning_rate")})
    return {**run, **candidates[0], "candidates": candidates}


def written_out(name: str, run: Any) -> Any:
    """See ``with_candidates``; the error names the run."""
    try:
        return with_candidates(run)
    except ValueError as error:
        raise ValueError(f"runs.{name}: {error}") from error


def _are_choices(part: Mapping[str, Any], key: str, value: Any) -> bool:
    """Whether a value is a list in place of a hyperparameter that takes none."""
    if not isinstance(value, list) or not value:
        return False
    if "name" not in part:
        return key == "learning_rate"
    union = get_args(get_args(AnyMethod)[0])
    kind = next(
        (kind for kind in union if part["name"] in get_args(kind.model_fields["name"].annotation)), None
    )
    if kind is None or key not in kind.model_fields:
        return False
    try:
        TypeAdapter(kind.model_fields[key].annotation).validate_python(value)
    except ValidationError:
        return True
    return False
