"""Names in a config: they work as they are, or are refused by key; no text of a config runs as a command."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from snakemake.io import apply_wildcards
from snakemake.pathvars import Pathvars
from snakemake.utils import format as snakemake_format
from snakemake_interface_executor_plugins.utils import format_cli_arg

from tests.experiments import values
from tests.workflow.test_profiles import SITE, rules
from tests.workflow.workflow import Checkout
from weatherpeft.cli import main
from weatherpeft.config import Experiment, check_path
from weatherpeft.jobs.arguments import options

FOLDER = 'wörk\'shop "$(touch x)"; `touch x` & \\ <run> %j #1'
"""Of the checkout, whose name no config decides."""
SLURM_FOLDER = "wörk'shop; touch x & (b) *?[a-z] <run> #1"
"""The same without what is refused for Slurm."""
DATA, RESULTS = "dä ta; touch x & (b) 'c' *?[a-z] #1", "~re sults|touch x!^%=,'"
REFUSED = ["$(touch x)", "`touch x`", '"', "\n", "{run}", "<run>", "\\"]
WORDS = [*REFUSED, "; touch x", "&", "|", "'", " ", "ü", "--", "@", "*", "~"]
COMPLETE = {"launch", "inputs", "time_budget"}
"""Params that are several words of a command, each quoted."""


def changed_config(folder: Path, change: dict[str, Any]) -> str:
    """Write the tiny configuration with a change."""
    config = values() | change
    if "checkpoint" in change:
        del config["pretraining"]
    (folder / "changed.yaml").write_text(yaml.safe_dump(config, allow_unicode=True, sort_keys=False))
    return "changed.yaml"


def test_every_value_in_a_command_is_quoted() -> None:
    for name, text in rules().items():
        for value in re.findall(r"(?<!\{)\{([\w.]+(?::\w+)?)\}", text.partition("    shell:\n")[2]):
            assert value.endswith(":q") or value.removeprefix("params.") in COMPLETE, f"rule {name}: {value}"


@pytest.mark.parametrize(
    "name",
    ["", "-rf", "@list", "'a';touch x;'b'", " a", "a ", "n" * 256, *(f"res{word}" for word in REFUSED)],
)
@pytest.mark.parametrize("key", ["results", "data", "checkpoint"])
def test_a_path_that_cannot_be_used_is_named(
    key: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / changed_config(tmp_path, {key: name})
    assert main(["check", str(config)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{config}:" in line and f": {key}: " in line and (repr(name) in line or not name)


def run_by_shell(command: str) -> str:
    return subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout


TEXTS = st.lists(st.sampled_from(WORDS) | st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@settings(max_examples=300, deadline=None)
@given(TEXTS.map("".join))
def test_what_is_not_refused_is_one_word_everywhere(path: str) -> None:
    try:
        check_path("results", path)
    except ValueError as error:
        assert str(error).startswith("results: ")
        return
    paths = [path, f"{path}/regridded"]
    expected = ["--data", *paths]
    assert shlex.split(options([("data", paths)])) == expected
    assert shlex.split(snakemake_format("--data {output:q}", output=paths)) == expected
    assert apply_wildcards(path, {}) == path == Pathvars.with_defaults().apply(path)
    # What Snakemake's executor for Slurm makes of it: a command between double quotes, which a shell runs.
    inner = format_cli_arg("printf '%s\\0'", paths).replace('"', '\\"')
    assert run_by_shell(run_by_shell(f'printf %s "{inner}"')).split("\0")[:-1] == paths


@pytest.mark.slow
def test_commands_of_a_plan_are_what_was_written(tmp_path: Path) -> None:
    checkout = Checkout.of_repository(tmp_path / SLURM_FOLDER)
    weights = checkout.folder / "wei ghts; touch x 'é'.ckpt"
    change = {"data": DATA, "results": RESULTS, "checkpoint": weights.name}
    config = changed_config(checkout.folder, change)
    experiment = Experiment.parse(yaml.safe_load((checkout.folder / config).read_text()))
    experiment.backbone.build(experiment.inputs, experiment.task, 0).save(weights)
    command = ["snakemake", "--nocolor", "--profile", "slurm", "-n", "-p", "--configfile", config]
    text = checkout.run(*command, variables=SITE).stdout
    commands = re.findall(r"^Shell command: +(.*weatherpeft .*)$", text, re.MULTILINE)
    found: dict[str, list[list[str]]] = {}
    for each in commands:
        words = shlex.split(each)
        stage = words[words.index("weatherpeft") + 1]
        found.setdefault(stage, []).append(words)
        assert words[words.index("--output") + 1].startswith((f"{DATA}/", f"{RESULTS}/test/")), each
        assert words[-2] == "2>" and words[-1].startswith(f"{RESULTS}/test/logs/{stage}"), each
    assert set(found) == {
        "download", "regrid", "moments", "statistics", "fisher", "finetune", "predict", "baseline",
        "evaluate", "report",
    }  # fmt: skip
    (fisher,) = found["fisher"]
    assert fisher[fisher.index("--pretrained") + 1] == weights.name
    for words in found["finetune"]:
        assert words[:3] == [str(checkout.folder / "workflow/scripts/launch"), "2", "4"]
    assert not list(tmp_path.rglob("x"))


@pytest.mark.slow
def test_jobs_run_where_names_are_strange(tmp_path: Path) -> None:
    checkout = Checkout.of_repository(tmp_path / FOLDER)
    config = changed_config(checkout.folder, {"data": DATA, "results": RESULTS})
    scores = f"{RESULTS}/test/scores/interpolation"
    command = ("snakemake", "--nocolor", "--cores", "2", "--configfile", config)
    checkout.run(*command, "--", scores)
    assert (checkout.folder / scores / "provenance.json").is_file()
    assert len(list((checkout.folder / DATA / "raw/toy").iterdir())) == 2
    assert not list(tmp_path.rglob("x"))
    assert "Nothing to be done" in checkout.run(*command, "-n", "--", scores).stdout


@pytest.mark.slow
def test_a_config_runs_no_command(tmp_path: Path) -> None:
    checkout = Checkout.of_repository(tmp_path / "checkout")
    config = checkout.changed_config(lambda values: values.update(results="res$(touch x)"))
    done = checkout.snakemake("--until", "download", config=config, check=False)
    assert not list(tmp_path.rglob("x"))
    assert done.returncode == 1 and "Traceback" not in done.stdout
    assert (
        len([line for line in done.stdout.splitlines() if f"{config}:" in line and ": results: " in line])
        == 1
    ), done.stdout
