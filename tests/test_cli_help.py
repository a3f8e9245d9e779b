"""Examples in the help of every subcommand, and completion in a shell."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.experiments import CONFIGS
from weatherpeft.cli import AFTERWARDS, PIPELINE, _parser, main

ROOT = CONFIGS.parent
STAGES = "weatherpeft.stages"
COMMANDS = [*PIPELINE, *AFTERWARDS, "schema", "check", "init", "inspect", "verify"]
PLANNED = "config/test.yaml"
ELSEWHERE = {"series", "climatology", "pack", "standardization", "efi", "choose", "weights"}
"""Stages that the experiment ``PLANNED`` has no jobs of."""


def examples(name: str, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """The words of each example in the help of a subcommand."""
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])
    text = capsys.readouterr().out.partition("for example:\n")[2].replace("\\\n", "")
    return [words for line in text.splitlines() if (words := shlex.split(line, comments=True))]


def test_every_subcommand_is_looked_at() -> None:
    (subparsers,) = _parser([], STAGES)._subparsers._group_actions  # type: ignore[union-attr]
    assert set(subparsers.choices or ()) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_subcommand_has_an_example_whose_words_parse(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = examples(name, capsys)
    assert found
    for program, *words in found:
        words = words[: words.index(">")] if ">" in words else words
        assert (program, words[0]) == ("weatherpeft", name)
        _parser(words, STAGES).parse_args(words)


def test_the_examples_of_check_are_valid(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    for _, *words in examples("check", capsys):
        assert main(words) == 0
    assert capsys.readouterr().out.count(": valid\n") == 2


@pytest.mark.slow
def test_examples_of_stages_are_what_the_workflow_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["snakemake", "-n", "-p", "--configfile", PLANNED, "--directory", str(tmp_path)]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=True
    )
    lines = re.findall(r"(weatherpeft \w+ --spec .*) 2> ", done.stdout + done.stderr)
    planned = [shlex.split(line) for line in lines]
    for name in PIPELINE:
        ((program, stage, option, spec, *words),) = examples(name, capsys)
        assert (program, stage, option, spec) == ("weatherpeft", name, "--spec", f"@{name}.json")
        if name not in ELSEWHERE:
            assert sorted(words) in [sorted(other[4:]) for other in planned if other[1] == name], name


def completed(line: str, shell: str, cwd: Path = ROOT) -> set[str]:
    """What the library's shell function gets, on descriptor 8, with the cursor at the line's end."""
    read, write = os.pipe()
    settings = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_SHELL": shell,
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "PYTHONPATH": str(ROOT),
    }
    program = f'exec "{sys.executable}" -m weatherpeft 8>&{write} 9>/dev/null'
    subprocess.run(["bash", "-c", program], cwd=cwd, env=os.environ | settings, pass_fds=[write], check=True)
    os.close(write)
    with os.fdopen(read) as stream:
        return set(stream.read().split("\n"))


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_completes_subcommands_options_and_files(shell: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").touch()
    words = {
        line: {word.partition(":")[0] for word in completed(line, shell, tmp_path)}
        for line in (
            "weatherpeft re",
            "weatherpeft regrid --",
            "weatherpeft check mi",
            "weatherpeft check m --c",
        )
    }
    assert words["weatherpeft re"] == {"regrid", "report"}
    assert {"--spec", "--raw", "--output", "--shared", "--debug", "--help"} == words["weatherpeft regrid --"]
    assert words["weatherpeft check mi"] == {"mine.yaml"}
    assert words["weatherpeft check m --c"] == {"--config"}


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_lines_of_the_readme_are_those_of_the_library(shell: str) -> None:
    register = Path(sys.executable).parent / "register-python-argcomplete"
    found = subprocess.run(
        [str(register), "--shell", shell, "weatherpeft"], capture_output=True, text=True, check=True
    )
    assert "weatherpeft" in found.stdout
    assert (
        f'eval "$(register-python-argcomplete --shell {shell} weatherpeft)"'
        in (ROOT / "README.md").read_text()
    )


def test_completion_costs_nothing_where_no_shell_asks() -> None:
    code = (
        "import sys\nfrom weatherpeft.cli import main\n"
        "try:\n    main(['--version'])\nfinally:\n    print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "weatherpeft.spec" in done.stdout.split() and "argcomplete" not in done.stdout.split()
