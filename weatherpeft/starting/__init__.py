"""A first experiment for files of one's own, as YAML with comments: what `weatherpeft init` writes."""

import glob
import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weatherpeft.checks import checked
from weatherpeft.config_errors import RefusedError
from weatherpeft.starting.found import Found, find
from weatherpeft.starting.grids import Choice, choose
from weatherpeft.starting.periods import Parts, split

FILES = 10
"""From this number of files on, a pattern takes the place of their names, where it stands for no others."""
PLACEHOLDERS = {
    "surface": ("2m_temperature", 280.0),
    "atmospheric": ("temperature", 250.0),
    "static": ("land_sea_mask", 0.0),
}
"""Constant fields, by kind, for data that has none of a kind that the backbone needs."""


@dataclass(frozen=True)
class Schedule:
    """Numbers of steps that fit the number of samples.

    Attributes:
        pretraining: of the pretraining.
        tuning: of each run.
    """

    pretraining: int
    tuning: int

    @classmethod
    def of(cls, samples: int) -> "Schedule":
        """Twenty and ten times through the samples, within what a first look needs."""
        return cls(min(max(20 * samples, 60), 1000), min(max(10 * samples, 40), 250))


def start(paths: Sequence[str], output: Path, force: bool = False) -> list[str]:
    """Write an experiment for some files. What is written passes the checks before a workflow.

    Args:
        paths: GRIB and NetCDF files, folders of nothing else, or glob patterns.
        output: YAML file to write. Its name gives the experiment's.
        force: whether it may be there already.

    Returns:
        Lines about what was chosen, and what to do next.

    Raises:
        ValueError: ``output`` is there, or no experiment can be made of the files. The message names the
            file or what is missing, and nothing is written.
    """
    if output.exists() and not force:
        raise ValueError(f"{output}: is there already; --force writes it anew")
    patterns = [_pattern(path) for path in paths]
    found = find(patterns)
    step = found.step_hours
    history = -(-6 // step) * step
    parts = split(
        found.start, found.end, days=-(-(history + step) // 24), longer=-(-(2 * history + step) // 24)
    )
    choice = choose(found.layout, found.fields)
    samples = parts.train.days * (24 // step) * max(len(found.members), 1)
    text = _text(_collapsed(patterns), output, found, parts, choice, history, Schedule.of(samples))
    _write(text, output)
    return [
        f"{output}: {len(found.variables.channels())} fields of {parts.days} days, every {step} h, "
        f"{choice.input_grid.label} to {choice.target_grid.label}",
        *(f"not taken: {line}" for line in found.left_out),
        f"next: weatherpeft check {output}",
        f"then: snakemake --cores all --configfile {output}",
    ]


def _pattern(path: str) -> str:
    """The glob pattern of a path: of a folder all that is in it."""
    found = Path(path).expanduser()
    if found.is_dir():
        return f"{glob.escape(path.rstrip('/'))}/*"
    return glob.escape(path) if found.exists() else path


def _collapsed(patterns: Sequence[str]) -> list[str]:
    """Many files as one pattern for each folder and ending, where it stands for them and no others."""
    if len(patterns) < FILES:
        return list(patterns)
    wider = dict.fromkeys(str(Path(pattern).parent / f"*{Path(pattern).suffix}") for pattern in patterns)
    matched = {file for pattern in wider for file in glob.glob(pattern)}
    own = {file for pattern in patterns for file in glob.glob(pattern)}
    return list(wider) if matched == own else list(patterns)


def _text(
    patterns: Sequence[str],
    output: Path,
    found: Found,
    parts: Parts,
    choice: Choice,
    history: int,
    schedule: Schedule,
) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["flow"] = _flow
    held = found.variables
    missing = {kind: value for kind, value in PLACEHOLDERS.items() if not getattr(held, kind)}
    return environment.get_template("experiment.yaml.jinja").render(
        name=re.sub(r"[^a-z0-9]+", "_", output.stem.lower()).strip("_")[:100] or "experiment",
        patterns=patterns,
        found=found,
        parts=parts,
        choice=choice,
        history=history,
        schedule=schedule,
        members=f", members: {_flow(found.members)}" if found.members else "",
        placeholders=dict(missing.values()),
        lacking=" and no ".join(missing),
    )


def _flow(value: Any) -> str:
    """A value in one line of YAML, without quotes where YAML needs none."""
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str) and re.fullmatch(r"[a-z_]\w*|\d+[a-z]\w*|\d{4}-\d\d-\d\d", value):
        return value
    return json.dumps(value, ensure_ascii=False)


def _write(text: str, output: Path) -> None:
    """Put a text in place, if the experiment that it is passes the checks."""
    draft = output.with_name(f".{output.name}.{secrets.token_hex(4)}")
    try:
        draft.write_text(text, encoding="utf-8")
        checked([draft])
        draft.replace(output)
    except RefusedError as error:
        lines = (re.sub(rf"^{re.escape(str(draft))}:\d+: ", "", line) for line in error.lines)
        raise ValueError(f"no experiment can be made of the files: {'; '.join(lines)}") from error
    finally:
        draft.unlink(missing_ok=True)
