"""The folder of the workflow: none of its name runs as a command, also not in the line that Slurm gets."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflow.test_names import SLURM_FOLDER
from tests.workflow.workflow import Checkout
from weatherpeft.config_file import check_command, check_slurm

TRACE = "trace"
QUICK = "retries: 0\nkeep-going: false\nslurm-status-command: squeue\n"
"""A second profile: the first job that Slurm refuses ends the workflow."""
ON_SLURM = ["$(touch trace)", "`touch trace`", 'a"b', "back\\slash", "new\nline", "\x1b[31m", "50%a"]


def slurm_of_words(folder: Path) -> Path:
    """A folder with a Slurm that refuses all jobs, and writes the words of its command line to a file."""
    folder.mkdir()
    sbatch = f"for word; do printf '%s\\0' \"$word\"; done > {folder}/words; exit 1"
    for name, script in {
        "sbatch": sbatch,
        "squeue": ":",
        "sacct": "exit 1",
        "sinfo": ":",
        "scontrol": ":",
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return folder


def submit(checkout: Checkout, commands: Path) -> subprocess.CompletedProcess[str]:
    """Submit the first job with the profile for Slurm."""
    (checkout.folder / "site").mkdir()
    (checkout.folder / "site/config.yaml").write_text(QUICK)
    profiles = ["--profile", "slurm", "--profile", "site", "--jobs", "1"]
    options = ["--until", "download", "--configfile", "config/test.yaml"]
    return checkout.run("snakemake", "--nocolor", *profiles, *options, commands=commands, check=False)


@pytest.mark.parametrize("name", [*ON_SLURM, "{run}", "a}b"])
def test_a_folder_that_cannot_be_used_is_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    elsewhere = ["--snakefile", str(tmp_path / "Snakefile"), "--configfile", str(tmp_path / "c.yaml")]
    check_slurm(elsewhere, "/usr/bin/python")
    check_command(elsewhere)
    for options in (
        ["--snakefile", str(folder / "Snakefile")],
        ["--directory", str(folder)],
        ["--configfile", str(folder / "c.yaml")],
        ["--configfile", "c.yaml", str(folder / "d.yaml"), "-n"],
        [],
    ):
        if not options:
            monkeypatch.chdir(folder)
        with pytest.raises(SystemExit) as caught:
            check_slurm(["snakemake", *options], "/usr/bin/python")
        message = str(caught.value)
        assert message.startswith(repr(f"{folder}")[:-1]) and "\n" not in message
    if "{" in name or "}" in name:
        with pytest.raises(SystemExit, match="Snakemake would act on"):
            check_command(["snakemake"])


@pytest.mark.parametrize("name", ["a b", "a;touch trace", "it's", "a&b", "a\nb"])
def test_a_python_that_slurm_would_not_find_is_named(name: str) -> None:
    check_slurm(["snakemake"], "/opt/ümlaut/env-3.11_x@y/bin/python")
    with pytest.raises(SystemExit) as caught:
        check_slurm(["snakemake"], f"/opt/{name}/bin/python")
    assert str(caught.value).startswith(repr(f"/opt/{name}/bin/python")) and "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("name", [f"a $(touch {TRACE})", f"a `touch {TRACE}`"])
def test_no_folder_runs_a_command_on_the_way_to_slurm(name: str, tmp_path: Path) -> None:
    checkout = Checkout.of_repository(tmp_path / name)
    commands = slurm_of_words(tmp_path / "commands")
    done = submit(checkout, commands)
    assert done.returncode == 1 and "Traceback" not in done.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.startswith(f"'{checkout.folder}'")]
    assert not list(tmp_path.rglob(TRACE)) and not (commands / "words").exists()


@pytest.mark.slow
def test_a_strange_folder_arrives_at_slurm_as_it_is(tmp_path: Path) -> None:
    checkout = Checkout.of_repository(tmp_path / SLURM_FOLDER)
    commands = slurm_of_words(tmp_path / "commands")
    done = submit(checkout, commands)
    words = (commands / "words").read_text().split("\0")[:-1]
    assert words[words.index("-D") + 1] == str(checkout.folder), done.stdout
    (wrapped,) = [word.partition("=")[2] for word in words if word.startswith("--wrap=")]
    assert wrapped.startswith(f"{sys.executable} ")
    printed = wrapped.replace(sys.executable, "printf '%s\\0'", 1)  # what a node's shell makes of it
    inner = subprocess.run(["sh", "-c", printed], cwd=commands, check=True, capture_output=True, text=True)
    found = inner.stdout.split("\0")
    assert found[found.index("--snakefile") + 1] == str(checkout.folder / "Snakefile")
    assert not list(tmp_path.rglob("x"))
