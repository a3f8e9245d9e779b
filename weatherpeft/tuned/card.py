"""The model card of a tuned model."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from weatherpeft.artifacts.manifest import checked
from weatherpeft.artifacts.store import read_provenance
from weatherpeft.fields.variables import VariableSet
from weatherpeft.tuned.config import AdapterConfig
from weatherpeft.tuned.names import ENDS

if TYPE_CHECKING:
    from weatherpeft.tuned.parts import Parts

_SCORES, _DIFFERENCES, _ALL = "scores.csv", "differences.csv", "all"
UNKNOWN = "No scores were found beside the run."


def scores_of(report: Path, label: str) -> str:
    """A table of a run's scores, with its differences to the reference where there are some.

    Args:
        report: artifact of the report stage.
        label: label of the run.

    Raises:
        DamagedError: a table is not as it was written.
    """
    if not (report / _SCORES).is_file():
        return UNKNOWN
    rows = [row for row in _rows(report / _SCORES) if row["run"] == label]
    if not rows:
        return UNKNOWN
    fields: dict[str, dict[str, str]] = {}
    for row in rows:
        value = f"{float(row['value']):.4g} {row['units']}".strip()
        fields.setdefault(row["channel"], {})[row["score"]] = value
    compared: dict[str, str] = {}
    score = ""
    if (report / _DIFFERENCES).is_file():
        for row in _rows(report / _DIFFERENCES):
            if row["run"] == rows[0]["name"]:
                low, high = float(row["percent_lower"]), float(row["percent_upper"])
                score = row["score"].upper()
                compared[row["field"]] = f"{float(row['percent']):+.2f} % ({low:+.2f} to {high:+.2f})"
    scores = list(next(iter(fields.values())))
    heads = [
        "field",
        *scores,
        *([f"{score} against {_reference(report)}, 95 % interval"] if compared else []),
    ]
    lines = [heads, ["---"] * len(heads)]
    for field, values in fields.items():
        difference = [compared.get(field, "")] if compared else []
        lines.append([field, *(values.get(score, "") for score in scores), *difference])
    if whole := compared.get(_ALL):
        lines.append(["all fields", *("" for _ in scores), whole])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _reference(report: Path) -> str:
    """What the runs of a report are compared with."""
    spec = read_provenance(report)["spec"]
    everything = next((run["name"] for run in spec["runs"] if run["reference"]), "")
    return f"`{spec['reference'] or everything}`"


def _rows(path: Path) -> Iterable[dict[str, str]]:
    with checked(path).open(newline="", encoding="utf-8") as stream:
        yield from csv.DictReader(stream)


def model_card(parts: "Parts", scores: str) -> str:
    """The card in Markdown: what the model is, reads and predicts, its scores, its sizes and how to use it.

    Args:
        parts: the tuned model.
        scores: text about its scores; empty where they are not known.
    """
    own, model = parts.config, parts.config.model
    measured, window = model.fields.measured, model.task.window
    base = "random weights; it has none" if own.base is None else f"`{own.base}`"
    repository = own.base.repository if own.base else ""
    data = "a simulated planet: the model knows nothing of the Earth" if own.synthetic else own.source
    inputs = ", ".join(f"{hours:+d} h" for hours in window.input_hours)
    leads = ", ".join(f"{hours:+d} h" for hours in window.target_hours)
    size = {False: 0, True: 0}
    for name, tensor in parts.tensors.items():
        size[name.startswith(ENDS)] += tensor.nbytes
    head = [
        "---",
        "library_name: weatherpeft",
        *([f"base_model: {repository}"] if repository else []),
        "tags: [weather, peft, weatherpeft]",
        "---",
    ]
    return "\n".join(
        [
            *head,
            "",
            f"# {own.label} of {own.experiment}",
            "",
            f"{model.backbone.name.capitalize()}, tuned by {' + '.join(each.name for each in model.methods)} "
            f"for the task {model.task.name}, with weatherpeft {own.version}.",
            "",
            f"- **Pretrained weights:** {base}. They are not in this folder.",
            f"- **Trained on:** {data}, {', '.join(own.trained_on)}.",
            f"- **Reads:** {_listed(measured)}, at {inputs} from the time of a sample, on the grid "
            f"{window.input_grid.label}; raw fields are regridded ({own.regridding}).",
            f"- **Predicts:** {_listed(model.task.predicted(measured))}, at {leads}, on the grid "
            f"{window.target_grid.label}.",
            f"- **Trained at a step:** {own.counts['trainable_backbone']:,} parameters between encoder and "
            f"decoder, {own.counts['trainable_total']:,} with them.",
            f"- **Size:** {size[False]:,} bytes in the methods, {size[True]:,} bytes in encoder and decoder.",
            "- **License:** state it here; it can be no wider than those of pretrained weights and data.",
            "",
            "## Scores",
            "",
            scores or UNKNOWN,
            "",
            "## Use",
            "",
            *_use(own),
            "",
        ]
    )


def _use(own: AdapterConfig) -> list[str]:
    given = own.base is not None and not own.base.repository
    python, shell = (', base="pretrained.ckpt"', " --base pretrained.ckpt") if given else ("", "")
    return [
        "```python",
        "import weatherpeft",
        "import xarray as xr",
        "",
        f'tuned = weatherpeft.load("FOLDER"{python})',
        'forecast = tuned.predict(xr.open_dataset("today.nc"))',
        "```",
        "",
        f"    weatherpeft apply --adapter FOLDER --input today.grib --output forecast.zarr{shell}",
        "",
        "`adapter_config.json` has the checksums of all files; `weatherpeft.load` compares them.",
    ]


def _listed(variables: VariableSet) -> str:
    upper = ", ".join(variables.atmospheric)
    levels = ", ".join(map(str, variables.levels_hpa))
    parts = [", ".join(variables.surface), f"{upper} at {levels} hPa" if upper else ""]
    return "; ".join(part for part in parts if part)
