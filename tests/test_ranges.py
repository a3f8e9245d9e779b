"""Every number of a config has a range, is finite, and is refused by name where it is not."""

import importlib
import json
import math
import pkgutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

import weatherpeft
from tests.experiments import CONFIGS, changed, put, values
from weatherpeft.cli import main
from weatherpeft.config import load
from weatherpeft.spec import Spec

Place = tuple[str | int, ...]
"""A field, and inside it the position in a tuple, ``[]`` for any position or ``{}`` for any name."""
NUMBERS = (math.nan, math.inf, -math.inf)


def kinds(base: type[Spec] = Spec) -> Iterator[type[Spec]]:
    """Every spec of the package."""
    for kind in base.__subclasses__():
        if kind.__module__.startswith("weatherpeft."):
            yield kind
            yield from kinds(kind)


def numeric(node: dict[str, Any], place: Place) -> Iterator[tuple[Place, dict[str, Any]]]:
    """The numbers that a part of a JSON schema holds, without other specs and lists of choices."""
    if node.get("type") in ("integer", "number") and "enum" not in node and "const" not in node:
        yield place, node
    for part in node.get("anyOf", []):
        yield from numeric(part, place)
    for number, part in enumerate(node.get("prefixItems", [])):
        yield from numeric(part, (*place, number))
    for key, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(node.get(key), dict):
            yield from numeric(node[key], (*place, mark))


@cache
def fields() -> dict[tuple[type[Spec], Place], list[dict[str, Any]]]:
    """The schemas of each number of each spec; several where a field takes either of two kinds."""
    for module in pkgutil.walk_packages(weatherpeft.__path__, "weatherpeft."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found: dict[tuple[type[Spec], Place], list[dict[str, Any]]] = {}
    for kind in dict.fromkeys(kinds()):
        schema = kind.model_json_schema()
        own = schema["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
        for name, node in own["properties"].items():
            for place, number in numeric(node, (name,)):
                found.setdefault((kind, place), []).append(number)
    return found


def bounds(node: dict[str, Any]) -> tuple[float, float]:
    low = node.get("minimum", node.get("exclusiveMinimum", math.nan))
    return low, node.get("maximum", node.get("exclusiveMaximum", math.nan))


def test_the_schema_states_a_range_for_every_number() -> None:
    assert len(fields()) > 120
    without = [
        f"{kind.__name__}.{'.'.join(map(str, place))}"
        for (kind, place), nodes in fields().items()
        for node in nodes
        if not all(map(math.isfinite, bounds(node)))
    ]
    assert without == []


def holding(place: Place, value: Any) -> Any:
    """What a field is given, so that the value stands at a place inside it."""
    for part in reversed(place[1:]):
        value = {"name": value} if part == "{}" else [value] if part == "[]" else [value] * 4
    return value


def test_every_spec_refuses_what_is_not_finite_or_out_of_range() -> None:
    accepted = []
    for (kind, place), nodes in fields().items():
        lows, highs = zip(*map(bounds, nodes), strict=True)
        for value in (*NUMBERS, min(lows) - abs(min(lows)) - 1, max(highs) * 2 + 1):
            text = json.dumps({place[0]: holding(place, value)})
            try:
                kind.model_validate_json(text)
                named = False
            except ValidationError as error:
                named = any(each["loc"][:1] == place[:1] for each in error.errors())
            if not named:
                accepted.append((kind.__name__, place, value))
    assert accepted == []


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of the numbers of a config."""
    if isinstance(value, dict | list):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(each, (*path, str(key)))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path


def written() -> Iterator[tuple[str, str]]:
    """Of some configs, written out with their defaults, one number of each key: config and path."""
    seen = set()
    for name in ("test.yaml", "precipitation_toy.yaml", "postprocessing_toy.yaml", "forecasting_toy.yaml"):
        whole = load(CONFIGS / name).model_dump(mode="json")
        for path in leaves(whole):
            kind = tuple(part for part in path if not part.isdigit())
            kind = kind[2:] if kind[0] == "runs" else kind  # whatever the name of the run
            if kind not in seen:
                seen.add(kind)
                yield name, ".".join(path)


@pytest.mark.parametrize(("name", "path"), list(written()))
def test_check_names_the_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, path: str
) -> None:
    config = load(CONFIGS / name).model_dump(mode="json")
    bad = [*NUMBERS, 10**40, -(10**40)][sum(map(ord, path)) % 5]
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    part: Any = config
    for each in parents:
        part = part[each]
    part[last] = bad
    file = tmp_path / "config.yaml"
    file.write_text(yaml.dump(config, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper)))
    assert main(["check", str(file)]) == 2
    key = [part for part in path.split(".") if not part.isdigit()][-1]
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("weatherpeft: error: ") for line in lines)
    assert f".{key}" in f".{lines[0].split()[3]}", lines


BAD: list[tuple[str, Any]] = [
    ("training.learning_rate", 0.0), ("training.learning_rate", -1e-3), ("training.weight_decay", -0.1),
    ("training.clip_norm", -1), ("training.clip_norm", 0), ("training.betas", [0.9, 1.0]),
    ("training.betas", [-0.1, 0.9]), ("training.steps", 0), ("training.steps", 10**20),
    ("training.steps", 1e20), ("training.batch_size", -1), ("training.accumulation", 0),
    ("training.validate_every", 0), ("training.validation_samples", 0), ("training.checkpoint_every", -5),
    ("training.warmup_steps", -1), ("fisher_samples", 0), ("fisher_samples", -1), ("seed", -1),
    ("seed", 2**32), ("seeds", [0, -1]), ("seeds", []), ("step_hours", 0), ("step_hours", -6),
    ("step_hours", 25), ("placeholders", {"mean_sea_level_pressure": math.nan}),
    ("placeholders", {"mean_sea_level_pressure": 1e39}), ("variables.levels_hpa", [-500]),
    ("variables.levels_hpa", [500, 5000]), ("splits.train.members", [-1]),
    ("task.target_grid.resolution_deg", 0), ("task.target_grid.resolution_deg", -1.0),
    ("task.target_grid.resolution_deg", 1e-9), ("task.history_hours", 0), ("task.surface_weight", -1.0),
    ("backbone.embed_dim", 0), ("backbone.patch_size", 0), ("backbone.patch_size", -4),
    ("backbone.latent_levels", 10**9), ("backbone.num_heads", 0), ("backbone.encoder_depths", [0, 2, 2]),
    ("source.seed", -1), ("source.resolution_deg", 0.0), ("source.coarse_spinup_days", -1),
    ("source.full_spinup_days", 10**6),
]  # fmt: skip
"""Numbers out of range, by path."""


@pytest.mark.parametrize(("path", "value"), BAD, ids=lambda part: str(part)[:40])
def test_a_number_out_of_range_is_named(path: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        changed(put(path, value))
    key = path.rpartition(".")[2]
    assert all(key in map(str, error["loc"]) for error in caught.value.errors()), caught.value


def test_too_many_candidates_are_refused_before_they_are_made() -> None:
    config = values()
    rates = [rate / 1000 for rate in range(1, 101)]
    lora = {"name": "lora", "rank": list(range(1, 101))}
    put("runs.full", {"methods": [lora], "learning_rate": rates})(config)
    with pytest.raises(ValueError, match="a run's lists give 10000 candidates, expected at most 1000"):
        type(changed()).parse(config)
