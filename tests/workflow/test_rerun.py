"""What runs again after a change, and nothing else does."""

import ast
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.workflow import CONFIG, Checkout

PERIODS = ("20010115-20010117", "20020115-20020116", "20030115-20030116")
DOWNLOADS = {f"download {period}" for period in PERIODS}
REGRIDS = {f"regrid {period}" for period in PERIODS}
ONCE = {"moments 20010115-20010117", "statistics", "pretrain", "fisher", "report"}
BASELINES = {
    f"{rule} {name}" for rule in ("baseline", "evaluate") for name in ("interpolation", "regression")
}


def of_runs(*labels: str) -> set[str]:
    """The jobs of runs."""
    return {f"{rule} {label}" for rule in ("finetune", "predict", "evaluate") for label in labels}


def change_function(path: Path) -> None:
    """Add a statement to a file's first function."""
    tree = ast.parse(path.read_text())
    function = next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    function.body.insert(1, ast.Pass())
    path.write_text(ast.unparse(ast.fix_missing_locations(tree)))


@pytest.mark.slow
def test_from_nothing_every_stage_runs(tmp_path: Path) -> None:
    planned = Checkout.of_repository(tmp_path / "empty").planned()
    assert planned == DOWNLOADS | REGRIDS | ONCE | BASELINES | of_runs("full-seed0", "weatherpeft-seed0")


@pytest.mark.slow
def test_a_climatology_is_made_where_the_task_needs_it(tmp_path: Path) -> None:
    checkout = Checkout.of_repository(tmp_path / "empty")
    path = checkout.folder / "weatherpeft/tasks/bases/fields.py"
    before, needed, after = path.read_text().partition("def needs_climatology")
    path.write_text(before + needed + after.replace("return ()", 'return ("2m_temperature",)', 1))
    planned = checkout.planned()
    assert {job for job in planned if job.startswith("series")} == {"series 20010115-20010117"}
    assert "climatology" in planned


@pytest.mark.slow
def test_nothing_changed_nothing_runs(copied: Checkout) -> None:
    assert copied.planned() == set()


@pytest.mark.slow
def test_parsing_the_workflow_imports_nothing_heavy(copied: Checkout) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "snakemake", "--dry-run", "--configfile", CONFIG]
    imported = {line.rpartition("|")[2].strip() for line in copied.run(*command).stdout.splitlines()}
    assert "weatherpeft.config" in imported
    assert imported.isdisjoint({"torch", "xarray", "dask", "scipy", "aurora", "peft", "matplotlib"})


def other_prompts(config: dict[str, Any]) -> None:
    config["runs"]["weatherpeft"]["methods"][0]["prompts"] = 5


def other_learning_rate(config: dict[str, Any]) -> None:
    config["runs"]["full"]["learning_rate"] = 2.0e-3


def new_run(config: dict[str, Any]) -> None:
    config["runs"]["lora"] = {"methods": [{"name": "lora", "rank": 2}]}


def new_seed(config: dict[str, Any]) -> None:
    config["seeds"] = [0, 1]


def one_run_less(config: dict[str, Any]) -> None:
    del config["runs"]["full"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "runs"),
    [
        (other_prompts, ["weatherpeft-seed0"]),
        (other_learning_rate, ["full-seed0"]),
        (new_run, ["lora-seed0"]),
        (new_seed, ["full-seed1", "weatherpeft-seed1"]),
        (one_run_less, []),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_changed_run_reruns_what_it_is_scored_by(
    copied: Checkout, change: Callable[[dict[str, Any]], None], runs: list[str]
) -> None:
    assert copied.planned(copied.changed_config(change)) == of_runs(*runs) | {"report"}


@pytest.mark.slow
def test_a_comment_reruns_nothing(copied: Checkout) -> None:
    path = copied.folder / "weatherpeft/fields/regridding.py"
    path.write_text(f"# A comment.\n{path.read_text()}\n# Another one.\n")
    assert copied.planned() == set()


@pytest.mark.slow
def test_a_changed_function_of_regridding_reruns_all_but_the_downloads(copied: Checkout) -> None:
    change_function(copied.folder / "weatherpeft/fields/regridding.py")
    assert copied.planned() == REGRIDS | ONCE | BASELINES | of_runs("full-seed0", "weatherpeft-seed0")


@pytest.mark.slow
def test_a_changed_method_reruns_the_runs_that_use_it(copied: Checkout) -> None:
    change_function(copied.folder / "weatherpeft/peft/tadp/spec.py")
    assert copied.planned() == of_runs("weatherpeft-seed0") | {"report"}
