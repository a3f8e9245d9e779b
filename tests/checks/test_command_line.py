"""``weatherpeft check`` with several files and settings, as Snakemake takes them."""

from pathlib import Path

import pytest

from tests.experiments import CONFIGS
from weatherpeft.cli import main

TEST = str(CONFIGS / "test.yaml")
SEEDS = str(CONFIGS / "overlays/three_seeds.yaml")


def test_files_and_settings_are_one_experiment(capsys: pytest.CaptureFixture[str]) -> None:
    runs = "runs={weatherpeft: {methods: [{name: full}]}}"
    assert main(["check", TEST, SEEDS, "--config", "training={steps: 80}", runs, "--config", "data=d"]) == 0
    valid, _, jobs, _ = capsys.readouterr().out.splitlines()
    assert valid == f"{TEST}, {SEEDS}: valid"
    assert "6 finetune" in jobs, "two runs with three seeds each"


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["training={steps: a}"], "--config training: training.steps: Input should be a valid integer"),
        (["training={stpes: 3}"], "--config training: training.stpes: unknown key; did you mean 'steps'?"),
        (["seeds=[]"], "--config seeds: seeds: "),
        (["step_hours=5", "step_hours=6", "nmae=3"], "--config nmae: nmae: unknown key; did you mean 'name'"),
        (["training.steps=80"], "--config training.steps=80: expected KEY=VALUE with a key of the file's"),
        (["training"], "--config training: expected KEY=VALUE"),
        (["training={steps: 6, steps: 7}"], "--config training:1: training: the key steps is there twice"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_named(
    entries: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", TEST, "--config", *entries]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"weatherpeft: error: {message}")


def test_a_wrong_key_is_named_in_the_file_that_says_it_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("# What differs.\ntraining: {steps: 0}\n")
    assert main(["check", TEST, str(overlay), "--config", "training={learning_rate: 1e-2}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"weatherpeft: error: {overlay}:2: training.steps: ")
