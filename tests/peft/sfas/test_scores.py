"""The scores that SFAS selects by, streamed, against a dense implementation that holds everything."""

from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from tests.peft.sfas.dense import ONCE, RATE, STEPS, Dense, attach, train, tuned, weights
from tests.peft.sfas.rank import run, run_rank_of_each
from tests.peft.toy_backbone import Toy, sample_gradients, toy_batch, toy_loss
from weatherpeft.peft.sfas import adapter as sfas_adapter
from weatherpeft.peft.sfas.fisher_store import read_fisher, read_mean_gradient
from weatherpeft.peft.sfas.spec import ScoreName, Sfas

SCORES = tuple(score for score in get_args(ScoreName) if score != "fisher")


def by(score: str, **change: Any) -> Sfas:
    values = {"fraction": 0.1, "count_of": "pool", "weight_decay": 0.5, **change}
    return Sfas.parse({"name": "sfas", "score": score, **values})


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize(
    "spec",
    [
        *map(by, SCORES),
        by("gradient", noise="additive", normalizer="mean"),
        by("gradient", noise="multiplicative"),
        by("gradient", refresh=3),
        by("gradient", budget=25),
        by("child_tuning_f", refresh=2),
        by("child_tuning_f", budget=25),
    ],
    ids=lambda spec: "-".join(f"{spec.score} {spec.noise} {spec.refresh} {spec.budget}".split()),
)
def test_equals_the_dense_rule(
    spec: Sfas, passes: int, fisher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sfas_adapter, "CHUNK_ENTRIES", 32)
    model = Toy()
    stored = dict((read_mean_gradient if spec.score == "second_order" else read_fisher)(fisher))
    start = torch.cat([stored[name].flatten() for name in model.backbone_parameters()]).double()
    dense = Dense(spec, model, start)
    adapter = attach(model, spec, accumulation=passes, fisher=fisher)
    for step in range(STEPS):
        batch, before = toy_batch(step, 4), weights(model)
        samples = [torch.cat([g.flatten() for g in s.values()]) for s in sample_gradients(model, batch)]
        expected, mask = dense.step(before, samples, step, RATE)
        assert not adapter._stream.squares
        for part in batch.chunk(passes):
            (toy_loss(model, part) / passes).backward()
        adapter.step(step, RATE)
        assert torch.equal(adapter.selection, mask.nonzero().squeeze(1))
        torch.testing.assert_close(weights(model), expected, rtol=1e-12, atol=1e-12)
        assert torch.equal(weights(model)[~mask], before[~mask])
    assert adapter.touched == int(dense.touched.sum())
    assert adapter.touched == adapter.selected if spec.score in ONCE else adapter.touched > adapter.selected


def test_two_ranks_equal_one_process(tmp_path: Path, fisher: Path) -> None:
    specs = [by(score) for score in SCORES]
    spawn(run_rank_of_each, (tmp_path, specs, fisher), nprocs=2)
    ranks = [torch.load(tmp_path / f"{number}.pt") for number in (0, 1)]
    for spec, one, other in zip(specs, *ranks, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True)), spec.score
        values, selection = run(spec=spec, fisher=fisher)
        assert torch.equal(one[1], selection), spec.score
        torch.testing.assert_close(one[0], values, rtol=1e-12, atol=1e-12)


def test_scores_that_equal_others(fisher: Path) -> None:
    """Child-Tuning_D is a FISH mask."""
    score, same = by("child_tuning_d"), by("fisher", beta=1.0)
    (model, chosen), (other, others) = tuned(score, fisher=fisher), tuned(same, fisher=fisher)
    assert torch.equal(weights(model), weights(other))
    assert all(torch.equal(a, b) for a, b in zip(chosen, others, strict=True))


def test_random_subsets_depend_on_the_seed() -> None:
    def selections(score: str, seed: int) -> list[Tensor]:
        return tuned(by(score), seed=seed)[1]

    for score in ("random", "child_tuning_f"):
        torch.manual_seed(0)
        one = selections(score, 3)
        torch.manual_seed(1)
        assert all(torch.equal(a, b) for a, b in zip(one, selections(score, 3), strict=True))
        assert not torch.equal(one[0], selections(score, 4)[0])
    assert not any(torch.equal(a, b) for a, b in pairwise(selections("child_tuning_f", 3)))


def test_random_subsets_are_uniform() -> None:
    """Each entry is drawn with the same probability, by a χ² of k of N entries without replacement."""
    model, steps = Toy(), 100
    spec = by("child_tuning_f", fraction=0.3)
    adapter = attach(model, spec, steps=steps)
    drawn = torch.zeros(len(weights(model)))
    for selection in train(model, adapter, range(steps), 1):
        drawn[selection] += 1
    entries, share = len(drawn), adapter.selected / len(drawn)
    statistic = float((drawn - steps * share).square().sum() / (steps * share * (1 - share)))
    assert abs(statistic - entries) < 4 * (2 * entries) ** 0.5


class TestWhatIsHeld:
    def test_files(self, fisher: Path) -> None:
        """Only Fisher information needs squares, and only two scores the warm-up."""
        for score in SCORES:
            spec = by(score)
            adapter = attach(Toy(), spec, accumulation=2, fisher=fisher if spec.needs_fisher else None)
            assert all(name.endswith(".gradient") for name in adapter._sums)
            assert spec.needs_fisher == (score in ("child_tuning_d", "second_order"))
            assert spec.needs_fisher == (adapter._fisher is not None)
            state = adapter.state_dict()
            del state["sfas.updates"]  # counts by parameter, not by entry
            assert sum(tensor.numel() for tensor in state.values()) == 1  # the step
        for score in ("child_tuning_d", "second_order"):
            with pytest.raises(ValueError, match="needs the Fisher warm-up's store"):
                attach(Toy(), by(score))

    def test_a_selection_that_is_kept_costs_nothing(self, fisher: Path) -> None:
        for score in SCORES:
            adapter = attach(model := Toy(), by(score), fisher=fisher)
            train(model, adapter, range(2))
            assert (adapter._selection is None) == (score in ONCE)


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("score", "change"),
        [
            *((score, {"beta": 0.5}) for score in SCORES),
            *((s, {"noise": "additive"}) for s in SCORES if s != "gradient"),
            ("random", {"noise": "multiplicative"}),
            ("child_tuning_f", {"normalizer": "rank"}),
            *((score, {"refresh": 2}) for score in ONCE),
            *((score, {"budget": 25}) for score in ONCE),
        ],
        ids=str,
    )
    def test_an_option_without_a_meaning(self, score: str, change: dict[str, Any]) -> None:
        (name,) = change
        with pytest.raises(ValueError, match=f"sfas: score {score} takes no {name}, found {change[name]}"):
            by(score, **change)

    def test_the_published_preset_is_of_fisher_information(self) -> None:
        assert Sfas(name="sfas", preset="published").score == "fisher"
        with pytest.raises(ValueError, match="score random takes no noise, found additive, expected none"):
            Sfas(name="sfas", preset="published", score="random")
        published = Sfas(name="sfas", preset="published", score="gradient")
        assert (published.score, published.noise) == ("gradient", "additive")

    @pytest.mark.parametrize("score", get_args(ScoreName))
    def test_a_spec_survives_json(self, score: str) -> None:
        assert Sfas.parse(by(score).model_dump(mode="json")) == by(score)


@pytest.mark.parametrize("score", ["gradient", "magnitude"])
def test_a_gradient_that_is_not_finite(score: str) -> None:
    model = Toy()
    adapter = attach(model, by(score))
    with pytest.raises(FloatingPointError, match="step 0"):
        (toy_loss(model, toy_batch(0)) * torch.inf).backward()
        adapter.step(0, RATE)
