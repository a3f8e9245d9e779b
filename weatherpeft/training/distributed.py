"""Training in several processes, one per GPU: their ranks, and sums and means over all of them.

``torchrun`` starts the processes and sets the rank of each in its environment. A process that it has not
started is alone. Then everything here leaves its arguments as they are, so that there is one code path.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from itertools import groupby
from pathlib import Path

import torch
import torch.distributed as distributed
from torch import nn

from weatherpeft.peft.adapters.ranks import several_ranks

TIMEOUT = timedelta(minutes=15)
"""Longest time that a process waits for the others, for example while the first writes a checkpoint."""
BUCKET_BYTES = 2**25
"""Size of the gradients that are sent together."""
_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Integer types by the number of bytes per entry."""


@contextmanager
def process_group() -> Iterator[torch.device]:
    """Join the other processes that torchrun has started. Only the first one logs progress.

    Yields:
        This process's device: its own GPU, or the CPU if there is none.

    Raises:
        ValueError: this node has fewer GPUs than processes.
    """
    local = int(os.environ.get("LOCAL_RANK", 0))
    if torch.cuda.is_available():
        if local >= torch.cuda.device_count():
            raise ValueError(
                f"found {torch.cuda.device_count()} GPUs, expected one for each process of this node; "
                f"this one has LOCAL_RANK {local}"
            )
        torch.cuda.set_device(local)
    device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield device
        return
    # Small sums lie on the CPU, whatever the device.
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=TIMEOUT)
    if rank():
        logging.getLogger("weatherpeft").setLevel(logging.WARNING)
    yield device
    # Not after an error: the others may never come, and see this process end.
    wait_for_all()
    distributed.destroy_process_group()


def rank() -> int:
    """This process's number. Number 0 writes what the processes share."""
    return distributed.get_rank() if several_ranks() else 0


def ranks() -> int:
    """Number of processes."""
    return distributed.get_world_size() if several_ranks() else 1


def wait_for_all() -> None:
    """Wait until every process has reached this call."""
    sum_over_ranks(torch.zeros(1))


def path_of_first(path: Path) -> Path:
    """The path of the first process, in every process."""
    values = [path]
    if several_ranks():
        distributed.broadcast_object_list(values, src=0)
    return values[0]


def sum_over_ranks(values: torch.Tensor) -> torch.Tensor:
    """Sum over the processes, in place. All of them get the same bits."""
    if several_ranks():
        distributed.all_reduce(values)
    return values


def gather(values: Sequence[float]) -> list[list[float]]:
    """Numbers of every process, equally many of each, by process."""
    table = torch.zeros(ranks(), len(values), dtype=torch.float64)
    table[rank()] = torch.tensor(values, dtype=torch.float64)
    return sum_over_ranks(table).tolist()


@torch.no_grad()
def check_same(what: str, number: int, tensors: Sequence[torch.Tensor]) -> None:
    """Check that all processes hold the same number and the same bits, by the sum of the bits as integers.

    Raises:
        ValueError: they do not; the message begins with ``what``.
    """
    if not several_ranks():
        return
    total = torch.zeros((), dtype=torch.int64)
    for tensor in tensors:
        total += tensor.view(_INTEGERS[tensor.element_size()]).sum().cpu()
    table = torch.zeros(ranks(), 2, dtype=torch.int64)
    table[rank(), 0], table[rank(), 1] = number, total
    found = sum_over_ranks(table)
    if not bool((found == found[0]).all()):
        raise ValueError(f"{what} differs between processes: found {found.tolist()}, expected equal rows")


class GradientMean:
    """Averages gradients over the processes during the backward pass.

    Parameters share buckets in reverse order, which is about the order in which their gradients arrive. A
    bucket is sent when it and all buckets before it are full. So every process sends the same buckets in the
    same order, in each run. A bucket becomes the memory of its gradients, so that none is held twice. All
    processes must reach the same parameters. Parameters that a step does not reach get no gradient.

    There are three differences to DistributedDataParallel. The order of the sums does not depend on earlier
    steps, so that a resumed training sums in the same order. Parameters whose gradients are consumed in hooks
    are left alone. The model needs no wrapper.

    Args:
        parameters: parameters that require a gradient.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self._buckets: list[list[nn.Parameter]] = []
        self._next = 0
        self._sent: list[tuple[torch.Tensor, distributed.Work]] = []
        self._missing: list[set[nn.Parameter]] | None = None
        if not several_ranks():
            return
        for _, same in groupby(reversed(parameters), key=lambda parameter: parameter.dtype):
            size = BUCKET_BYTES
            for parameter in same:
                if size >= BUCKET_BYTES:
                    self._buckets.append([])
                    size = 0
                self._buckets[-1].append(parameter)
                size += parameter.nbytes
        for number, bucket in enumerate(self._buckets):
            for parameter in bucket:
                parameter.register_post_accumulate_grad_hook(partial(self._arrived, number))

    def expect(self) -> None:
        """Announce that the next backward pass is the last of its step, and completes the gradients."""
        self._missing = [set(bucket) for bucket in self._buckets]

    def finish(self) -> None:
        """Wait until every gradient is the mean. Call this once per step, after its last backward pass."""
        while self._next < len(self._buckets):
            self._send()
        for values, work in self._sent:
            work.wait()
            values /= ranks()
        self._next, self._sent, self._missing = 0, [], None

    def _arrived(self, number: int, parameter: nn.Parameter) -> None:
        if self._missing is None:
            return
        self._missing[number].discard(parameter)
        while self._next < len(self._buckets) and not self._missing[self._next]:
            self._send()

    @torch.no_grad()
    def _send(self) -> None:
        """Send the next bucket."""
        bucket = self._buckets[self._next]
        self._next += 1
        gradients = {p: p.grad.reshape(-1) for p in bucket if p.grad is not None}
        if not gradients:
            return
        values = torch.cat(list(gradients.values()))
        for parameter, part in zip(
            gradients, values.split([len(g) for g in gradients.values()]), strict=True
        ):
            parameter.grad = part.view_as(parameter)
        work = distributed.all_reduce(values, async_op=True)
        assert work
        self._sent.append((values, work))
