"""Memory and time of a training step: full AdamW, LoRA, SFAS of this project, SFAS written straight.

    python benchmarks/sparse_tuning.py [--model tiny|small|base] [--device cpu|cuda]

Every row trains the encoder and the decoder too, on the same model and batch of one sample, and has a
process of its own that does what the training loop does in a step.

- Peak: on the CPU, the high-water mark of the resident set (``VmHWM`` in ``/proc/self/status``, reset
  through ``/proc/self/clear_refs`` after a warm-up step) over the timed steps, less the resident set
  after the model was built and had run forward and backward, with what the allocator held back
  returned to the system. So it holds gradients, activations, optimizer state, the method's own parameters and
  fragmentation, and no weights. The resident pages of files, which the system may drop at any time
  (SFAS with beta > 0 keeps its Fisher information there), are among them and also stand in a column of
  their own. On the GPU, ``torch.cuda.max_memory_allocated`` less what was allocated then.
- State: the optimizer's tensors, AdamW's and the method's.
- Time: mean over the timed steps, the least of the rounds; a step that SFAS refreshes its selection at
  counts with those after it. Rounds go over all rows in turn, so that a disturbance of the machine does
  not fall on one of them. CPU time is summed over all threads.

A row that needs more memory than there is, by a rough estimate, is left out and says so.
"""

import argparse
import ctypes
import gc
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import peft  # noqa: F401  # before memory is measured
import torch
from aurora_models import SIZES, build, build_batch, loss
from table import machine, ratio, save, show

from weatherpeft.backbones.aurora_model import AuroraBackbone
from weatherpeft.batch import Batch
from weatherpeft.interfaces import PeftMethod, TuningContext
from weatherpeft.peft.fisher_store import write_fisher
from weatherpeft.peft.full import Full
from weatherpeft.peft.lora import Lora
from weatherpeft.peft.sfas import Sfas
from weatherpeft.training.tuning import attach

STEPS_OF_RUN = 1000
"""What the noise anneals over; the first steps of such a run are measured."""
RATE = 1e-5
FRACTION = 0.001
MIB = 2**20


class Training(Protocol):
    """What is measured."""

    def step(self, number: int) -> None:
        """One step on the batch."""

    def state(self) -> list[torch.Tensor]:
        """Of the optimizer."""


class OwnTraining:
    """A method of this project as the training loop runs it."""

    def __init__(self, model: AuroraBackbone, batch: Batch, method: PeftMethod, fisher: Path | None) -> None:
        context = TuningContext(STEPS_OF_RUN, seed=0, fisher=fisher)
        self._tuned = attach(model, [method], context)
        self._model, self._batch = model, batch
        self._optimizer = adamw(self._tuned.dense_parameters().values())

    def step(self, number: int) -> None:
        """As in ``training.loop``."""
        self._optimizer.zero_grad()
        loss(self._model, self._batch).backward()
        self._optimizer.step()
        for adapter in self._tuned.adapters:
            adapter.step(number, RATE)

    def state(self) -> list[torch.Tensor]:
        """AdamW's and the adapters', without the Fisher information."""
        found = tensors(self._optimizer)
        for adapter in self._tuned.adapters:
            found += [value for name, value in adapter.state_dict().items() if "fisher" not in name]
        return found


class DenseSfas:
    """SFAS as one writes it down from the paper: everything dense, and weights that may not move put back."""

    def __init__(self, model: AuroraBackbone, batch: Batch) -> None:
        self._model, self._batch = model, batch
        self._pool = list(model.backbone_parameters().values())
        self._k = round(FRACTION * sum(parameter.numel() for parameter in model.parameters()))
        self._optimizer = adamw(model.parameters())

    def step(self, number: int) -> None:
        """Score, mask, step, restore."""
        self._optimizer.zero_grad()
        loss(self._model, self._batch).backward()
        fisher = torch.cat([parameter.grad.flatten().square() for parameter in self._pool])
        noise = torch.rand_like(fisher)
        score = 0.2 * (1 - number / STEPS_OF_RUN) * noise + fisher / fisher.max()
        mask = torch.zeros_like(score, dtype=torch.bool)
        mask[score.topk(self._k).indices] = True
        masks = [
            part.view_as(parameter)
            for part, parameter in zip(
                mask.split([parameter.numel() for parameter in self._pool]), self._pool, strict=True
            )
        ]
        before = [parameter.detach().clone() for parameter in self._pool]
        for parameter, own in zip(self._pool, masks, strict=True):
            parameter.grad.mul_(own)
        self._optimizer.step()
        with torch.no_grad():
            for parameter, own, old in zip(self._pool, masks, before, strict=True):
                parameter.copy_(torch.where(own, parameter, old))

    def state(self) -> list[torch.Tensor]:
        """AdamW's over all parameters."""
        return tensors(self._optimizer)


def adamw(parameters: Any) -> torch.optim.AdamW:
    """As in ``training.loop``."""
    parameters = list(parameters)
    groups = [
        {"params": [parameter for parameter in parameters if parameter.ndim > 1], "weight_decay": 0.05},
        {"params": [parameter for parameter in parameters if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=RATE)


def tensors(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """An optimizer's state."""
    return [value for state in optimizer.state.values() for value in state.values()]


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        method: of this project, or None for the dense SFAS.
        bytes_per_entry: rough estimate of all that a step needs, weights included, a backbone entry.
    """

    method: PeftMethod | None
    bytes_per_entry: int


def rows() -> dict[str, Row]:
    """What is compared, by label."""
    found = {
        "full AdamW": Row(Full(name="full"), 17),
        "LoRA r=8": Row(Lora(name="lora", rank=8, biases=False), 5),
        "SFAS, beta 0": Row(Sfas(name="sfas", fraction=FRACTION), 5),
        "SFAS, beta 0.9": Row(Sfas(name="sfas", fraction=FRACTION, beta=0.9), 9),
    }
    if "refresh" in Sfas.model_fields:
        for beta in (0.0, 0.9):
            values: dict[str, Any] = {"name": "sfas", "fraction": FRACTION, "beta": beta, "refresh": 10}
            found[f"SFAS, beta {beta:g}, R=10"] = Row(Sfas(**values), 9 if beta else 5)
    return {**found, "dense SFAS": Row(None, 48)}


@dataclass(frozen=True)
class Measurement:
    """Of one row in one round; bytes and seconds a step."""

    peak: float
    files: float
    state: float
    seconds: float
    cpu_seconds: float


def measure(label: str, size: str, device_name: str, grid: tuple[int, int], steps: int) -> Measurement:
    """Run one row in this process, which is started for it."""
    device = torch.device(device_name)
    memory: Memory = CudaMemory(device) if device.type == "cuda" else HostMemory()
    model, batch = build(size, device), build_batch(*grid, device)
    torch.autograd.grad(loss(model, batch), list(model.encoder.parameters()))  # loads what is loaded lazily
    method = rows()[label].method
    with fisher_of(model, method) as fisher:
        memory.start()
        training: Training = (
            DenseSfas(model, batch) if method is None else OwnTraining(model, batch, method, fisher)
        )
        training.step(0)
        memory.reset_peak()
        memory.wait()
        begin, cpu_begin = time.perf_counter(), time.process_time()
        for number in range(1, 1 + steps):
            training.step(number)
        memory.wait()
        seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - cpu_begin
        peak, files = memory.peak()
    state = sum(tensor.numel() * tensor.element_size() for tensor in training.state())
    return Measurement(peak, files, state, seconds / steps, cpu_seconds / steps)


class Memory(Protocol):
    """A memory and its high-water mark."""

    def start(self) -> None:
        """What is in memory now does not count."""

    def reset_peak(self) -> None:
        """The peak counts from now."""

    def peak(self) -> tuple[float, float]:
        """The peak beyond the start, and the growth of files' resident pages, in bytes."""

    def wait(self) -> None:
        """Until everything asked for is done."""


class HostMemory:
    """The process's resident set, from Linux's /proc."""

    def start(self) -> None:
        """See ``Memory``."""
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        self._start, self._files = self._read("VmRSS"), self._read("RssFile") + self._read("RssShmem")

    def reset_peak(self) -> None:
        """See ``Memory``."""
        Path("/proc/self/clear_refs").write_text("5")

    def peak(self) -> tuple[float, float]:
        """See ``Memory``."""
        files = self._read("RssFile") + self._read("RssShmem") - self._files
        return self._read("VmHWM") - self._start, files

    def wait(self) -> None:
        """Nothing is asynchronous here."""

    def _read(self, key: str) -> float:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return float(line.split()[1]) * 1024
        raise ValueError(f"/proc/self/status has no {key}")


class CudaMemory:
    """What torch has allocated on the GPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def start(self) -> None:
        """See ``Memory``."""
        gc.collect()
        self._start = torch.cuda.memory_allocated(self._device)

    def reset_peak(self) -> None:
        """See ``Memory``."""
        torch.cuda.reset_peak_memory_stats(self._device)

    def peak(self) -> tuple[float, float]:
        """See ``Memory``."""
        return float(torch.cuda.max_memory_allocated(self._device) - self._start), 0.0

    def wait(self) -> None:
        """See ``Memory``."""
        torch.cuda.synchronize(self._device)


@contextmanager
def fisher_of(model: AuroraBackbone, method: PeftMethod | None) -> Iterator[Path | None]:
    """A warm-up's store for the methods that ask for one, of arbitrary values."""
    if method is None or not method.needs_fisher:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
        store = Path(directory) / "fisher.zarr"
        values = ((name, 1e-9 * torch.rand(p.shape)) for name, p in model.backbone_parameters().items())
        write_fisher(store, values, samples=1)
        yield store


def in_process(arguments: tuple[Any, ...], threads: int) -> Measurement | str:
    """``measure`` in a new process; what went wrong, if it did."""
    context = multiprocessing.get_context("forkserver")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(sender, arguments, threads))
    process.start()
    sender.close()
    try:
        found: Measurement | str = receiver.recv()
    except EOFError:
        found = "killed"
    process.join()
    return found


def _child(sender: Connection, arguments: tuple[Any, ...], threads: int) -> None:
    torch.set_num_threads(threads)
    try:
        sender.send(measure(*arguments))
    except torch.cuda.OutOfMemoryError:
        sender.send("out of memory")


def available(device: str) -> int:
    """Bytes of memory."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise ValueError("/proc/meminfo has no MemAvailable")


def backbone_entries(size: str) -> int:
    """Number of backbone parameters, without making them."""
    spec = SIZES[size]
    widths = [spec.embed_dim * 2**stage for stage in range(len(spec.encoder_depths))]
    depths = [2 * depth for depth in spec.encoder_depths]
    return sum(depth * 14 * width**2 for depth, width in zip(depths, widths, strict=True))


def least(found: list[Measurement | str], value: Callable[[Measurement], float]) -> float | None:
    """The least of the rounds' values; of the peak, too, since noise only adds to it."""
    return min((value(one) for one in found if isinstance(one, Measurement)), default=None)


def compare(arguments: argparse.Namespace, device: str) -> list[dict[str, Any]]:
    """All rows on one device."""
    found: dict[str, list[Measurement | str]] = {label: [] for label in rows()}
    chosen = [label for label in found if not arguments.rows or label in arguments.rows]
    for number in range(arguments.rounds):
        for label in chosen:
            need = rows()[label].bytes_per_entry * backbone_entries(arguments.model)
            if need > available(device):
                found[label].append(f"needs about {need / 2**30:.0f} GiB")
                continue
            print(f"\rround {number + 1} of {arguments.rounds}: {label:30}", end="", file=sys.stderr)
            what = (label, arguments.model, device, tuple(arguments.grid), arguments.steps)
            found[label].append(in_process(what, arguments.threads))
    print(file=sys.stderr)
    best = {
        label: {key: least(found[label], lambda one, key=key: getattr(one, key)) for key in KEYS}
        for label in chosen
    }
    nothing = dict.fromkeys(KEYS)
    full, lora = best.get("full AdamW", nothing), best.get("LoRA r=8", nothing)
    dense = best.get("dense SFAS", nothing)
    table = []
    for label, values in best.items():
        mebi = {key: None if values[key] is None else values[key] / MIB for key in ("peak", "files", "state")}
        failure = [one for one in found[label] if isinstance(one, str)]
        table.append(
            {
                "device": device,
                "model": arguments.model,
                "method": label,
                "peak MiB": mebi["peak"],
                "/ LoRA": ratio(values["peak"], lora["peak"]),
                "/ dense": ratio(values["peak"], dense["peak"]),
                "of it files": mebi["files"],
                "state MiB": mebi["state"],
                "step s": values["seconds"],
                "/ full": ratio(values["seconds"], full["seconds"]),
                "dense /": ratio(dense["seconds"], values["seconds"]),
                "CPU s": values["cpu_seconds"],
                "CPU / full": ratio(values["cpu_seconds"], full["cpu_seconds"]),
                "note": failure[0] if failure else "",
            }
        )
    return table


KEYS = tuple(Measurement.__dataclass_fields__)


def main() -> None:
    """Print the table."""
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", choices=SIZES, default="small")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: the CPU and, if any, the GPU")
    parser.add_argument("--grid", type=int, nargs=2, default=(32, 64), metavar=("ROWS", "COLUMNS"))
    parser.add_argument("--steps", type=int, default=10, help="timed steps of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rows", nargs="+", choices=rows(), metavar="ROW", help=f"of {', '.join(rows())}")
    parser.add_argument("--output", type=Path, help="also write a .json or .csv file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    chosen = [arguments.device] if arguments.device else devices
    multiprocessing.get_context("forkserver").set_forkserver_preload(["torch", "aurora", "peft", "zarr"])
    where = machine(chosen)
    print(where)
    table = [line for device in chosen for line in compare(arguments, device)]
    rows_, columns = arguments.grid
    show(f"One training step, Aurora {arguments.model}, {rows_} x {columns}, 4 levels, batch 1", table)
    if arguments.output:
        save(arguments.output, where, table)


if __name__ == "__main__":
    main()
