"""SFAS, streamed, against a dense implementation that holds everything."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as distributed
from torch import Tensor, nn

from tests.peft.small_aurora import loss, small_aurora, small_batch
from tests.peft.toy_backbone import Toy, sample_gradients, toy_batch, toy_loss
from weatherpeft.interfaces import TuningContext
from weatherpeft.peft import sfas_adapter
from weatherpeft.peft.fisher_store import write_fisher
from weatherpeft.peft.noise import uniform_noise
from weatherpeft.peft.sfas import Sfas
from weatherpeft.peft.sfas_adapter import SfasAdapter

STEPS = 8
SPEC = Sfas(name="sfas", fraction=0.1, count_of="pool", weight_decay=0.5)
RATE = 0.05


def attach(model: nn.Module, spec: Sfas = SPEC, **context: object) -> SfasAdapter:
    return spec.attach(model, TuningContext(**{"steps": STEPS, "seed": 3, **context}))


def weights(model: nn.Module) -> Tensor:
    """The backbone as one vector."""
    return torch.cat([p.detach().flatten() for p in model.backbone_parameters().values()])


def train(model: Toy, adapter: SfasAdapter, steps: range, size: int = 3) -> list[Tensor]:
    """Selected entries of every step."""
    chosen = []
    for step in steps:
        toy_loss(model, toy_batch(step, size)).backward()
        adapter.step(step, RATE / (step + 1))
        chosen.append(adapter.selection)
    return chosen


def tuned(spec: Sfas = SPEC, steps: range = range(STEPS), **context: object) -> tuple[Toy, list[Tensor]]:
    model = Toy()
    return model, train(model, attach(model, spec, **context), steps)


class Dense:
    """The published rule with a full mask, and AdamW with full moments that the mask resets."""

    def __init__(self, spec: Sfas, model: nn.Module, fisher: Tensor | None = None) -> None:
        self.spec = spec
        parameters = model.backbone_parameters().values()
        self.matrix = torch.cat([torch.full((p.numel(),), p.dim() > 1) for p in parameters])
        self.k = round(spec.fraction * len(self.matrix))
        self.fisher = fisher
        dtype = next(iter(parameters)).dtype
        self.first, self.second, self.age = (torch.zeros(len(self.matrix), dtype=dtype) for _ in range(3))

    def step(self, weight: Tensor, samples: list[Tensor], step: int, rate: float) -> tuple[Tensor, Tensor]:
        """New weights and the mask, from every sample's gradient."""
        spec, gradient = self.spec, torch.stack(samples).mean(0)
        fisher = torch.stack(samples).square().mean(0)
        if self.fisher is not None:
            fisher = self.fisher = spec.beta * self.fisher + (1 - spec.beta) * fisher
        norm = fisher.max() if spec.normalizer == "max" else fisher.double().mean()
        score = fisher.double() / norm
        if spec.noise == "additive":
            noise = uniform_noise(3, step, 0, len(weight), weight.device)
            score = score + spec.gamma * (1 - step / STEPS) * noise
        order = np.lexsort((np.arange(len(score)), -score.numpy()))
        mask = torch.zeros(len(weight), dtype=torch.bool)
        mask[torch.from_numpy(order[: self.k].copy())] = True

        one, two = spec.betas
        self.age = torch.where(mask, self.age + 1, 0)
        self.first = torch.where(mask, one * self.first + (1 - one) * gradient, 0)
        self.second = torch.where(mask, two * self.second + (1 - two) * gradient.square(), 0)
        mean = self.first / (1 - one ** self.age.double())
        root = (self.second / (1 - two ** self.age.double())).sqrt()
        decay = torch.where(self.matrix, spec.weight_decay, 0.0)
        moved = weight - rate * decay * weight - rate * mean / (root + spec.eps)
        return torch.where(mask, moved.to(weight), weight), mask


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"normalizer": "mean"},
        {"noise": "none"},
        {"gamma": 3.0},
        {"fraction": 0.5},
        {"fraction": 1.0},
        {"betas": (0.5, 0.9)},
    ],
)
def test_equals_the_dense_rule(change: dict[str, object], size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sfas_adapter, "CHUNK_ENTRIES", 7)
    spec = Sfas(**{**SPEC.model_dump(), **change})
    model = Toy()
    dense, adapter = Dense(spec, model), attach(model, spec)
    for step in range(STEPS):
        batch, before = toy_batch(step, size), weights(model)
        samples = [torch.cat([g.flatten() for g in s.values()]) for s in sample_gradients(model, batch)]
        expected, mask = dense.step(before, samples, step, RATE)
        toy_loss(model, batch).backward()
        adapter.step(step, RATE)
        assert torch.equal(adapter.selection, mask.nonzero().squeeze(1))
        torch.testing.assert_close(weights(model), expected, rtol=1e-12, atol=1e-12)
        assert torch.equal(weights(model)[~mask], before[~mask])
        assert not torch.equal(weights(model)[mask], before[mask])
    assert adapter.trainable_backbone() == adapter.selected == dense.k


def test_equals_the_dense_rule_on_aurora() -> None:
    """The same float32 gradients, so the same mask to the last entry."""
    model = small_aurora(depth=2)
    spec = Sfas(name="sfas", count_of="pool", gamma=0.01)
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
    model = Toy()
    idle = len(model.backbone.idle.weight.flatten())
    first_idle = len(weights(model)) - idle
    pure = attach(Toy(), Sfas(**{**SPEC.model_dump(), "noise": "none"}))
    overlap, reached = [], []
    spec = Sfas(**{**SPEC.model_dump(), "gamma": 2.0, "fraction": 0.2})
    steps = 200
    for step in (0, 100, 199):
        model = Toy()
        adapter = attach(model, spec, steps=steps)
        pure = attach(other := Toy(), Sfas(**{**spec.model_dump(), "noise": "none"}), steps=steps)
        for each in (adapter, pure):
            each.load_state_dict({**each.state_dict(), "sfas.step": torch.tensor(step)})
        for each, one in ((model, adapter), (other, pure)):
            toy_loss(each, toy_batch(0)).backward()
            one.step(step, RATE)
        overlap.append(len(np.intersect1d(adapter.selection, pure.selection)) / adapter.selected)
        reached.append(int((adapter.selection >= first_idle).sum()))
    assert overlap[0] < 0.5 and overlap[0] < overlap[1] < overlap[2] and overlap[2] > 0.9
    assert reached[0] > 0 and reached[2] == 0


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
    monkeypatch.setattr(sfas_adapter, "CHUNK_ENTRIES", 3)
    again, same = tuned()
    assert all(torch.equal(one, other) for one, other in zip(chosen, same, strict=True))
    assert torch.equal(weights(model), weights(again))
    _, different = tuned(seed=4)
    assert not torch.equal(chosen[0], different[0])


def rank(number: int, folder: Path) -> None:
    """One of two processes, each with half of every batch."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{folder}/store", rank=number, world_size=2)
    model = Toy()
    adapter = attach(model)
    for step in range(3):
        half = toy_batch(step, 4)[2 * number : 2 * number + 2]
        toy_loss(model, half).backward()
        adapter.step(step, RATE)
    torch.save((weights(model), adapter.selection), folder / f"{number}.pt")
    distributed.destroy_process_group()


def test_two_ranks_equal_one_process(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(rank, (tmp_path,), nprocs=2)
    model = Toy()
    adapter = attach(model)
    for step in range(3):
        toy_loss(model, toy_batch(step, 4)).backward()
        adapter.step(step, RATE)
    one, other = (torch.load(tmp_path / f"{number}.pt") for number in (0, 1))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert torch.equal(one[1], adapter.selection)
    torch.testing.assert_close(one[0], weights(model), rtol=1e-12, atol=1e-12)


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


def test_nothing_dense_is_held() -> None:
    model = small_aurora()
    spec = Sfas(name="sfas", count_of="pool")
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
        candidates = adapter._selection._gather()
        assert len(candidates.entry) < 24 * adapter.selected
        held = [column.untyped_storage().nbytes() for column in candidates]
        assert sum(held) < 20 * 24 * adapter.selected
        adapter.step(step, RATE)
    assert most[0] == 0  # freed before the next hook of the same parameter
    size = sum(p.numel() for p in pool.values())
    state = adapter.state_dict()
    assert all(tensor.numel() <= adapter.selected for tensor in state.values())
    dense = [v for v in vars(adapter).values() if isinstance(v, Tensor) and v.numel() >= size]
    assert not dense and adapter._touched._bytes.nbytes <= size / 8 + 1


def test_a_result_is_a_sparse_delta() -> None:
    model = Toy()
    adapter = attach(model)
    train(model, adapter, range(3))
    result = adapter.result()
    indices = [tensor for key, tensor in result.items() if key.endswith(".index")]
    assert sum(map(len, indices)) == adapter.touched < len(weights(model))
    assert all(tensor.dtype == torch.int64 for tensor in indices)
    fresh = Toy()
    loaded = attach(fresh)
    loaded.load_result(result)
    assert torch.equal(weights(fresh), weights(model))
    assert loaded.touched == adapter.touched
    for key in ("sfas.norm.weight.stranger", "sfas.stranger.index"):
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
    write_fisher(tmp_path / "fisher.zarr", values.items(), samples=4)
    return tmp_path / "fisher.zarr"


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_a_killed_run_resumes(beta: float, fisher: Path) -> None:
    spec = Sfas(**{**SPEC.model_dump(), "beta": beta})
    straight, chosen = tuned(spec, fisher=fisher)
    model = Toy()
    adapter = attach(model, spec, fisher=fisher)
    train(model, adapter, range(3))
    result = {key: tensor.clone() for key, tensor in adapter.result().items()}
    state = adapter.state_dict()
    train(model, adapter, range(3, 5))  # what is lost
    fresh = Toy()
    resumed = attach(fresh, spec, fisher=fisher)
    resumed.load_result(result)
    resumed.load_state_dict(state)
    same = train(fresh, resumed, range(3, STEPS))
    assert all(torch.equal(one, other) for one, other in zip(chosen[3:], same, strict=True))
    assert torch.equal(weights(fresh), weights(straight))
    assert resumed.touched == len(torch.cat(chosen).unique())


class TestMemoryOfTheFisherInformation:
    def test_smooths(self, fisher: Path) -> None:
        spec = Sfas(**{**SPEC.model_dump(), "beta": 0.7, "gamma": 0.01})
        assert spec.needs_fisher and not SPEC.needs_fisher
        model = Toy()
        stored = {name: values for name, values in sfas_adapter.read_fisher(fisher)}
        start = torch.cat([stored[name].flatten() for name in model.backbone_parameters()]).double()
        dense, adapter = Dense(spec, model, start), attach(model, spec, fisher=fisher)
        for step in range(STEPS):
            samples = [
                torch.cat([g.flatten() for g in s.values()]) for s in sample_gradients(model, toy_batch(step))
            ]
            _, mask = dense.step(weights(model), samples, step, RATE)
            train(model, adapter, range(step, step + 1))
            assert torch.equal(adapter.selection, mask.nonzero().squeeze(1))
            held = torch.cat([values for values in adapter._fisher.values()]).double()
            by_name = torch.cat(
                [dense.fisher[adapter._pool.start[n] :][: len(v)] for n, v in adapter._fisher.items()]
            )
            torch.testing.assert_close(held, by_name, rtol=1e-5, atol=1e-9)

    def test_one_is_a_static_mask(self, fisher: Path) -> None:
        spec = Sfas(**{**SPEC.model_dump(), "beta": 1.0, "noise": "none", "fraction": 0.06})
        _, chosen = tuned(spec, fisher=fisher)
        assert all(torch.equal(chosen[0], other) for other in chosen)
        assert (chosen[0] >= len(weights(Toy())) - 9).sum() == 9  # all of the idle layer

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


class TestErrors:
    def test_nothing_frozen(self) -> None:
        with pytest.raises(ValueError, match="no frozen backbone parameter"):
            attach(Toy().requires_grad_(True))

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
        with pytest.raises(ValueError, match="found two gradients of narrow"):
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
        with pytest.raises(ValueError, match="gradient of narrow.* at step 0 is not finite"):
            (toy_loss(model, toy_batch(0)) * torch.inf).backward()
