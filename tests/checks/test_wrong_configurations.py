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
    (put("source.spans", []), "source.spans: Tuple should have at least 1 item"),
    (put("task.target_grid.resolution_deg", 7), "task.target_grid: resolution_deg: expected a divisor"),
    (put("runs", {"Full": {"methods": [{"name": "full"}]}}), "runs.Full: String should match pattern"),
    (put("runs.regression", {"methods": [{"name": "full"}]}), "runs.regression: a baseline has this name"),
    (put("seeds", [1, 1]), "seeds must be different"),
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


def test_there_are_forty() -> None:
    assert len({message for _, message in WRONG}) >= 40


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
    ("change", "name"),
    [
        (put("variables.surface", ["2m_temprature"]), "2m_temperature"),
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
