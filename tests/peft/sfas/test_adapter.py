"""SFAS as an adapter: its result, its state, the memory of its Fisher information, its errors."""

from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from tests.peft.sfas.dense import RATE, STEPS, Dense, attach, train, tuned, weights
from tests.peft.sfas.rank import SPEC
from tests.peft.toy_backbone import Toy, sample_gradients, toy_batch, toy_loss
from weatherpeft.peft.sfas.fisher_store import read_fisher, write_fisher
from weatherpeft.peft.sfas.gaps import decoded
from weatherpeft.peft.sfas.spec import ScoreName, Sfas


def test_the_preset_is_the_papers_rule() -> None:
    published = Sfas(name="sfas", preset="published")
    rule = {"fraction": 0.001, "count_of": "model", "gamma": 0.2, "noise": "additive", "normalizer": "max"}
    rule |= {"beta": 0.0, "refresh": 1, "budget": None, "weight_decay": 0.05, "betas": (0.9, 0.999)}
    assert published.model_dump(include=set(rule)) == rule
    changed = Sfas.parse({"name": "sfas", "preset": "published", "gamma": 0.3, "betas": [0.8, 0.9]})
    assert (changed.gamma, changed.noise, changed.betas) == (0.3, "additive", (0.8, 0.9))
    assert Sfas.parse(published.model_dump(mode="json")) == published
    assert Sfas(name="sfas").noise == "none"


def test_a_budget_is_a_number_or_a_share() -> None:
    total = len(weights(Toy()))
    for budget, most in ((25, 25), (0.2, round(0.2 * total))):
        model = Toy()
        adapter = attach(model, Sfas(**{**SPEC.model_dump(), "budget": budget}))
        train(model, adapter, range(STEPS))
        values = [tensor for key, tensor in adapter.result().items() if key.endswith(".value")]
        assert adapter.touched == sum(map(len, values)) == most
    assert attach(Toy(), Sfas(**{**SPEC.model_dump(), "budget": 1.0})).touched == 0


def test_a_result_is_a_sparse_delta() -> None:
    model = Toy()
    adapter = attach(model)
    train(model, adapter, range(3))
    result = adapter.result()
    entries = {key: tensor for key, tensor in result.items() if key.endswith(".gaps")}
    assert sum(len(decoded(tensor)) for tensor in entries.values()) == adapter.touched < len(weights(model))
    assert all(tensor.dtype == torch.uint8 for tensor in entries.values())
    fresh = Toy()
    loaded = attach(fresh)
    loaded.load_result(result)
    assert torch.equal(weights(fresh), weights(model))
    assert loaded.touched == adapter.touched
    for key in ("sfas.norm.weight.stranger", "sfas.stranger.gaps"):
        with pytest.raises(ValueError, match="stranger"):
            loaded.load_result({**result, key: torch.zeros(1)})
    with pytest.raises(ValueError, match="twice.weight.value"):
        loaded.load_result({k: v for k, v in result.items() if k != "sfas.twice.weight.value"})


@pytest.fixture
def fisher(tmp_path: Path) -> Path:
    """A warm-up store that favors the layer which is never called."""
    generator = torch.Generator().manual_seed(0)
    values = {
        name: torch.rand(parameter.shape, generator=generator) * (100 if name == "idle.weight" else 1e-3)
        for name, parameter in Toy().backbone_parameters().items()
    }
    write_fisher(tmp_path / "fisher.zarr", values.items(), 4, values.items())
    return tmp_path / "fisher.zarr"


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"beta": 0.5},
        {"beta": 1.0},
        {"refresh": 2},
        {"refresh": 4, "beta": 0.5},
        {"budget": 25},
        {"noise": "multiplicative"},
        {"normalizer": "rank"},
        *({"noise": "none", "score": score} for score in get_args(ScoreName)),
        {"score": "gradient", "refresh": 2, "budget": 25},
    ],
    ids=str,
)
def test_a_killed_run_resumes(change: dict[str, Any], fisher: Path) -> None:
    spec = Sfas(**{**SPEC.model_dump(), **change})
    straight, chosen = tuned(spec, fisher=fisher)
    model = Toy()
    adapter = attach(model, spec, fisher=fisher)
    train(model, adapter, range(3))
    result = {key: tensor.clone() for key, tensor in adapter.result().items()}
    state = {key: tensor.clone() for key, tensor in adapter.state_dict().items()}
    train(model, adapter, range(3, 5))  # what is lost
    fresh = Toy()
    resumed = attach(fresh, spec, fisher=fisher)
    resumed.load_result(result)
    resumed.load_state_dict(state)
    same = train(fresh, resumed, range(3, STEPS))
    assert all(torch.equal(one, other) for one, other in zip(chosen[3:], same, strict=True))
    assert torch.equal(weights(fresh), weights(straight))
    assert resumed.touched == len(torch.cat(chosen).unique())
    starts = list(resumed._pool.start.values())
    for number, (start, counts) in enumerate(zip(starts, resumed.updates().values(), strict=True)):
        end = [*starts, resumed._pool.size][number + 1]
        own = [int(((start <= index) & (index < end)).sum()) for index in chosen]
        assert counts.tolist() == own


class TestMemoryOfTheFisherInformation:
    def test_smooths(self, fisher: Path) -> None:
        spec = Sfas(**{**SPEC.model_dump(), "beta": 0.7, "gamma": 0.01})
        assert spec.needs_fisher and not SPEC.needs_fisher
        model = Toy()
        stored = dict(read_fisher(fisher))
        start = torch.cat([stored[name].flatten() for name in model.backbone_parameters()]).double()
        dense, adapter = Dense(spec, model, start), attach(model, spec, fisher=fisher)
        for step in range(STEPS):
            samples = [
                torch.cat([g.flatten() for g in s.values()]) for s in sample_gradients(model, toy_batch(step))
            ]
            _, mask = dense.step(weights(model), samples, step, RATE)
            train(model, adapter, range(step, step + 1))
            assert torch.equal(adapter.selection, mask.nonzero().squeeze(1))
            assert adapter._fisher is not None and dense.fisher is not None
            for name, values in adapter._fisher.items():
                expected = dense.fisher[adapter._pool.start[name] :][: len(values)]
                torch.testing.assert_close(values.double(), expected, rtol=1e-5, atol=1e-9)

    def test_batches_between_two_selections_do_not_enter(self, fisher: Path) -> None:
        spec = Sfas(**{**SPEC.model_dump(), "beta": 0.7, "gamma": 0.01, "refresh": 3})
        model = Toy()
        adapter = attach(model, spec, fisher=fisher)
        assert adapter._fisher is not None
        held = [torch.cat(list(adapter._fisher.values()))]
        for step in range(4):
            assert adapter._stream.squares == (step % 3 == 0)
            train(model, adapter, range(step, step + 1))
            held.append(torch.cat(list(adapter._fisher.values())))
        assert not torch.equal(held[0], held[1]) and not torch.equal(held[3], held[4])
        assert torch.equal(held[1], held[2]) and torch.equal(held[2], held[3])

    def test_one_is_a_static_mask(self, fisher: Path) -> None:
        spec = Sfas(**{**SPEC.model_dump(), "beta": 1.0, "noise": "none", "fraction": 0.07})
        _, chosen = tuned(spec, fisher=fisher)
        assert all(torch.equal(chosen[0], other) for other in chosen)
        assert (chosen[0] - len(weights(Toy()))).tolist() == list(range(-9, 0))  # the idle layer

    def test_needs_a_fitting_store(self, tmp_path: Path) -> None:
        spec = Sfas(**{**SPEC.model_dump(), "beta": 0.5})
        with pytest.raises(ValueError, match="needs the Fisher warm-up's store"):
            attach(Toy(), spec)
        with pytest.raises(ValueError, match="found no Fisher store"):
            attach(Toy(), spec, fisher=tmp_path / "none.zarr")
        write_fisher(tmp_path / "short.zarr", [("norm.weight", torch.ones(4))], 1)
        with pytest.raises(ValueError, match=r"lacks condition\.bias"):
            attach(Toy(), spec, fisher=tmp_path / "short.zarr")
        write_fisher(tmp_path / "other.zarr", [("norm.weight", torch.ones(5))], 1)
        with pytest.raises(ValueError, match=r"norm\.weight has shape \(5,\), expected \(4,\)"):
            attach(Toy(), spec, fisher=tmp_path / "other.zarr")


@pytest.mark.parametrize("size", [2, 3, 5])
def test_a_forward_pass_without_a_backward_pass_does_not_change_the_selection(size: int) -> None:
    (model, expected), other = tuned(), Toy()
    adapter, chosen = attach(other), []
    for step in range(STEPS):
        loss = toy_loss(other, toy_batch(step, 3))
        toy_loss(other, toy_batch(99, size))  # say, a validation that forgets no_grad
        loss.backward()
        adapter.step(step, RATE / (step + 1))
        chosen.append(adapter.selection)
    assert all(torch.equal(one, another) for one, another in zip(chosen, expected, strict=True))
    assert torch.equal(weights(other), weights(model))


class TestErrors:
    def test_several_forward_passes_of_one_backward_pass(self) -> None:
        model = Toy()
        attach(model)
        loss = toy_loss(model, toy_batch(0, 2)) + toy_loss(model, toy_batch(1, 3))
        with pytest.raises(ValueError, match="several forward passes of the backbone in one backward pass"):
            loss.backward()

    def test_nothing_frozen(self) -> None:
        with pytest.raises(ValueError, match="no frozen backbone parameter"):
            attach(Toy().requires_grad_(True))

    def test_a_budget_below_k(self) -> None:
        for budget in (5, 0.01):
            with pytest.raises(ValueError, match=r"a budget of \d entries, expected at least k = 1\d"):
                attach(Toy(), Sfas(**{**SPEC.model_dump(), "budget": budget}))
        with pytest.raises(ValueError, match="budget"):
            Sfas(**{**SPEC.model_dump(), "budget": 1.5})

    def test_steps_out_of_order(self) -> None:
        model = Toy()
        adapter = attach(model)
        with pytest.raises(ValueError, match="no gradient at step 0"):
            adapter.step(0, RATE)
        toy_loss(model, toy_batch(0)).backward()
        with pytest.raises(ValueError, match="found step 1, expected 0"):
            adapter.step(1, RATE)

    def test_two_backward_passes(self) -> None:
        model = Toy()
        attach(model)
        toy_loss(model, toy_batch(0)).backward()
        with pytest.raises(ValueError, match=r"found 2 gradients of narrow.* before step 0, expected 1"):
            toy_loss(model, toy_batch(0)).backward()

    def test_a_step_after_the_last(self) -> None:
        model = Toy()
        adapter = attach(model, steps=1)
        train(model, adapter, range(1))
        with pytest.raises(ValueError, match="after the last of 1 steps"):
            toy_loss(model, toy_batch(0)).backward()

    def test_a_gradient_that_is_not_finite(self) -> None:
        model = Toy()
        attach(model)
        with pytest.raises(
            FloatingPointError, match=r"gradient of narrow\S+ at step 0: found Fisher information of"
        ):
            (toy_loss(model, toy_batch(0)) * torch.inf).backward()
        model = Toy()
        adapter = attach(model, Sfas(**{**SPEC.model_dump(), "refresh": 2}))
        train(model, adapter, range(1))
        (toy_loss(model, toy_batch(0)) * torch.inf).backward()
        with pytest.raises(FloatingPointError, match="a gradient at step 1 is not finite"):
            adapter.step(1, RATE)
