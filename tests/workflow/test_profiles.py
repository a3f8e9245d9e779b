"""The shipped profiles, without a cluster: what they ask for, and that nothing else asks for anything."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yte

from tests.workflow.workflow import CONFIG, ROOT, Checkout

GPU_RULES = {"pretrain", "fisher", "finetune", "finetune_candidate", "predict", "predict_pretrained"}
INTERNET_RULES = {"download", "download_forecasts", "weights"}
SITE = {
    "WEATHERPEFT_SLURM_ACCOUNT": "12345",
    "WEATHERPEFT_SLURM_CPU_PARTITION": "all",
    "WEATHERPEFT_SLURM_GPU_PARTITION": "gpu-long",
    "WEATHERPEFT_SLURM_DOWNLOAD_PARTITION": "transfer",
    "WEATHERPEFT_SLURM_GPU_TYPE": "a100",
    "WEATHERPEFT_SLURM_GPUS": "4",
    "WEATHERPEFT_SLURM_NODES": "2",
}


def profile() -> dict[str, Any]:
    """The profile ``slurm`` as Snakemake reads it."""
    with (ROOT / "slurm/config.yaml").open() as file:
        return yte.process_yaml(file, require_use_yte=True)


def rules() -> dict[str, str]:
    """The text of each rule by its name, be it written out or derived from another (``use rule … as …``)."""
    text = "".join(path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk")))
    head = r"(?:rule|use rule \w+ as) (\w+)(?: with)?:\n"
    return dict(re.findall(rf"^{head}((?:    .*\n|\n)+)", text, re.MULTILINE))


@pytest.fixture(autouse=True)
def no_site(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that the developer has set for a cluster of his own."""
    for name in list(os.environ):
        if name.startswith("WEATHERPEFT_SLURM_"):
            monkeypatch.delenv(name)


def test_nothing_but_a_profile_decides_resources() -> None:
    assert {"download", "finetune", "report"} <= set(rules())
    for name, text in rules().items():
        asked = re.findall(r"^    (resources|threads|retries|group|localrule|priority):", text, re.MULTILINE)
        assert not asked, f"rule {name} decides {asked}"


def test_rules_of_many_jobs_are_batched_and_rules_on_gpus_are_not() -> None:
    many = {name for name, text in rules().items() if "wildcards." in text or "{{" in text}
    values = profile()
    assert set(values["groups"]) == many - GPU_RULES - INTERNET_RULES - {"report"}
    assert all(rule == group for rule, group in values["groups"].items())
    assert values["group-components"] == dict.fromkeys(values["groups"], 16)
    assert values["cores"] == 8


def test_every_rule_on_a_gpu_asks_for_one_and_nothing_names_a_site() -> None:
    values = profile()
    for rule in rules():
        assert ("gres" in values["set-resources"].get(rule, {})) == (rule in GPU_RULES), rule
    assert {values["set-resources"][rule]["gres"] for rule in GPU_RULES} == {"gpu:1"}
    assert values["retries"] == 3
    asked = [values["default-resources"], *values["set-resources"].values()]
    assert not [key for resources in asked for key in resources if key.startswith("slurm_")]
    assert set(values["set-resources"]) <= set(rules())


def test_the_environment_says_what_the_site_calls_things(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SITE.items():
        monkeypatch.setenv(name, value)
    values = profile()
    defaults = values["default-resources"]
    assert (defaults["slurm_account"], defaults["slurm_partition"]) == ("'12345'", "'all'")
    resources = values["set-resources"]
    assert {resources[rule]["slurm_partition"] for rule in INTERNET_RULES} == {"'transfer'"}
    assert {resources[rule]["slurm_partition"] for rule in GPU_RULES} == {"'gpu-long'"}
    assert [resources[rule]["gres"] for rule in ("fisher", "finetune")] == ["gpu:a100:1", "gpu:a100:4"]
    assert {key: resources["finetune"][key] for key in ("nodes", "mpi", "tasks", "cpus_per_task")} == {
        "nodes": 2,
        "mpi": "srun",
        "tasks": 2,
        "cpus_per_task": 32,
    }


@pytest.mark.parametrize(
    ("sacct", "command"),
    [
        ("exit 0", "sacct"),
        ("echo Slurm accounting storage is disabled >&2; exit 1", "squeue"),
        ("exec sleep 60", "squeue"),
        (None, "squeue"),
    ],
    ids=["answers", "disabled", "silent", "missing"],
)
def test_status_comes_from_sacct_where_it_answers(
    sacct: str | None, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sacct:
        (tmp_path / "sacct").write_text(f"#!/bin/sh\n{sacct}\n")
        (tmp_path / "sacct").chmod(0o755)
        (tmp_path / "sleep").symlink_to(shutil.which("sleep") or "")
    monkeypatch.setenv("PATH", str(tmp_path))
    run = subprocess.run

    def impatient(*arguments: Any, timeout: float, **options: Any) -> Any:
        assert 5 <= timeout <= 60
        return run(*arguments, timeout=0.5 if sacct and "sleep" in sacct else timeout, **options)

    monkeypatch.setattr(subprocess, "run", impatient)
    assert profile()["slurm-status-command"] == command


@pytest.mark.slow
def test_a_dry_run_needs_no_slurm_and_shows_what_would_be_asked_for(tmp_path: Path) -> None:
    checkout = Checkout.of_repository(tmp_path / "checkout")
    command = ["snakemake", "--nocolor", "--profile", "slurm", "-n", "-p", "--configfile", CONFIG]
    text = checkout.run(*command, variables=SITE).stdout
    jobs = re.split(r"^ *(?=rule \w+:)", text, flags=re.MULTILINE)
    by_rule = {found[1]: job for job in jobs if (found := re.match(r"rule (\w+):", job))}
    finetune = by_rule["finetune"]
    for asked in (
        "slurm_account=12345",
        "slurm_partition=gpu-long",
        "gres=gpu:a100:4",
        "mem_mb=256000",
        "runtime=720",
        "launch 2 4 weatherpeft finetune",
        "--time-budget-minutes 705",
    ):
        assert asked in finetune, finetune
    assert re.search(r"slurm_partition=all\b", by_rule["regrid"])
    assert re.search(r"command: +weatherpeft fisher", by_rule["fisher"]), by_rule["fisher"]


@pytest.mark.slow
def test_the_profile_runs_other_workflows_too() -> None:
    command = ["-n", "--profile", "slurm", "--snakefile", "benchmarks/slurm_overhead.smk"]
    shown = subprocess.run(
        [sys.executable, "-m", "snakemake", *command], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert shown.returncode == 0, shown.stderr


def test_local_results_are_good_for_the_cluster_and_the_other_way_round(copied: Checkout) -> None:
    scores = copied.folder / "results/test/scores/interpolation"
    profile = ["snakemake", "--nocolor", "--profile", "slurm", "--configfile", CONFIG]
    assert "Nothing to be done" in copied.run(*profile, "-n").stdout
    before = (scores / "provenance.json").read_bytes()
    shutil.rmtree(scores)
    target = str(scores.relative_to(copied.folder))  # the report alone would not ask for it
    copied.run(*profile, "--executor", "local", "--cores", "2", "--", target)
    assert (scores / "provenance.json").read_bytes() == before
    assert copied.planned() == {"report"}, "it alone is older than what it reads"


@pytest.mark.slow
def test_the_launcher_tells_each_process_its_place(tmp_path: Path) -> None:
    program = tmp_path / "place"
    program.write_text('#!/bin/sh\necho "$1 $RANK $LOCAL_RANK $WORLD_SIZE" > "$2/$RANK"\n')
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = (ROOT / "workflow/scripts/launch", "1", "2", program, "two words", tmp_path)
    subprocess.run(command, env=environment, check=True)
    assert [(tmp_path / rank).read_text() for rank in "01"] == ["two words 0 0 2\n", "two words 1 1 2\n"]


def test_the_profile_spares_the_parse_the_libraries_of_clouds() -> None:
    """Half a second of each ``snakemake -n`` where they are installed."""
    program = (
        "import sys, yte\n"
        "yte.process_yaml(open('profiles/default/config.yaml'), require_use_yte=True)\n"
        "from smart_open import open, parse_uri\n"
        "assert parse_uri('Snakefile').scheme == 'file' and open('Snakefile').read()\n"
        "print(*sys.modules)\n"
    )
    command = [sys.executable, "-c", program]
    loaded = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    assert "smart_open.http" in loaded
    assert not {"azure.storage.blob", "google.cloud.storage", "boto3"} & set(loaded)
