"""What every method promises, as checks that fail with an ``AssertionError``; light, processes import it.

Each check trains a small Aurora by the real training loop.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from tests.backbones.small_aurora import FIELDS, small_aurora, small_batch
from tests.peft.sfas.aurora import mean_loss
from weatherpeft.interfaces import PeftMethod, TuningContext
from weatherpeft.samples.batch import Batch, Fields, Samples
from weatherpeft.samples.rollout import Feedback, in_rollout
from weatherpeft.training.checkpoint import load_tensors, save_tensors
from weatherpeft.training.distributed import process_group, rank
from weatherpeft.training.loop import train
from weatherpeft.training.memory import save_memory
from weatherpeft.training.rollout import Forecasts
from weatherpeft.training.spec import Precision, Training
from weatherpeft.training.tuning import TunedModel, attach

CHANGES_THE_START = {"aprompt", "light_decoder", "tadp", "vpt"}
"""Methods that are not the identity before their first step."""
READS_WEIGHTS = {"dora", "glora", "hira", "shira", "supertuning"}
"""Methods and types of peft whose layers compute with the frozen weights themselves."""
STEPS, RATE, DECAY, SEED = 5, 1e-3, 0.1, 0
NO_CHECKPOINT = Path("no checkpoint is written here")
Outcome = dict[str, Tensor] | str
"""All weights and states after a training, or what went wrong."""


class FourSamples(Samples):
    """The samples of ``small_batch``, in the order and the shares of any training."""

    def __init__(self, double: bool) -> None:
        self._batch = small_batch(4)
        if double:
            self._batch = self._batch.map(Tensor.double)

    def __len__(self) -> int:
        return 4

    def batch(self, indices: Sequence[int]) -> Batch:
        def pick(fields: Fields) -> Fields:
            return fields.map(lambda field: field[list(indices)])

        own = self._batch
        times = tuple(own.times[index] for index in indices)
        return replace(own, inputs=pick(own.inputs), target=pick(own.target), times=times)


@dataclass
class Run:
    """A training.

    Attributes:
        tuned: the model after it.
        losses: training loss of each step.
        weights: parameters and buffers before each backward pass and at the end.
    """

    tuned: TunedModel
    losses: list[float]
    weights: list[dict[str, Tensor]]


def fresh(method: PeftMethod, accumulation: int = 1, double: bool = False, seed: int = SEED) -> TunedModel:
    """A small model with a method, before its first step."""
    context = TuningContext(STEPS, seed, accumulation=accumulation, weight_decay=DECAY)
    model = small_aurora()
    return attach(model.double() if double else model, [method], context)


def weights(model: Any) -> dict[str, Tensor]:
    """Copies of all parameters and buffers."""
    found = (*model.named_parameters(), *model.named_buffers())
    return {name: value.detach().clone() for name, value in found}


def trained(
    method: PeftMethod,
    steps: int = 1,
    size: int = 2,
    accumulation: int = 1,
    double: bool = False,
    precision: Precision = "float32",
    recompute: bool = False,
    loss: Callable[[Any, Batch], Tensor] = mean_loss,
) -> Run:
    """Train a method.

    Raises:
        ValueError: the method refuses the training.
        AssertionError: the training breaks down.
    """
    training = Training(
        steps=steps,
        batch_size=size,
        accumulation=accumulation,
        precision=precision,
        recompute=recompute,
        learning_rate=RATE,
        weight_decay=DECAY,
        validate_every=STEPS,
        validation_samples=1,
    )
    tuned, samples = fresh(method, accumulation, double), FourSamples(double)
    save_memory(tuned.model, precision, recompute)
    seen: list[dict[str, Tensor]] = []

    def watched(model: Any, batch: Batch) -> Tensor:
        if model.training:
            seen.append(weights(model))
        return loss(model, batch)

    dense, peaks = tuned.dense_parameters(), tuned.peaks(RATE)
    try:
        history = train(
            tuned.model,
            dense,
            tuned.adapters,
            samples,
            samples,
            watched,
            training,
            SEED,
            NO_CHECKPOINT,
            peaks=peaks,
        )
    except (RuntimeError, FloatingPointError) as error:
        raise AssertionError(f"the training breaks down: {error}") from error
    return Run(tuned, history.train_loss, [*seen, weights(tuned.model)])


@torch.no_grad()
def predict(model: Any) -> Tensor:
    prediction: Tensor = model.eval()(small_batch()).channels()
    return prediction


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> dict[str, int]:
    """Number of entries that differ, by name, where there is one."""
    assert before.keys() == after.keys()
    counts = {name: int((after[name] != value).sum()) for name, value in before.items()}
    return {name: count for name, count in counts.items() if count}


def equal(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 0.0) -> None:
    """Check that weights are equal, bit for bit or up to a share of an entry and of the learning rate."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if tolerance:
            torch.testing.assert_close(found[name], value, rtol=tolerance, atol=tolerance * RATE, msg=name)
        else:
            assert torch.equal(found[name], value), name


@contextmanager
def without_refusal() -> Iterator[None]:
    """A method that refuses what every method must be able to do does not keep its promise."""
    try:
        yield
    except ValueError as error:
        raise AssertionError(f"the method refuses: {error}") from error


def check_start(method: PeftMethod) -> None:
    """The first prediction is the pretrained model's, unless the method says otherwise."""
    model = small_aurora()
    expected = predict(model)
    found = predict(attach(model, [method], TuningContext(STEPS, SEED)).model)
    assert torch.isfinite(found).all()
    assert torch.equal(found, expected) != (method.name in CHANGES_THE_START)


def check_frozen(method: PeftMethod) -> None:
    """Under weight decay, steps move the dense parameters and as many other entries as the method counts."""
    run = trained(method, STEPS)
    reported, others = _reported(run.tuned)
    for before, after in pairwise(run.weights):
        elsewhere = sum(count for name, count in moved(before, after).items() if name not in reported)
        assert elsewhere <= others, f"{elsewhere} entries move that are not the method's {others}"
    for end in method.frozen_ends:
        start, last = (
            {name: value for name, value in each.items() if f".{end}." in name and name not in reported}
            for each in (run.weights[0], run.weights[-1])
        )
        assert start and not moved(start, last)


def check_result(method: PeftMethod) -> None:
    """What is saved and loaded into a model that only predicts makes the same forecast, bit for bit."""
    run = trained(method, 2)
    rebuilt = attach(small_aurora(), [method], TuningContext(0, SEED + 1))
    with TemporaryDirectory() as folder, without_refusal():
        save_tensors(run.tuned.result(), Path(folder) / "tuned.safetensors")
        rebuilt.load_result(load_tensors(Path(folder) / "tuned.safetensors"))
    forecast = predict(run.tuned.model)
    assert not torch.equal(forecast, predict(fresh(method).model))
    assert torch.equal(predict(rebuilt.model), forecast)


def check_count(method: PeftMethod) -> None:
    """The counts are those of the tensors that change and of the entries that a step changes elsewhere."""
    run = trained(method, STEPS)
    reported, _ = _reported(run.tuned)
    steps = [moved(before, after) for before, after in pairwise(run.weights)]
    elsewhere = max(sum(n for name, n in step.items() if name not in reported) for step in steps)
    changed = {name: run.weights[0][name].numel() for name in set().union(*steps) & reported}
    inside = sum(count for name, count in changed.items() if ".backbone." in name)
    assert run.tuned.counts() == {
        "trainable_backbone": inside + elsewhere,
        "trainable_total": sum(changed.values()) + elsewhere,
    }


def check_bfloat16(method: PeftMethod) -> None:
    """Autocast stays close to float32. Frozen matrices in bfloat16 give its bits or are refused."""
    plain, found = trained(method), trained(method, precision="autocast")
    _close_in_bfloat16(found, plain)
    parameters = fresh(method).model.backbone_parameters()
    if any(parameter.requires_grad and parameter.ndim > 1 for parameter in parameters.values()):
        try:
            trained(method, precision="bfloat16")
        except ValueError as error:
            assert "is trained: expected precision autocast" in str(error), error
            return
        raise AssertionError("a method that trains matrices is not refused")
    with without_refusal():
        frozen = trained(method, precision="bfloat16")
    _close_in_bfloat16(frozen, plain)
    if not {method.name, getattr(method, "type", "")} & READS_WEIGHTS:
        assert frozen.losses == found.losses
        dense, expected = frozen.tuned.dense_parameters(), found.tuned.dense_parameters()
        equal(dict(dense), dict(expected))


def check_recomputation(method: PeftMethod) -> None:
    """Blocks that are computed again give the same losses and weights, bit for bit."""
    with without_refusal():
        found, expected = trained(method, 2, recompute=True), trained(method, 2)
    assert found.losses == expected.losses
    equal(found.weights[-1], expected.weights[-1])


def check_rollout(method: PeftMethod) -> None:
    """A forecast of two steps, the first of which is computed again, is as good as a plain loop over both."""
    with without_refusal():
        found, expected = (trained(method, 2, double=True, loss=each) for each in (two_steps, plain_steps))
    assert abs(found.losses[0] / expected.losses[0] - 1) < 1e-12
    equal(found.weights[-1], expected.weights[-1], 1e-6)


def two_steps(model: Any, batch: Batch) -> Tensor:
    """The loss of two steps against the target and twice the target."""
    size = len(batch.times)
    twice = replace(batch, later=(batch.target.map(lambda field: 2 * field),), lead_hours=(6,) * size)
    return Forecasts(Feedback(FIELDS)).loss(model, twice, _error(batch))


def plain_steps(model: Any, batch: Batch) -> Tensor:
    """The same as it is written down, by autograd alone."""
    error, after = _error(batch), tuple(time + timedelta(hours=6) for time in batch.times)
    with in_rollout("two plain steps"):
        first = model(batch)
        inputs = Fields(
            {n: torch.stack([f[:, 1], first.surface[n]], 1) for n, f in batch.inputs.surface.items()},
            {n: torch.stack([f[:, 1], first.atmospheric[n]], 1) for n, f in batch.inputs.atmospheric.items()},
        )
        second = model(replace(batch, inputs=inputs, times=after))
    target = batch.target
    return (error(first, target) + error(second, target.map(lambda field: 2 * field))) / 2


def _error(batch: Batch) -> Callable[[Fields, Fields], Tensor]:
    def error(prediction: Fields, target: Fields) -> Tensor:
        predicted: Any = lambda _: prediction  # noqa: E731
        return mean_loss(predicted, replace(batch, target=target))

    return error


def check_accumulation(method: PeftMethod) -> None:
    """A step of two passes of two samples is that of one pass of four; in float64, but for rounding."""
    with without_refusal():
        found, expected = (trained(method, size=4, accumulation=passes, double=True) for passes in (2, 1))
    assert abs(found.losses[0] / expected.losses[0] - 1) < 1e-12
    equal(found.weights[-1], expected.weights[-1], 1e-6)


def check_processes(method: PeftMethod, two: Sequence[dict[str, Outcome]]) -> None:
    """Two processes hold the same bits, which are those of one but for rounding in float64."""
    first, second = (outcomes[label(method)] for outcomes in two)
    assert not isinstance(first, str) and not isinstance(second, str), (first, second)
    equal(first, second)
    expected = outcome(method)
    assert not isinstance(expected, str), expected
    equal(first, expected, 1e-6)


CHECKS: dict[str, Callable[[PeftMethod], None]] = {
    "start": check_start,
    "frozen": check_frozen,
    "result": check_result,
    "count": check_count,
    "bfloat16": check_bfloat16,
    "recomputation": check_recomputation,
    "rollout": check_rollout,
    "accumulation": check_accumulation,
}
"""The checks of one process."""


def label(method: PeftMethod) -> str:
    """A name that tells the methods of a test apart."""
    values = method.model_dump(mode="json", exclude_unset=True)
    return "-".join(str(value) for value in values.values())


def outcome(method: PeftMethod) -> Outcome:
    """Train with two samples a step, which several processes share."""
    try:
        run = trained(method, 2, double=True)
    except (AssertionError, ValueError) as error:
        return str(error)
    (adapter,) = run.tuned.adapters
    return {**run.weights[-1], **{f"state {key}": value for key, value in adapter.state_dict().items()}}


def outcomes_of_rank(methods: Sequence[PeftMethod], folder: Path) -> None:
    """Save the outcomes of several methods, one after the other, of this rank."""
    with process_group():
        torch.save({label(method): outcome(method) for method in methods}, folder / f"{rank()}.pt")


def _reported(tuned: TunedModel) -> tuple[set[str], int]:
    """Names of the dense parameters in the model, and the number of other entries that a step may move."""
    assert isinstance(tuned.model, nn.Module)
    dense = set(tuned.dense_parameters().values())
    names = {name for name, parameter in tuned.model.named_parameters() if parameter in dense}
    return names, tuned.counts()["trainable_total"] - sum(parameter.numel() for parameter in dense)


def _close_in_bfloat16(found: Run, plain: Run) -> None:
    assert abs(found.losses[0] / plain.losses[0] - 1) < 2**-8
    assert all(parameter.dtype == torch.float32 for parameter in found.tuned.dense_parameters().values())
    assert all(value.isfinite().all() for value in found.weights[-1].values())
    forecast, expected = predict(found.tuned.model), predict(plain.tuned.model)
    deviation = expected.std(dim=(0, 2, 3), keepdim=True)
    assert ((forecast - expected).abs() / deviation).max() < 0.1
