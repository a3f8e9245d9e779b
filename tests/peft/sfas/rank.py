"""What one of two processes does in the test of SFAS on two ranks; light, each process imports it."""

from pathlib import Path

import torch
import torch.distributed as distributed
from torch import Tensor

from tests.peft.toy_backbone import Toy, as_backbone, toy_batch, toy_loss
from weatherpeft.interfaces import TuningContext
from weatherpeft.peft.sfas.adapter import SfasAdapter
from weatherpeft.peft.sfas.spec import Sfas

SPEC = Sfas(name="sfas", preset="published", fraction=0.1, count_of="pool", weight_decay=0.5)


def run(part: slice = slice(None)) -> tuple[Tensor, Tensor]:
    """Weights and last selection after three steps on a part of each batch of four."""
    model = Toy()
    adapter = SfasAdapter(SPEC, as_backbone(model), TuningContext(steps=3, seed=3))
    for step in range(3):
        toy_loss(model, toy_batch(step, 4)[part]).backward()
        adapter.step(step, 0.05)
    flat = torch.cat([p.detach().flatten() for p in model.backbone_parameters().values()])
    return flat, adapter.selection


def run_rank(number: int, folder: Path) -> None:
    """Save what ``run`` gives on this rank's half of each batch."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{folder}/store", rank=number, world_size=2)
    torch.save(run(slice(2 * number, 2 * number + 2)), folder / f"{number}.pt")
    distributed.destroy_process_group()
