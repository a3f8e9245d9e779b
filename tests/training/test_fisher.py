"""The Fisher warm-up against squared gradients of single samples."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import cast

import pytest
import torch
import zarr
from torch import Tensor

from tests.backbones.small_aurora import loss as aurora_loss
from tests.backbones.small_aurora import small_aurora, small_batch
from tests.peft.toy_backbone import Toy, as_backbone, sample_gradients, toy_batch, toy_loss
from weatherpeft.peft.sfas.fisher_store import read_fisher, read_mean_gradient, write_fisher
from weatherpeft.samples.batch import Batch
from weatherpeft.training.fisher import estimate_fisher
from weatherpeft.training.loop import Loss


def estimate(
    model: Toy,
    batches: Iterable[Tensor],
    output: Path,
    loss: Callable[[Toy, Tensor], Tensor] = toy_loss,
    work: Path | None = None,
) -> int:
    """``estimate_fisher`` for a toy, whose batches are tensors."""
    return estimate_fisher(
        as_backbone(model), cast(Iterable[Batch], batches), cast(Loss, loss), output, work=work
    )


def digest(directory: Path) -> str:
    """Of all names and bytes below a directory."""
    found = hashlib.sha256()
    for path in sorted(directory.rglob("*")):
        found.update(str(path.relative_to(directory)).encode())
        found.update(path.read_bytes() if path.is_file() else b"")
    return found.hexdigest()


def test_is_the_mean_of_per_sample_squares(tmp_path: Path) -> None:
    model = Toy()
    model.decoder.bias.requires_grad_(False)
    flags = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    classes = [type(module) for module in model.modules()]
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    batches = [toy_batch(0, 3), toy_batch(1, 1), toy_batch(2, 2)]
    assert estimate(model, batches, tmp_path / "fisher.zarr") == 6

    assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == flags
    assert [type(module) for module in model.modules()] == classes
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert [path.name for path in tmp_path.iterdir()] == ["fisher.zarr"]

    model.backbone.requires_grad_(True)
    samples = [sample for batch in batches for sample in sample_gradients(model, batch)]
    found = dict(read_fisher(tmp_path / "fisher.zarr"))
    assert found.keys() == model.backbone_parameters().keys()
    assert not found["idle.weight"].any()
    for name, values in found.items():
        expected = torch.stack([sample[name] for sample in samples]).square().mean(0)
        assert values.dtype == torch.float32
        torch.testing.assert_close(values.double(), expected, rtol=1e-6, atol=1e-15)
    found = dict(read_mean_gradient(tmp_path / "fisher.zarr"))
    assert found.keys() == model.backbone_parameters().keys()
    for name, values in found.items():
        expected = torch.stack([sample[name] for sample in samples]).mean(0)
        torch.testing.assert_close(values.double(), expected, rtol=1e-6, atol=1e-12)


def test_on_aurora_a_sample_twice_counts_as_once(tmp_path: Path) -> None:
    model, batch = small_aurora(), small_batch(1)
    for number in (1, 2):
        assert estimate_fisher(model, [batch] * number, aurora_loss, tmp_path / str(number)) == number
    once, twice = (dict(read_fisher(tmp_path / name)) for name in ("1", "2"))
    assert once.keys() == model.backbone_parameters().keys()
    assert all(values.any() for values in once.values())
    assert all(torch.equal(values, twice[name]) for name, values in once.items())


def test_the_same_values_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        estimate(Toy(), [toy_batch(0)], tmp_path / name)
    assert digest(tmp_path / "one") == digest(tmp_path / "two")


def test_a_layer_that_some_batches_leave_out_keeps_its_sum(tmp_path: Path) -> None:
    def loss(model: Toy, batch: Tensor) -> Tensor:
        value = toy_loss(model, batch)
        return value + model.backbone.idle(batch[:, 0, :3]).square().mean() if len(batch) == 2 else value

    batches = [toy_batch(number, size) for number, size in enumerate((1, 2, 1, 1, 2, 3))]
    estimate(Toy(), batches, tmp_path / "all", loss)
    estimate(Toy(), [batch for batch in batches if len(batch) == 2], tmp_path / "used", loss)
    found, used = (dict(read_fisher(tmp_path / name))["idle.weight"] for name in ("all", "used"))
    assert used.all()
    torch.testing.assert_close(found * 10, used * 4)


class Killed(BaseException):
    """Stands for a signal: nothing catches it."""


@pytest.mark.parametrize("batches", [0, 1, 2, 3])
@pytest.mark.parametrize("within", [False, True])
def test_a_killed_estimate_goes_on_to_the_same_bytes(batches: int, within: bool, tmp_path: Path) -> None:
    everything = [toy_batch(number, 1 + number % 3) for number in range(5)]
    computed: list[int] = []

    def loss(model: Toy, batch: Tensor) -> Tensor:
        computed.append(len(batch))
        return toy_loss(model, batch)

    def until_killed() -> Iterator[Tensor]:
        yield from everything[:batches]
        if not within:
            raise Killed
        model = killed.backbone  # in the middle of the next batch, when some sums hold it already
        model.condition.weight.register_hook(lambda _: (_ for _ in ()).throw(Killed()))
        yield everything[batches]

    killed = Toy()
    estimate(Toy(), everything, tmp_path / "straight")
    killed.backbone.requires_grad_(True)
    with pytest.raises(Killed):
        estimate(killed, until_killed(), tmp_path / "resumed", loss, tmp_path / "work")
    assert not (tmp_path / "resumed").exists()
    computed.clear()
    assert estimate(Toy(), everything, tmp_path / "resumed", loss, work=tmp_path / "work") == 9
    assert computed == [len(batch) for batch in everything[batches:]]
    assert digest(tmp_path / "resumed") == digest(tmp_path / "straight")


def test_a_store_keeps_shapes_and_the_number_of_samples(tmp_path: Path) -> None:
    values = {
        "b.weight": torch.rand(3000, 3000),
        "a.scale": torch.tensor(2.0),
        "a.bias": torch.rand(7, dtype=torch.float64),
    }
    opposite = ((name, -tensor) for name, tensor in values.items())
    write_fisher(tmp_path / "fisher.zarr", values.items(), 5, opposite)
    for read, sign in ((read_fisher, 1), (read_mean_gradient, -1)):
        found = dict(read(tmp_path / "fisher.zarr"))
        assert list(found) == sorted(values)
        assert all(torch.equal(found[name], sign * tensor.float()) for name, tensor in values.items())
    group = zarr.open_group(tmp_path / "fisher.zarr", mode="r")
    assert group.attrs["samples"] == 5
    array = group["b.weight"]
    assert isinstance(array, zarr.Array) and array.chunks == (2**22 // 3000, 3000)


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found no calibration batch"):
        estimate(Toy(), [], tmp_path / "fisher.zarr")
    with pytest.raises(ValueError, match=r"narrow\.\w+ is not finite after 0 samples"):
        estimate(Toy(), [toy_batch(0) * torch.nan], tmp_path / "fisher.zarr")
    assert not (tmp_path / "fisher.zarr").exists()
    with pytest.raises(ValueError, match="the loss of 3 samples depends on no weight of the backbone"):
        estimate(Toy(), [toy_batch(0, 3)], tmp_path / "zero", lambda model, batch: toy_loss(model, batch) * 0)
    with pytest.raises(ValueError, match="found no Fisher store"):
        list(read_fisher(tmp_path / "fisher.zarr"))
