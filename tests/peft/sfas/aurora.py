"""A small Aurora under SFAS: one run, and a rank of a distributed run; light, each process imports it."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import torch
import torch.distributed as distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from tests.backbones.small_aurora import small_aurora, small_batch
from weatherpeft.backbones.aurora.model import AuroraBackbone
from weatherpeft.interfaces import TuningContext
from weatherpeft.peft.sfas.adapter import SfasAdapter
from weatherpeft.peft.sfas.spec import Sfas
from weatherpeft.samples.batch import Batch, Fields

SPEC = Sfas(name="sfas", preset="published", fraction=0.01, count_of="pool", gamma=0.01)
STEPS = 20


def samples(batch: Batch, which: slice, dtype: torch.dtype) -> Batch:
    """Some samples of a batch."""

    def pick(fields: Fields) -> Fields:
        return Fields(
            {name: field[which].to(dtype) for name, field in fields.surface.items()},
            {name: field[which].to(dtype) for name, field in fields.atmospheric.items()},
        )

    static = {name: field.to(dtype) for name, field in batch.static.items()}
    inputs, target = pick(batch.inputs), pick(batch.target)
    return Batch(
        inputs, static, target, batch.times[which], batch.latitude, batch.longitude, batch.levels_hpa
    )


def mean_loss(model: nn.Module, batch: Batch) -> Tensor:
    """A mean over samples."""
    prediction = model(batch)
    pairs = [(prediction.surface[name], field, 20.0) for name, field in batch.target.surface.items()]
    pairs += [(prediction.atmospheric[name], field, 1e4) for name, field in batch.target.atmospheric.items()]
    return torch.stack([((one - other) / scale).square().mean() for one, other, scale in pairs]).mean()


@contextmanager
def checkpointed(model: AuroraBackbone) -> Iterator[None]:
    """Every block computed again in the backward pass."""
    blocks = [model.backbone.get_submodule(path.removesuffix(".attn")) for path in model.attention_modules()]
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    yield
    for block in blocks:
        del block.forward


def run(
    part: slice = slice(None), size: int = 2, steps: int = STEPS, *, again: bool = False, bf16: bool = False
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """All weights and every step's selection, trained on a part of a batch; its ends by AdamW.

    In float64, or in float32 where autocast makes it bfloat16, which it does of nothing wider.
    """
    dtype = torch.float32 if bf16 else torch.float64
    model = small_aurora().to(dtype).train()
    adapter = SfasAdapter(SPEC, model, TuningContext(steps=steps, seed=3))
    pool = {f"model.backbone.{name}" for name in model.backbone_parameters()}
    dense = [parameter for name, parameter in model.named_parameters() if name not in pool]
    optimizer = torch.optim.AdamW(dense, lr=1e-4, eps=1e-6)
    trained: nn.Module = model
    if distributed.is_initialized():
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, list(pool))
        trained = DistributedDataParallel(model)
    batch, chosen = samples(small_batch(size), part, dtype), []
    with checkpointed(model) if again else nullcontext():
        for step in range(steps):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss = mean_loss(trained, batch)
            loss.backward()
            optimizer.step()
            adapter.step(step, 1e-4)
            chosen.append(adapter.selection)
    return {name: parameter.detach() for name, parameter in model.named_parameters()}, chosen


def run_rank(number: int, folder: Path) -> None:
    """Save what ``run`` gives on this rank's sample of two."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{folder}/store", rank=number, world_size=2)
    torch.save(run(slice(number, number + 1)), folder / f"{number}.pt")
    distributed.destroy_process_group()
