"""Training in several processes, one a GPU: who is here, and sums and means over all of them.

``torchrun`` starts the processes and tells each its place in the environment. A process that it has
not started is alone, and everything here is then an identity: there is one code path.
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
"""How long a process waits for the others, the first one's writing of a checkpoint included."""
BUCKET_BYTES = 2**25
"""Gradients that travel together."""
_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""By bytes an entry."""


@contextmanager
def process_group() -> Iterator[torch.device]:
    """Join the processes that torchrun has started with this one; only the first one logs progress.

    Yields:
        This process's device: the GPU of its own, or the CPU where there is none.

    Raises:
        ValueError: fewer GPUs than processes on this node.
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
    """This process's number; the first, 0, writes what is shared."""
    return distributed.get_rank() if several_ranks() else 0


def ranks() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if several_ranks() else 1


def wait_for_all() -> None:
    """Go on when every process has come here."""
    sum_over_ranks(torch.zeros(1))


def path_of_first(path: Path) -> Path:
    """The first process's path, on all of them."""
    values = [path]
    if several_ranks():
        distributed.broadcast_object_list(values, src=0)
    return values[0]


def sum_over_ranks(values: torch.Tensor) -> torch.Tensor:
    """A sum over the processes, in place and the same bits on all of them."""
    if several_ranks():
        distributed.all_reduce(values)
    return values


def gather(values: Sequence[float]) -> list[list[float]]:
    """Equally many numbers of every process, by process."""
    table = torch.zeros(ranks(), len(values), dtype=torch.float64)
    table[rank()] = torch.tensor(values, dtype=torch.float64)
    return sum_over_ranks(table).tolist()


@torch.no_grad()
def check_same(what: str, number: int, tensors: Sequence[torch.Tensor]) -> None:
    """Whether all processes hold the same number and the same bits, by the sum of their integers.

    Raises:
        ValueError: they do not; ``what`` begins the message.
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
    """Averages gradients over the processes while the backward pass goes on.

    Parameters share buckets in the reverse of their order, about that in which the gradients arrive. A
    bucket is sent when it and all buckets before it are full, so that every process sends the same
    ones in the same order, in each run. It becomes the memory of its gradients: none is held twice. All
    processes must reach the same parameters; those that a step does not reach keep no gradient.

    Unlike DistributedDataParallel it does not depend on what an earlier step has done, so that a resumed
    training sums in the same order, it leaves the parameters that hand their gradients on in hooks of
    their own alone, and it needs no wrapper around the model.

    Args:
        parameters: that require a gradient.
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
        """The next backward pass is the last of its step: its gradients are complete."""
        self._missing = [set(bucket) for bucket in self._buckets]

    def finish(self) -> None:
        """Wait until every gradient is the mean; to be called once a step, after its last backward pass."""
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
