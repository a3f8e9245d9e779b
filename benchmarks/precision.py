"""Memory and time of a training step in every precision, with and without recomputed blocks.

    python benchmarks/precision.py [--model tiny|small|base] [--device cpu|cuda]

The model is tuned with LoRA, of which every precision is allowed, on one sample.

- Weights: of what lies between encoder and decoder, LoRA's included.
- Kept: storage that the forward pass keeps for the backward pass, beside weights and batch.
- Time: forward and backward, the least of the repetitions.
"""

import argparse
import gc
import time
from itertools import product
from typing import Any, get_args

import torch
from aurora_models import build, build_batch, devices, loss, options, saved_bytes
from table import machine, save, show

from weatherpeft.interfaces import TuningContext
from weatherpeft.peft.lora import Lora
from weatherpeft.training.memory import save_memory
from weatherpeft.training.spec import Precision
from weatherpeft.training.tuning import attach

MIB = 2**20


def measure(
    arguments: argparse.Namespace, device: torch.device, precision: Precision, recompute: bool
) -> Any:
    """A line of the table."""
    rows, columns = arguments.grid
    model, batch = build(arguments.model, device), build_batch(rows, columns, device)
    attach(model, [Lora(name="lora")], TuningContext(1, seed=0))
    save_memory(model, precision, recompute)
    inputs = [*batch.inputs.surface.values(), *batch.inputs.atmospheric.values(), *batch.static.values()]
    seconds = []
    for _ in range(arguments.repetitions):
        begin = time.perf_counter()
        loss(model, batch).backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    return {
        "device": device.type,
        "precision": precision,
        "recompute": str(recompute).lower(),
        "weights MiB": sum(parameter.nbytes for parameter in model.backbone.parameters()) / MIB,
        "kept MiB": saved_bytes(lambda: loss(model, batch), [*inputs, *model.parameters()]) / MIB,
        "step s": min(seconds),
    }


def main() -> None:
    """Print the table."""
    parser = options(__doc__, grid=(32, 64))
    parser.add_argument("--repetitions", type=int, default=3)
    arguments = parser.parse_args()
    chosen = devices(arguments)
    where = machine(chosen)
    print(where)
    table = []
    for device, recompute, precision in product(chosen, (False, True), get_args(Precision)):
        table.append(measure(arguments, torch.device(device), precision, recompute))
        gc.collect()
    rows, columns = arguments.grid
    show(f"A step of LoRA, Aurora {arguments.model}, {rows} x {columns}, 4 levels, batch 1", table)
    if arguments.output:
        save(arguments.output, where, table)


if __name__ == "__main__":
    main()
