"""The generated JSON schema of the configuration, and what it says of every key."""

import importlib
import pkgutil
import typing
from typing import Any

import pytest
from pydantic import Field

import weatherpeft.stages
from tests.workflow.workflow import ROOT
from weatherpeft.cli import main
from weatherpeft.config import Experiment
from weatherpeft.spec import Spec


def stage_specs() -> list[type[Spec]]:
    """The specs of all stages, which contain those of sources, tasks, backbones and methods."""
    found = []
    for module in pkgutil.iter_modules(weatherpeft.stages.__path__):
        stage = getattr(importlib.import_module(f"weatherpeft.stages.{module.name}"), module.name)
        hints = typing.get_type_hints(stage)
        found += [hints["spec"]] if "spec" in hints else []
    return found


def undescribed(schema: dict[str, Any]) -> list[str]:
    """The objects of a schema without a description, and their properties without one."""
    objects = {schema["title"]: schema, **schema.get("$defs", {})}
    return [
        ".".join([name, *key])
        for name, values in objects.items()
        for key, described in [((), values), *(((k,), v) for k, v in values.get("properties", {}).items())]
        if not described.get("description")
    ]


def test_the_schema_is_of_this_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    message = "out of date; write it anew: weatherpeft schema > config/schema.json"
    assert (ROOT / "config/schema.json").read_text(encoding="utf-8") == capsys.readouterr().out, message


@pytest.mark.parametrize("spec", [Experiment, *stage_specs()], ids=lambda spec: spec.__name__)
def test_the_schema_describes_every_key(spec: type[Spec]) -> None:
    assert undescribed(spec.model_json_schema()) == []


def test_a_key_without_a_description_is_found() -> None:
    class Part(Spec):
        """A part."""

        bare: int
        told: int
        """What it is."""

    class Whole(Spec):
        part: Part
        """A part of it."""

    assert undescribed(Whole.model_json_schema()) == ["Whole", "Part.bare"]


def test_descriptions_are_the_texts_below_the_fields() -> None:
    class Base(Spec):
        """A base."""

        kept: int
        """From the base,
        in two lines."""
        told_anew: int
        """Of the base."""
        given: int = Field(description="as given")
        """Not this."""
        untold: int
        """Lost where the field is defined anew."""

    class Whole(Base):
        """A whole."""

        told_anew: int
        """Of its own."""
        other: int
        """Another one."""
        untold: int

    properties = Whole.model_json_schema()["properties"]
    assert {name: values.get("description") for name, values in properties.items()} == {
        "kept": "From the base,\nin two lines.",
        "told_anew": "Of its own.",
        "given": "as given",
        "other": "Another one.",
        "untold": None,
    }
