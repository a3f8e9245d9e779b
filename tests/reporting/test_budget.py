"""Where SFAS spent its updates, from the artifacts of real adapters."""

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from weatherpeft.artifacts import store
from weatherpeft.peft.sfas.fisher_store import write_fisher
from weatherpeft.peft.sfas.gaps import coded
from weatherpeft.reporting.budget import budgets, chosen_by_fisher, figure, overlap_text
from weatherpeft.training.checkpoint import save_tensors

NAMES = ("layers.0.attn.weight", "layers.0.attn.bias", "layers.1.attn.weight")
SIZES = (6, 2, 4)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that touched entries 1 and 5 of the first parameter and 0 of the last."""
    updates = np.array([[3, 0], [0, 0], [1, 4]])
    dataset = xr.Dataset(
        {"updates": (("parameter", "part"), updates), "entries": ("parameter", list(SIZES))},
        coords={"parameter": list(NAMES)},
    )
    store.write_dataset(dataset, tmp_path / "run" / "updates.zarr")
    tensors = {
        "0.tadp.other": torch.zeros(3),
        f"1.sfas.{NAMES[0]}.gaps": coded(torch.tensor([1, 5])),
        f"1.sfas.{NAMES[0]}.value": torch.zeros(2),
        f"1.sfas.{NAMES[2]}.gaps": coded(torch.tensor([0])),
        f"1.sfas.{NAMES[2]}.value": torch.zeros(1),
    }
    save_tensors(tensors, tmp_path / "run" / "tuned.safetensors")
    return tmp_path / "run"


def test_shares_by_block_and_by_kind(run: Path) -> None:
    blocks, kinds = budgets("sfas", run)
    assert blocks.parts == ("layers.0", "layers.1") and kinds.parts == ("attn.weight", "attn.bias")
    assert blocks.updates.tolist() == [[75.0, 0.0], [25.0, 100.0]]
    assert kinds.updates.tolist() == [[100.0, 100.0], [0.0, 0.0]]
    np.testing.assert_allclose(blocks.entries, [100 * 8 / 12, 100 * 4 / 12])
    np.testing.assert_allclose(kinds.entries, [100 * 10 / 12, 100 * 2 / 12])
    assert figure([blocks]) == figure([blocks])
    assert budgets("lora", run.parent) == []


def test_the_overlap_with_the_fisher_information(run: Path, tmp_path: Path) -> None:
    fisher = {name: torch.zeros(size) for name, size in zip(NAMES, SIZES, strict=True)}
    fisher[NAMES[0]][5] = 3.0  # touched
    fisher[NAMES[1]][0] = 2.0  # not touched
    fisher[NAMES[2]][0] = 1.0  # touched
    fisher[NAMES[2]][1] = 0.5  # not among three
    outside = {"elsewhere.weight": torch.full((9,), 7.0)}  # trained by another method, so not in the pool
    write_fisher(tmp_path / "fisher" / "fisher.zarr", (fisher | outside).items(), samples=1)
    share = chosen_by_fisher(run, tmp_path / "fisher")
    assert share == pytest.approx(100 * 2 / 3)
    assert overlap_text({"sfas": share}).startswith("sfas: 67 % of the entries")
