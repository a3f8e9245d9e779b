"""The trainable parameters that the paper reports, at Aurora's full configuration, as shapes only."""

import functools
import unittest.mock
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.tuners.lora import LoraLayer

import weatherpeft.backbones.aurora.ensemble  # noqa: F401  upstream, before the meta device
from weatherpeft.config import Experiment, load
from weatherpeft.interfaces import Backbone, TuningContext
from weatherpeft.peft.dora import Dora
from weatherpeft.training.tuning import attach

CONFIG = Path(__file__).resolve().parents[2] / "config"
NAMES = ("downscaling", "postprocessing", "precipitation")


def build(own: Experiment) -> Backbone:
    linspace = functools.partial(torch.linspace, device="cpu")  # upstream reads values from it
    with torch.device("meta"), unittest.mock.patch("torch.linspace", linspace):
        return own.backbone.build(own.inputs, own.task, 0)


def trained(name: str, run: str) -> int:
    own = load(CONFIG / f"{name}.yaml")
    tuned = attach(build(own), own.runs[run].methods, TuningContext(steps=0, seed=0))
    return tuned.counts()["trainable_backbone"]


@pytest.mark.parametrize(
    ("name", "run", "millions"),
    [
        ("downscaling", "lora", 3.63),
        ("downscaling", "tadp", 2.22),
        ("downscaling", "sfas", 1.26),
        ("downscaling", "weatherpeft", 3.48),
        ("downscaling", "weatherpeft_4_percent", 52.47),
        ("downscaling", "full", 1239.94),
        ("postprocessing", "tadp", 1.92),
        ("postprocessing", "weatherpeft", 3.18),
        ("precipitation", "tadp", 2.12),
        ("precipitation", "weatherpeft", 3.38),
        ("precipitation", "weatherpeft_4_percent", 52.37),
    ],
)
def test_a_runs_count_is_the_published(name: str, run: str, millions: float) -> None:
    assert f"{trained(name, run) / 1e6:.2f}" == f"{millions:.2f}"


@pytest.mark.parametrize(("magnitude", "side", "millions"), [("input", "in", 3.75), ("output", "out", 3.87)])
def test_dora_of_inputs_has_the_published_count(magnitude: Any, side: str, millions: float) -> None:
    """It is LoRA's and one for each input of the same layers; peft has one for each output."""
    model = build(load(CONFIG / "downscaling.yaml"))
    assert isinstance(model, torch.nn.Module)
    method = Dora(name="dora", rank=8, magnitude=magnitude)
    found = attach(model, [method], TuningContext(steps=0, seed=0)).counts()["trainable_backbone"]
    layers = [each.get_base_layer() for each in model.modules() if isinstance(each, LoraLayer)]
    features = sum(getattr(layer, f"{side}_features") for layer in layers)
    assert found == trained("downscaling", "lora") + features
    assert f"{found / 1e6:.2f}" == f"{millions:.2f}"


def test_four_percent_of_post_processing_count_the_heads_too() -> None:
    """The paper's 52.17 M leave 1,256.2 M for the model; ours has a mean and a spread head a target."""
    assert trained("postprocessing", "weatherpeft_4_percent") == 1_140_192 + 780_800 + 50_258_561


def test_aurora_is_as_large_as_published() -> None:
    own = load(CONFIG / "downscaling.yaml")
    model = build(own)
    assert isinstance(model, torch.nn.Module)
    assert sum(p.numel() for p in model.parameters()) == 1_256_267_392
