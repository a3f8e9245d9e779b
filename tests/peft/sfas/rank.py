"""What one of two processes does in the test of SFAS on two ranks; light, each process imports it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as distributed
from torch import Tensor

from tests.peft.toy_backbone import Toy, as_backbone, toy_batch, toy_loss
from weatherpeft.interfaces import TuningContext
from weatherpeft.peft.sfas.adapter import SfasAdapter
from weatherpeft.peft.sfas.spec import Sfas

SPEC = Sfas(name="sfas", preset="published", fraction=0.1, count_of="pool", weight_decay=0.5)


def run(part: slice = slice(None), spec: Sfas = SPEC, fisher: Path | None = None) -> tuple[Tensor, Tensor]:
    """Weights and last selection after three steps on a part of each batch of four."""
    model = Toy()
    adapter = SfasAdapter(spec, as_backbone(model), TuningContext(steps=3, seed=3, fisher=fisher))
    for step in range(3):
        toy_loss(model, toy_batch(step, 4)[part]).backward()
        adapter.step(step, 0.05)
    flat = torch.cat([p.detach().flatten() for p in model.backbone_parameters().values()])
    return flat, adapter.selection


@contextmanager
def process_group(number: int, folder: Path) -> Iterator[slice]:
    """One of two processes, and its half of each batch."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{folder}/store", rank=number, world_size=2)
    yield slice(2 * number, 2 * number + 2)
    distributed.destroy_process_group()


def run_rank(number: int, folder: Path) -> None:
    """Save what ``run`` gives on this rank's half of each batch."""
    with process_group(number, folder) as half:
        torch.save(run(half), folder / f"{number}.pt")


def run_rank_of_each(number: int, folder: Path, specs: list[Sfas], fisher: Path) -> None:
    """Save what ``run`` gives for each spec on this rank's half of each batch."""
    with process_group(number, folder) as half:
        torch.save([run(half, spec, fisher) for spec in specs], folder / f"{number}.pt")
