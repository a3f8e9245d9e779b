"""SFAS on a small Aurora under what real training adds: two ranks, recomputed blocks, bfloat16."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from tests.backbones.small_aurora import small_aurora, small_batch
from tests.peft.sfas.aurora import SPEC, STEPS, mean_loss, run, run_rank
from tests.peft.sfas.dense import Dense, attach, weights

Run = tuple[dict[str, Tensor], list[Tensor]]


@pytest.fixture(scope="module")
def plain() -> Run:
    return run()


def test_two_ranks_hold_the_same_bits_and_equal_one_process(plain: Run, tmp_path: Path) -> None:
    spawn(run_rank, (tmp_path,), nprocs=2)
    (one, selected), (other, same) = (torch.load(tmp_path / f"{number}.pt") for number in (0, 1))
    expected, chosen = plain
    start = dict(small_aurora().double().named_parameters())
    assert len(selected) == len(same) == len(chosen) == STEPS
    for step in range(STEPS):
        assert torch.equal(selected[step], same[step]) and torch.equal(selected[step], chosen[step])
    for name, value in one.items():
        assert torch.equal(value, other[name]), name
        torch.testing.assert_close(value, expected[name], rtol=1e-6, atol=1e-8)
    moved = {name.split(".")[1] for name, value in one.items() if not torch.equal(value, start[name])}
    assert moved == {"encoder", "backbone", "decoder"}


def test_blocks_that_are_computed_again_change_nothing(plain: Run) -> None:
    values, chosen = run(steps=STEPS, again=True)
    assert all(torch.equal(one, other) for one, other in zip(chosen, plain[1], strict=True))
    assert all(torch.equal(value, plain[0][name]) for name, value in values.items())


def test_under_autocast_it_is_the_dense_rule_on_bfloat16_gradients() -> None:
    model = small_aurora()
    dense, adapter = Dense(SPEC, model), attach(model, SPEC)
    for step in range(3):
        batch, before = small_batch(1), weights(model)

        def backward(parameters: list[Tensor] | None) -> list[Tensor]:
            with torch.autocast("cpu", torch.bfloat16):
                loss = mean_loss(model, batch)  # noqa: B023
            if parameters is None:
                loss.backward()
                return []
            return list(torch.autograd.grad(loss, parameters))

        gradient = torch.cat([g.flatten() for g in backward(list(model.backbone_parameters().values()))])
        expected, mask = dense.step(before, [gradient], step, 1e-3)
        backward(None)
        adapter.step(step, 1e-3)
        assert torch.equal(adapter.selection, mask.nonzero().squeeze(1))
        torch.testing.assert_close(weights(model), expected, rtol=1e-6, atol=1e-7)
        assert torch.equal(weights(model)[~mask], before[~mask])


def test_autocast_and_recomputed_blocks_together() -> None:
    (one, chosen), (other, same) = (run(steps=3, again=again, bf16=True) for again in (False, True))
    assert all(torch.equal(a, b) for a, b in zip(chosen, same, strict=True))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert all(value.isfinite().all() for value in one.values())
