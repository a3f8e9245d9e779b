"""A tuned model merges into a checkpoint that upstream's own model reads, or its method says why not."""

import dataclasses
from pathlib import Path
from typing import Any

import aurora
import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor

from tests.backbones.small_aurora import activate, build, loss, small_aurora, small_batch
from tests.backbones.test_aurora import SHORT, fields, upstream_batch
from tests.contracts.test_peft_contract import LISTS, NAMES, label, variants
from tests.peft.test_huggingface import spec as huggingface
from weatherpeft.interfaces import PeftMethod, TuningContext
from weatherpeft.peft import AnyMethod
from weatherpeft.peft.huggingface import OPTIONS
from weatherpeft.samples.batch import Batch, Fields
from weatherpeft.training.memory import save_memory
from weatherpeft.training.tuning import TunedModel, attach

APART = {"adaptformer", "aprompt", "light_decoder", "sct", "tadp", "vpt"}
"""Methods that refuse, with their defaults."""
NORMS = ("norm1", "norm2")
METHODS: list[tuple[dict[str, Any], ...]] = [
    *((each,) for each in variants()),
    *((huggingface(kind).model_dump(exclude_unset=True),) for kind in OPTIONS),
    ({"name": "huggingface", "type": "ia3", "options": {"feedforward_modules": ("proj",)}},),
    ({"name": "light_decoder", "hidden": ()},),
    ({"name": "sfas", "fraction": 0.01},),
    ({"name": "ssf"}, {"name": "huggingface", "type": "vera", "targets": ("1",)}),
    ({"name": "lora", "targets": ("fc1",)}, {"name": "lora_plus", "rank": 2}),
    ({"name": "lora"}, {"name": "sfas", "fraction": 0.01}),
    ({"name": "dora"}, {"name": "ssf"}),
    ({"name": "ssf"}, {"name": "sfas", "fraction": 0.01}),
]
TRAINED, WIND = 3, "10m_u_component_of_wind"


def named(methods: tuple[dict[str, Any], ...]) -> str:
    """A label that tells the types of peft apart."""
    return "+".join(each.get("type", label([each])) for each in methods)


def accepted(methods: tuple[dict[str, Any], ...]) -> bool:
    try:
        LISTS.validate_python(methods)
    except ValueError:
        return False
    return True


def trained(methods: tuple[dict[str, Any], ...]) -> TunedModel:
    """A few steps that move everything that a method trains, also what starts at zero."""
    tuned = attach(
        small_aurora().train(), LISTS.validate_python(methods), TuningContext(TRAINED, 0, weight_decay=0.0)
    )
    optimizer = torch.optim.AdamW(tuned.dense_parameters().values(), lr=1e-2, weight_decay=0.0)
    for number in range(TRAINED):
        optimizer.zero_grad()
        loss(tuned.model, small_batch()).backward()
        optimizer.step()
        for adapter in tuned.adapters:
            adapter.step(number, 1e-2)
    return tuned


def forecast(model: Any) -> dict[str, Tensor]:
    with torch.no_grad():
        found = model.eval()(small_batch())
    return dict(found.surface) | dict(found.atmospheric)


def upstream_forecast(model: Any, batch: Batch) -> dict[str, Tensor]:
    """What upstream's model makes of the same fields, called as upstream's users call it."""
    with torch.inference_mode():
        found = model.eval()(upstream_batch(batch))
    surface = {name: found.surf_vars[SHORT[name]][:, 0] for name in batch.inputs.surface}
    return surface | {name: found.atmos_vars[SHORT[name]][:, 0] for name in batch.inputs.atmospheric}


def small_upstream(**changes: Any) -> aurora.Aurora:
    """Upstream's own model with the variables and the size of ``small_aurora``."""
    size: dict[str, Any] = {
        "surf_vars": ("2t", "10u"),
        "static_vars": ("lsm",),
        "atmos_vars": ("t", "z"),
        "embed_dim": 32,
        "encoder_depths": (1, 1),
        "encoder_num_heads": (2, 4),
        "decoder_depths": (1, 1),
        "decoder_num_heads": (4, 2),
        "num_heads": 2,
        "window_size": (2, 2, 4),
        "latent_levels": 2,
        "use_lora": False,
    }
    return aurora.Aurora(**(size | changes))


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-5) -> None:
    """Equal up to a share of each field's deviation."""
    assert found.keys() == expected.keys()
    for name, field in expected.items():
        difference = (found[name] - field).abs().max() / field.std()
        assert difference < tolerance, f"{name} differs by {difference:.1e} of its deviation"


@pytest.mark.parametrize("methods", [methods for methods in METHODS if accepted(methods)], ids=named)
def test_upstream_makes_the_forecast_of_the_merged_checkpoint(
    methods: tuple[dict[str, Any], ...], tmp_path: Path
) -> None:
    tuned = trained(methods)
    parsed = tuned.methods
    if apart := [method for method in parsed if method.kept_apart]:
        with pytest.raises(ValueError, match=rf"^{apart[0].name}: .*cannot be merged; keep the adapter"):
            tuned.merged()
        return
    expected = forecast(tuned.model)
    tensors = tuned.merged()
    assert all(torch.equal(forecast(tuned.model)[name], field) for name, field in expected.items())

    model = small_upstream()
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        name: tensor.shape for name, tensor in model.state_dict().items()
    }
    tuned.model.save(tmp_path / "merged.ckpt", tensors)
    model.load_checkpoint_local(str(tmp_path / "merged.ckpt"))
    found = upstream_forecast(model, small_batch())
    assert_same(found, expected)
    start = forecast(small_aurora())
    moved = max(float((expected[name] - field).abs().max() / field.std()) for name, field in start.items())
    assert moved > 1e-3, "the method has hardly changed the forecast, so the test could not fail"


@pytest.mark.parametrize("name", NAMES)
def test_who_refuses(name: str) -> None:
    method: PeftMethod = TypeAdapter(AnyMethod).validate_python({"name": name})
    assert (method.kept_apart is not None) == (name in APART)


def test_the_same_model_is_the_same_bytes(tmp_path: Path) -> None:
    tuned = trained(({"name": "lora"},))
    for name in ("one", "two"):
        tuned.model.save(tmp_path / name, tuned.merged())
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_merging_leaves_a_training_as_it_was() -> None:
    """The optimizer's parameters are still those of the model, and the next step is the same."""
    for methods in (({"name": "dora"},), ({"name": "huggingface", "type": "ia3"},), ({"name": "ssf"},)):
        one, two = trained(methods), trained(methods)
        before = {name: id(parameter) for name, parameter in one.model.named_parameters()}
        one.merged()
        assert {name: id(parameter) for name, parameter in one.model.named_parameters()} == before
        for tuned in (one, two):
            loss(tuned.model, small_batch()).backward()
        pairs = zip(one.dense_parameters().values(), two.dense_parameters().values(), strict=True)
        for found, expected in pairs:
            assert found.grad is not None and expected.grad is not None
            assert torch.equal(found, expected) and torch.equal(found.grad, expected.grad)


def test_a_residual_model_is_refused_with_the_reason() -> None:
    model = activate(build(residual=True))
    tuned = attach(model, LISTS.validate_python(({"name": "full"},)), TuningContext(0, 0))
    with pytest.raises(ValueError, match=r"the model: .*difference to its last frame .*; keep the adapter"):
        tuned.merged()


def test_rounded_weights_are_refused() -> None:
    tuned = attach(small_aurora(), LISTS.validate_python(({"name": "lora"},)), TuningContext(0, 0))
    save_memory(tuned.model, "bfloat16", recompute=False)
    with pytest.raises(ValueError, match="bfloat16, expected float32"):
        tuned.merged()


@pytest.mark.parametrize("surface", [("2m_temperature", WIND), (WIND,)])
def test_the_lines_of_python_load_the_file(surface: tuple[str, ...], tmp_path: Path) -> None:
    """Also without a 2 m temperature, without which upstream's own way of loading reads no file."""
    model = activate(build(fields(surface, ("temperature", "geopotential")), seed=3))
    model.save(tmp_path / "merged.ckpt")
    names: dict[str, Any] = {}
    lines = model.loading(tmp_path / "merged.ckpt")
    exec(lines, names)
    assert ("load_checkpoint_local" in lines) == ("2m_temperature" in surface)
    inputs = small_batch().inputs
    batch = dataclasses.replace(
        small_batch(), inputs=Fields({name: inputs.surface[name] for name in surface}, inputs.atmospheric)
    )
    with torch.no_grad():
        expected = model.eval()(batch)
    assert_same(
        upstream_forecast(names["model"], batch), dict(expected.surface) | dict(expected.atmospheric), 1e-6
    )
