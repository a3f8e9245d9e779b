"""What every method of the union promises, alone and together with others."""

import copy
import itertools
import subprocess
import sys
from typing import Any, get_args

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from tests.backbones.small_aurora import CONTEXT, loss, small_aurora, small_batch
from tests.contracts.peft_checks import CHANGES_THE_START
from weatherpeft.interfaces import Adapter, PeftMethod, TuningContext
from weatherpeft.peft import AnyMethod, AnyMethods
from weatherpeft.training.tuning import TunedModel, attach

KINDS: list[type[PeftMethod]] = list(get_args(get_args(AnyMethod)[0]))
NAMES = [get_args(kind.model_fields["name"].annotation)[0] for kind in KINDS]
LISTS: TypeAdapter[tuple[PeftMethod, ...]] = TypeAdapter(AnyMethods)
PREDICTION = TuningContext(steps=0, seed=1)
RATE = 1e-3


def variants() -> list[dict[str, Any]]:
    """Every method with its defaults, with each of its switches the other way, and DoRA's other form."""
    found: list[dict[str, Any]] = []
    for name, kind in zip(NAMES, KINDS, strict=True):
        switches = {
            key: field.default for key, field in kind.model_fields.items() if field.annotation is bool
        }
        found += [{"name": name}, *({"name": name, key: not value} for key, value in switches.items())]
    inputs = {"name": "dora", "magnitude": "input"}
    return [*found, inputs, inputs | {"biases": False}]


def label(methods: Any) -> str:
    if isinstance(methods, str):
        return methods
    values = [f"{method['name']}{''.join(f'-{key}' for key in list(method)[1:])}" for method in methods]
    return "+".join(values)


DEFAULTS = [{"name": name} for name in NAMES]
LAST = {"name": "sfas"}
PAIRS = [*itertools.product(DEFAULTS, repeat=2), *((m, LAST) for m in variants() if m not in DEFAULTS)]
TRIPLES = [(method, {"name": "tadp"}, LAST) for method in variants()]
SCORES = ("magnitude", "random", "gradient", "child_tuning_f")
OTHERS: list[tuple[dict[str, Any], ...]] = [
    ({"name": "lora", "targets": ("fc1",)}, {"name": "lora", "rank": 2}),
    *(({"name": "tadp"}, {"name": "sfas", "score": score}) for score in SCORES),
]


def tuned(*methods: str | dict[str, Any], context: TuningContext = CONTEXT) -> TunedModel:
    """A small model in training with methods, refused as a configuration would refuse them."""
    values = [{"name": method} if isinstance(method, str) else method for method in methods]
    return attach(small_aurora().train(), LISTS.validate_python(tuple(values)), context)


def predict(model: Any) -> Tensor:
    with torch.no_grad():
        prediction: Tensor = model.eval()(small_batch()).channels()
    return prediction


def weights(model: TunedModel) -> dict[str, Tensor]:
    """Copies of all parameters, by name."""
    return {name: value.detach().clone() for name, value in parameters(model).items()}


def parameters(model: TunedModel) -> dict[str, nn.Parameter]:
    assert isinstance(model.model, nn.Module)
    return dict(model.model.named_parameters())


class Training:
    """Methods under the trainer's rules: AdamW on what is dense, then each method's own step."""

    def __init__(self, *methods: str | dict[str, Any]) -> None:
        self.tuned = tuned(*methods)
        self.dense = self.tuned.dense_parameters()
        self.optimizer = torch.optim.AdamW(self.dense.values(), lr=RATE, weight_decay=0.0)

    def step(self, number: int) -> None:
        self.optimizer.zero_grad()
        loss(self.tuned.model, small_batch()).backward()
        self.optimizer.step()
        for adapter in self.tuned.adapters:
            adapter.step(number, RATE)


def ends(model: Any) -> set[nn.Parameter]:
    """Parameters of encoder and decoder."""
    return {*model.encoder.parameters(), *model.decoder.parameters()}


def own(adapter: Adapter, model: Any) -> int:
    """Entries that a method trains at a step beside its dense parameters."""
    dense = adapter.dense_parameters().values()
    return adapter.trainable_backbone() - sum(p.numel() for p in dense if p not in ends(model))


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
        methods = LISTS.validate_python(({"name": name},))
        attach(model, methods, CONTEXT)

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
        free = {"encoder", "decoder"} - {end for method in methods for end in method.frozen_ends}
        assert all(p.requires_grad for side in free for p in getattr(model, side).parameters())

    def test_dense_parameters_have_names_of_the_method_or_of_the_backbone(self, name: str) -> None:
        model = tuned(name)
        pretrained = {f"backbone.{key}": p for key, p in model.model.backbone_parameters().items()}
        (adapter,) = model.adapters
        for key, parameter in adapter.dense_parameters().items():
            assert key.startswith(f"{name}.") or parameter is pretrained[key]
        assert own(adapter, model.model) >= 0

    def test_a_result_is_a_copy(self, name: str) -> None:
        training = Training(name)
        (adapter,) = training.tuned.adapters
        training.step(0)
        result = adapter.result()
        assert all(isinstance(tensor, Tensor) for tensor in result.values())
        kept = {key: tensor.clone() for key, tensor in result.items()}
        training.step(1)
        assert all(torch.equal(tensor, kept[key]) for key, tensor in result.items())

    def test_a_wrong_result_is_an_error_that_names_the_key(self, name: str) -> None:
        (adapter,) = tuned(name).adapters
        result = adapter.result()
        with pytest.raises(ValueError, match="stranger"):
            adapter.load_result({**result, "stranger": torch.zeros(1)})
        for key in list(result)[:1]:
            with pytest.raises(ValueError, match=key):
                adapter.load_result({other: tensor for other, tensor in result.items() if other != key})

    def test_a_killed_run_resumes(self, name: str) -> None:
        straight, resumed = Training(name), Training(name)
        straight.step(0)
        resumed.tuned.load_result(straight.tuned.result())
        resumed.optimizer.load_state_dict(copy.deepcopy(straight.optimizer.state_dict()))
        for adapter, source in zip(resumed.tuned.adapters, straight.tuned.adapters, strict=True):
            state = source.state_dict()
            assert all(isinstance(tensor, Tensor) for tensor in state.values())
            adapter.load_state_dict(state)
        for training in (straight, resumed):
            for number in (1, 2):
                training.step(number)
        expected, found = straight.tuned.result(), resumed.tuned.result()
        assert expected.keys() == found.keys()
        assert all(torch.equal(found[key], tensor) for key, tensor in expected.items())
        assert torch.equal(predict(straight.tuned.model), predict(resumed.tuned.model))


@pytest.mark.parametrize(
    "methods", [*((method,) for method in variants()), *PAIRS, *TRIPLES, *OTHERS], ids=label
)
def test_methods_compose_or_a_configuration_refuses_them(methods: tuple[dict[str, Any], ...]) -> None:
    """What a configuration accepts can be attached, trained, saved and rebuilt."""
    try:
        LISTS.validate_python(methods)
    except ValueError as error:
        assert any(reason in str(error) for reason in ("put it last", "one of the two", "expected it alone"))
        return
    training = Training(*methods)
    model, dense = training.tuned, training.dense
    all_parameters = parameters(model)
    identities = {id(parameter): name for name, parameter in all_parameters.items()}
    assert all(id(parameter) in identities for parameter in dense.values())
    assert len(dense) == len({id(parameter) for parameter in dense.values()})
    assert all(parameter.requires_grad for parameter in dense.values())
    at_the_ends = sum(p.numel() for p in dense.values() if p in ends(model.model))
    elsewhere = sum(own(adapter, model.model) for adapter in model.adapters)
    assert (
        sum(parameter.numel() for parameter in dense.values()) + elsewhere
        == model.counts()["trainable_total"]
    )
    assert model.counts()["trainable_total"] - at_the_ends == model.counts()["trainable_backbone"]

    trained = {identities[id(parameter)] for parameter in dense.values()}
    before = weights(model)
    for number in range(2):  # at the first one, half of a product that starts at zero has no gradient
        training.step(number)
    after = weights(model)
    assert [name for name in trained if torch.equal(after[name], before[name])] == []
    moved = sum(int((after[name] != before[name]).sum()) for name in after.keys() - trained)
    assert (0 < moved <= 2 * elsewhere) if elsewhere else moved == 0

    rebuilt = tuned(*methods, context=PREDICTION)
    rebuilt.load_result(model.result())
    assert rebuilt.counts() == model.counts()
    assert all(torch.equal(value, after[name]) for name, value in parameters(rebuilt).items())
    assert torch.equal(predict(rebuilt.model), predict(model.model))


@pytest.mark.parametrize(
    "methods",
    [
        *(({"name": "linear_probe"}, method) for method in variants() if method["name"] != "light_decoder"),
        ({"name": "light_decoder"},),
        ({"name": "lora"}, {"name": "tadp"}),
        ({"name": "tadp"}, {"name": "lora"}),
        ({"name": "tadp"}, {"name": "full"}),
        ({"name": "lora"}, {"name": "tadp"}, {"name": "sfas"}),
        *OTHERS,
    ],
    ids=label,
)
def test_a_configuration_accepts(methods: tuple[dict[str, Any], ...]) -> None:
    LISTS.validate_python(methods)


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        (("lora", "lora"), "lora needs the backbone's qkv layers, which lora takes before it"),
        (("tadp", "tadp"), "tadp needs the backbone's attentions, which tadp takes before it"),
        (("full", "full"), "full needs the backbone's weights, which full takes before it"),
        (("full", "tadp", "sfas"), "sfas needs the backbone's weights, which full takes before it"),
        (("sfas", "sfas"), "sfas works on what the others leave frozen: put it last, found sfas, sfas"),
        (
            ("light_decoder", "bitfit"),
            "light_decoder freezes encoder and decoder, which other methods train: expected it alone, "
            "found light_decoder, bitfit",
        ),
        (("linear_probe", "light_decoder"), "light_decoder freezes encoder and decoder"),
        (("sfas", "full"), "sfas works on what the others leave frozen: put it last, found sfas, full"),
    ],
)
def test_methods_that_do_not_compose_are_named(methods: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LISTS.validate_python(tuple({"name": name} for name in methods))
    unchecked = [TypeAdapter(AnyMethod).validate_python({"name": name}) for name in methods]
    with pytest.raises(ValueError, match=message):
        attach(small_aurora(), unchecked, CONTEXT)


@pytest.mark.skipif("sfas" not in NAMES, reason="sfas is not in the union")
def test_sfas_leaves_out_what_tadp_trains() -> None:
    model = tuned("tadp", "sfas")
    tadp, sfas = model.adapters
    assert not set(tadp.dense_parameters()) & set(sfas.dense_parameters())
    dense = {key: parameter.detach().clone() for key, parameter in tadp.dense_parameters().items()}
    before = {name: p.detach().clone() for name, p in model.model.backbone_parameters().items()}
    biases = [key for key in before if key.endswith(".bias")]
    assert biases and all(f"backbone.{key}" in dense for key in biases)

    loss(model.model, small_batch()).backward()
    sfas.step(0, RATE)  # without AdamW
    assert all(torch.equal(parameter, dense[key]) for key, parameter in tadp.dense_parameters().items())
    after = model.model.backbone_parameters()
    moved = sum(int((value != before[key]).sum()) for key, value in after.items())
    assert 0 < moved <= sfas.trainable_backbone()
