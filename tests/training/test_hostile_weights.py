"""Weights and checkpoints of others: nothing of them runs, and headers that lie are refused in one line."""

import hashlib
import json
import pickle
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.backbones.small_aurora import build
from weatherpeft.fields.variables import FieldSet, VariableSet
from weatherpeft.interfaces import Backbone
from weatherpeft.training.checkpoint import load_tensors, read_checkpoint


def safetensors(header: dict[str, Any] | bytes, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


ONE = {"a": tensor([2], 0, 8)}
HEADERS = {
    "empty file": b"",
    "a header of 2^63 bytes": safetensors(ONE, bytes(8), 2**63),
    "a header of 2^40 bytes": safetensors(ONE, bytes(8), 2**40),
    "a header of no bytes": safetensors(ONE, bytes(8), 0),
    "a header that is longer than the file": safetensors(ONE, bytes(8), 5000),
    "no JSON": safetensors(b"{'a': 1}        "),
    "a list": safetensors(b"[1, 2, 3]       "),
    "data beyond the end": safetensors({"a": tensor([1000], 0, 4000)}, bytes(8)),
    "2^62 numbers": safetensors({"a": tensor([2**31, 2**31], 0, 8)}, bytes(8)),
    "a shape that overflows": safetensors({"a": tensor([2**63, 2**63], 0, 8)}, bytes(8)),
    "a negative shape": safetensors({"a": tensor([-2], 0, 8)}, bytes(8)),
    "an end before the start": safetensors({"a": tensor([2], 8, 0)}, bytes(8)),
    "overlapping tensors": safetensors({"a": tensor([2], 0, 8), "b": tensor([2], 4, 12)}, bytes(12)),
    "an unknown type": safetensors({"a": tensor([2], 0, 8, "OBJECT")}, bytes(8)),
    "more data than tensors": safetensors(ONE, bytes(80)),
    "a pickle": pickle.dumps({"a": 1}),
    "NaN": safetensors(ONE, struct.pack("<2f", 1.0, float("nan"))),
    "infinity": safetensors(ONE, struct.pack("<2f", 1.0, float("inf"))),
}


@pytest.mark.parametrize("name", HEADERS)
def test_safetensors(tmp_path: Path, name: str) -> None:
    path = tmp_path / "tuned.safetensors"
    path.write_bytes(HEADERS[name])
    with pytest.raises(ValueError) as caught:
        load_tensors(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_good_safetensors_are_read(tmp_path: Path) -> None:
    save_file({"a": torch.arange(3.0)}, tmp_path / "good")
    assert load_tensors(tmp_path / "good")["a"].tolist() == [0, 1, 2]


class Evil:
    """Unpickled, it leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


@pytest.fixture(scope="module")
def model() -> Backbone:
    upper = VariableSet(
        surface=("2m_temperature",),
        atmospheric=("temperature",),
        levels_hpa=(500,),
        static=("land_sea_mask",),
    )
    return build(FieldSet(measured=upper))


@pytest.mark.parametrize("content", ["code", "code in a tensor file", "nothing", "text", "a list", "no step"])
def test_pickles(tmp_path: Path, model: Backbone, content: str) -> None:
    path, trace = tmp_path / "file.ckpt", tmp_path / "trace"
    match content:
        case "code":
            path.write_bytes(pickle.dumps(Evil(trace)))
        case "code in a tensor file":
            torch.save({"dense": {}, "net.x": Evil(trace)}, path)
        case "nothing" | "text":
            path.write_text("" if content == "nothing" else "version https://git-lfs\n")
        case "a list":
            torch.save([1, 2], path)
        case "no step":
            torch.save({"dense": {}, "optimizer": {}}, path)
    path.write_bytes(
        path.read_bytes() + hashlib.sha256(path.read_bytes()).digest()
    )  # as of a checkpoint of ours
    weight = nn.Parameter(torch.zeros(2))
    with pytest.raises(ValueError) as caught:
        read_checkpoint(path).load({}, torch.optim.AdamW([weight]), (), {})
    assert str(caught.value).startswith(f"{path}: no checkpoint of this training (")
    with pytest.raises(ValueError) as caught:
        model.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert not trace.exists()
