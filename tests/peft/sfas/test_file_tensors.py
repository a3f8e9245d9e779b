"""Tensors in files."""

import tempfile
from pathlib import Path

import pytest
import torch

from weatherpeft.peft.sfas.file_tensors import FileTensors


def test_zeros_that_keep_what_is_written() -> None:
    tensors = FileTensors("test-")
    first, second = tensors.add("a", 3, torch.float32), tensors.add("b", 2, torch.uint8)
    assert first.tolist() == [0, 0, 0]
    assert second.tolist() == [0, 0]
    first += 1
    assert tensors["a"].tolist() == [1, 1, 1]
    assert tensors["b"].tolist() == [0, 0]


def resident_of_files() -> int:
    """Bytes of mapped files in this process's memory, on a disk or in a file system in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith(("RssFile:", "RssShmem:")))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="resident memory is read from /proc")
def test_values_stay_when_their_memory_is_let_go() -> None:
    size = 2**25
    tensors = FileTensors("test-")
    before = resident_of_files()
    values = tensors.add("a", size, torch.uint8)
    values.copy_(torch.arange(size) % 251)
    assert resident_of_files() >= before + size
    tensors.let_go("a")
    assert resident_of_files() < before + size / 4
    assert torch.equal(values, torch.arange(size).remainder_(251).to(torch.uint8))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted in /proc")
def test_no_file_is_held_open() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    tensors = FileTensors("test-")
    for number in range(20):
        tensors.add(str(number), 10, torch.float32)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_killed_process_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    tensors = FileTensors("test-")
    tensors.add("a", 1000, torch.float32)
    assert tensors["a"].sum() == 0
    assert list(tmp_path.iterdir()) == []
