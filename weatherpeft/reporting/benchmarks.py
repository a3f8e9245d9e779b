"""Time and memory of the workflow's jobs, as Snakemake's benchmark files record them."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """Time and memory of a job.

    Attributes:
        stage: name of the stage.
        label: label of the job, for example ``lora-seed0``; empty if the stage runs once.
        seconds: wall-clock time in seconds; None if it was not measured.
        cpu_seconds: processor time over all cores in seconds; None if it was not measured.
        memory_mb: peak resident memory of the job's processes on the host in MB; None if it was not measured.
    """

    stage: str
    label: str
    seconds: float | None
    cpu_seconds: float | None
    memory_mb: float | None


def read_jobs(folder: Path) -> list[Job]:
    """Every job with a benchmark file ``<stage>-<label>.tsv`` or ``<stage>.tsv``, sorted by file name.

    Raises:
        ValueError: the folder is absent, or a file is not a benchmark file of Snakemake.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder of benchmark files")
    return [_read(path) for path in sorted(folder.glob("*.tsv"))]


def _read(path: Path) -> Job:
    with path.open(newline="", encoding="utf-8") as stream:
        lines = list(csv.DictReader(stream, delimiter="\t"))
    if not lines or any(column not in lines[0] for column in ("s", "max_rss")):
        raise ValueError(f"{path}: not a benchmark file of Snakemake with columns s and max_rss")
    stage, _, label = path.stem.partition("-")
    # A rule that is benchmarked repeatedly has a line for each repetition; the last one counts.
    values = {column: _number(path, lines[-1].get(column)) for column in ("s", "cpu_time", "max_rss")}
    return Job(stage, label, values["s"], values["cpu_time"], values["max_rss"])


def _number(path: Path, text: str | None) -> float | None:
    if text is None or text.strip() in ("", "-", "NA"):
        return None
    try:
        value = float(text)
    except ValueError as error:
        raise ValueError(f"{path}: expected a number, NA or -, found {text!r}") from error
    return value if math.isfinite(value) else None


def duration_text(seconds: float | None) -> str:
    """A time in seconds as text.

    >>> duration_text(4.21), duration_text(125), duration_text(7325), duration_text(None)
    ('4.2 s', '2 min 05 s', '2 h 02 min', '-')
    """
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def memory_text(megabytes: float | None) -> str:
    """An amount of memory in megabytes as text.

    >>> memory_text(812.4), memory_text(2048), memory_text(None)
    ('812 MB', '2.0 GB', '-')
    """
    if megabytes is None:
        return "-"
    return f"{megabytes:.0f} MB" if megabytes < 1024 else f"{megabytes / 1024:.1f} GB"
