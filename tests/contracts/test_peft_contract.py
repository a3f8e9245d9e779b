"""What every method of the union promises, with its default hyperparameters."""

import copy
import subprocess
import sys
from typing import Any, get_args

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor

from tests.backbones.small_aurora import CONTEXT, loss, small_aurora, small_batch
from weatherpeft.backbones.aurora.model import AuroraBackbone
from weatherpeft.interfaces import Adapter, TuningContext
from weatherpeft.peft import AnyMethod

METHODS: TypeAdapter[Any] = TypeAdapter(AnyMethod)
NAMES = [get_args(kind.model_fields["name"].annotation)[0] for kind in get_args(get_args(AnyMethod)[0])]
CHANGES_THE_START = {"tadp"}
"""Methods that are not the identity before their first step."""
RATE = 1e-3


def attach(model: AuroraBackbone, *names: str, context: TuningContext = CONTEXT) -> list[Adapter]:
    return [METHODS.validate_python({"name": name}).attach(model, context) for name in names]


def predict(model: AuroraBackbone) -> Tensor:
    with torch.no_grad():
        return model.eval()(small_batch()).channels()


class Training:
    """One method under the trainer's rules: AdamW on what is dense, then the method's own step."""

    def __init__(self, *names: str, context: TuningContext = CONTEXT) -> None:
        self.model = small_aurora().train()
        self.adapters = attach(self.model, *names, context=context)
        self.outside = [*self.model.encoder.parameters(), *self.model.decoder.parameters()]
        self.dense = {name: p for adapter in self.adapters for name, p in adapter.dense_parameters().items()}
        self.optimizer = torch.optim.AdamW([*self.outside, *self.dense.values()], lr=RATE, weight_decay=0.0)

    def step(self, number: int) -> None:
        self.optimizer.zero_grad()
        loss(self.model, small_batch()).backward()
        self.optimizer.step()
        for adapter in self.adapters:
            adapter.step(number, RATE)

    def backbone(self) -> dict[str, Tensor]:
        return {name: p.detach().clone() for name, p in self.model.backbone_parameters().items()}

    def copy_outside(self, other: "Training") -> None:
        with torch.no_grad():
            for own, source in zip(self.outside, other.outside, strict=True):
                own.copy_(source)


def test_parsing_the_union_imports_nothing_heavy() -> None:
    heavy = {"torch", "aurora", "peft", "xarray"}
    code = f"import sys, weatherpeft.peft; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", NAMES)
class TestEveryMethod:
    def test_start(self, name: str) -> None:
        model = small_aurora()
        expected = predict(model)
        pretrained = model.backbone_parameters()
        objects = {key: id(parameter) for key, parameter in pretrained.items()}
        values = {key: parameter.clone() for key, parameter in pretrained.items()}
        attach(model, name)

        found = predict(model)
        assert torch.isfinite(found).all()
        if name in CHANGES_THE_START:
            assert not torch.equal(found, expected)
        else:
            torch.testing.assert_close(found, expected, rtol=0, atol=0)
        assert {key: id(parameter) for key, parameter in model.backbone_parameters().items()} == objects
        assert all(torch.equal(model.backbone_parameters()[key], value) for key, value in values.items())
        inside = {id(parameter) for parameter in model.backbone.parameters()}
        assert inside >= set(objects.values())
        assert all(p.requires_grad for side in (model.encoder, model.decoder) for p in side.parameters())

    def test_dense_parameters_are_named_once(self, name: str) -> None:
        model = small_aurora()
        pretrained = {f"backbone.{key}": parameter for key, parameter in model.backbone_parameters().items()}
        (adapter,) = attach(model, name)
        dense = adapter.dense_parameters()
        assert len({id(parameter) for parameter in dense.values()}) == len(dense)
        for key, parameter in dense.items():
            assert parameter.requires_grad
            assert key.startswith(f"{name}.") or parameter is pretrained[key]
        assert adapter.trainable_backbone() >= sum(parameter.numel() for parameter in dense.values())

    def test_a_step_moves_what_it_must_and_nothing_else(self, name: str) -> None:
        training = Training(name)
        before = training.backbone()
        dense = {key: parameter.detach().clone() for key, parameter in training.dense.items()}
        training.step(0)
        (adapter,) = training.adapters
        for key, parameter in training.dense.items():
            assert parameter.grad is not None
            assert parameter.grad.any() != torch.equal(parameter, dense[key])
        moved = {key: int((value != before[key]).sum()) for key, value in training.backbone().items()}
        own = sum(p.numel() for key, p in training.dense.items() if not key.startswith("backbone."))
        outside_dense = sum(count for key, count in moved.items() if f"backbone.{key}" not in training.dense)
        dense_entries = sum(parameter.numel() for parameter in training.dense.values())
        assert outside_dense <= adapter.trainable_backbone() - dense_entries
        assert (sum(moved.values()) + own > 0) == (adapter.trainable_backbone() > 0)

    def test_a_result_rebuilds_the_tuned_model(self, name: str) -> None:
        tuned = Training(name)
        for number in range(2):
            tuned.step(number)
        fresh = Training(name, context=TuningContext(steps=10, seed=1))
        fresh.copy_outside(tuned)
        for adapter, source in zip(fresh.adapters, tuned.adapters, strict=True):
            result = source.result()
            assert all(isinstance(tensor, Tensor) for tensor in result.values())
            adapter.load_result(result)
        assert torch.equal(predict(fresh.model), predict(tuned.model))
        assert all(torch.equal(value, tuned.backbone()[key]) for key, value in fresh.backbone().items())

    def test_a_result_is_a_copy(self, name: str) -> None:
        training = Training(name)
        (adapter,) = training.adapters
        training.step(0)
        result = adapter.result()
        kept = {key: tensor.clone() for key, tensor in result.items()}
        training.step(1)
        assert all(torch.equal(tensor, kept[key]) for key, tensor in result.items())

    def test_a_wrong_result_is_an_error_that_names_the_key(self, name: str) -> None:
        (adapter,) = attach(small_aurora(), name)
        result = adapter.result()
        with pytest.raises(ValueError, match="stranger"):
            adapter.load_result({**result, "stranger": torch.zeros(1)})
        for key in list(result)[:1]:
            with pytest.raises(ValueError, match=key):
                adapter.load_result({other: tensor for other, tensor in result.items() if other != key})

    def test_a_killed_run_resumes(self, name: str) -> None:
        straight, resumed = Training(name), Training(name)
        straight.step(0)
        resumed.copy_outside(straight)
        resumed.optimizer.load_state_dict(copy.deepcopy(straight.optimizer.state_dict()))
        for adapter, source in zip(resumed.adapters, straight.adapters, strict=True):
            state = source.state_dict()
            assert all(isinstance(tensor, Tensor) for tensor in state.values())
            adapter.load_result(source.result())
            adapter.load_state_dict(state)
        for training in (straight, resumed):
            for number in (1, 2):
                training.step(number)
        for one, other in zip(straight.adapters, resumed.adapters, strict=True):
            expected, found = one.result(), other.result()
            assert expected.keys() == found.keys()
            assert all(torch.equal(found[key], tensor) for key, tensor in expected.items())
        assert torch.equal(predict(straight.model), predict(resumed.model))


@pytest.mark.parametrize(
    "names", [("lora", "tadp"), ("tadp", "lora"), ("full", "tadp"), ("lora", "tadp", "sfas")]
)
def test_composed_methods_share_no_parameter(names: tuple[str, ...]) -> None:
    training = Training(*names)
    counts = [len(adapter.dense_parameters()) for adapter in training.adapters]
    assert len(training.dense) == sum(counts) == len({id(parameter) for parameter in training.dense.values()})
    assert all(parameter.requires_grad for parameter in training.dense.values())
    training.step(0)
    assert all(parameter.grad is not None for parameter in training.dense.values())


@pytest.mark.skipif("sfas" not in NAMES, reason="sfas is not in the union")
def test_sfas_leaves_out_what_tadp_trains() -> None:
    training = Training("tadp", "sfas")
    tadp, sfas = training.adapters
    assert not set(tadp.dense_parameters()) & set(sfas.dense_parameters())
    dense = {key: parameter.detach().clone() for key, parameter in tadp.dense_parameters().items()}
    biases = [key for key in training.backbone() if key.endswith(".bias")]
    assert biases and all(f"backbone.{key}" in dense for key in biases)
    before = training.backbone()

    loss(training.model, small_batch()).backward()
    sfas.step(0, RATE)  # without AdamW
    assert all(torch.equal(parameter, dense[key]) for key, parameter in tadp.dense_parameters().items())
    moved = sum(int((value != before[key]).sum()) for key, value in training.backbone().items())
    assert 0 < moved <= sfas.trainable_backbone()
