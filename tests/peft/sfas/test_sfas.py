"""SFAS, streamed, against a dense implementation that holds everything."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from tests.backbones.small_aurora import loss, small_aurora, small_batch
from tests.peft.sfas.dense import RATE, STEPS, Dense, attach, train, tuned, weights
from tests.peft.sfas.rank import SPEC, run, run_rank
from tests.peft.toy_backbone import Toy, sample_gradients, toy_batch, toy_loss
from weatherpeft.peft.sfas import adapter as sfas_adapter
from weatherpeft.peft.sfas.spec import Sfas


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"normalizer": "mean"},
        {"normalizer": "quantile", "quantile": 0.8},
        {"normalizer": "rank"},
        {"noise": "none"},
        {"noise": "multiplicative"},
        {"refresh": 3},
        {"budget": 25},
        {"budget": 25, "refresh": 2, "gamma": 3.0},
        {"gamma": 3.0},
        {"fraction": 0.5},
        {"fraction": 1.0},
        {"betas": (0.5, 0.9)},
    ],
)
def test_equals_the_dense_rule(change: dict[str, object], size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sfas_adapter, "CHUNK_ENTRIES", 32)
    spec = Sfas(**{**SPEC.model_dump(), **change})
    model = Toy()
    dense, adapter = Dense(spec, model), attach(model, spec)
    for step in range(STEPS):
        batch, before = toy_batch(step, size), weights(model)
        assert adapter._stream.squares == (step % spec.refresh == 0)
        samples = [torch.cat([g.flatten() for g in s.values()]) for s in sample_gradients(model, batch)]
        expected, mask = dense.step(before, samples, step, RATE)
        toy_loss(model, batch).backward()
        adapter.step(step, RATE)
        assert torch.equal(adapter.selection, mask.nonzero().squeeze(1))
        torch.testing.assert_close(weights(model), expected, rtol=1e-12, atol=1e-12)
        assert torch.equal(weights(model)[~mask], before[~mask])
        assert not torch.equal(weights(model)[mask], before[mask])
    assert adapter.trainable_backbone() == adapter.selected == dense.k
    assert adapter.touched == int(dense.touched.sum())
    assert spec.budget in (None, adapter.touched), "a budget of this size is spent"


def test_equals_the_dense_rule_on_aurora() -> None:
    """The same float32 gradients, so the same mask to the last entry."""
    model = small_aurora(depth=2)
    spec = Sfas(name="sfas", preset="published", count_of="pool", gamma=0.01)
    dense, adapter = Dense(spec, model), attach(model, spec)
    for step in range(3):
        batch, before = small_batch(1), weights(model)
        gradient = torch.autograd.grad(loss(model, batch), list(model.backbone_parameters().values()))
        expected, mask = dense.step(before, [torch.cat([g.flatten() for g in gradient])], step, 1e-3)
        loss(model, batch).backward()
        adapter.step(step, 1e-3)
        assert torch.equal(adapter.selection, mask.nonzero().squeeze(1))
        torch.testing.assert_close(weights(model), expected, rtol=1e-6, atol=1e-7)
        assert torch.equal(weights(model)[~mask], before[~mask])
    assert adapter.selected == round(0.001 * len(before)) < adapter.touched


def test_everything_selected_is_adamw() -> None:
    spec = Sfas(name="sfas", fraction=1.0, count_of="pool", weight_decay=0.5)
    model, reference = Toy(), Toy().requires_grad_(True)
    matrices = [p for p in reference.backbone.parameters() if p.dim() > 1]
    vectors = [p for p in reference.backbone.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.5}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE)
    adapter = attach(model, spec)
    for step in range(STEPS):
        for each in (model, reference):
            toy_loss(each, toy_batch(step)).backward()
        reference.backbone.idle.weight.grad = torch.zeros_like(reference.backbone.idle.weight)
        optimizer.step()
        optimizer.zero_grad()
        adapter.step(step, RATE)
        torch.testing.assert_close(weights(model), weights(reference), rtol=1e-12, atol=1e-12)


def test_the_noise_is_added_and_anneals() -> None:
    """Entries without any Fisher information are selected early on, and no more at the end."""

    def selection(noise: str, step: int) -> Tensor:
        spec = Sfas(**{**SPEC.model_dump(), "noise": noise, "gamma": 1.0, "fraction": 0.3})
        adapter = attach(model := Toy(), spec, steps=10_000)
        adapter.load_state_dict({**adapter.state_dict(), "sfas.step": torch.tensor(step)})
        toy_loss(model, toy_batch(0)).backward()
        adapter.step(step, RATE)
        return adapter.selection

    first_idle = len(weights(Toy())) - 9
    pure = selection("none", 0)
    assert (pure < first_idle).all()
    overlap, idle = [], []
    for step in (0, 9000, 9990):
        noisy = selection("additive", step)
        overlap.append(len(np.intersect1d(noisy, pure)))
        idle.append(int((noisy >= first_idle).sum()))
    assert overlap[0] < overlap[1] < overlap[2] and overlap[2] >= len(pure) - 1
    assert idle[0] > 0 and idle[2] == 0


def test_an_entry_that_returns_starts_anew() -> None:
    model = Toy()
    adapter = attach(model)
    seen: list[set[int]] = []
    for step in range(STEPS):
        chosen = set(train(model, adapter, range(step, step + 1))[0].tolist())
        age = dict(zip(adapter.selection.tolist(), adapter.state_dict()["sfas.age"].tolist(), strict=True))
        seen.append(chosen)
        for entry in chosen:
            run = next((i for i, past in enumerate(reversed(seen)) if entry not in past), len(seen))
            assert age[entry] == run
    returned = [e for a, b in pairwise(seen) for e in b - a if e in set().union(*seen[: seen.index(a)])]
    assert returned
    assert adapter.touched == len(set().union(*seen))


def test_the_mask_is_a_function_of_seed_and_step(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model, chosen = tuned()
    torch.manual_seed(1)
    monkeypatch.setattr(sfas_adapter, "CHUNK_ENTRIES", 32)
    again, same = tuned()
    assert all(torch.equal(one, other) for one, other in zip(chosen, same, strict=True))
    assert torch.equal(weights(model), weights(again))
    _, different = tuned(seed=4)
    assert not torch.equal(chosen[0], different[0])


def test_two_ranks_equal_one_process(tmp_path: Path) -> None:
    spawn(run_rank, (tmp_path,), nprocs=2)
    one, other = (torch.load(tmp_path / f"{number}.pt") for number in (0, 1))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    values, selection = run()
    assert torch.equal(one[1], selection)
    torch.testing.assert_close(one[0], values, rtol=1e-12, atol=1e-12)


def test_the_pool_is_what_is_frozen_in_the_backbone() -> None:
    model = Toy()
    trained = {n: p for n, p in model.backbone_parameters().items() if n.endswith("bias")}
    for parameter in trained.values():
        parameter.requires_grad_(True)
    spec = Sfas(**{**SPEC.model_dump(), "fraction": 1.0})
    adapter = attach(model, spec)
    own = {n: p for n, p in model.backbone_parameters().items() if n not in trained}
    assert adapter.trainable_backbone() == sum(p.numel() for p in own.values())
    assert adapter.dense_parameters() == {}
    outside = {n: p for n, p in model.named_parameters() if n.removeprefix("backbone.") not in own}
    before = {n: p.detach().clone() for n, p in outside.items()}
    train(model, adapter, range(1))
    assert all(torch.equal(p, before[n]) for n, p in outside.items())
    assert all(p.grad is not None for p in outside.values())
    assert {key.removeprefix("sfas.").rsplit(".", 1)[0] for key in adapter.result()} == set(own)


def test_k_is_of_the_model_or_of_the_pool() -> None:
    model = Toy()
    total, pool = sum(p.numel() for p in model.parameters()), len(weights(model))
    assert attach(model, Sfas(name="sfas", fraction=0.1)).selected == round(0.1 * total)
    assert attach(Toy(), SPEC).selected == round(0.1 * pool)
    assert round(0.1 * total) != round(0.1 * pool)
    for fraction in (1.0, 1e-9):
        with pytest.raises(ValueError, match=f"expected 1 to {pool}"):
            attach(Toy(), Sfas(name="sfas", fraction=fraction))


def test_activations_are_computed_again() -> None:
    model = small_aurora()
    attach(model, Sfas(name="sfas"))
    calls: list[nn.Module] = []
    functions = [module for module in model.backbone.modules() if isinstance(module, nn.GELU)]
    for function in functions:
        function.register_forward_hook(lambda module, *_: calls.append(module))
    loss(model, small_batch(2)).backward()
    assert functions and all(calls.count(function) == 2 for function in functions)


def test_nothing_dense_is_held() -> None:
    model = small_aurora()
    spec = Sfas(name="sfas", preset="published", count_of="pool")
    adapter = attach(model, spec)
    pool = model.backbone_parameters()
    most = [0]

    def count(_: Tensor) -> None:
        most[0] = max(most[0], sum(p.grad is not None for p in pool.values()))

    for parameter in pool.values():
        parameter.register_post_accumulate_grad_hook(count)
    for step in range(2):
        loss(model, small_batch(2)).backward()
        assert all(parameter.grad is None for parameter in pool.values())
        assert not adapter._stream._captured
        assert adapter._selection
        candidates = adapter._selection._known
        assert candidates.held < 24 * adapter.selected
        held = [column.untyped_storage().nbytes() for chunk in candidates._chunks for column in chunk]
        assert sum(held) < 20 * 24 * adapter.selected
        adapter.step(step, RATE)
    assert most[0] == 0  # freed before the next hook of the same parameter
    size = sum(p.numel() for p in pool.values())
    state = adapter.state_dict()
    assert state.pop("sfas.updates").shape == (len(pool), STEPS)
    assert all(tensor.numel() <= adapter.selected for tensor in state.values())
    dense = [v for v in vars(adapter).values() if isinstance(v, Tensor) and v.numel() >= size]
    assert not dense and adapter._touched._bytes.nbytes <= size / 8 + 1


@pytest.mark.parametrize("normalizer", ["max", "mean", "quantile", "rank"])
@pytest.mark.parametrize("noise", ["none", "additive", "multiplicative"])
def test_fisher_information_of_zero_selects_k_entries(normalizer: str, noise: str) -> None:
    """All entries are equally good: k of them are taken, and nothing is divided by zero."""
    model = Toy()
    spec = Sfas(**{**SPEC.model_dump(), "normalizer": normalizer, "noise": noise, "weight_decay": 0.0})
    adapter, before = attach(model, spec), weights(model)
    for step in range(2):
        (toy_loss(model, toy_batch(step)) * 0).backward()
        adapter.step(step, RATE)
        assert len(adapter.selection) == len(set(adapter.selection.tolist())) == adapter.selected > 0
    assert torch.equal(weights(model), before), "gradients of zero move nothing"
