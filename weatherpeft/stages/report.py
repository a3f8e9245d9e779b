"""Stage ``report``: one page, one table and one text that compare the runs of an experiment."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from weatherpeft.artifacts import store
from weatherpeft.fields.regions import NamedRegion
from weatherpeft.fields.variables import FieldSet, VariableSet
from weatherpeft.samples.window import Split, Window
from weatherpeft.spec import Spec

if TYPE_CHECKING:
    import numpy as np

    from weatherpeft.fields.grid import Grid
    from weatherpeft.reporting.figures import Curve, Image
    from weatherpeft.reporting.scores import Channel, Entry
    from weatherpeft.samples.frames import SampleFrames

_MAP_FIELDS = ("t850", "10u", "2t")
_MAP_RUNS = ("weatherpeft", "full", "lora")


class ReportedRun(Spec):
    """A fine-tuning run, as the report names it."""

    label: str
    """Folder name of its artifacts, for example ``lora-seed0``."""
    name: str
    """Row of the tables; runs with the same name differ by their seed alone."""
    seed: int
    """Of the run."""
    start: Literal["pretrained", "random"]
    """Weights that the run started from."""


class ReportSpec(Spec):
    """What the report compares."""

    experiment: str
    """Name of the experiment."""
    source: str
    """Name of the data source."""
    fields: FieldSet
    """Variables in the data and declared placeholders."""
    window: Window
    """Frames and grids of a sample."""
    predicted: VariableSet
    """What is scored of them."""
    baselines: tuple[str, ...]
    """Forecasts without a trained network, scored beside the runs."""
    runs: tuple[ReportedRun, ...]
    """Fine-tuning runs, in the order of the experiment."""
    test: Split
    """Samples that are scored and shown."""
    regions: dict[str, NamedRegion] = Field(default={}, exclude_if=lambda regions: not regions)
    """Parts of the grid that are scored beside the whole."""


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
) -> None:
    """Compare the runs of an experiment: ``report.html``, ``scores.csv`` and ``scores.txt``.

    Args:
        spec: the experiment's runs, baselines and test split.
        data: artifacts of the regrid stage that cover the test split.
        scores: artifacts of the evaluate stage, their folders named by run label or baseline.
        predictions: artifacts of the predict and baseline stages, named likewise.
        runs: artifacts of the finetune stage, named by run label.
        output: artifact with the page, the tidy table and the text; only the page holds times of jobs.
        benchmarks: folder of Snakemake's benchmark files, ``<stage>-<label>.tsv`` or ``<stage>.tsv``.
        pretrained: artifact of the pretrain stage, where the experiment has its own.
        forecasts: artifacts of the regrid stage with the test forecasts, where the task corrects them.

    Raises:
        ValueError: an artifact that is missing, unknown or incomplete; scores of other fields or times
            than the test split's; the message names the path.
    """
    from weatherpeft.reporting import figures, page, table
    from weatherpeft.reporting.benchmarks import read_jobs
    from weatherpeft.reporting.ensemble import histograms, skill_maps
    from weatherpeft.reporting.provenance import digests, packages, short_name
    from weatherpeft.reporting.regions import regional_tables, regional_text
    from weatherpeft.reporting.scores import headline, rows_of, scored_channels
    from weatherpeft.reporting.skill import reliability
    from weatherpeft.samples.ensemble_frames import frames_of

    labels = [run.label for run in spec.runs]
    scores_of = _by_label("scores", scores, [*spec.baselines, *labels])
    predictions_of = _by_label("predictions", predictions, [*spec.baselines, *labels])
    runs_of = _by_label("finetune artifact", runs, labels)
    channels = scored_channels(spec.predicted, spec.window.target_hours, spec.window.ensemble)
    samples = frames_of(spec.window, spec.fields, data, spec.test, forecasts)
    entries = _entries(spec, channels, samples, scores_of, runs_of)
    rows = rows_of(entries)
    jobs = read_jobs(benchmarks) if benchmarks else None
    curves = [_curve(run.name, runs_of[run.label]) for run in spec.runs]
    pretraining = _curve("pretraining", pretrained) if pretrained else None
    maps, caption = _maps(spec, channels, samples, data, predictions_of)
    shown = headline(channels)
    preferred = [index for index in shown if channels[index].label in _MAP_FIELDS] or shown
    images = page.Figures(
        maps=maps,
        maps_caption=caption,
        training=figures.training_curves(curves, pretraining),
        cost=figures.cost(rows, channels, preferred[:3]),
        reliability=reliability(rows, channels),
        histograms=histograms(rows, channels),
        skill_maps=skill_maps(rows, channels, spec.window.target_grid, _MAP_RUNS[0]),
    )
    inputs = [*data, *forecasts, *scores, *predictions, *runs, *([pretrained] if pretrained else [])]
    records = {short_name(path): store.read_provenance(path) for path in inputs}
    html = page.render(
        experiment=spec.experiment,
        source=spec.source,
        facts=_facts(spec, samples),
        placeholders=spec.fields.placeholders,
        rows=rows,
        channels=channels,
        figures=images,
        regional_tables=regional_tables(rows, channels, spec.regions),
        run_labels=labels,
        jobs=jobs,
        artifacts=[digests(name, record) for name, record in records.items()],
        packages=packages(records.values()),
    )
    tidy, aligned = table.csv_text(entries, channels), table.terminal_text(_title(spec), rows, channels)
    aligned += regional_text(rows, channels, spec.regions)
    with store.artifact(output, spec, __name__, inputs) as directory:
        for name, text in (("report.html", html), ("scores.csv", tidy), ("scores.txt", aligned)):
            (directory / name).write_text(text, encoding="utf-8")


def _by_label(what: str, paths: Sequence[Path], labels: Sequence[str]) -> dict[str, Path]:
    """Paths by folder name: one for each label and no others."""
    found: dict[str, Path] = {}
    for path in paths:
        if path.name not in labels:
            raise ValueError(f"{path}: {what} of an unknown run; known here: {', '.join(labels)}")
        if path.name in found:
            raise ValueError(f"{path}: a second {what} of {path.name}, beside {found[path.name]}")
        found[path.name] = path
    missing = [label for label in labels if label not in found]
    if missing:
        raise ValueError(f"no {what} of {', '.join(missing)}; found {', '.join(found) or 'none'}")
    return found


def _entries(
    spec: ReportSpec,
    channels: list["Channel"],
    samples: "SampleFrames",
    scores_of: dict[str, Path],
    runs_of: dict[str, Path],
) -> list["Entry"]:
    import numpy as np

    from weatherpeft.reporting.ensemble import read_ensemble_skill
    from weatherpeft.reporting.regions import read_regional
    from weatherpeft.reporting.scores import Entry, read_scores
    from weatherpeft.reporting.skill import read_skill

    times = np.unique([sample.time for sample in samples.samples])
    entries = []
    for name in spec.baselines:
        rmse, bias = read_scores(scores_of[name], channels, times)
        skill = read_skill(scores_of[name], channels) | read_ensemble_skill(scores_of[name], channels)
        skill |= read_regional(scores_of[name], channels, spec.regions)
        entries.append(Entry(label=name, name=name, kind="baseline", rmse=rmse, bias=bias, skill=skill))
    for run in spec.runs:
        rmse, bias = read_scores(scores_of[run.label], channels, times)
        record = store.read_provenance(runs_of[run.label])
        for count in ("trainable_backbone", "trainable_total"):
            if not isinstance(record.get(count), int):
                raise ValueError(f"{runs_of[run.label]}: the record lacks {count}; not of the finetune stage")
        entries.append(
            Entry(
                label=run.label,
                name=run.name,
                kind="method",
                rmse=rmse,
                bias=bias,
                seed=run.seed,
                start=run.start,
                trainable_backbone=record["trainable_backbone"],
                trainable_total=record["trainable_total"],
                skill=read_skill(scores_of[run.label], channels)
                | read_ensemble_skill(scores_of[run.label], channels)
                | read_regional(scores_of[run.label], channels, spec.regions),
            )
        )
    return entries


def _curve(name: str, path: Path) -> "Curve":
    from weatherpeft.reporting.figures import Curve

    history = store.open_dataset(path / "history.zarr")
    parts = ("step", "train_loss", "validation_step", "validation_loss")
    missing = [part for part in parts if part not in history.variables]
    if missing:
        raise ValueError(f"{path}: history.zarr lacks {', '.join(missing)}")
    return Curve(name, *(history[part].values for part in parts))


def _maps(
    spec: ReportSpec,
    channels: list["Channel"],
    samples: "SampleFrames",
    data: Sequence[Path],
    predictions_of: dict[str, Path],
) -> tuple[list["Image"], str]:
    """Maps of the sample in the middle of the test split, and what they show."""
    import numpy as np

    from weatherpeft.reporting.maps import maps, read_prediction
    from weatherpeft.reporting.scores import headline
    from weatherpeft.samples.frames import GridReader

    first_lead = [sample for sample in samples.samples if sample.lead_hours == spec.window.target_hours[0]]
    sample = first_lead[len(first_lead) // 2]
    start, target = samples.inputs(sample)[-1], samples.target(sample)
    valid = sample.time + np.timedelta64(sample.lead_hours, "h")
    land = None
    if "land_sea_mask" in spec.fields.measured.static:
        land = GridReader(data, spec.window.target_grid, ()).static("land_sea_mask")
    places = {channel.label: index for index, channel in enumerate(channels)}
    chosen = [places[label] for label in _MAP_FIELDS if label in places] or headline(channels)[:3]
    chosen = [place for place in chosen if channels[place].lead_hours in (None, sample.lead_hours)]
    runs = _mapped_runs(spec.runs)
    interpolated = spec.window.input_grid != spec.window.target_grid
    source = "Input, interpolated" if interpolated else "Input"
    if ensemble := spec.window.ensemble:
        source = "Ensemble mean" if ensemble.frames == "moments" else "Last member"
    images = []
    for channel in (channels[index] for index in chosen):
        predicted = {
            run.label: read_prediction(
                predictions_of[run.label], channel, sample.time, sample.lead_hours, sample.member
            )
            for run in runs
        }
        levels = spec.predicted.levels_hpa if spec.window.ensemble else spec.fields.measured.levels_hpa
        first = _field(channel, start, spec.fields.measured.levels_hpa)
        last = _field(channel, target, levels)
        images.append(maps(channel, spec.window.target_grid, (source, first), last, predicted, land))
    hour = np.datetime_as_string(valid, unit="m").replace("T", " ")
    text = f"The sample in the middle of the test split: target at {hour} UTC"
    text += f", member {sample.member}" if sample.member is not None else ""
    text += "; input interpolated bilinearly to the target's grid" if interpolated else ""
    text += ", which is the baseline interpolation" if "interpolation" in spec.baselines else ""
    text += ". Colors are shared between input, target and predictions, and between all errors."
    text += " Black lines are coasts (land-sea mask 0.5)." if land is not None else ""
    return images, text


def _field(channel: "Channel", fields: dict[str, "np.ndarray"], levels_hpa: tuple[int, ...]) -> "np.ndarray":
    if channel.level_hpa is None:
        return fields[channel.variable]
    return fields[channel.variable][levels_hpa.index(channel.level_hpa)]


def _mapped_runs(runs: Sequence[ReportedRun]) -> list[ReportedRun]:
    """The first run of up to three names: preferred ones, then those from pretrained weights."""
    first = {run.name: run for run in reversed(runs)}
    names = list(dict.fromkeys(run.name for run in runs))

    def rank(name: str) -> tuple[bool, int]:
        return first[name].start == "random", _MAP_RUNS.index(name) if name in _MAP_RUNS else len(_MAP_RUNS)

    return [first[name] for name in sorted(names, key=rank)[:3]]


def _title(spec: ReportSpec) -> list[str]:
    title = [f"Experiment {spec.experiment}, data source {spec.source}"]
    if spec.source == "toy":
        title.append("A toy planet, not Earth: compare methods, not skill.")
    if spec.fields.placeholders:
        names = ", ".join(spec.fields.placeholders)
        title.append(f"Constant placeholders, not trained on, not scored: {names}")
    return title


def _hours_text(hours: int) -> str:
    return f"{hours:+d} h".replace("-", "−") if hours else "0 h"


def _grid_text(grid: "Grid") -> str:
    rows, columns = grid.shape
    return f"{grid.label.replace('deg', '°')} ({rows} × {columns} cells)"


def _ensemble_text(spec: ReportSpec) -> str:
    ensemble = spec.window.ensemble
    if ensemble is None:
        return ""
    seen = "their standard deviation and mean" if ensemble.frames == "moments" else "every one of them"
    return f"{ensemble.members} members, forecasts of {spec.window.target_hours[0]} h; the model sees {seen}"


def _facts(spec: ReportSpec, samples: "SampleFrames") -> list[tuple[str, str]]:
    measured, window = spec.fields.measured, spec.window
    frames = ", ".join(map(_hours_text, window.input_hours))
    test = ", ".join(f"{period.start} to {period.end}" for period in spec.test.periods)
    members = f", members {', '.join(map(str, spec.test.members))}" if spec.test.members else ""
    seeds = sorted({run.seed for run in spec.runs})
    facts = [
        ("Data source", spec.source),
        ("Input", f"{frames}, grid {_grid_text(window.input_grid)}"),
        (
            "Target",
            f"{', '.join(map(_hours_text, window.target_hours))}, grid {_grid_text(window.target_grid)}",
        ),
        ("Surface fields", ", ".join(measured.surface).replace("_", " ")),
        ("Upper-air fields", ", ".join(measured.atmospheric).replace("_", " ")),
        ("Pressure levels", f"{', '.join(map(str, measured.levels_hpa))} hPa" if measured.levels_hpa else ""),
        ("Static fields", ", ".join(measured.static).replace("_", " ")),
        ("Test split", f"{test}{members}: {len(samples)} samples"),
        ("Seeds", ", ".join(map(str, seeds))),
        ("Ensemble", _ensemble_text(spec)),
    ]
    return [(name, text) for name, text in facts if text]
