"""What is wrong is told in one line that names it, before any job where that can be."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.test_config_file import powers
from tests.workflow.workflow import CONFIG, Checkout
from weatherpeft.cli import main

Change = Callable[[dict[str, Any]], object]


def misspelt_key(config: dict[str, Any]) -> None:
    config["training"]["learn_rate"] = 1.0e-3


def misspelt_key_of_a_method(config: dict[str, Any]) -> None:
    config["runs"]["weatherpeft"]["methods"][1]["fractoin"] = 0.1


def grid_that_patches_do_not_divide(config: dict[str, Any]) -> None:
    config["task"]["target_grid"]["resolution_deg"] = 10.0


def split_outside_the_source(config: dict[str, Any]) -> None:
    config["splits"]["test"]["periods"] = [{"start": "2004-01-15", "end": "2004-01-16"}]


def split_partly_outside_the_source(config: dict[str, Any]) -> None:
    config["splits"]["test"]["periods"] = [{"start": "2003-01-16", "end": "2003-01-20"}]


def splits_that_share_a_day(config: dict[str, Any]) -> None:
    config["splits"]["test"]["periods"] = [{"start": "2001-01-17", "end": "2001-01-17"}]


def nothing_pretrained(config: dict[str, Any]) -> None:
    del config["pretraining"]


def sfas_not_last(config: dict[str, Any]) -> None:
    config["runs"]["weatherpeft"]["methods"].reverse()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (misspelt_key, ["training.learn_rate", "unknown key"]),
        (
            misspelt_key_of_a_method,
            ["runs.weatherpeft.methods.1.fractoin", "unknown key; did you mean 'fraction'?"],
        ),
        (grid_that_patches_do_not_divide, ["patch size 4", "grid 10deg", "18 x 36"]),
        (split_outside_the_source, ["20040115-20040116", "source toy"]),
        (split_partly_outside_the_source, ["20030116-20030120", "source toy"]),
        (splits_that_share_a_day, ["splits", "train", "20010115-20010117", "test", "20010117-20010117"]),
        (nothing_pretrained, ["runs.full", "pretrained weights"]),
        (sfas_not_last, ["runs.weatherpeft", "sfas", "last"]),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_wrong_config_stops_before_any_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Change, words: list[str]
) -> None:
    checkout = Checkout.of_repository(tmp_path / "checkout")
    config = checkout.changed_config(change)

    assert main(["check", str(checkout.folder / config)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    file, _, message = line.removeprefix("weatherpeft: error: ").partition("test_changed.yaml")
    assert Path(file) == checkout.folder / "config"
    assert all(word in message for word in words), message

    done = checkout.snakemake(config=config, check=False)
    assert done.returncode == 1
    assert done.stdout.splitlines().count(config + message) == 1, done.stdout
    assert "Traceback" not in done.stdout
    assert not (checkout.folder / "data").exists() and not (checkout.folder / "results").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# M\xfcnchen\n".encode("latin-1"), "expected UTF-8, found the byte 0xfc after '# M'"),
        (b"on: 1\n", "the key on is of the type bool in YAML; put it in quotes"),
        (powers(9, 40, "1", mapping=True).encode(), "a6.k1: aliases stand for more than 1000000 values"),
        (
            b"__use_yte__: true\nx: ?open('ran', 'w')\n",
            "__use_yte__: a configuration is no program; unknown key",
        ),
    ],
    ids=["Latin-1", "on", "aliases", "program"],
)
def test_a_file_that_cannot_be_read_as_it_is(tmp_path: Path, text: bytes, message: str) -> None:
    checkout = Checkout.of_repository(tmp_path / "checkout")
    path = checkout.folder / "changed.yaml"
    path.write_bytes((checkout.folder / CONFIG).read_bytes() + text)
    done = checkout.snakemake(config=path.name, check=False)
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if not line.startswith("Using ")]
    assert line.startswith(path.name) and message in line
    assert not (checkout.folder / "ran").exists()


@pytest.mark.slow
def test_a_local_file_that_is_missing(tmp_path: Path) -> None:
    checkout = Checkout.of_repository(tmp_path / "checkout")
    config = checkout.changed_config(
        lambda values: values["source"].update(paths=["missing.grib"]), "config/real_members.yaml"
    )
    done = checkout.snakemake(config=config, check=False)
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if "missing.grib" in line]
    assert re.match(rf"{config}:\d+: source.paths: no file matches 'missing.grib'", line)
    assert "Traceback" not in done.stdout
    assert not (checkout.folder / "data").exists() and not (checkout.folder / "results").exists()


@pytest.mark.slow
def test_settings_of_the_command_line_are_read_as_those_of_a_file(tmp_path: Path) -> None:
    checkout = Checkout.of_repository(tmp_path / "checkout")
    entries = ["training={steps: 80, learning_rate: 1e-3}", "seeds=[0, 1]"]
    done = checkout.snakemake("--dry-run", "--printshellcmds", "--config", *entries)
    for text in ('"steps":80', '"learning_rate":0.001', "finetune-full-seed1.log"):
        assert text in done.stdout
    done = checkout.snakemake("--dry-run", "--config", "training={step: 80}", check=False)
    assert done.returncode == 1
    assert "training.step: unknown key; did you mean 'steps'?" in done.stdout


@pytest.mark.slow
def test_a_truncated_grib_file(built: Checkout, tmp_path: Path) -> None:
    whole = sorted(built.folder.glob("data/test/raw/toy/20010115-20010117-*/*/*.grib"))
    assert len(whole) == 3
    for path in whole:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    record = json.loads((whole[0].parent / "provenance.json").read_text())
    period = record["spec"]["request"]["period"]
    source = {"name": "local", "paths": [str(tmp_path / "*.grib")], "span": period}
    spec = json.dumps({"source": source, "request": record["spec"]["request"]})
    folders = ("--work", tmp_path / "work", "--shared", tmp_path / "shared")
    command = ("weatherpeft", "download", "--spec", spec, *folders, "--output")
    built.run(*command, tmp_path / "raw/whole")

    damaged = tmp_path / "pressure_levels.grib"
    content = damaged.read_bytes()
    damaged.unlink()  # the raw directory holds a hard link to it
    damaged.write_bytes(content[: len(content) * 2 // 3])
    done = built.run(*command, tmp_path / "raw/damaged", check=False)
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if " INFO " not in line]
    assert line.startswith("weatherpeft download: error: ")
    assert "pressure_levels.grib" in line and "truncated" in line
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["whole"]
