"""Memory and time of a training step: full AdamW, LoRA, SFAS of this project, SFAS written straight.

    python benchmarks/sparse_tuning.py [--model tiny|small|base] [--device cpu|cuda]

Every row trains the encoder and the decoder too, on the same model and batch of one sample, and has a
process of its own that does what the training loop does in a step.

- Live: the peak of what torch has allocated since the model was built: gradients, activations, optimizer
  state, the method's own parameters, and no weights. On the GPU ``torch.cuda.max_memory_allocated``; on
  the CPU the running sum of the profiler's memory events over attaching and two steps, in a process of its
  own (not for the largest model, whose events would fill the memory).
- RSS: on the CPU, the high-water mark of the resident set (``VmHWM`` in ``/proc/self/status``, reset
  through ``/proc/self/clear_refs`` after a warm-up step) over the timed steps, less the resident set
  after the model was built and had run forward and backward, with what the allocator held back
  returned to the system. It adds to the live memory what the C library's allocator keeps and the resident
  pages of files, which the system may drop at any time; files (SFAS with beta > 0 keeps its Fisher
  information there) also stand in a column of their own, as after the last step.
- State: the optimizer's tensors, AdamW's and the method's.
- Time: mean over the timed steps, the least of the rounds; a step that SFAS refreshes its selection at
  counts with those after it. Rounds go over all rows in turn, so that a disturbance of the machine does
  not fall on one of them. CPU time is summed over all threads.

A row that needs more than 80 % of the free memory, by a rough estimate, is left out and says so.

With ``--profile`` one row takes the timed steps under Python's profiler and a table says where their time
goes: of the functions of this project and of torch's operators that Python calls, *total* with what they
call and *own* without it. The selection runs inside of ``run_backward``. The profiler itself takes time.
"""

import argparse
import cProfile
import ctypes
import gc
import multiprocessing
import os
import pstats
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol, cast
from unittest.mock import patch

import peft  # noqa: F401  # before memory is measured
import torch
from aurora_models import SIZES, build, build_batch, devices, loss, options
from table import machine, ratio, save, show
from torch.profiler import ProfilerActivity, profile

import weatherpeft
from weatherpeft.backbones.aurora.model import AuroraBackbone
from weatherpeft.interfaces import PeftMethod, TuningContext
from weatherpeft.peft.full import Full
from weatherpeft.peft.lora import Lora
from weatherpeft.peft.sfas.fisher_store import write_fisher
from weatherpeft.peft.sfas.spec import Sfas
from weatherpeft.samples.batch import Batch
from weatherpeft.training.freed_memory import give_freed_memory_back
from weatherpeft.training.memory import GIVEN_BACK
from weatherpeft.training.tuning import attach

STEPS_OF_RUN = 1000
"""What the noise anneals over; the first steps of such a run are measured."""
RATE = 1e-5
FRACTION = 0.001
MIB = 2**20
PACKAGE = Path(weatherpeft.__file__).parent
OWN_FOLDERS = (PACKAGE / "peft", PACKAGE / "training", Path(__file__).parent)
"""A profile lists the functions of their modules."""
LEAST_SHARE = 0.02
"""Of the time, for a function to be listed."""
FULL, LORA, DENSE = "full AdamW", "LoRA r=8", "dense SFAS"


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
        gradients = [cast(torch.Tensor, parameter.grad) for parameter in self._pool]
        fisher = torch.cat([gradient.flatten().square() for gradient in gradients])
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
        for gradient, own in zip(gradients, masks, strict=True):
            gradient.mul_(own)
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
        FULL: Row(Full(name="full"), 17),
        LORA: Row(Lora(name="lora", targets=("qkv", "proj", "fc1", "fc2"), biases=False), 5),
        "LoRA r=8, attention": Row(Lora(name="lora", targets=("qkv", "proj"), biases=False), 5),
    }
    for beta in (0.0, 0.9):
        for refresh, suffix in ((1, ""), (10, ", R=10")):
            values: dict[str, Any] = {"fraction": FRACTION, "beta": beta, "refresh": refresh}
            method = Sfas(name="sfas", preset="published", **values)
            found[f"SFAS, beta {beta:g}{suffix}"] = Row(method, 9 if beta else 5)
    found["SFAS, default"] = Row(Sfas(name="sfas", fraction=FRACTION), 5)
    return {**found, DENSE: Row(None, 48)}


@dataclass(frozen=True)
class Measurement:
    """Of one row in one round; bytes and seconds a step."""

    live: float | None
    rss: float | None
    files: float | None
    state: float
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class Case:
    """What a process runs."""

    label: str
    size: str
    device: str
    grid: tuple[int, int]
    steps: int

    @contextmanager
    def start(self) -> Iterator[Callable[[], Training]]:
        """Build the model; what is yielded attaches the method to it."""
        device = torch.device(self.device)
        give_freed_memory_back(GIVEN_BACK)  # as in a training
        model, batch = build(self.size, device), build_batch(*self.grid, device)
        torch.autograd.grad(loss(model, batch), list(model.encoder.parameters()))  # loads what is loaded late
        method = rows()[self.label].method
        with fisher_of(model, method) as fisher:
            gc.collect()
            ctypes.CDLL(None).malloc_trim(0)

            def attach_method() -> Training:
                return (
                    DenseSfas(model, batch) if method is None else OwnTraining(model, batch, method, fisher)
                )

            yield attach_method


def measure(case: Case) -> Measurement:
    """Time and, beside it, memory where this costs no time."""
    cuda = case.device == "cuda"
    wait: Callable[[], object] = torch.cuda.synchronize if cuda else lambda: None
    with case.start() as attach_method:
        start = torch.cuda.memory_allocated() if cuda else resident("VmRSS")
        files = resident("RssFile") + resident("RssShmem")
        training = attach_method()
        training.step(0)
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        else:
            Path("/proc/self/clear_refs").write_text("5")
        wait()
        begin, cpu_begin = time.perf_counter(), time.process_time()
        for number in range(1, 1 + case.steps):
            training.step(number)
        wait()
        seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - cpu_begin
        peak = (torch.cuda.max_memory_allocated() if cuda else resident("VmHWM")) - start
        files = resident("RssFile") + resident("RssShmem") - files
    return Measurement(
        live=float(peak) if cuda else None,
        rss=None if cuda else float(peak),
        files=None if cuda else float(files),
        state=sum(tensor.numel() * tensor.element_size() for tensor in training.state()),
        seconds=seconds / case.steps,
        cpu_seconds=cpu_seconds / case.steps,
    )


def live_peak(case: Case) -> float:
    """Of the CPU, from the profiler, which counts mapped files too: they are taken off again."""
    cpu = [ProfilerActivity.CPU]
    with (
        case.start() as attach_method,
        patch("torch.from_file", wraps=torch.from_file) as from_file,
        profile(activities=cpu, profile_memory=True) as run,
    ):
        training = attach_method()
        for number in range(2):
            training.step(number)
    mapped = sum(call.kwargs["size"] * call.kwargs["dtype"].itemsize for call in from_file.call_args_list)
    events = run.profiler.kineto_results.events()
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    return float(max(accumulate(size for _, size in changes)) - mapped)


def own_module(path: Path) -> str | None:
    """Path of a module in one of ``OWN_FOLDERS``, without its suffix; None for any other file."""
    for folder in OWN_FOLDERS:
        if path.is_relative_to(folder):
            return path.relative_to(folder).with_suffix("").as_posix()
    return None


def time_profile(case: Case) -> list[dict[str, Any]]:
    """What takes a noticeable share of a row's steps, the longest first; calls and milliseconds a step."""
    with case.start() as attach_method:
        training = attach_method()
        training.step(0)
        profiler = cProfile.Profile()
        with profiler:
            for number in range(1, 1 + case.steps):
                training.step(number)
    statistics = pstats.Stats(profiler)
    least = LEAST_SHARE * statistics.total_tt  # type: ignore[attr-defined]
    per_step = 1000 / case.steps
    found = []
    for (file, _, name), (_, calls, own, total, _) in statistics.stats.items():  # type: ignore[attr-defined]
        where = own_module(Path(file)) or ("torch" if "torch" in name else None)
        if where and total >= least:
            found.append(
                {
                    "where": where,
                    "function": name.removeprefix("<").removesuffix(">"),
                    "calls": calls / case.steps,
                    "total ms": total * per_step,
                    "own ms": own * per_step,
                }
            )
    return sorted(found, key=lambda row: -row["total ms"])


def resident(key: str) -> int:
    """Bytes of this process, by a key of Linux's ``/proc/self/status``."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"/proc/self/status has no {key}")


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


def in_process(function: Callable[[Case], Any], case: Case, threads: int) -> Any:
    """A function's value from a new process, or a text that says what went wrong."""
    context = multiprocessing.get_context("forkserver")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(sender, function, case, threads))
    process.start()
    sender.close()
    try:
        found = receiver.recv()
    except EOFError:
        found = "ended without a result"
    process.join()
    return found


def _child(sender: Connection, function: Callable[[Case], Any], case: Case, threads: int) -> None:
    torch.set_num_threads(threads)
    try:
        sender.send(function(case))
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


@dataclass
class Results:
    """Of one row, over the rounds."""

    measurements: list[Measurement]
    live: float | None = None
    note: str = ""

    def least(self, key: str) -> float | None:
        """Of all rounds, since what disturbs a measurement adds to it."""
        values = [getattr(one, key) for one in self.measurements]
        found = [value for value in (*values, self.live if key == "live" else None) if value is not None]
        return min(found, default=None)


def measure_all(arguments: argparse.Namespace, device: str) -> dict[str, Results]:
    """All rows on one device."""
    found = {label: Results([]) for label in rows() if not arguments.rows or label in arguments.rows}
    for number in range(arguments.rounds):
        for label, results in found.items():
            need = rows()[label].bytes_per_entry * backbone_entries(arguments.model)
            if need > 0.8 * available(device):
                results.note = f"needs about {need / 2**30:.0f} GiB"
                continue
            print(f"{device}, round {number + 1} of {arguments.rounds}: {label}", file=sys.stderr)
            case = Case(label, arguments.model, device, tuple(arguments.grid), arguments.steps)
            one = in_process(measure, case, arguments.threads)
            if isinstance(one, str):
                results.note = one
                continue
            results.measurements.append(one)
            if number == 0 and device == "cpu" and arguments.model != "base":
                live = in_process(live_peak, case, arguments.threads)
                results.live = None if isinstance(live, str) else live
    return found


def lines(found: dict[str, Results], device: str) -> list[dict[str, Any]]:
    """Of the table."""

    def mebi(label: str, key: str) -> float | None:
        value = found[label].least(key)
        return None if value is None else value / MIB

    def compare(label: str, other: str, key: str) -> float | None:
        return ratio(found[label].least(key), found[other].least(key)) if other in found else None

    return [
        {
            "device": device,
            "method": label,
            "live MiB": mebi(label, "live"),
            "/LoRA": compare(label, LORA, "live"),
            "/dense": compare(label, DENSE, "live"),
            "RSS MiB": mebi(label, "rss"),
            "RSS/LoRA": compare(label, LORA, "rss"),
            "RSS/dense": compare(label, DENSE, "rss"),
            "files MiB": mebi(label, "files"),
            "state MiB": mebi(label, "state"),
            "step s": results.least("seconds"),
            "/full": compare(label, FULL, "seconds"),
            "dense/": compare(DENSE, label, "seconds") if DENSE in found else None,
            "CPU s": results.least("cpu_seconds"),
            "CPU/full": compare(label, FULL, "cpu_seconds"),
            "note": results.note,
        }
        for label, results in found.items()
    ]


def main() -> None:
    """Print the table."""
    parser = options(__doc__, grid=(32, 64))
    parser.add_argument("--steps", type=int, default=10, help="timed steps of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", nargs="+", choices=rows(), metavar="ROW", help=f"of {', '.join(rows())}")
    parser.add_argument("--profile", choices=rows(), metavar="ROW", help="only where the time of a row goes")
    arguments = parser.parse_args()
    chosen = devices(arguments)
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler's own messages
    multiprocessing.get_context("forkserver").set_forkserver_preload(["torch", "aurora", "peft", "zarr"])
    where = machine(chosen)
    print(where)
    rows_, columns = arguments.grid
    title = f"One training step, Aurora {arguments.model}, {rows_} x {columns}, 4 levels, batch 1"
    if arguments.profile:
        title += f": {arguments.profile}"
        case = Case(arguments.profile, arguments.model, chosen[0], (rows_, columns), arguments.steps)
        table = in_process(time_profile, case, arguments.threads)
    else:
        table = [line for device in chosen for line in lines(measure_all(arguments, device), device)]
    show(title, table)
    if arguments.output:
        save(arguments.output, where, table)


if __name__ == "__main__":
    main()
