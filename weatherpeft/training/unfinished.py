"""Unfinished artifacts of trainings: one job at a time writes them, in one process or in several."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from weatherpeft.artifacts import store
from weatherpeft.artifacts.claim import Claim, pauses
from weatherpeft.spec import Spec
from weatherpeft.training.distributed import gather, path_of_first, rank
from weatherpeft.training.interruption import Interrupted, Interruption


def work_directory(work: Path, output: Path, spec: Spec, code: str, inputs: Sequence[Path]) -> Path:
    """Directory of an unfinished artifact.

    Its name is the artifact's, with a digest of everything that the artifact is made from. So a job that is
    tried again finds what it left, and a changed job never does.

    Args:
        work: work directory of the experiment.
        output: final path of the artifact.
        spec: spec of the job.
        code: module name of the stage.
        inputs: artifacts that the job reads, or files in them.
    """
    return work / f"{output.name}-{store.artifact_key(spec, code, inputs)}"


def remove_work(work: Path, output: Path, own: Path | None = None) -> None:
    """Remove all work directories of a complete artifact, including those of changed jobs.

    Args:
        work: work directory of the experiment.
        output: final path of the artifact.
        own: directory that the caller holds. Directories that other living jobs hold stay.
    """
    for directory in work.glob(f"{output.name}-{'[0-9a-f]' * 16}"):
        if directory == own:
            shutil.rmtree(directory)
            continue
        claim = Claim(directory)
        if claim.take():
            with claim:
                shutil.rmtree(directory)


@contextmanager
def working(
    work: Path, output: Path, spec: Spec, code: str, inputs: Sequence[Path], interruption: Interruption
) -> Iterator[Path]:
    """Hold the work directory of an unfinished artifact, and remove it when the artifact is complete.

    While another job trains in the directory, this one waits, up to its time budget.

    Args:
        work: work directory of the experiment.
        output: final path of the artifact.
        spec: spec of the job.
        code: module name of the stage.
        inputs: artifacts that the job reads, or files in them.
        interruption: tells whether to stop waiting.

    Yields:
        The directory; it need not exist.

    Raises:
        AlreadyMadeError: the same artifact is there.
        Interrupted: the job must end while it waits.
    """
    running = work_directory(work, output, spec, code, inputs)
    claim = Claim(running)
    _take(claim, lambda: store.is_made(output, spec, code, inputs), output, interruption)
    with claim if rank() == 0 else nullcontext():
        yield running
        if rank() == 0:
            remove_work(work, output, running)


@contextmanager
def artifact(
    output: Path, spec: Spec, code: str, inputs: Sequence[Path], interruption: Interruption | None = None
) -> Iterator[Path]:
    """An artifact that several processes write together; see ``store.artifact``.

    Args:
        output: final name of the artifact.
        spec: spec that it is made from.
        code: module name of the stage.
        inputs: artifacts, or files in them, that are read.
        interruption: tells whether to stop waiting for another job; by default never.

    Yields:
        The directory to write into, the same in all processes.

    Raises:
        AlreadyMadeError: the same artifact is there.
        Interrupted: the job must end while it waits.
    """
    claim = Claim(output)
    _take(claim, lambda: store.is_made(output, spec, code, inputs), output, interruption or Interruption())
    made = store.artifact(output, spec, code, inputs, claim=claim) if rank() == 0 else nullcontext(output)
    with made as directory:
        yield path_of_first(directory)


def _take(claim: Claim, is_made: Callable[[], bool], output: Path, interruption: Interruption) -> None:
    """Take a claim in the first process, while all processes wait."""
    for pause in pauses():
        taken = rank() == 0 and claim.take()
        taken, stop = map(any, zip(*gather([taken, interruption.reason is not None]), strict=True))
        if taken:
            break
        if stop:
            raise Interrupted(interruption.reason or "another process", f"waiting for {output}")
        time.sleep(pause)
    made = rank() == 0 and is_made()
    if any(made for (made,) in gather([made])):
        if rank() == 0:
            claim.release()
        raise store.AlreadyMadeError(output)
