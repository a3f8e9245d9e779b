"""A model with its methods: what is trained, counted, kept and rebuilt."""

from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from pydantic import PrivateAttr, TypeAdapter
from torch import Tensor, nn

from tests.backbones.small_aurora import CONTEXT, FIELDS, loss, small_aurora, small_batch, state_dict
from weatherpeft.artifacts import store
from weatherpeft.artifacts.manifest import DamagedError
from weatherpeft.interfaces import Backbone, PeftMethod, TuningContext
from weatherpeft.peft import AnyMethod
from weatherpeft.peft.adapters.dense import DenseAdapter
from weatherpeft.tasks.forecasting import Forecasting
from weatherpeft.training.checkpoint import load_tensors, save_tensors
from weatherpeft.training.model import TunedModelSpec
from weatherpeft.training.tuning import PRETRAINED, TunedModel, attach, build_model, task_loss, tuned_model

METHODS: TypeAdapter[Any] = TypeAdapter(AnyMethod)
TADP, SFAS = {"name": "tadp", "prompts": 3}, {"name": "sfas", "fraction": 0.01}
LISTS = [
    [{"name": "full"}],
    [{"name": "linear_probe"}],
    [TADP],
    [SFAS],
    [TADP, SFAS],
    [{"name": "lora", "rank": 2}, TADP, SFAS],
]
CPU = torch.device("cpu")


def tuned(methods: list[dict[str, Any]], context: TuningContext = CONTEXT) -> TunedModel:
    return attach(small_aurora(), [METHODS.validate_python(method) for method in methods], context)


def step(model: TunedModel, number: int) -> None:
    """One step as the loop does it."""
    dense = model.dense_parameters()
    optimizer = torch.optim.AdamW(dense.values(), lr=1e-2)
    optimizer.zero_grad()
    loss(model.model, small_batch()).backward()
    optimizer.step()
    for adapter in model.adapters:
        adapter.step(number, 1e-2)


def predict(model: TunedModel) -> Tensor:
    with torch.no_grad():
        return model.model.eval()(small_batch()).channels()


def names(methods: list[dict[str, Any]]) -> str:
    return "+".join(method["name"] for method in methods)


def size(parameters: Any) -> int:
    return sum(parameter.numel() for parameter in parameters)


@pytest.mark.parametrize("methods", LISTS, ids=names)
class TestLists:
    def test_each_parameter_is_trained_by_one(self, methods: list[dict[str, Any]]) -> None:
        model = tuned(methods)
        dense = model.dense_parameters()
        identities = {id(parameter) for parameter in dense.values()}
        assert len(identities) == len(dense)
        assert all(parameter.requires_grad for parameter in dense.values())
        ends = chain(model.model.encoder.parameters(), model.model.decoder.parameters())
        assert {id(parameter) for parameter in ends} <= identities
        # what has a gradient besides is the pool of sfas
        others = {id(p) for p in model.model.parameters() if p.requires_grad} - identities
        backbone = {id(p) for p in model.model.backbone_parameters().values()}
        pool = backbone - identities if SFAS in methods else set()
        assert others == pool

    def test_a_result_rebuilds_the_model_bit_for_bit(
        self, methods: list[dict[str, Any]], tmp_path: Path
    ) -> None:
        model = tuned(methods)
        before = predict(model)
        model.model.train()
        for number in range(2):
            step(model, number)
        save_tensors(model.result(), tmp_path / "tuned.safetensors")
        rebuilt = tuned(methods, TuningContext(steps=1, seed=9))
        rebuilt.load_result(load_tensors(tmp_path / "tuned.safetensors"))
        expected, found = state_dict(model.model), state_dict(rebuilt.model)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert torch.equal(found[name], value), name
        assert torch.equal(predict(rebuilt), predict(model))
        assert not torch.equal(predict(model), before)

    def test_a_result_is_a_copy(self, methods: list[dict[str, Any]]) -> None:
        model = tuned(methods)
        step(model, 0)
        result = model.result()
        kept = {name: tensor.clone() for name, tensor in result.items()}
        step(model, 1)
        assert all(torch.equal(tensor, kept[name]) for name, tensor in result.items())
        again = model.result()
        assert any(not torch.equal(tensor, again[name]) for name, tensor in kept.items())

    def test_tensors_that_do_not_fit_are_named(self, methods: list[dict[str, Any]]) -> None:
        model = tuned(methods)
        result = model.result()
        for stranger in ("stranger", "9.stranger", "0.stranger"):
            with pytest.raises(ValueError, match="stranger"):
                tuned(methods).load_result({**result, stranger: torch.zeros(1)})
        end = next(name for name in result if name.startswith("decoder."))
        own = [name for name in result if name.startswith("0.")]
        for missing in (end, *own[:1]):
            rest = {name: tensor for name, tensor in result.items() if name != missing}
            with pytest.raises(ValueError, match=missing.removeprefix("0.")):
                tuned(methods).load_result(rest)
        for wrong in (end, *own[:1]):
            with pytest.raises(ValueError, match=wrong.removeprefix("0.")):
                tuned(methods).load_result({**result, wrong: torch.zeros(1)})


class TestPeaks:
    """Peak learning rates by group: the experiment's default is 1."""

    def peaks(self, *methods: dict[str, Any]) -> tuple[dict[str, set[float]], list[float]]:
        """Those of the parameters by kind, and those of the adapters."""
        found = tuned(list(methods)).peaks(1.0, 7.0)
        kinds: dict[str, set[float]] = {}
        for name, peak in found.dense.items():
            kind = name.partition(".")[0]
            kind = f"{kind} {'B' if '.lora_B.' in name else 'A'}" if kind.startswith("lora") else kind
            kinds.setdefault(kind, set()).add(peak)
        assert found.dense.keys() == tuned(list(methods)).dense_parameters().keys()
        ends = {kind: kinds.pop(kind) for kind in ("encoder", "decoder")}
        assert ends == {"encoder": {7.0}, "decoder": {7.0}}
        return kinds, list(found.adapters)

    def test_by_default_they_are_the_experiments(self) -> None:
        kinds, adapters = self.peaks({"name": "lora"}, TADP, SFAS)
        assert kinds == {"lora A": {1.0}, "lora B": {1.0}, "backbone": {1.0}, "tadp": {1.0}}
        assert adapters == [1.0] * 3
        assert set(tuned([TADP]).peaks(1.0).dense.values()) == {1.0}

    def test_prompts_and_biases_have_their_own(self) -> None:
        own = TADP | {"learning_rate": 3.0, "bias_learning_rate": 5.0}
        assert self.peaks(own, SFAS | {"learning_rate": 9.0}) == (
            {"tadp": {3.0}, "backbone": {5.0}},
            [3.0, 9.0],
        )
        assert self.peaks(TADP | {"learning_rate": 3.0})[0] == {"tadp": {3.0}, "backbone": {3.0}}

    def test_lora_plus_has_a_ratio(self) -> None:
        own = {"name": "lora_plus", "learning_rate": 2.0, "ratio": 4.0}
        assert self.peaks(own)[0] == {"lora_plus A": {2.0}, "lora_plus B": {8.0}, "backbone": {2.0}}

    def test_sfas_takes_decay_and_betas_from_the_training(self) -> None:
        """Unless it has its own; by the entries that a step moves."""

        def after(**options: Any) -> Tensor:
            context = TuningContext(steps=10, seed=0, weight_decay=0.3, betas=(0.5, 0.6))
            model = tuned([SFAS | options], context)
            step(model, 0)
            step(model, 1)
            return torch.cat([p.detach().flatten() for p in model.model.backbone_parameters().values()])

        assert torch.equal(after(), after(weight_decay=0.3, betas=(0.5, 0.6)))
        assert not torch.equal(after(), after(weight_decay=0.05))
        assert not torch.equal(after(), after(betas=(0.9, 0.999)))

    @pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
    def test_what_is_no_rate_is_refused(self, value: float) -> None:
        with pytest.raises(ValueError, match="learning_rate"):
            METHODS.validate_python({"name": "full", "learning_rate": value})


class TestCounts:
    def test_full_and_linear_probe(self) -> None:
        model = small_aurora()
        backbone = size(model.backbone.parameters())
        ends = size(model.encoder.parameters()) + size(model.decoder.parameters())
        assert backbone + ends == size(model.parameters())
        expected = {"trainable_backbone": backbone, "trainable_total": backbone + ends}
        assert tuned([{"name": "full"}]).counts() == expected
        expected = {"trainable_backbone": 0, "trainable_total": ends}
        assert tuned([{"name": "linear_probe"}]).counts() == expected

    def test_weatherpeft_is_prompts_and_biases_and_the_selected(self) -> None:
        model = small_aurora()
        width, variables, patch, prompts, half = 32, 2 + 1 + 2, 2 * 4 * 4, 3, 2
        block = (2 * 16 * width + 16 + width) + 2 * width
        block += (2 * 8 * patch + 8 + patch) + 2 * patch
        block += (2 * variables * half + half + variables) + 2 * variables
        block += 2 * patch * variables + (patch * variables * prompts + prompts)
        biases = size(p for name, p in model.backbone.named_parameters() if name.endswith("bias"))
        own = len(model.attention_modules()) * block
        selected = round(0.01 * size(model.parameters()))  # published: of the model without prompts
        found = tuned([TADP, SFAS])
        assert found.counts()["trainable_backbone"] == own + biases + selected
        ends = size(model.encoder.parameters()) + size(model.decoder.parameters())
        assert found.counts()["trainable_total"] == own + biases + selected + ends
        assert size(found.dense_parameters().values()) == own + biases + ends

    def test_two_methods_that_train_the_same_are_an_error(self) -> None:
        model = small_aurora()
        one = dict(list(model.backbone_parameters().items())[:1])
        (name,) = one
        both = TunedModel(model, (DenseAdapter(one), DenseAdapter(one)))
        with pytest.raises(ValueError, match=f"two methods train {name}"):
            both.dense_parameters()


class Given(PeftMethod):
    """Trains what it is given."""

    name: Literal["given"] = "given"
    _dense: dict[str, nn.Parameter] = PrivateAttr()

    def __init__(self, dense: dict[str, nn.Parameter]) -> None:
        super().__init__(name="given")
        self._dense = dense

    def attach(self, model: Backbone, context: TuningContext) -> DenseAdapter:
        return DenseAdapter(self._dense)


class TestAttach:
    def test_a_parameter_outside_of_the_model_is_an_error(self) -> None:
        """No check between processes compares it, and it stays behind when the model moves to a GPU."""
        inside = small_aurora()
        inside.backbone.scale = nn.Parameter(torch.ones(1))
        assert (
            "given.scale"
            in attach(inside, [Given({"given.scale": inside.backbone.scale})], CONTEXT).dense_parameters()
        )
        outside = Given({"given.scale": nn.Parameter(torch.ones(1))})
        with pytest.raises(ValueError, match=r"given: the parameter given\.scale lies outside of the model"):
            attach(small_aurora(), [outside], CONTEXT)

    def test_a_parameter_of_two_methods_is_an_error_whatever_its_names(self) -> None:
        model = small_aurora()
        (parameter, *_) = model.backbone_parameters().values()
        methods = [Given({f"given.{name}": parameter}) for name in ("one", "two")]
        with pytest.raises(ValueError, match=r"given: the parameter given\.two is trained by given"):
            attach(model, methods, CONTEXT)

    def test_a_parameter_of_the_encoder_is_trained_already(self) -> None:
        model = small_aurora()
        first = Given({"given.first": next(model.encoder.parameters())})
        with pytest.raises(ValueError, match=r"given: the parameter given\.first is trained by every method"):
            attach(model, [first], CONTEXT)

    def test_a_name_of_two_parameters_is_an_error(self) -> None:
        model = small_aurora()
        one, other, *_ = model.backbone_parameters().values()
        with pytest.raises(ValueError, match=r"two methods train given\.same"):
            attach(model, [Given({"given.same": one}), Given({"given.same": other})], CONTEXT)

    def test_methods_that_do_not_go_together_are_an_error(self) -> None:
        with pytest.raises(ValueError, match="sfas needs the backbone's weights, which full takes before it"):
            tuned([{"name": "full"}, SFAS])


class TestBuild:
    def spec(self, **changes: Any) -> TunedModelSpec:
        backbone = small_aurora().spec
        task = Forecasting.parse({"name": "forecasting", "grid": {"resolution_deg": 11.25}})
        methods = (METHODS.validate_python({"name": "linear_probe"}),)
        values = {"backbone": backbone, "fields": FIELDS, "task": task, "methods": methods}
        return TunedModelSpec(**{**values, "pretrained": True, "seed": 0, **changes})

    def test_weights_come_from_an_artifact_or_a_file(self, tmp_path: Path) -> None:
        pretrained = small_aurora()
        pretrained.save(tmp_path / PRETRAINED)
        for path in (tmp_path, tmp_path / PRETRAINED):
            found = state_dict(tuned_model(self.spec(), CPU, path).model)
            assert all(torch.equal(found[name], value) for name, value in pretrained.state_dict().items())

    def test_a_random_start_is_by_the_seed_and_reads_no_weights(self, tmp_path: Path) -> None:
        def weights(seed: int, path: Path | None) -> dict[str, Tensor]:
            return state_dict(tuned_model(self.spec(pretrained=False, seed=seed), CPU, path).model)

        one, again, two = weights(1, None), weights(1, tmp_path / "none"), weights(2, None)
        assert all(torch.equal(again[name], value) for name, value in one.items())
        assert any(not torch.equal(two[name], value) for name, value in one.items())

    def test_a_pretrained_start_needs_weights(self) -> None:
        with pytest.raises(ValueError, match="starts from pretrained weights, but none are given"):
            tuned_model(self.spec(), CPU, None)

    def test_the_task_tells_the_model_its_lead_time_and_whether_to_add_the_input(self) -> None:
        spec = self.spec()
        batch = small_batch()
        predictions = []
        for changes in ({}, {"residual": True}, {"lead_time_hours": 24}):
            task = Forecasting.parse({**spec.task.model_dump(), **changes})
            model = build_model(spec.backbone, FIELDS, task, 0, None)
            with torch.no_grad():
                predictions.append(model.eval()(batch).channels())
        assert not torch.equal(predictions[0], predictions[1])
        assert not torch.equal(predictions[0], predictions[2])

    def test_only_what_methods_ask_for_is_not_frozen(self) -> None:
        model = tuned_model(self.spec(pretrained=False), CPU, None).model
        assert not any(parameter.requires_grad for parameter in model.backbone.parameters())
        assert all(parameter.requires_grad for parameter in model.encoder.parameters())

    def test_the_loss_is_the_tasks_on_the_models_prediction(self) -> None:
        from weatherpeft.samples.batch import Fields

        model, batch = small_aurora().eval(), small_batch()
        surface = {"2m_temperature": 2.0, "10m_u_component_of_wind": 3.0}
        upper = {"temperature": 5.0, "geopotential": 7.0}
        scale = Fields(
            {name: torch.tensor(value) for name, value in surface.items()},
            {name: torch.full((2, 1, 1), value) for name, value in upper.items()},
        )
        found = task_loss(self.spec().task, scale, CPU)(model, batch)
        with torch.no_grad():
            prediction = model(batch)

        def mean(parts: dict[str, float], kind: str) -> float:
            fields, targets = getattr(prediction, kind), getattr(batch.target, kind)
            errors = [((fields[n] - targets[n]) / s).numpy().astype("float64") for n, s in parts.items()]
            return sum(float((error**2).mean()) for error in errors) / len(errors)

        expected = 0.25 * mean(surface, "surface") + mean(upper, "atmospheric")
        assert found.item() == pytest.approx(expected, rel=1e-5)
        assert found.requires_grad


def test_damaged_pretrained_weights_are_refused(tmp_path: Path) -> None:
    """Any bit of the file: PyTorch itself would read a changed weight."""
    spec = small_aurora().spec
    task = Forecasting.parse({"name": "forecasting", "grid": {"resolution_deg": 11.25}})
    with store.artifact(tmp_path / "pretrained", spec, "weatherpeft.spec") as directory:
        small_aurora().save(directory / PRETRAINED)
    path = tmp_path / "pretrained" / PRETRAINED
    build_model(spec, FIELDS, task, 0, tmp_path / "pretrained")
    content, random = path.read_bytes(), np.random.default_rng(1)
    for bit in random.integers(8 * len(content), size=5):
        turned = bytearray(content)
        turned[bit // 8] ^= 1 << bit % 8
        path.write_bytes(turned)
        for given in (tmp_path / "pretrained", path):
            with pytest.raises(DamagedError, match=f"{path}: damaged.* --force {tmp_path}/pretrained "):
                build_model(spec, FIELDS, task, 0, given)
