"""Which outputs a real Snakemake removes before their job: those that it has planned to replace."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflow import preloaded

SNAKEFILE = """
from weatherpeft.jobs.outputs import keep_whole_outputs

keep_whole_outputs()

rule second:
    input: "first"
    output: directory("second")
    shell: "ls second > found || true; mkdir -p second; {config[then]}"

rule first:
    output: directory("first")
    shell: "mkdir first; {config[meanwhile]}"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    return tmp_path


def snakemake(folder: Path, *options: str, meanwhile: str = "true") -> str:
    """Run it, and return what the second job found at the place of its output."""
    found = folder / "found"
    found.unlink(missing_ok=True)
    program = str(preloaded.commands() / "snakemake")
    command = [program, "--cores", "1", "--rerun-triggers", "mtime", *options]
    config = ["--config", f"meanwhile={meanwhile}", "then=true", "--", "second"]
    done = subprocess.run([*command, *config], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return found.read_text() if found.exists() else "not run"


def test_what_another_has_made_meanwhile_stays(folder: Path) -> None:
    meanwhile = "mkdir second; touch second/theirs"
    assert snakemake(folder, meanwhile=meanwhile) == "theirs\n"
    assert (folder / "second/theirs").exists()


def test_what_is_to_be_replaced_is_removed(folder: Path) -> None:
    assert snakemake(folder) == ""
    (folder / "second/ours").touch()
    assert snakemake(folder) == "not run"
    assert snakemake(folder, "--force") == ""
    (folder / "second/ours").touch()
    assert snakemake(folder, "--forcerun", "first") == ""


@pytest.mark.parametrize(("reads", "found"), [("first", "ours\n"), ("source", "")])
def test_what_a_killed_snakemake_has_not_seen_finished(folder: Path, reads: str, found: str) -> None:
    """It stays, unless its job has read plain files: no record tells whether these have changed since."""
    (folder / "source").write_text("text")
    (folder / "Snakefile").write_text(SNAKEFILE.replace('input: "first"', f'input: "{reads}"'))
    config = ["meanwhile=true", "then=touch second/ours; kill -9 $PPID"]
    command = [sys.executable, "-m", "snakemake", "--cores", "1"]
    assert subprocess.run([*command, "--config", *config], cwd=folder, check=False).returncode == -9
    assert (folder / "second/ours").exists()
    subprocess.run([*command, "--unlock"], cwd=folder, check=True)
    assert snakemake(folder, "--rerun-incomplete") == found
