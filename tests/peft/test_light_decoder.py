"""New heads on a frozen model: their formula, their start, their count, and what stays frozen."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from tests.backbones.small_aurora import loss, small_aurora, small_batch, small_spec
from tests.peft.test_published_counts import CONFIG, build
from tests.tasks.forecast_data import FIELDS, TASK
from weatherpeft.config import load
from weatherpeft.interfaces import TuningContext
from weatherpeft.peft.light_decoder import LightDecoder
from weatherpeft.training.tuning import TunedModel, attach


def tuned(model: Any = None, seed: int = 0, **values: Any) -> TunedModel:
    spec = LightDecoder(**{"name": "light_decoder", **values})
    return attach(model or small_aurora(), [spec], TuningContext(steps=10, seed=seed))


def own(model: TunedModel, head: str) -> list[Tensor]:
    """Parameters of a new head, in order."""
    return [p for name, p in model.dense_parameters().items() if name.startswith(f"light_decoder.{head}.")]


@pytest.mark.parametrize("head", ["surf_heads.2t", "atmos_heads.z"])
def test_a_head_is_its_formula(head: str) -> None:
    model = tuned(hidden=(5, 7))
    first, bias, second, other, last, end = own(model, head)
    assert [weight.shape for weight in (first, second, last)] == [(5, 64), (7, 5), (16, 7)]
    with torch.no_grad():
        for vector in (bias, other, end):
            vector.normal_()
    x = torch.randn(3, 64)
    hidden = (x @ first.T + bias).clamp(min=0)
    hidden = (hidden @ second.T + other).clamp(min=0)
    torch.testing.assert_close(model.model.decoder.get_submodule(head)(x), hidden @ last.T + end)


def test_without_hidden_layers_it_is_the_old_decoder_with_new_values() -> None:
    old, model = small_aurora(), tuned(hidden=())
    with torch.no_grad():
        for path, head in old.heads().items():
            weight, bias = own(model, path)
            weight.copy_(head.weight)
            bias.copy_(head.bias)
        expected = old.eval()(small_batch()).channels()
        assert torch.equal(model.model.eval()(small_batch()).channels(), expected)


def test_heads_start_anew_by_the_seed_alone() -> None:
    torch.manual_seed(1)
    one = tuned()
    torch.manual_seed(2)
    again, other = tuned(), tuned(seed=1)
    for name, value in one.dense_parameters().items():
        assert torch.equal(value, again.dense_parameters()[name])
        if name.endswith("weight"):
            assert not torch.equal(value, other.dense_parameters()[name])
            assert value.std().item() == pytest.approx(0.02, rel=0.1)
        else:
            assert not value.any()


def test_only_heads_have_gradients_and_move() -> None:
    model = tuned()
    assert isinstance(model.model, nn.Module)
    dense = model.dense_parameters()
    start = {name: value.clone() for name, value in model.model.state_dict().items()}
    optimizer = torch.optim.AdamW(dense.values(), lr=1e-2, weight_decay=0.1)
    loss(model.model, small_batch()).backward()
    assert {p for p in model.model.parameters() if p.grad is not None} == set(dense.values())
    optimizer.step()
    moved = {name for name, value in model.model.state_dict().items() if not torch.equal(value, start[name])}
    assert moved == {f"model.decoder.{name.removeprefix('light_decoder.')}" for name in dense}


def test_the_result_holds_the_heads_alone() -> None:
    model = tuned()
    assert model.result().keys() == {f"0.{name}" for name in model.dense_parameters()}


def test_rates_are_those_of_the_decoder_unless_the_method_has_its_own() -> None:
    assert set(tuned().peaks(1.0, 7.0).dense.values()) == {7.0}
    assert set(tuned().peaks(1.0).dense.values()) == {1.0}
    assert set(tuned(learning_rate=3.0).peaks(1.0, 7.0).dense.values()) == {3.0}


def test_an_ensemble_starts_close_to_the_raw_one() -> None:
    heads = small_spec().build(FIELDS, TASK, 0).heads()
    model = tuned(small_spec().build(FIELDS, TASK, 0))
    assert len(heads) == 4  # mean and spread
    for path in heads:
        *_, last, bias = own(model, path)
        assert last.std().item() == pytest.approx(1e-3, rel=0.1) and not bias.any()


@pytest.mark.parametrize(("name", "variables"), [("downscaling", 8), ("postprocessing", 10)])
def test_counts_at_the_size_of_aurora(name: str, variables: int) -> None:
    """A mean and a spread for each of five targets in post-processing."""
    model = tuned(build(load(CONFIG / f"{name}.yaml")))
    head = (1024 + 1) * 512 + (512 + 1) * 512 + (512 + 1) * 256 + (256 + 1) * 16
    assert model.counts() == {"trainable_backbone": 0, "trainable_total": variables * head}
    assert head == 922_896


@pytest.mark.parametrize("hidden", [(0,), (8, -1)])
def test_widths_are_positive(hidden: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError, match="hidden"):
        LightDecoder.parse({"name": "light_decoder", "hidden": hidden})
