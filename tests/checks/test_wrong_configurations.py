"""Wrong configurations: each is refused in one line that names the file, the line and the key."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.experiments import CONFIGS, drop, put, values
from weatherpeft.cli import main

Change = Callable[[dict[str, Any]], Any]
REGION = {"nort": 1.0, "south": 0.0, "west": 0.0, "east": 1.0}
WEIGHTS = {"repository": "a/b", "fil": "c", "revision": "0" * 40}
LOCAL = {"name": "local", "paths": ["a"], "span": {"start": "2001-01-01", "end": "2004-01-01"}}
DAY = [{"start": "2003-01-15", "end": "2003-01-15"}]


def both(*changes: Change) -> Change:
    return lambda config: [change(config) for change in changes]


WRONG: list[tuple[Change, str]] = [
    (put("traning", {}), "traning: unknown key"),
    (put("training.learning_rates", 1e-3), "training.learning_rates: unknown key;"),
    (put("runs.full.strat", "random"), "runs.full.strat: unknown key; did you mean 'start'?"),
    (put("source.truncaton", 21), "source.truncaton: unknown key; did you mean 'truncation'?"),
    (put("task.residuals", True), "task.residuals: unknown key; did you mean 'residual'?"),
    (put("splits.tset", {}), "splits.tset: unknown key; did you mean 'test'?"),
    (put("backbone.embed_dims", 16), "backbone.embed_dims: unknown key; did you mean 'embed_dim'?"),
    (
        put("runs.full.methods", [{"name": "lora", "rnak": 4}]),
        "runs.full.methods.0.rnak: unknown key; did you mean 'rank'?",
    ),
    (
        both(drop("pretraining"), put("checkpoint", WEIGHTS)),
        "checkpoint.fil: unknown key; did you mean 'file'?",
    ),
    (put("regions", {"a": REGION}), "regions.a.nort: unknown key; did you mean 'north'?"),
    (put("source.name", "tyo"), "source.name: unknown 'tyo'; did you mean 'toy'?"),
    (put("task.name", "downscalling"), "task.name: unknown 'downscalling'; did you mean 'downscaling'?"),
    (put("backbone.name", "auroa"), "backbone.name: unknown 'auroa'; did you mean 'aurora'?"),
    (
        put("runs.full.methods", [{"name": "linear_prob"}]),
        "runs.full.methods.0.name: unknown 'linear_prob'; did you mean 'linear_probe'?",
    ),
    (
        put("runs.full.methods", [{"name": "huggingface", "type": "lohaa"}]),
        "runs.full.methods.0.type: huggingface: found type 'lohaa'",
    ),
    (put("baselines", ["interpolaton"]), "baselines.0: Input should be 'interpolation'"),
    (
        put("variables.surface", ["2m_temprature"]),
        "variables.surface: unknown variable '2m_temprature'; known here: 2m_temperature, ",
    ),
    (put("variables.atmospheric", ["2m_temperature"]), "variables.atmospheric: unknown variable"),
    (put("variables.levels_hpa", [850, 500]), "variables: levels_hpa must increase"),
    (put("reference", "ful"), "reference: no run or baseline ful; expected one of full"),
    (put("training.steps", "80"), "training.steps: Input should be a valid integer, found '80'"),
    (put("training.learning_rate", 0), "training.learning_rate: Input should be greater than 0, found 0"),
    (put("training.warmup_steps", 6), "training: warmup_steps 6 must be fewer than steps 6"),
    (put("training.validate_every", 7), "training.validate_every: 7 is more than training.steps 6"),
    (
        put("pretraining.training.validate_every", 7),
        "pretraining.training.validate_every: 7 is more than pretraining.training.steps 6",
    ),
    (put("step_hours", 5), "step_hours: 5 does not divide 24"),
    (put("task.history_hours", 7), "task.history_hours: 7 is no multiple of step_hours 6"),
    (
        put("pretraining.task.lead_time_hours", 9),
        "pretraining.task.lead_time_hours: 9 is no multiple of step_hours 6",
    ),
    (put("task.history_hours", 72), "task: a sample spans 72 h, more than each period of the splits"),
    (put("splits.test.periods", []), "splits.test: expected a whole sample of task"),
    (put("backbone.encoder_num_heads", [3, 4]), "backbone: encoder_num_heads: 3 heads do not divide"),
    (put("backbone.decoder_num_heads", [4, 5]), "backbone: decoder_num_heads: 5 heads do not divide"),
    (put("backbone.patch_size", 5), "backbone aurora: patch size 5 does not divide the grid 11.25deg"),
    (put("splits.test.periods", [{"start": "2003-01-16", "end": "2003-01-20"}]), "splits.test: the period"),
    (put("splits.validation.periods", DAY), "splits: validation period 20030115-20030115 and test period"),
    (put("splits.test.periods", [{"start": "2003-01-17", "end": "2003-01-15"}]), "splits.test.periods.0: "),
    (put("source.spans", []), "source.spans: expected 1 or more items, found 0"),
    (put("task.target_grid.resolution_deg", 7), "task.target_grid: resolution_deg: expected a divisor"),
    (put("runs", {"Full": {"methods": [{"name": "full"}]}}), "runs.Full: expected small letters, digits"),
    (put("runs.regression", {"methods": [{"name": "full"}]}), "runs.regression: a baseline has this name"),
    (put("seeds", [1, 1]), "seeds must be different"),
    (put("name", "my experiment"), "name: expected small letters, digits and _"),
    (put("name", 5), "name: expected a text, found 5"),
    (put("data", None), "data: expected a text, found nothing"),
    (put("training", None), "training: expected a mapping, found nothing"),
    (put("runs", None), "runs: expected a mapping, found nothing"),
    (put("runs", {}), "runs: expected 1 or more items, found 0"),
    (put("runs", [{"name": "full"}]), "runs: expected a mapping, found a list"),
    (put("runs.full", {"learning_rate": 1e-3}), "runs.full.methods: missing"),
    (
        put("runs.full.methods", ["full"]),
        "runs.full.methods.0: expected a mapping, found 'full'; did you mean {name: full}?",
    ),
    (put("runs.full.methods", {"name": "full"}), "runs.full.methods: expected a list, found a mapping"),
    (put("runs.full.methods", [{"rank": 4}]), "runs.full.methods.0.name: missing"),
    (put("task", [{"name": "downscaling"}, {"name": "forecasting"}]), "task: expected a mapping, found a"),
    (
        put("task", "downscaling"),
        "task: expected a mapping, found 'downscaling'; did you mean {name: downscaling}?",
    ),
    (put("backbone.name", "pangu"), "backbone.name: unknown 'pangu'; known here: aurora"),
    (
        put("task.input_grid.resolution_deg", 5.625),
        "task: input_grid 5.625deg: expected a grid coarser than target_grid 11.25deg",
    ),
    (put("task.input_grid.resolution_deg", 11.25), "task: input_grid 11.25deg: expected a grid coarser than"),
    (put("backbone.latent_levels", 3), "backbone: latent_levels: expected a multiple of the window's 2"),
    (put("task.lead_time_hours", 6), "task.lead_time_hours: unknown key"),
    (put("task.target_grid", 11.25), "task.target_grid: expected a mapping, found 11.25"),
    (put("task.history_hours", 6.5), "task.history_hours: Input should be a valid integer, found 6.5"),
    (put("task.residual", "yes"), "task.residual: expected true or false, found 'yes'"),
    (put("step_hours", "6h"), "step_hours: Input should be a valid integer, found '6h'"),
    (put("training.steps", [6]), "training.steps: Input should be a valid integer, found a list"),
    (put("training.steps", True), "training.steps: Input should be a valid integer, found true"),
    (
        put("fisher_samples", -4),
        "fisher_samples: Input should be greater than or equal to 1, found -4",
    ),
    (
        put("variables.levels_hpa", ["500", "850"]),
        "variables.levels_hpa.0: Input should be a valid integer, found '500' (and 1 more in this list)",
    ),
    (
        put("variables.levels_hpa", [50000, 85000]),
        "variables.levels_hpa.0: Input should be less than or equal to 1100, found 50000 (and 1 more",
    ),
    (
        put("variables.levels_hpa", "500, 850"),
        "variables.levels_hpa: expected a list, found '500, 850'; did you mean [500, 850]?",
    ),
    (put("variables.surface", "a"), "variables.surface: expected a list, found 'a'; did you mean [a]?"),
    (put("backbone.window_size", [2, 2]), "backbone.window_size: expected more items, found 2"),
    (put("training.betas", [0.9, 0.9, 0.9]), "training.betas: expected 2 items at most, found 3"),
    (both(drop("pretraining"), put("checkpoint", 3)), "checkpoint: expected a text or a mapping, found 3"),
    (
        put("splits.train.periods", [{"start": "15.01.2001", "end": "2001-01-17"}]),
        "splits.train.periods.0.start: expected a day such as 2020-01-31 or an hour such as "
        "2020-01-31T12, found '15.01.2001'",
    ),
    (
        put("splits.train.periods", [{"start": "2001-02-30", "end": "2001-03-01"}]),
        "splits.train.periods.0.start: expected a day such as 2020-01-31 or an hour such as "
        "2020-01-31T12, found '2001-02-30'",
    ),
    (put("splits.train.periods", "2001"), "splits.train.periods: expected a list, found '2001'"),
    (
        put("source.spans", [{"start": "2001-01-17", "end": "2001-01-15"}]),
        "source.spans.0: period ends on 2001-01-15, before its start 2001-01-17",
    ),
    (
        both(lambda config: config["task"].pop("input_grid"), put("input_grid", {"resolution_deg": 22.5})),
        "input_grid: unknown key; did you mean task.input_grid?",
    ),
    (put("placeholders", {"sst": 280.0}), "placeholders: placeholder 'sst' is not a known surface"),
    (put("placeholders", {"2m_temperature": 280.0}), "placeholders: placeholder '2m_temperature' is in the"),
    (put("checkpoint", "a.ckpt"), "checkpoint: give pretraining or checkpoint, not both"),
    (
        put("runs.full.methods", [{"name": "lora", "rank": list(range(1, 1002))}]),
        "runs.full: a run's lists give 1001 candidates, expected at most 1000",
    ),
    (put("regions", {"a": [50, 0, 0, 60]}), "regions.a: expected a mapping, found a list"),
    (drop("pretraining"), "runs.full: starts from pretrained weights, but there are none"),
    (drop("data"), "data: missing"),
]  # fmt: skip


def refused(config: dict[str, Any] | str, path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """Line number and message of the only line that refuses a configuration."""
    path.write_text(config if isinstance(config, str) else yaml.safe_dump(config, sort_keys=False))
    assert main(["check", str(path)]) == 2
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    found = re.fullmatch(rf"weatherpeft: error: {path}:(\d*):? (.*)", line)
    assert found and not printed.out, line
    return found[1], found[2]


@pytest.mark.parametrize(("change", "message"), WRONG, ids=[message[:50] for _, message in WRONG])
def test_one_line_names_the_line_and_the_key(
    change: Change, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = values()
    change(config)
    path = tmp_path / "wrong.yaml"
    number, found = refused(config, path, capsys)
    assert found.startswith(message)
    if "unknown" in message:
        keys = [part for part in message.partition(":")[0].split(".") if not part.isdecimal()]
        assert keys[-1] in path.read_text().splitlines()[int(number) - 1]


def test_there_are_seventy() -> None:
    assert len({message for _, message in WRONG}) >= 70


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("  new: {methods: []}\n  full: {methods: []}\n", "runs: the key full is there twice"),
        ("name: again\n", "the key name is there twice"),
        ("training: {steps: 1}\n", "the key training is there twice"),
    ],
)  # fmt: skip
def test_a_key_that_is_there_twice(
    more: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (CONFIGS / "test.yaml").read_text() + more
    assert refused(text, tmp_path / "wrong.yaml", capsys) == (str(len(text.splitlines())), message)


@pytest.mark.parametrize(
    ("text", "number", "message"),
    [
        ("name: a\ntraining:\n\tsteps: 3\n", 3, "found character '\\t' that cannot start any token ("),
        ("name:a\ndata: b\n", 2, "mapping values are not allowed here; check the indentation"),
        ("name: 'a\ndata: b\n", 3, "that begins in line 1)"),
        ("a: *.nc\n", 1, "; put the text in quotes"),
        ("a: @x\n", 1, "; put the text in quotes"),
        ("a: %x\n", 1, "; put the text in quotes"),
        ("name: a\n---\nname: b\n", 2, "expected a single document in the stream, but found another"),
        ("", None, "not a YAML mapping of KEY: VALUE, found nothing"),
        ("- name: a\n", None, "not a YAML mapping of KEY: VALUE, found a list"),
        ("name\n", None, "not a YAML mapping of KEY: VALUE, found a text"),
    ],
)  # fmt: skip
def test_what_is_no_yaml_is_one_line_with_what_helps(
    text: str, number: int | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line, found = refused(text, tmp_path / "wrong.yaml", capsys)
    assert line == ("" if number is None else str(number)) and message in found


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (put("variables.surface", ["2m_temprature"]), "2m_temperature"),
        (put("variables.surface", ["t2m"]), "2m_temperature"),
        (put("variables.surface", ["2T"]), "2m_temperature"),
        (put("variables.atmospheric", ["z", "t"]), "geopotential"),
        (put("placeholders", {"sst": 280.0}), "sea_surface_temperature"),
        (put("source", LOCAL | {"rename": {"x": "msl"}}), "mean_sea_level_pressure"),
        (put("placeholders", {"sea_surface_temperatur": 280.0}), "sea_surface_temperature"),
        (put("reference", "ful"), "full"),
        (put("runs.full.methods", [{"name": "huggingface", "type": "lohaa"}]), "loha"),
        (put("baselines", ["interpolaton"]), "interpolation"),
    ],
)
def test_a_value_from_a_list_is_guessed(
    change: Change, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = values()
    change(config)
    _, message = refused(config, tmp_path / "wrong.yaml", capsys)
    assert message.endswith(f"; did you mean {name!r}?")


def test_a_variable_of_another_kind_is_guessed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = values()
    put("variables.atmospheric", ["t2m"])(config)
    _, message = refused(config, tmp_path / "wrong.yaml", capsys)
    assert message.endswith("; did you mean '2m_temperature', which is surface?")


def test_each_reading_of_a_short_name_is_guessed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = values()
    put("variables.surface", ["tp"])(config)
    _, message = refused(config, tmp_path / "wrong.yaml", capsys)
    assert message.endswith("'total_precipitation_48hr' or 'total_precipitation_6hr'?")


def test_candidates_are_named_as_they_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = values()
    put("runs.full.methods", [{"name": "lora", "rank": [2, 0], "alpha": [1.0, 2.0]}])(config)
    _, message = refused(config, tmp_path / "wrong.yaml", capsys)
    assert message == "runs.full.methods.0.rank: Input should be greater than or equal to 1, found 0"


def test_each_wrong_key_has_a_line_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = values()
    config["training"]["step"] = config["training"].pop("steps")
    config |= {"checkpoint": 3, "seeds": []}
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    assert main(["check", str(path)]) == 2
    lines = [line.split(": ")[3] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["seeds", "checkpoint", "training.step"]


def test_a_path_that_cannot_be_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path / "none.yaml")]) == 2
    assert (
        capsys.readouterr().err
        == f"weatherpeft: error: {tmp_path / 'none.yaml'}: No such file or directory\n"
    )
