"""Stage ``report``: pages, a table and a text that compare the runs of an experiment."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from weatherpeft.artifacts import store
from weatherpeft.fields.regions import NamedRegion
from weatherpeft.fields.variables import FieldSet
from weatherpeft.samples.ensemble_window import AnyWindow
from weatherpeft.samples.splits import Split
from weatherpeft.spec import Seed, Spec
from weatherpeft.verification.scoring import AnyScoring

if TYPE_CHECKING:
    from weatherpeft.reporting.figures import Curve
    from weatherpeft.reporting.scores import Channel, Entry, Row
    from weatherpeft.reporting.section import Section
    from weatherpeft.samples.frames import SampleFrames

TIMES = "times.html"


class ReportedRun(Spec):
    """A fine-tuning run, as the report names it."""

    label: str
    """Folder name of its artifacts, for example ``lora-seed0``."""
    name: str
    """Name of its row in the tables; runs with the same name differ only by their seed."""
    seed: Seed
    """Seed of the run."""
    start: Literal["pretrained", "random"]
    """Weights that the run started from."""
    candidates: tuple[dict[str, Any], ...] = Field(default=(), exclude_if=lambda candidates: not candidates)
    """Of every candidate of the run the hyperparameters that the candidates do not share."""
    reference: bool = False
    """Whether it tunes all parameters, so that others are compared with it."""


class ReportSpec(Spec):
    """Runs, baselines and samples that the report compares."""

    experiment: str
    """Name of the experiment."""
    source: str
    """Name of the data source."""
    synthetic: bool = False
    """Whether the data is simulated, so that scores say nothing about the Earth."""
    fields: FieldSet
    """Variables of the samples and declared placeholders."""
    window: AnyWindow
    """Frames and grids of a sample."""
    scoring: AnyScoring
    """Fields, grid and lead times that are scored."""
    baselines: tuple[str, ...]
    """Names of the baselines that the runs are compared with."""
    runs: tuple[ReportedRun, ...]
    """Fine-tuning runs, in the order of the experiment."""
    test: Split
    """Samples that are scored and shown."""
    sections: tuple[str, ...] = ()
    """Names of the sections that the task asks for."""
    regions: dict[str, NamedRegion] = Field(default={}, exclude_if=lambda regions: not regions)
    """Parts of the grid that are scored in addition to the whole, by name."""
    reference: str | None = None
    """Run or baseline that all others are compared with; by default the first run that tunes everything."""


def report(
    spec: ReportSpec,
    data: Sequence[Path],
    scores: Sequence[Path],
    predictions: Sequence[Path],
    runs: Sequence[Path],
    output: Path,
    benchmarks: Path | None = None,
    pretrained: Path | None = None,
    forecasts: Sequence[Path] = (),
    fisher: Path | None = None,
) -> None:
    """Compare the runs of an experiment on a page, in a table and in a text.

    Args:
        spec: the experiment's runs, baselines and test split.
        data: artifacts of the regrid stage that cover the test split.
        scores: artifacts of the evaluate stage, in folders named by run label or baseline.
        predictions: artifacts of the predict and baseline stages, in folders named by run label or baseline.
        runs: artifacts of the finetune stage, in folders named by run label.
        output: artifact with ``report.html``, the tidy ``scores.csv``, the text ``scores.txt`` and figures as
            PNG. If the runs are compared with one of them or a baseline, it holds ``differences.csv`` too.
            If times of jobs were recorded, it holds ``times.html``, which the artifact's digest leaves out.
        benchmarks: folder of Snakemake's benchmark files, ``<stage>-<label>.tsv`` or ``<stage>.tsv``.
        pretrained: artifact of the pretrain stage, if the experiment has its own pretraining.
        forecasts: artifacts of the regrid stage with the test forecasts, if the task corrects forecasts.
        fisher: artifact of the fisher stage, if a run needed it. The page then says how much of what SFAS
            touched it would have chosen.

    Raises:
        ValueError: an artifact is missing, unknown or incomplete, or scores are of other fields or times than
            those of the test split. The message names the path.

    Example:
        weatherpeft report --spec @report.json --data results/test/regridded/20030115-20030116
            --scores results/test/scores/interpolation results/test/scores/regression
            results/test/scores/full-seed0 results/test/scores/weatherpeft-seed0
            --predictions results/test/predictions/interpolation results/test/predictions/regression
            results/test/predictions/full-seed0 results/test/predictions/weatherpeft-seed0
            --runs results/test/runs/full-seed0 results/test/runs/weatherpeft-seed0
            --pretrained results/test/pretrained --fisher results/test/fisher
            --benchmarks results/test/benchmarks --output results/test/report
    """
    from weatherpeft.reporting import budget, costs, figures, page, pareto, table
    from weatherpeft.reporting.benchmarks import read_jobs
    from weatherpeft.reporting.choices import Choice
    from weatherpeft.reporting.comparison import compare_with
    from weatherpeft.reporting.facts import facts, title
    from weatherpeft.reporting.provenance import digests, packages, short_name
    from weatherpeft.reporting.sample_maps import sample_maps
    from weatherpeft.reporting.scores import featured, rows_of, scored_channels
    from weatherpeft.reporting.sections import sections_of

    labels = [run.label for run in spec.runs]
    scores_of = _by_label("scores", scores, [*spec.baselines, *labels])
    predictions_of = _by_label("predictions", predictions, [*spec.baselines, *labels])
    runs_of = _by_label("finetune artifact", runs, labels)
    channels = scored_channels(spec.scoring.fields(), spec.scoring.lead_hours, spec.scoring.define)
    sections = sections_of(spec.sections, spec.regions)
    choices = [
        Choice.of(run.name, run.candidates, store.read_provenance(runs_of[run.label]))
        for run in spec.runs
        if "validation_loss" in store.read_provenance(runs_of[run.label])
    ]
    samples = spec.window.frames(spec.fields, data, spec.test, forecasts)
    entries = _entries(spec, channels, sections, samples, scores_of, runs_of)
    rows = rows_of(entries)
    reference = _reference(spec)
    compared = compare_with(reference, entries, channels, scores_of) if reference else None
    costs_of = {
        name: costs.read_costs([runs_of[run.label] for run in spec.runs if run.name == name])
        for name in dict.fromkeys(run.name for run in spec.runs)
    }
    pretrained_runs = {run.name: costs_of[run.name] for run in spec.runs if run.start == "pretrained"}
    points = costs.points(compared, pretrained_runs) if compared else []
    first = {run.name: runs_of[run.label] for run in reversed(spec.runs)}
    first = {name: first[name] for name in costs_of}
    overlap = {
        name: budget.chosen_by_fisher(run, fisher)
        for name, run in first.items()
        if fisher and (run / budget.UPDATES).is_dir()
    }
    jobs = read_jobs(benchmarks) if benchmarks else []
    curves = [_curve(run.name, runs_of[run.label]) for run in spec.runs]
    pretraining = _curve("pretraining", pretrained) if pretrained else None
    mapped = [run.label for run in _mapped(spec.runs, rows, featured(channels)[0])]
    maps, caption = sample_maps(channels, samples, data, {run: predictions_of[run] for run in mapped})
    images = page.Figures(
        maps=maps,
        maps_caption=caption,
        training=figures.training_curves(curves, pretraining),
        cost=pareto.figure(points, costs.SAME, compared.reference) if compared else None,
        budget=budget.figures(first),
        overlap=budget.overlap_text(overlap),
    )
    inputs = [*data, *forecasts, *scores, *predictions, *runs, *(p for p in (pretrained, fisher) if p)]
    records = {short_name(path): store.read_provenance(path) for path in inputs}
    html = page.render(
        experiment=spec.experiment,
        synthetic=spec.synthetic,
        facts=facts(
            spec.source, spec.fields.measured, samples, [run.seed for run in spec.runs], _counts(runs_of)
        ),
        fields=spec.fields,
        rows=rows,
        channels=channels,
        grid=spec.window.target_grid,
        figures=images,
        sections=sections,
        compared=compared,
        choices=choices,
        timed=bool(jobs),
        artifacts=[digests(name, record) for name, record in records.items()],
        packages=packages(records.values()),
    )
    heading = title(spec.experiment, spec.source, spec.synthetic, spec.fields.placeholders)
    files = {
        "report.html": html,
        "scores.csv": table.csv_text(entries, channels, sections),
        "scores.txt": table.terminal_text(heading, rows, channels, sections, choices),
    }
    if compared:
        files["scores.txt"] += f"\n{compared.text()}\n\n{costs.text(costs_of)}\n"
        files["differences.csv"] = compared.csv_text()
    if jobs:
        cost = pareto.figure(points, costs.VARYING, compared.reference) if compared else None
        files[TIMES] = page.render_times(spec.experiment, jobs, labels, cost)
    pictures = {"training.png": images.training, "cost.png": images.cost}
    pictures |= {f"updates_{number}.png": image for number, image in enumerate(images.budget)}
    if compared:
        pictures["scorecard.png"] = compared.scorecard()
    with store.artifact(output, spec, __name__, inputs, varying=[TIMES]) as directory:
        for name, text in files.items():
            (directory / name).write_text(text, encoding="utf-8")
        for name, picture in pictures.items():
            if picture:
                (directory / name).write_bytes(picture.png)


def _reference(spec: ReportSpec) -> str | None:
    """Name of the run or baseline that all others are compared with, pretrained runs first."""
    full = sorted((run for run in spec.runs if run.reference), key=lambda run: run.start == "random")
    return spec.reference or (full[0].name if full else None)


def _counts(runs: Mapping[str, Path]) -> Mapping[str, Sequence[int]]:
    """Numbers of samples by split, which all runs share."""
    found: Mapping[str, Sequence[int]] = next(
        (store.read_provenance(path).get("samples", {}) for path in runs.values()), {}
    )
    return found


def _by_label(what: str, paths: Sequence[Path], labels: Sequence[str]) -> dict[str, Path]:
    """Paths by folder name, exactly one for each label."""
    found: dict[str, Path] = {}
    for path in paths:
        if path.name not in labels:
            raise ValueError(f"{path}: {what} of an unknown run; known here: {', '.join(labels)}")
        if path.name in found:
            raise ValueError(f"{path}: a second {what} of {path.name}, after {found[path.name]}")
        found[path.name] = path
    missing = [label for label in labels if label not in found]
    if missing:
        raise ValueError(f"no {what} of {', '.join(missing)}; found {', '.join(found) or 'none'}")
    return found


def _entries(
    spec: ReportSpec,
    channels: "list[Channel]",
    sections: "Sequence[Section]",
    samples: "SampleFrames",
    scores_of: dict[str, Path],
    runs_of: dict[str, Path],
) -> "list[Entry]":
    import numpy as np

    from weatherpeft.reporting.scores import Entry, read_scores

    times = np.unique([sample.time for sample in samples.samples])
    entries = []
    runs = {run.label: run for run in spec.runs}
    for label in (*spec.baselines, *runs):
        rmse, bias = read_scores(scores_of[label], channels, times)
        skill = {
            name: values
            for section in sections
            for name, values in section.read(scores_of[label], channels).items()
        }
        if label not in runs:
            entries.append(Entry(label=label, name=label, kind="baseline", rmse=rmse, bias=bias, skill=skill))
            continue
        record = store.read_provenance(runs_of[label])
        for count in ("trainable_backbone", "trainable_total"):
            if not isinstance(record.get(count), int):
                raise ValueError(f"{runs_of[label]}: the record lacks {count}; not of the finetune stage")
        run = runs[label]
        entries.append(
            Entry(
                label=label,
                name=run.name,
                kind="method",
                rmse=rmse,
                bias=bias,
                seed=run.seed,
                start=run.start,
                recipe=_recipe(record["spec"]),
                reference=run.reference,
                trainable_backbone=record["trainable_backbone"],
                trainable_total=record["trainable_total"],
                skill=skill,
            )
        )
    return entries


def _recipe(spec: Any) -> Any:
    """What a run is made of except for its seed and the weights that it starts from, as nested text."""
    if isinstance(spec, Mapping):
        left = {key: value for key, value in spec.items() if key not in ("pretrained", "seed")}
        return json.dumps({key: _recipe(value) for key, value in left.items()}, sort_keys=True)
    return [_recipe(value) for value in spec] if isinstance(spec, list) else spec


def _curve(name: str, path: Path) -> "Curve":
    from weatherpeft.reporting.figures import Curve

    history = store.open_dataset(path / "history.zarr")
    parts = ("step", "train_loss", "validation_step", "validation_loss")
    missing = [part for part in parts if part not in history.variables]
    if missing:
        raise ValueError(f"{path}: history.zarr lacks {', '.join(missing)}")
    return Curve(name, *(history[part].values for part in parts))


def _mapped(runs: Sequence[ReportedRun], rows: "Sequence[Row]", channel: int) -> list[ReportedRun]:
    """The runs that maps show: the first run of each of the three names with the smallest RMSE of a field.

    Names that start from pretrained weights come before the others.
    """
    first = {run.name: run for run in reversed(runs)}
    methods = [row for row in rows if row.kind == "method"]
    methods.sort(key=lambda row: (row.start == "random", row.rmse[channel]))
    return [first[row.name] for row in methods[:3]]
