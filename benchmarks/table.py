"""One aligned table: printed, and written to a file."""

import csv
import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def machine(devices: Sequence[str]) -> str:
    """What was measured on: processor, threads, accelerator, versions."""
    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    parts = [f"{processor}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"]
    if "cuda" in devices:
        parts.append(torch.cuda.get_device_name())
    parts.append(f"torch {torch.__version__}, microsoft-aurora {version('microsoft-aurora')}")
    return "; ".join(parts)


def show(title: str, rows: Sequence[dict[str, Any]], digits: int = 3) -> None:
    """Print rows with the same keys under these as headings."""
    print(f"\n{title}")
    cells = [list(rows[0]), *([_text(value, digits) for value in row.values()] for row in rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    left = [not isinstance(value, float | int | None) for value in rows[0].values()]
    for line in cells:
        padded = (
            cell.ljust(width) if is_text else cell.rjust(width)
            for cell, width, is_text in zip(line, widths, left, strict=True)
        )
        print("  ".join(padded).rstrip())


def save(path: Path, machine: str, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows as JSON or, where the name ends with ``.csv``, as CSV with the machine as a column."""
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, ["machine", *rows[0]])
            writer.writeheader()
            writer.writerows({"machine": machine, **row} for row in rows)
    else:
        path.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n", encoding="utf-8")


def ratio(one: float | None, other: float | None) -> float | None:
    """Their quotient, where both were measured."""
    return one / other if one is not None and other else None


def _text(value: Any, digits: int) -> str:
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 10 ** (digits - 1) else f"{value:#.{digits}g}"
