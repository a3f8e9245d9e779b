"""Checkpoints and saved tensors; that a resumed training is bit-identical is tested with the loop."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from weatherpeft.artifacts import store
from weatherpeft.artifacts.manifest import DamagedError
from weatherpeft.peft.adapters.dense import DenseAdapter
from weatherpeft.peft.sfas.fisher_store import write_fisher
from weatherpeft.spec import Spec
from weatherpeft.training.checkpoint import (
    NEWEST,
    OLDER,
    load_tensors,
    read_checkpoint,
    save_checkpoint,
    save_tensors,
    tensor_bytes,
)
from weatherpeft.training.fisher_sums import FisherSums
from weatherpeft.training.unfinished import remove_work


class Count(DenseAdapter):
    """An adapter with one tensor to keep and one to resume from."""

    def __init__(self) -> None:
        super().__init__({})
        self.kept, self.moment = torch.zeros(2), torch.zeros(3)

    def step(self, step: int, learning_rate: float) -> None:
        self.kept += learning_rate
        self.moment += step

    def result(self) -> dict[str, Tensor]:
        return {"kept": self.kept.clone()}

    def load_result(self, tensors: Mapping[str, Tensor]) -> None:
        self.kept = tensors["kept"]

    def state_dict(self) -> dict[str, Tensor]:
        return {"moment": self.moment.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.moment = state["moment"]


class Running:
    """A training of two parameters and an adapter."""

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.dense = {
            name: nn.Parameter(torch.randn(3, 2, generator=generator)) for name in ("encoder.w", "decoder.w")
        }
        self.optimizer = torch.optim.AdamW(self.dense.values(), lr=0.1)
        self.adapters = [Count()]
        self.curves: dict[str, Any] = {"train_loss": []}

    def step(self, number: int) -> None:
        self.optimizer.zero_grad()
        loss = torch.stack([parameter.square().sum() for parameter in self.dense.values()]).sum()
        loss.backward()
        self.optimizer.step()
        self.adapters[0].step(number, 0.1)
        self.curves["train_loss"].append(loss.item())

    def save(self, work: Path, step: int) -> None:
        save_checkpoint(work, step, self.dense, self.optimizer, self.adapters, self.curves)

    def load(self, path: Path) -> int:
        return read_checkpoint(path).load(self.dense, self.optimizer, self.adapters, self.curves)

    def state(self) -> list[Any]:
        (adapter,) = self.adapters
        tensors = [*self.dense.values(), adapter.kept, adapter.moment]
        return [tensor.tolist() for tensor in tensors] + self.curves["train_loss"]


def test_everything_that_goes_on_is_in_a_checkpoint(tmp_path: Path) -> None:
    straight, resumed = Running(0), Running(1)
    for number in range(3):
        straight.step(number)
    straight.save(tmp_path / "new", 3)
    assert straight.state() != resumed.state()
    assert resumed.load(tmp_path / "new" / NEWEST) == 3
    assert resumed.state() == straight.state()
    for training in (straight, resumed):
        for number in (3, 4):
            training.step(number)
    assert resumed.state() == straight.state()


def test_a_complete_checkpoint_exists_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = Running(0)
    training.step(0)
    training.save(tmp_path, 1)
    expected = training.state()

    def killed(_: object, target: BinaryIO) -> None:
        target.write(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch, "save", killed)
        training.step(1)
        training.save(tmp_path, 2)
    resumed = Running(1)
    assert not (tmp_path / NEWEST).exists()
    assert resumed.load(tmp_path / OLDER) == 1 and resumed.state() == expected
    training.save(tmp_path, 2)
    assert resumed.load(tmp_path / OLDER) == 1 and resumed.state() == expected
    assert resumed.load(tmp_path / NEWEST) == 2 and resumed.state() == training.state()
    training.step(2)
    training.save(tmp_path, 3)
    assert [resumed.load(tmp_path / name) for name in (OLDER, NEWEST)] == [2, 3]
    assert {file.name for file in tmp_path.iterdir()} == {OLDER, NEWEST}


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    path, training = tmp_path / NEWEST, Running(0)
    training.step(0)
    training.save(tmp_path, 1)
    content, random = path.read_bytes(), np.random.default_rng(7)
    damaged = [content[:cut] for cut in (0, 31, len(content) // 2, len(content) - 1)]
    for bit in random.integers(8 * len(content), size=100):
        turned = bytearray(content)
        turned[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(turned))
    for each in damaged:
        path.write_bytes(each)
        resumed = Running(1)
        before = resumed.state()
        with pytest.raises(DamagedError, match=f"{path}: damaged"):
            resumed.load(path)
        assert resumed.state() == before
    path.write_bytes(content)
    assert Running(1).load(path) == 1


class Noted(Spec):
    note: str = "made"


@pytest.mark.parametrize("use", [load_tensors, tensor_bytes])
def test_damaged_tensors_are_refused(tmp_path: Path, use: Callable[[Path], Any]) -> None:
    with store.artifact(tmp_path / "run", Noted(), "weatherpeft.spec") as directory:
        path = directory / "tuned.safetensors"
        save_tensors({"weight": torch.randn(20, 30), "bias": torch.randn(30)}, path)
        expected = use(path)
    path = tmp_path / "run" / "tuned.safetensors"
    assert str(use(path)) == str(expected)
    content, random = path.read_bytes(), np.random.default_rng(7)
    for bit in random.integers(8 * len(content), size=50):
        turned = bytearray(content)
        turned[bit // 8] ^= 1 << bit % 8
        path.write_bytes(turned)
        with pytest.raises(DamagedError, match=f"{path}: damaged.* --force {tmp_path}/run "):
            use(path)
    path.unlink()
    with pytest.raises(DamagedError, match=f"{path}: missing"):
        use(path)


def test_only_an_artifacts_own_work_is_removed(tmp_path: Path) -> None:
    keys = ("0123456789abcdef", "fedcba9876543210")
    own = {f"lora-seed0-{key}" for key in keys}
    others = {f"lora-seed01-{keys[0]}", f"lora-seed0-b-{keys[0]}", f"lora-{keys[0]}", "lora-seed0-notes"}
    for name in own | others:
        (tmp_path / name).mkdir()
        (tmp_path / name / "checkpoint.pt").touch()
    remove_work(tmp_path, Path("results/runs/lora-seed0"))
    assert {path.name for path in tmp_path.iterdir()} == others


def test_tensors_come_back_as_they_were(tmp_path: Path) -> None:
    tensors = {
        "encoder.w": torch.randn(4, 3).T,  # not contiguous
        "0.lora.b": nn.Parameter(torch.randn(2)),
        "1.sfas.index": torch.tensor([2**40, 1]),
        "half": torch.randn(3).bfloat16(),
        "empty": torch.zeros(0, 3),
    }
    save_tensors(tensors, tmp_path / "tuned.safetensors")
    found = load_tensors(tmp_path / "tuned.safetensors")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor.detach())


def test_the_same_tensors_are_the_same_bytes(tmp_path: Path) -> None:
    one = {"b": torch.arange(3.0), "a": torch.ones(2)}
    save_tensors(one, tmp_path / "one")
    save_tensors(dict(reversed(one.items())), tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize(("umask", "expected"), [(0o022, 0o644), (0o077, 0o600)])
def test_files_have_the_permissions_that_the_user_asks_for(umask: int, expected: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        for _ in range(2):
            save_tensors({"a": torch.ones(1)}, tmp_path / "tuned.safetensors")
        Running(0).save(tmp_path, 1)
        FisherSums(tmp_path / "work", {("square", "w"): nn.Parameter(torch.ones(2))}).complete(1)
        write_fisher(tmp_path / "fisher.zarr", [("w", torch.ones(2))], samples=1)
    finally:
        os.umask(before)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"tuned.safetensors", "checkpoint.pt", "sums-1", "sums-1.json"} <= {path.name for path in files}
    assert {path.name: path.stat().st_mode & 0o777 for path in files} == {
        path.name: expected for path in files
    }


def test_tensors_that_did_not_arrive_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weatherpeft.training.checkpoint.load_file", lambda path: {"a": torch.ones(1)})
    with pytest.raises(ValueError, match="wrote 2 tensors, found 1"):
        save_tensors({"a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "tuned.safetensors")
