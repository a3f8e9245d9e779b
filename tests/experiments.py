"""Experiments of ``config/``, as they are and after changes."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from weatherpeft.config import Experiment

CONFIGS = Path(__file__).resolve().parent.parent / "config"
NAMES = sorted(path.name for path in CONFIGS.glob("*.yaml"))


def values(name: str = "test.yaml") -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CONFIGS / name).read_text())
    return found


def changed(*changes: Callable[[dict[str, Any]], Any], name: str = "test.yaml") -> Experiment:
    """The experiment after changes of its YAML."""
    config = values(name)
    for change in changes:
        change(config)
    return Experiment.parse(config)


def put(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """A change that sets a nested key."""

    def change(config: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for key in parents:
            config = config[int(key)] if isinstance(config, list) else config.setdefault(key, {})
        config[last] = copy.deepcopy(value)

    return change


def drop(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda config: config.pop(key)
