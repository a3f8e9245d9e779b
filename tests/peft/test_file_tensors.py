"""Tensors in files."""

import tempfile
from pathlib import Path

import pytest
import torch

from weatherpeft.peft.file_tensors import FileTensors


def test_zeros_that_keep_what_is_written() -> None:
    tensors = FileTensors("test-")
    first, second = tensors.add("a", 3, torch.float32), tensors.add("b", 2, torch.uint8)
    assert first.tolist() == [0, 0, 0]
    assert second.tolist() == [0, 0]
    first += 1
    assert tensors["a"].tolist() == [1, 1, 1]
    assert tensors["b"].tolist() == [0, 0]


def test_a_killed_process_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    tensors = FileTensors("test-")
    tensors.add("a", 1000, torch.float32)
    assert list(tmp_path.iterdir()) == []
