"""Checkpoints of upstream's own classes as starts: with LoRA inside, of other sizes, and of other models."""

import inspect
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import aurora as upstream
import pytest
import torch
import yaml
from torch import Tensor

from tests.backbones.small_aurora import build, small_batch, small_spec
from tests.backbones.test_aurora import SHORT, upstream_batch
from weatherpeft.backbones.aurora.spec import Aurora
from weatherpeft.stages.weights import WeightsSpec

ROOT = Path(__file__).resolve().parent.parent.parent
SIZE: dict[str, Any] = small_spec(embed_dim=32).model_dump(exclude={"name"})
VARIABLES: dict[str, Any] = {"surf_vars": ("2t", "10u"), "static_vars": ("lsm",), "atmos_vars": ("t", "z")}
BY_ITSELF: dict[str, dict[str, Any]] = {
    "AuroraPretrained": {},
    "AuroraSmallPretrained": {},
    "Aurora12hPretrained": {"timestep": timedelta(hours=12)},
    "AuroraHighRes": {"patch_size": 2},
    "Aurora": {},
}
"""Upstream's classes, and what its constructor gets beside the size."""


def upstream_model(kind: str = "Aurora", **changes: Any) -> Any:
    """A small model of upstream's class with weights at random, also those that start at zero."""
    model = getattr(upstream, kind)(**(VARIABLES | SIZE | BY_ITSELF.get(kind, {}) | changes))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("lora_B"):
                parameter.normal_(std=0.1, generator=generator)
            elif "ln_modulation" in name:
                parameter.normal_(std=0.3, generator=generator)
    return model.eval()


def forecasts(model: Any, theirs: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    batch = small_batch()
    with torch.no_grad():
        found, expected = model.eval()(batch), theirs(upstream_batch(batch))
    own = dict(found.surface) | dict(found.atmospheric)
    everything = expected.surf_vars | expected.atmos_vars
    return own, {name: everything[SHORT[name]][:, 0] for name in own}


def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Largest difference beyond the rounding of a value itself, in deviations of its field."""
    rounding = torch.finfo(torch.float32).eps
    return max(
        float(((one[name] - field).abs() - rounding * field.abs()).clamp(min=0).max() / field.std())
        for name, field in other.items()
    )


@pytest.mark.parametrize("kind", BY_ITSELF)
def test_the_start_makes_the_forecast_of_upstreams_class(kind: str, tmp_path: Path) -> None:
    theirs = upstream_model(kind)
    torch.save(theirs.state_dict(), tmp_path / "published.ckpt")
    hours = theirs.timestep // timedelta(hours=1)
    model = build(spec=small_spec(embed_dim=32, patch_size=theirs.patch_size), lead_hours=hours)
    model.load(tmp_path / "published.ckpt")
    assert distance(*forecasts(model, theirs)) < 1e-5


@pytest.mark.parametrize(("mode", "steps"), [("single", 40), ("all", 3), ("from_second", 40)])
def test_lora_inside_is_folded_for_the_first_step(mode: Any, steps: int, tmp_path: Path) -> None:
    theirs = upstream_model(lora_mode=mode, lora_steps=steps)
    weights = theirs.state_dict()
    assert any(".loras.2." in name for name in weights) == (mode == "all")
    torch.save({f"net.{name}": value for name, value in weights.items()}, tmp_path / "finetuned.ckpt")
    model = build(spec=small_spec(embed_dim=32, lora_mode=mode))
    model.load(tmp_path / "finetuned.ckpt")
    assert distance(*forecasts(model, theirs)) < 1e-5
    wrong = "single" if mode == "from_second" else "from_second"
    other = build(spec=small_spec(embed_dim=32, lora_mode=wrong))
    other.load(tmp_path / "finetuned.ckpt")
    assert distance(*forecasts(other, theirs)) > 1e-3, "the LoRA does nothing, so the test could not fail"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("AuroraWave", r"holds .*ln.*: the weights of AuroraWave, which has norms"),
        ("AuroraAirPollution", r"holds .*: the weights of AuroraAirPollution, which embeds every level"),
        ("AuroraV1p5", r"holds encoder\.surf_token_embeds\.weights\..*: the weights of AuroraV1p5"),
    ],
)
def test_weights_of_other_models_are_refused_with_what_does_not_fit(
    kind: str, message: str, tmp_path: Path
) -> None:
    theirs = getattr(upstream, kind)(**SIZE)
    torch.save(theirs.state_dict(), tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match=rf"other\.ckpt: {message}"):
        build(spec=small_spec(embed_dim=32)).load(tmp_path / "other.ckpt")


def test_unnamed_variables_of_another_model_are_refused(tmp_path: Path) -> None:
    torch.save({"net.encoder.surf_token_embeds.weight": torch.zeros(4, 62, 2, 4, 4)}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match=r"other\.ckpt: holds 62 surface and static variables without names"):
        build().load(tmp_path / "other.ckpt")


def documented() -> list[dict[str, Any]]:
    """The starts of docs/checkpoints.md."""
    text = (ROOT / "docs/checkpoints.md").read_text()
    blocks = re.findall(r"(?:^    .*\n)+", text, re.MULTILINE)
    found = [yaml.safe_load(block) for block in blocks if block.startswith("    checkpoint:")]
    return [each for each in found if isinstance(each["checkpoint"], dict)]


def test_the_documented_starts_are_upstreams() -> None:
    classes = [getattr(upstream, kind) for kind in BY_ITSELF]
    published = {kind.default_checkpoint_name: kind for kind in classes}
    assert {each["checkpoint"]["file"] for each in documented()} == set(published)
    for each in documented():
        weights, kind = WeightsSpec.parse(each["checkpoint"]), published[each["checkpoint"]["file"]]
        assert (weights.repository, weights.revision) == (
            kind.default_checkpoint_repo,
            kind.default_checkpoint_revision,
        )
        size = Aurora.parse(each["backbone"]).model_dump(exclude={"name", "lora_mode"})
        own, general = (inspect.signature(one).parameters for one in (kind, upstream.Aurora))
        expected = {name: (own if name in own else general)[name].default for name in size}
        assert size == expected, weights.file
