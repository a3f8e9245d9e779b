"""The training loop: against closed forms on a toy model, and killed and resumed on a small Aurora."""

import math
from copy import copy
from itertools import count, islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from tests import small_data as small
from tests.backbones.small_aurora import activate, build, state_dict
from tests.training.toy import Killed, Toy, Watch, fit, training
from weatherpeft.interfaces import Backbone, TuningContext
from weatherpeft.peft import AnyMethod
from weatherpeft.peft.sfas.fisher_store import write_fisher
from weatherpeft.samples.batch import Batch, Fields, Samples
from weatherpeft.tasks.downscaling import Downscaling
from weatherpeft.training.loop import History, single_batches, train, validate
from weatherpeft.training.optimizer import Peaks, learning_rate
from weatherpeft.training.tuning import TunedModel, attach, task_loss

METHODS: TypeAdapter[Any] = TypeAdapter(AnyMethod)


class TestSchedule:
    @pytest.mark.parametrize(("steps", "warmup"), [(12, 0), (12, 1), (12, 5), (30, 29)])
    def test_it_is_torchs_linear_warmup_and_cosine(self, steps: int, warmup: int) -> None:
        spec = training(steps, learning_rate=0.7, warmup_steps=warmup)
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=0.7)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps - warmup)
        expected = []
        for _ in range(steps - warmup):
            expected.append(float(cosine.get_last_lr()[0]))
            optimizer.step()
            cosine.step()
        found = [learning_rate(spec, step) for step in range(steps)]
        np.testing.assert_allclose(np.array(found[warmup:]), np.array(expected), rtol=1e-12)
        np.testing.assert_allclose(np.array(found[:warmup]), 0.7 * (np.arange(warmup) + 1) / max(warmup, 1))

    def test_warmup_is_shorter_than_the_training(self) -> None:
        with pytest.raises(ValueError, match="warmup_steps 5 must be fewer than steps 5"):
            training(5, warmup_steps=5)

    def test_adapters_are_called_once_a_step_with_its_rate(
        self, samples: Samples, validation: Samples, tmp_path: Path
    ) -> None:
        spec, calls, model = training(7, warmup_steps=2), [], Toy()
        watch = Watch(lambda step, rate: calls.append((step, rate)))
        fit(model, (samples, validation), spec, tmp_path, watch)
        assert calls == [(step, learning_rate(spec, step)) for step in range(7)]


class TestOptimizer:
    def test_adamw_moves_by_the_sign_and_decays_only_matrices(
        self, samples: Samples, validation: Samples, tmp_path: Path
    ) -> None:
        # With a gradient that never changes, AdamW's step is its sign: m / sqrt(v) = g / |g|.
        spec, model = training(6, warmup_steps=2, weight_decay=0.4), Toy()
        matrix, bias = (p.detach().numpy().copy() for p in (model.matrix, model.bias))
        for step in range(6):
            rate = learning_rate(spec, step)
            matrix = matrix * (1 - rate * 0.4) - rate * np.sign(model.slopes["matrix"].numpy())
            bias = bias - rate * np.sign(model.slopes["bias"].numpy())
        fit(model, (samples, validation), spec, tmp_path)
        np.testing.assert_allclose(model.matrix.detach().numpy(), matrix, rtol=1e-6)
        np.testing.assert_allclose(model.bias.detach().numpy(), bias, rtol=1e-6)

    def test_each_peak_has_the_schedule_of_the_training(
        self, samples: Samples, validation: Samples, tmp_path: Path
    ) -> None:
        spec, model, calls = training(6, warmup_steps=2, weight_decay=0.4), Toy(), []
        matrix, bias = (p.detach().numpy().copy() for p in (model.matrix, model.bias))
        for step in range(6):  # the matrix has the training's own peak
            rate = learning_rate(spec, step)
            matrix = matrix * (1 - rate * 0.4) - rate * np.sign(model.slopes["matrix"].numpy())
            bias = bias - 30 * rate * np.sign(model.slopes["bias"].numpy())
        watches = [Watch(lambda step, rate: calls.append(rate)) for _ in range(2)]
        peaks = Peaks({"bias": 30 * spec.learning_rate}, [0.5, 2.0])
        fit(model, (samples, validation), spec, tmp_path, *watches, peaks=peaks)
        np.testing.assert_allclose(model.matrix.detach().numpy(), matrix, rtol=1e-6)
        np.testing.assert_allclose(model.bias.detach().numpy(), bias, rtol=1e-6)
        assert calls == [learning_rate(spec, step, peak) for step in range(6) for peak in (0.5, 2.0)]
        assert max(calls) == 2.0

    def test_a_resumed_training_keeps_the_peaks(
        self, samples: Samples, validation: Samples, tmp_path: Path
    ) -> None:
        def look(step: int, rate: float) -> None:
            if step == 4:
                raise Killed

        spec, peaks = training(7, checkpoint_every=2), Peaks({"bias": 0.3}, [0.1])
        models = [Toy(), Toy(), Toy()]
        for model, name, watch in zip(models, "abb", (None, look, None), strict=True):
            try:
                own = Watch(watch or (lambda step, rate: None))
                fit(model, (samples, validation), spec, tmp_path / name, own, peaks=peaks)
            except Killed:
                assert name == "b"
        assert not torch.equal(models[1].bias, models[0].bias)
        assert torch.equal(models[2].bias, models[0].bias)
        assert torch.equal(models[2].matrix, models[0].matrix)

    def test_the_betas_are_those_of_the_spec(
        self, samples: Samples, validation: Samples, tmp_path: Path
    ) -> None:
        model = Toy()
        spec, gradients = training(5, betas=(0.5, 0.75), weight_decay=0.0), [1.0, -2.0, 3.0, 0.5, -1.0]
        numbers = count()

        def loss(_: Any, batch: Batch) -> Tensor:
            slope = gradients[next(numbers)] if model.training else 0.0
            return slope * model.loss(_, batch)

        expected = model.bias.detach().numpy().copy()
        first = second = np.zeros(2)
        for step, slope in enumerate(gradients):
            gradient = slope * model.slopes["bias"].numpy()
            first, second = 0.5 * first + 0.5 * gradient, 0.75 * second + 0.25 * gradient**2
            done = step + 1
            change = first / (1 - 0.5**done) / (np.sqrt(second / (1 - 0.75**done)) + 1e-8)
            expected = expected - learning_rate(spec, step) * change
        fit(model, (samples, validation), spec, tmp_path, loss=loss)
        np.testing.assert_allclose(model.bias.detach().numpy(), expected, rtol=1e-6)

    @pytest.mark.parametrize("norm", [None, 0.25, 1e6])
    def test_gradients_are_clipped_as_one_vector(
        self, samples: Samples, validation: Samples, tmp_path: Path, norm: float | None
    ) -> None:
        model, found = Toy(), []

        def look(step: int, rate: float) -> None:
            grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
            found.append({name: gradient.clone() for name, gradient in grads.items()})

        spec = training(2, clip_norm=norm)
        fit(model, (samples, validation), spec, tmp_path, Watch(look))
        total = math.sqrt(sum(float(slope.square().sum()) for slope in model.slopes.values()))
        factor = 1.0 if norm is None else min(1.0, norm / total)
        for gradients in found:
            for name, slope in model.slopes.items():
                torch.testing.assert_close(gradients[name], slope * factor, rtol=1e-5, atol=0)

    def test_only_dense_parameters_move(self, samples: Samples, validation: Samples, tmp_path: Path) -> None:
        model = Toy()
        before = model.matrix.detach().clone()
        fit(model, (samples, validation), training(2), tmp_path, dense={"b": model.bias})
        assert torch.equal(model.matrix, before) and model.bias[0] != 4


class TestSamples:
    def test_batches_follow_the_order_of_the_seed(
        self, samples: Samples, validation: Samples, tmp_path: Path
    ) -> None:
        model = Toy()
        spec = training(8, batch_size=3)
        fit(model, (samples, validation), spec, tmp_path, seed=5)
        seen = [np.datetime64(time, "ns") for batch in model.seen[True] for time in batch]
        assert [len(batch) for batch in model.seen[True]] == [3] * 8
        assert seen == [samples.frames.samples[index].time for index in islice(samples.order(5), 24)]
        # an epoch is every sample once, whatever the batches
        assert len(set(seen[:11])) == len(set(seen[11:22])) == len(samples) == 11

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_a_loss_that_is_not_finite_names_step_and_times(
        self, samples: Samples, validation: Samples, tmp_path: Path, value: float
    ) -> None:
        model, numbers = Toy(), count()

        def loss(_: Any, batch: Batch) -> Tensor:
            return model.loss(_, batch) + (value if next(numbers) == 2 else 0.0)

        spec = training(5, batch_size=2, checkpoint_every=2)
        with pytest.raises(FloatingPointError) as caught:
            fit(model, (samples, validation), spec, tmp_path, loss=loss, seed=3)
        times = [
            samples.frames.samples[index].time.astype("datetime64[s]").item()
            for index in islice(samples.order(3), 4, 6)
        ]
        assert str(caught.value) == f"loss is {value} at step 2, sample times {times[0]}, {times[1]}"
        assert torch.isfinite(model.matrix).all()

    @pytest.mark.parametrize(
        "what", ["gradient", "last gradient", "weight", "last weight", "clipped gradient"]
    )
    def test_a_training_stops_at_the_first_step_that_is_not_finite(
        self, samples: Samples, validation: Samples, tmp_path: Path, what: str
    ) -> None:
        """The loss itself stays finite, so that nothing else would tell."""
        model = Toy()
        bad = 4 if "last" in what else 3

        def spoil(gradient: Tensor) -> Tensor:
            return gradient * (math.inf if "gradient" in what and len(model.seen[True]) == bad + 1 else 1.0)

        def look(step: int, rate: float) -> None:
            if step == bad and "weight" in what:
                model.bias.data[1] = math.nan

        model.matrix.register_hook(spoil)
        spec = training(5, batch_size=2, checkpoint_every=1, clip_norm=1.0 if "clipped" in what else None)
        with pytest.raises(FloatingPointError) as caught:
            fit(model, (samples, validation), spec, tmp_path, Watch(look))
        name = "bias" if "weight" in what else "the gradient of matrix"
        times = [each.astype("datetime64[s]").item() for each in self.times(samples, 2 * bad, 2 * bad + 2)]
        told = f"{name} is not finite at step {bad}, sample times {times[0]}, {times[1]}"
        assert str(caught.value) == told
        saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
        assert saved["step"] == bad
        assert all(value.isfinite().all() for value in saved["dense"].values())

    def test_large_numbers_are_finite(self, samples: Samples, validation: Samples, tmp_path: Path) -> None:
        """Also where their norm is not."""
        model = Toy()
        model.bias.data.fill_(0.9 * torch.finfo(torch.float64).max)
        fit(model, (samples, validation), training(2), tmp_path, loss=lambda _, batch: model.matrix.sum())
        assert not nn.utils.get_total_norm(list(model.parameters())).isfinite()

    def test_what_an_adapter_finds_not_finite_is_told_with_the_samples(
        self, samples: Samples, validation: Samples, tmp_path: Path
    ) -> None:
        def look(step: int, rate: float) -> None:
            raise FloatingPointError(f"a gradient at step {step} is not finite")

        with pytest.raises(FloatingPointError) as caught:
            fit(Toy(), (samples, validation), training(5), tmp_path, Watch(look))
        (time,) = (each.astype("datetime64[s]").item() for each in self.times(samples, 0, 1))
        assert str(caught.value) == f"a gradient at step 0 is not finite, sample times {time}"

    def times(self, samples: Samples, start: int, end: int) -> list[np.datetime64]:
        return [samples.frames.samples[index].time for index in islice(samples.order(0), start, end)]

    @pytest.mark.parametrize("size", [1, 2, 5])
    def test_a_batch_may_be_greater_than_the_split(
        self, samples: Samples, validation: Samples, tmp_path: Path, size: int
    ) -> None:
        """One sample, shown again and again: the mean over the batch is the loss of that sample."""
        one = Samples(copy(samples.frames))
        one.frames.samples = samples.frames.samples[:1]
        models = [Toy(), Toy()]
        fit(models[0], (one, one), training(3, batch_size=1, validation_samples=9), tmp_path / "one")
        fit(models[1], (one, one), training(3, batch_size=size, validation_samples=9), tmp_path / "more")
        assert [len(times) for times in models[1].seen[True]] == [size] * 3
        assert len(models[1].seen[False]) == 1
        assert torch.equal(models[0].matrix, models[1].matrix)

    def test_a_loss_of_another_process_ends_this_one_too(
        self, samples: Samples, validation: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("weatherpeft.training.loop.gather", lambda values: [values, [math.nan]])
        model = Toy()
        with pytest.raises(FloatingPointError, match="^loss is nan at step 0, in process 1$"):
            fit(model, (samples, validation), training(5), tmp_path)
        assert all(parameter.grad is None for parameter in model.parameters())

    def test_single_batches_are_different_samples_by_the_seed(self, samples: Samples) -> None:
        def times(number: int, seed: int) -> list[Any]:
            batches = list(single_batches(samples, number, seed))
            assert all(len(batch.times) == 1 for batch in batches)
            return [batch.times[0] for batch in batches]

        assert len(set(times(11, 0))) == 11
        assert times(4, 0) == times(11, 0)[:4] == times(4, 0)
        assert times(11, 0) != times(11, 1)
        with pytest.raises(ValueError, match="12 samples asked for, the split has 11"):
            list(single_batches(samples, 12, 0))


class TestValidation:
    @pytest.mark.parametrize(
        ("number", "expected"), [(1, [0]), (2, [0, 6]), (3, [0, 3, 6]), (4, [0, 2, 4, 6]), (99, range(7))]
    )
    def test_samples_are_spread_evenly(self, validation: Samples, number: int, expected: list[int]) -> None:
        model = Toy()
        values = iter([1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0])

        def loss(_: Any, batch: Batch) -> Tensor:
            assert not model.training and not torch.is_grad_enabled()
            model.loss(_, batch)
            return torch.tensor(next(values))

        found = validate(cast(Backbone, model), validation, loss, number, 0)
        times = [validation.frames.samples[index].time for index in expected]
        assert [np.datetime64(batch[0], "ns") for batch in model.seen[False]] == times
        assert found == pytest.approx(np.mean([4.0**power for power in range(len(times))]))
        assert model.training

    def test_the_sample_that_is_not_finite_is_named(self, validation: Samples) -> None:
        values = iter([1.0, -math.inf, math.inf])
        time = validation.frames.samples[3].time.astype("datetime64[s]").item()
        with pytest.raises(FloatingPointError) as caught:
            validate(cast(Backbone, Toy()), validation, lambda _, batch: torch.tensor(next(values)), 3, 40)
        assert str(caught.value) == f"validation loss is -inf after step 40, sample times {time}"

    def test_it_leaves_the_training_as_it_is(
        self, samples: Samples, validation: Samples, tmp_path: Path
    ) -> None:
        often, never = Toy(), Toy()
        for name, model, every in (("often", often, 1), ("never", never, 100)):
            spec = training(5, validate_every=every, validation_samples=2)
            fit(model, (samples, validation), spec, tmp_path / name)
        assert torch.equal(often.matrix, never.matrix) and torch.equal(often.bias, never.bias)
        assert len(often.seen[False]) == 10 and len(never.seen[False]) == 2

    def test_the_history_says_when_and_how_much(
        self, samples: Samples, validation: Samples, tmp_path: Path
    ) -> None:
        model = Toy()
        losses: dict[bool, list[float]] = {True: [], False: []}

        def loss(_: Any, batch: Batch) -> Tensor:
            value = model.loss(_, batch)
            losses[model.training].append(value.item())
            return value

        spec = training(7, validate_every=3, validation_samples=1)
        history = fit(model, (samples, validation), spec, tmp_path, loss=loss)
        curves = history.to_dataset()
        assert curves["step"].values.tolist() == list(range(1, 8))
        assert curves["train_loss"].values.tolist() == losses[True]
        assert curves["validation_step"].values.tolist() == [3, 6, 7]  # and once at the end
        assert curves["validation_loss"].values.tolist() == losses[False]


class Run:
    """A training of a small Aurora with methods, as a process that starts anew would set it up."""

    STEPS = 5

    def __init__(self, methods: list[dict[str, Any]], samples: Samples, validation: Samples, fisher: Path):
        task = Downscaling(name="downscaling", residual=True, input_grid=small.COARSE, target_grid=small.FINE)
        self.samples, self.validation = samples, validation
        model = activate(build(small.FIELDS, residual=True))
        context = TuningContext(self.STEPS, seed=3, fisher=fisher)
        if not fisher.exists():
            values = {name: torch.rand(p.shape) for name, p in model.backbone_parameters().items()}
            write_fisher(fisher, values.items(), samples=1)
        self.tuned: TunedModel = attach(model, [METHODS.validate_python(m) for m in methods], context)
        scale = Fields({"2m_temperature": torch.tensor(5.0)}, {"temperature": torch.full((2, 1, 1), 5.0)})
        self._loss = task_loss(task, scale, torch.device("cpu"))
        self.computed = 0

    def train(self, work: Path, killed_at: int | None = None) -> History:
        def loss(model: Any, batch: Batch) -> Tensor:
            if model.training:
                if self.computed == killed_at:
                    raise Killed
                self.computed += 1
            return self._loss(model, batch)

        spec = training(
            self.STEPS,
            batch_size=2,
            warmup_steps=1,
            validate_every=2,
            validation_samples=1,
            checkpoint_every=2,
        )
        return train(
            self.tuned.model,
            self.tuned.dense_parameters(),
            self.tuned.adapters,
            self.samples,
            self.validation,
            loss,
            spec,
            3,
            work,
        )

    def weights(self) -> dict[str, Tensor]:
        return state_dict(self.tuned.model)


@pytest.mark.parametrize(
    "methods",
    [
        [{"name": "full"}],
        [{"name": "sfas", "preset": "published", "fraction": 0.01}],
        [{"name": "sfas", "preset": "published", "fraction": 0.01, "beta": 0.5}],
        [{"name": "tadp", "prompts": 2}],
        [{"name": "tadp", "prompts": 2}, {"name": "sfas", "preset": "published", "fraction": 0.01}],
    ],
    ids=lambda methods: "+".join("-".join(map(str, m.values())) for m in methods),
)
def test_a_killed_training_goes_on_to_the_same_bits(
    methods: list[dict[str, Any]], samples: Samples, validation: Samples, tmp_path: Path
) -> None:
    def run(seed: int) -> Run:
        torch.manual_seed(seed)  # nothing may depend on the state of the global generator
        return Run(methods, samples, validation, tmp_path / "fisher.zarr")

    straight, killed, resumed = run(0), run(1), run(2)
    start = {name: value.clone() for name, value in straight.weights().items()}
    expected = straight.train(tmp_path / "straight")
    with pytest.raises(Killed):
        killed.train(tmp_path / "work", killed_at=3)
    found = resumed.train(tmp_path / "work")

    assert resumed.computed == 3, "it went on from the checkpoint after step 2"
    assert found == expected and len(expected.train_loss) == 5 and expected.validation_step == [2, 4, 5]
    weights = resumed.weights()
    assert weights.keys() == start.keys()
    for name, value in straight.weights().items():
        assert torch.equal(value, weights[name]), name
    moved = {name.split(".")[1] for name, value in weights.items() if not torch.equal(value, start[name])}
    assert moved == {"encoder", "backbone", "decoder"}
    kept, again = straight.tuned.result(), resumed.tuned.result()
    assert kept.keys() == again.keys() and all(torch.equal(kept[name], again[name]) for name in kept)


def test_a_training_that_is_complete_is_not_done_twice(
    samples: Samples, validation: Samples, tmp_path: Path
) -> None:
    models = [Toy(), Toy()]
    for model in models:
        spec = training(4, checkpoint_every=2)
        fit(model, (samples, validation), spec, tmp_path)
    assert len(models[0].seen[True]) == 4 and not models[1].seen[True]
    assert torch.equal(models[0].matrix, models[1].matrix)
