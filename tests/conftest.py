"""Fixtures for every test."""

import os
from pathlib import Path

import pytest

# Before any import of torch or numpy: tests run side by side, one thread each.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The whole workflows first: at the end, the last of them would keep one process waiting for minutes."""
    items.sort(key=lambda item: "workflow" not in item.path.parts)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real sample files."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data, which is not beside this checkout")
    return folder


@pytest.fixture
def fisher(tmp_path: Path) -> Path:
    """A Fisher store of the toy backbone with random values."""
    import torch

    from tests.peft.toy_backbone import Toy
    from weatherpeft.peft.sfas.fisher_store import write_fisher

    generator = torch.Generator().manual_seed(0)
    shapes = {name: parameter.shape for name, parameter in Toy().backbone_parameters().items()}
    fisher = {name: torch.rand(shape, generator=generator) for name, shape in shapes.items()}
    gradient = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    write_fisher(tmp_path / "fisher.zarr", fisher.items(), 4, gradient.items())
    return tmp_path / "fisher.zarr"
