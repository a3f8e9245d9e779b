"""Text and numbers for the template of the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from weatherpeft.fields.grid import Grid
from weatherpeft.fields.variables import FieldSet, Variable
from weatherpeft.reporting.benchmarks import Job, duration_text, memory_text
from weatherpeft.reporting.choices import NOTE, Choice
from weatherpeft.reporting.comparison import Compared
from weatherpeft.reporting.figures import Image, pretty_units
from weatherpeft.reporting.scores import (
    Channel,
    Row,
    best_baseline,
    difference_percent,
    full_tuning,
    headline,
    ordered,
    random_starts,
)
from weatherpeft.reporting.section import Section
from weatherpeft.reporting.table import count_text, decimals, percent_text


@dataclass(frozen=True)
class Figures:
    """Images that every report has.

    Attributes:
        maps: one image for each field that is shown.
        maps_caption: caption of the maps.
        training: losses of the trainings.
        cost: scores against what they cost; None where nothing is compared.
        budget: where methods that choose at each step what they update have spent their updates.
        overlap: how much of it the pretrained model's Fisher information would have chosen; empty if unknown.
    """

    maps: list[Image]
    maps_caption: str
    training: Image
    cost: Image | None
    budget: Sequence[Image]
    overlap: str


def render(
    experiment: str,
    synthetic: bool,
    facts: Sequence[tuple[str, str]],
    fields: FieldSet,
    rows: Sequence[Row],
    channels: Sequence[Channel],
    grid: Grid,
    figures: Figures,
    sections: Sequence[Section],
    compared: Compared | None,
    choices: Sequence[Choice],
    timed: bool,
    artifacts: Sequence[dict[str, str]],
    packages: dict[str, str],
) -> str:
    """The page as self-contained HTML, which depends on the artifacts alone.

    Args:
        experiment: name of the experiment.
        synthetic: whether the data is simulated.
        facts: description of the experiment as names and texts.
        fields: variables of the samples and declared constant fields.
        rows: methods and baselines.
        channels: fields of the rows' scores.
        grid: grid of the scores.
        figures: images that every report has.
        sections: sections that only some experiments have.
        compared: all methods and baselines against one of them; None if there is no reference.
        choices: choices among candidates of runs.
        timed: whether a page of times exists.
        artifacts: ``name``, ``code``, ``spec`` and ``digest`` of every artifact that was read.
        packages: package versions by name.
    """
    rows = ordered(rows, channels)
    contents = [(section.template, section.content(rows, channels, grid)) for section in sections]
    return _render(
        "page.html.jinja",
        experiment=experiment,
        synthetic=synthetic,
        facts=facts,
        placeholders=[_placeholder(fields.row(name), value) for name, value in fields.placeholders.items()],
        table=_score_table(rows, channels),
        sections=[{"template": name, "content": content} for name, content in contents if content],
        channel_tables=[_channel_table(rows, channels, score) for score in ("rmse", "bias")],
        comparisons=[_comparison(*pair, channels) for pair in random_starts(rows)],
        figures=figures,
        compared=compared,
        choices=choices,
        choices_note=NOTE,
        timed=timed,
        artifacts=artifacts,
        packages=packages,
    )


def render_times(experiment: str, jobs: Sequence[Job], run_labels: Sequence[str], cost: Image | None) -> str:
    """A page of the time and memory of the jobs, which differ from run to run.

    Args:
        experiment: name of the experiment.
        jobs: time and memory of each job.
        run_labels: labels of the fine-tuning jobs.
        cost: scores against time and memory; None where nothing is compared.
    """
    tables = _job_tables(jobs, run_labels)
    return _render("times.html.jinja", experiment=experiment, jobs=tables, cost=cost)


_PARTS = ("base.html.jinja", "macros.html.jinja")
"""Parts of the templates. They are named here to count as code (see ``artifacts.fingerprint``)."""


def _render(template: str, **values: Any) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    own = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader([own, own / "sections"]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


def _placeholder(variable: Variable, value: float) -> str:
    units = "" if variable.units == "1" else f" {pretty_units(variable.units)}"
    return f"{variable.long_name} ({variable.name} = {value:g}{units})"


def _score_table(rows: Sequence[Row], channels: Sequence[Channel]) -> dict[str, Any]:
    shown, full, baseline = headline(channels), full_tuning(rows), best_baseline(rows)
    columns = [
        _column([row.rmse for row in rows], [row.rmse_spread for row in rows], channels, i) for i in shown
    ]
    lines = []
    for number, row in enumerate(rows):
        relative = difference_percent(row, full) if full else None
        cells = []
        for index, column in zip(shown, columns, strict=True):
            cell = dict(column[number])
            cell["relative"] = "" if relative is None or row is full else _signed(relative[index])
            cells.append(cell)
        better = ""
        if baseline is not None and row.kind == "method":
            better = f"{int((row.rmse < baseline).sum())} of {len(channels)}"
        lines.append(
            {
                "row": row,
                "backbone": count_text(row.trainable_backbone),
                "total": count_text(row.trainable_total),
                "cells": cells,
                "better": better,
            }
        )
    return {
        "heads": [_head(channels[index]) for index in shown],
        "lines": lines,
        "relative": full is not None,
        "seeds": sorted({row.seeds for row in rows if row.kind == "method"}),
        "better": baseline is not None,
    }


def _head(channel: Channel) -> dict[str, str]:
    return {"label": channel.label, "units": pretty_units(channel.display[1]), "title": channel.long_name}


def _column(
    means: Sequence[np.ndarray], spreads: Sequence[np.ndarray | None], channels: Sequence[Channel], index: int
) -> list[dict[str, Any]]:
    """Cells of one field's RMSE: the text, the spread over seeds and whether it is the best."""
    factor = channels[index].display[0]
    values = factor * np.array([mean[index] for mean in means])
    places = decimals(values)
    return [
        {
            "text": f"{value:.{places}f}",
            "spread": "" if spread is None else f"{factor * spread[index]:.{places}f}",
            "best": bool(value == values.min()),
        }
        for value, spread in zip(values, spreads, strict=True)
    ]


def _signed(value: float) -> str:
    return percent_text(value).replace("-", "−").replace("%", " %")


def _channel_table(rows: Sequence[Row], channels: Sequence[Channel], score: str) -> dict[str, Any]:
    lines = []
    for index, channel in enumerate(channels):
        factor, units = channel.display
        values = factor * np.array([getattr(row, score)[index] for row in rows])
        places = decimals(np.abs(values))
        nearest = np.abs(values).min()
        cells = [(f"{v:.{places}f}".replace("-", "−"), bool(abs(v) == nearest)) for v in values]
        line = {"name": channel.long_name, "label": channel.label, "units": pretty_units(units)}
        lines.append({**line, "cells": cells})
    title = {"rmse": "Latitude-weighted RMSE", "bias": "Bias (prediction − target, area-weighted)"}[score]
    return {"title": title, "names": [row.name for row in rows], "lines": lines}


def _comparison(pretrained: Row, random: Row, channels: Sequence[Channel]) -> dict[str, Any]:
    """Comparison of the same method from pretrained and from random weights."""
    pair, shown = (pretrained, random), headline(channels)
    columns = [
        _column([row.rmse for row in pair], [row.rmse_spread for row in pair], channels, i) for i in shown
    ]
    difference = difference_percent(pretrained, random)
    lower = int((pretrained.rmse < random.rmse).sum())
    known = difference[np.isfinite(difference)]
    median = _signed(float(np.median(known))) if known.size else "-"
    seeds = min(row.seeds for row in pair)
    return {
        "name": pretrained.name,
        "heads": [_head(channels[index]) for index in shown],
        "lines": [
            {"name": f"{row.name} ({row.start} weights)", "cells": [column[number] for column in columns]}
            for number, row in enumerate(pair)
        ],
        "difference": [_signed(difference[index]) for index in shown],
        "statement": (
            f"From pretrained weights, {pretrained.name} has a lower RMSE than from random weights "
            f"in {lower} of {len(channels)} fields; the median difference over all fields is {median}."
        ),
        "caution": "One seed each: the spread between seeds is not known." if seeds == 1 else "",
    }


def _job_tables(jobs: Sequence[Job], run_labels: Sequence[str]) -> dict[str, Any]:
    def line(job: Job | None, stage: str, label: str) -> dict[str, str]:
        seconds, cpu, memory = (job.seconds, job.cpu_seconds, job.memory_mb) if job else (None, None, None)
        return {
            "stage": stage,
            "label": label,
            "time": duration_text(seconds),
            "cpu": duration_text(cpu),
            "memory": memory_text(memory),
        }

    training = {job.label: job for job in jobs if job.stage == "finetune"}
    total = sum(job.seconds for job in jobs if job.seconds is not None)
    return {
        "runs": [line(training.get(label), "finetune", label) for label in run_labels],
        "all": [line(job, job.stage, job.label) for job in jobs],
        "total": duration_text(total),
    }
