"""Several backward passes to a step, and clipping across dense and sparse parameters."""

from collections.abc import Iterator
from datetime import datetime
from itertools import count, islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from tests.peft.sfas.dense import RATE, STEPS, Dense, attach, weights
from tests.peft.sfas.rank import SPEC
from tests.peft.toy_backbone import Toy, as_backbone, sample_gradients, toy_batch, toy_loss
from weatherpeft.peft.sfas.fisher_store import read_fisher
from weatherpeft.peft.sfas.spec import Sfas
from weatherpeft.samples.batch import Samples
from weatherpeft.training.interruption import Interrupted, Interruption
from weatherpeft.training.loop import Loss, clip, train
from weatherpeft.training.spec import Training


@pytest.mark.parametrize("size", [4, 8])
@pytest.mark.parametrize(
    "change",
    [{}, {"normalizer": "mean"}, {"refresh": 3}, {"beta": 0.6, "gamma": 0.01}, {"beta": 1.0}],
    ids=str,
)
def test_passes_equal_one_large_batch(change: dict[str, Any], size: int, fisher: Path) -> None:
    """The dense rule on the squares of all samples, given in four parts."""
    spec = Sfas(**{**SPEC.model_dump(), **change})
    model = Toy()
    adapter = attach(model, spec, accumulation=4, fisher=fisher)
    stored = dict(read_fisher(fisher))
    start = torch.cat([stored[name].flatten() for name in model.backbone_parameters()]).double()
    dense = Dense(spec, model, start if spec.needs_fisher else None)
    for step in range(STEPS):
        batch, before = toy_batch(step, size), weights(model)
        samples = [torch.cat([g.flatten() for g in s.values()]) for s in sample_gradients(model, batch)]
        expected, mask = dense.step(before, samples, step, RATE)
        for part in batch.chunk(4):
            (toy_loss(model, part) / 4).backward()
        adapter.step(step, RATE)
        assert torch.equal(adapter.selection, mask.nonzero().squeeze(1))
        torch.testing.assert_close(weights(model), expected, rtol=1e-12, atol=1e-12)


def test_a_layer_that_some_passes_leave_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its samples of the other passes count, as they would in one batch."""
    spec = Sfas(**{**SPEC.model_dump(), "fraction": 1.0})

    def run(passes: int) -> Tensor:
        model = Toy()
        adapter = attach(model, spec, accumulation=passes)
        idle, numbers = model.backbone.idle, count()
        forward = model.backbone.forward

        def sometimes(tokens: Tensor) -> Tensor:
            first = tokens[: 2 if passes == 1 else 2 * (next(numbers) % 2 == 0), 0, :3]
            extra = idle(torch.nn.functional.pad(first, (0, 0, 0, len(tokens) - len(first))))
            return forward(tokens) + (extra.sum(1)[:, None, None] if len(first) else 0.0)

        monkeypatch.setattr(model.backbone, "forward", sometimes)
        for step in range(3):
            for part in toy_batch(step, 4).chunk(passes):
                (toy_loss(model, part) / passes).backward()
            adapter.step(step, RATE)
        return weights(model)

    torch.testing.assert_close(run(2), run(1), rtol=1e-12, atol=1e-12)


def test_passes_are_counted() -> None:
    model = Toy()
    adapter = attach(model, accumulation=2)
    for _ in range(2):
        toy_loss(model, toy_batch(0)).backward()
    with pytest.raises(ValueError, match=r"found 3 gradients of narrow.* before step 0, expected 2"):
        toy_loss(model, toy_batch(0)).backward()
    model = Toy()
    adapter = attach(model)
    toy_loss(model, toy_batch(0)).backward()
    assert adapter.squared_gradient_norm() > 0
    with pytest.raises(ValueError, match="found 2 gradients"):
        toy_loss(model, toy_batch(0)).backward()


class Batches:
    """Toy samples in the shape of ``batch.Samples``."""

    samples = [SimpleNamespace(time=datetime(2020, 1, day + 1)) for day in range(12)]

    def __len__(self) -> int:
        return len(self.samples)

    def order(self, seed: int) -> Iterator[int]:
        return (index % 12 for index in count(seed))

    def batch(self, indices: list[int]) -> Tensor:
        batch = torch.cat([toy_batch(index, 1) for index in indices])
        vars(batch)["times"] = [self.samples[index].time for index in indices]
        return batch

    def batches(self, seed: int, size: int, start: int, rank: int, world: int) -> Iterator[Tensor]:
        order = islice(self.order(seed), start * size, None)
        while True:
            yield self.batch(list(islice(order, size)))


def trained(
    work: Path, accumulation: int, clip_norm: float | None = None, stop: bool = False
) -> tuple[Toy, list[float]]:
    model, steps = Toy(), 6
    adapter = attach(model, steps=steps, accumulation=accumulation)
    dense = {n: p for n, p in model.named_parameters() if not n.startswith("backbone.")}
    spec = Training(
        steps=steps, learning_rate=RATE, batch_size=4, accumulation=accumulation, clip_norm=clip_norm
    )
    batches, loss = cast(Samples, Batches()), cast(Loss, toy_loss)
    interruption = Interruption(0.0 if stop else None)
    history = train(as_backbone(model), dense, [adapter], batches, batches, loss, spec, 0, work, interruption)
    return model, history.train_loss


def test_the_loop_splits_a_batch(tmp_path: Path) -> None:
    whole, expected = trained(tmp_path / "1", 1)
    for passes in (2, 4):
        model, found = trained(tmp_path / str(passes), passes)
        assert found == pytest.approx(expected, rel=1e-12)
        for one, other in zip(model.parameters(), whole.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    with pytest.raises(ValueError, match="batch_size 4 must be a multiple of accumulation 3"):
        Training(steps=1, learning_rate=1.0, batch_size=4, accumulation=3)


def test_a_split_batch_resumes_where_it_was(tmp_path: Path) -> None:
    whole, expected = trained(tmp_path / "straight", 2)
    for _ in range(2):
        with pytest.raises(Interrupted):
            trained(tmp_path / "stopped", 2, stop=True)
    model, found = trained(tmp_path / "stopped", 2)
    assert found == expected
    assert all(
        torch.equal(one, other) for one, other in zip(model.parameters(), whole.parameters(), strict=True)
    )


def gradients(model: Toy) -> Tensor:
    """Of the backbone, as one vector."""
    found = [parameter.grad for parameter in model.backbone.parameters()]
    return torch.cat([gradient.flatten() for gradient in found if gradient is not None])


class TestClipping:
    @pytest.mark.parametrize("refresh", [1, 2])
    @pytest.mark.parametrize("largest", [1e-3, 1.0, 1e6])
    def test_is_that_of_the_masked_gradient(self, largest: float, refresh: int) -> None:
        spec = Sfas(**{**SPEC.model_dump(), "refresh": refresh})
        model, plain = Toy(), Toy()
        adapter = attach(model, spec)
        dense = [p for n, p in model.named_parameters() if not n.startswith("backbone.")]
        for step in range(2):
            toy_loss(model, toy_batch(step)).backward()
            plain.load_state_dict(model.state_dict())
            plain.requires_grad_(True).zero_grad()
            toy_loss(plain, toy_batch(step)).backward()
            plain.backbone.idle.weight.grad = torch.zeros_like(plain.backbone.idle.weight)
            clip(dense, [adapter], largest)
            index, gradient = adapter._chosen()
            own = gradients(plain)
            mask = torch.zeros_like(own)
            mask[index] = 1
            flat = iter((own * mask).split([p.numel() for p in plain.backbone.parameters()]))
            for parameter in plain.backbone.parameters():
                parameter.grad = next(flat).view(parameter.shape)
            torch.nn.utils.clip_grad_norm_(plain.parameters(), largest)
            clipped = gradients(plain)
            torch.testing.assert_close(gradient, clipped[index], rtol=1e-10, atol=1e-15)
            ends = [p for n, p in plain.named_parameters() if not n.startswith("backbone.")]
            for one, other in zip(dense, ends, strict=True):
                torch.testing.assert_close(one.grad, other.grad, rtol=1e-10, atol=1e-15)
                one.grad = None
            adapter.step(step, RATE)
            if step == 0:  # what the optimizer has seen
                torch.testing.assert_close(adapter.state_dict()["sfas.first_moment"], 0.1 * gradient)

    def test_the_loop_clips(self, tmp_path: Path) -> None:
        free, tight, loose = (trained(tmp_path / str(norm), 1, norm)[0] for norm in (None, 1e-12, 1e6))
        assert all(torch.equal(a, b) for a, b in zip(free.parameters(), loose.parameters(), strict=True))
        # Adam's eps of 1e-8 outweighs gradients of 1e-12: nothing but weight decay moves the weights.
        moved = (weights(tight) - weights(Toy())).abs().max() / (weights(free) - weights(Toy())).abs().max()
        assert moved < 0.3
