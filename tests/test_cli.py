"""Subcommands made from the signatures of stages."""

import importlib
import json
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from weatherpeft.cli import AFTERWARDS, PIPELINE, main

ROOT = Path(__file__).resolve().parent.parent

STAGES = {
    "regrid": '''
from pathlib import Path

from weatherpeft.spec import Period, Spec


class RegridSpec(Spec):
    resolution_deg: float
    period: Period | None = None


def regrid(spec: RegridSpec, raw: Path, output: Path) -> None:
    """Bring raw data to a grid.

    Further lines.
    """
    output.write_text(f"{spec.canonical_json()} {raw}")
''',
    "tune": '''
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from weatherpeft.spec import Spec


class Lora(Spec):
    name: Literal["lora"]
    rank: int


class Full(Spec):
    name: Literal["full"]


def tune(
    method: Annotated[Lora | Full, Field(discriminator="name")],
    data: list[Path],
    output: Path,
    fisher: Path | None = None,
    other_data: Sequence[Path] = (),
    workers: int = 2,
    kind: Literal["one", "two"] = "one",
    resume: bool = True,
) -> None:
    """Tune ``a model``.

    Args:
        method: one ``Lora`` or
            ``Full``.
        data: training data; 100% of it,
            in order.

    Raises:
        ValueError: nothing: never.
    """
    found = [method, data, fisher, list(other_data), workers, kind, resume]
    output.write_text("\\n".join(str(item) for item in found))
''',
    "fail": '''
import asyncio
import logging
import time
from pathlib import Path
from typing import Literal

from weatherpeft.spec import Period


def fail(kind: Literal["value", "os", "spec", "bug", "stop"]) -> None:
    """Fail."""
    logging.getLogger("weatherpeft.stages.fail").info("about to fail")
    if kind == "value":
        raise ValueError("field t2m:\\n  found 3 times, expected 4")
    if kind == "os":
        Path("/nowhere/at/all").read_text()
    if kind == "spec":
        Period.parse({"start": "2001-01-02", "end": "2001-01-01"})
    if kind == "stop":
        left = asyncio.new_event_loop().create_future()  # as a library's thread leaves it
        left.set_exception(FileNotFoundError("none"))
        raise KeyboardInterrupt
    raise KeyError("bug")
''',
}


@pytest.fixture
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    package = tmp_path / "toy_stages"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "_private.py").write_text("raise RuntimeError('not a stage')\n")
    for name, text in STAGES.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == package.name]:
        monkeypatch.delitem(sys.modules, name)
    return package.name


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The real program in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "weatherpeft", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | environment,
    )


def run_stages(
    stages: str, tmp_path: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """The program over toy stages, in a process of its own."""
    program = f"import sys; from weatherpeft.cli import main; sys.exit(main(stages={stages!r}))"
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path} | environment,
    )


def test_a_stage_gets_its_spec_and_paths(stages: str, tmp_path: Path) -> None:
    output = tmp_path / "output"
    spec = '{"resolution_deg": 1.5, "period": {"start": "2001-01-01", "end": "2001-01-02"}}'
    assert main(["regrid", "--spec", spec, "--raw", "raw", "--output", str(output)], stages) == 0
    text, raw = output.read_text().rsplit(" ", 1)
    assert json.loads(text) == json.loads(spec)
    assert raw == "raw"


def test_a_spec_may_come_from_a_file(stages: str, tmp_path: Path) -> None:
    output, file = tmp_path / "output", tmp_path / "spec.json"
    file.write_text('{"resolution_deg": 3}')
    assert main(["regrid", "--spec", f"@{file}", "--raw", "raw", "--output", str(output)], stages) == 0
    assert json.loads(output.read_text().split()[0])["resolution_deg"] == 3


def test_defaults(stages: str, tmp_path: Path) -> None:
    output = tmp_path / "output"
    arguments = ["tune", "--method", '{"name": "full"}', "--data", "a", "b", "--output", str(output)]
    assert main(arguments, stages) == 0
    assert output.read_text().split("\n") == [
        "name='full'",
        f"{[Path('a'), Path('b')]}",
        *"None [] 2 one True".split(),
    ]


def test_every_kind_of_option(stages: str, tmp_path: Path) -> None:
    output = tmp_path / "output"
    arguments = [
        *("tune", "--method", '{"name": "lora", "rank": 4}', "--data", "a", "--output", str(output)),
        *("--fisher", "f", "--other-data", "b", "c", "--workers", "5", "--kind", "two", "--no-resume"),
    ]
    assert main(arguments, stages) == 0
    assert output.read_text().split("\n") == [
        "name='lora' rank=4",
        f"{[Path('a')]}",
        "f",
        f"{[Path('b'), Path('c')]}",
        *("5", "two", "False"),
    ]


@pytest.mark.parametrize(
    ("spec", "lines"),
    [
        ('{"resolution": 1.5}', ["resolution_deg: missing", "resolution: unknown key"]),
        ('{"resolution_deg": "1.5"}', ["resolution_deg: Input should be a valid number, found '1.5'"]),
        (
            '{"resolution_deg": 1, "period": {"start": "2001-01-02", "end": "2001-01-01"}}',
            ["period: period ends on 2001-01-01, before its start 2001-01-02"],
        ),
        (
            '{"resolution_deg": 1, "period": {"start": "2001-01-02", "end": "2001-01-03", "x": 1}}',
            ["period.x: unknown key"],
        ),
        ("{", ["Invalid JSON: EOF while parsing an object at line 1 column 1"]),
        ("@/nowhere", ["/nowhere: No such file or directory"]),
    ],
)
def test_a_wrong_spec_is_one_line_an_error(
    stages: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], spec: str, lines: list[str]
) -> None:
    output = tmp_path / "output"
    assert main(["regrid", "--spec", spec, "--raw", "raw", "--output", str(output)], stages) == 2
    assert capsys.readouterr().err.splitlines() == [f"weatherpeft: error: {line}" for line in lines]
    assert not output.exists()


@pytest.mark.parametrize(
    ("kind", "status", "line"),
    [
        ("value", 1, "field t2m: found 3 times, expected 4"),
        ("os", 1, "/nowhere/at/all: No such file or directory"),
        ("spec", 1, "period ends on 2001-01-01, before its start 2001-01-02"),
        ("stop", 130, "interrupted"),
    ],
)
def test_a_stage_that_refuses_is_one_line(
    stages: str, capsys: pytest.CaptureFixture[str], kind: str, status: int, line: str
) -> None:
    assert main(["fail", "--kind", kind], stages) == status
    assert capsys.readouterr().err.splitlines()[-1] == f"weatherpeft fail: error: {line}"


def test_an_error_is_said_even_where_the_log_cannot_grow() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "weatherpeft", "check", "missing.yaml"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=full, text=True)
    assert (done.returncode, done.stdout) == (
        2,
        "weatherpeft: error: missing.yaml: No such file or directory\n",
    )


def test_a_bug_keeps_its_traceback(stages: str) -> None:
    with pytest.raises(KeyError, match="bug"):
        main(["fail", "--kind", "bug"], stages)


def test_logging_and_tracebacks(stages: str, tmp_path: Path) -> None:
    plain = run_stages(stages, tmp_path, "fail", "--kind", "value")
    log, error = plain.stderr.splitlines()
    assert log.endswith(" INFO about to fail")
    assert error == "weatherpeft fail: error: field t2m: found 3 times, expected 4"
    quiet = run_stages(stages, tmp_path, "fail", "--kind", "value", WEATHERPEFT_LOG="warning")
    assert quiet.stderr.splitlines() == [error]
    for debug in (
        run_stages(stages, tmp_path, "fail", "--kind", "value", "--debug"),
        run_stages(stages, tmp_path, "fail", "--kind", "value", WEATHERPEFT_LOG="DEBUG"),
    ):
        assert "Traceback" in debug.stderr
        assert debug.stderr.splitlines()[-1] == error
    stopped = run_stages(stages, tmp_path, "fail", "--kind", "stop").stderr.splitlines()
    assert stopped == [log.replace(log[:23], stopped[0][:23]), "weatherpeft fail: error: interrupted"]
    loud = run_stages(stages, tmp_path, "fail", "--kind", "value", WEATHERPEFT_LOG="loud")
    assert loud.returncode == 2
    assert loud.stderr.startswith("weatherpeft: error: WEATHERPEFT_LOG is 'LOUD', expected one of DEBUG")


def test_help_lists_the_stages_with_their_first_lines(
    stages: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"], stages)
    text = " ".join(capsys.readouterr().out.split())
    for summary in (
        "regrid Bring raw data to a grid.",
        "tune Tune a model.",
        "schema Print",
        "check Validate",
        "init Write",
        "inspect Show",
        "verify Read",
    ):
        assert summary in text
    assert "Further lines" not in text
    assert "private" not in text


def listed(help_text: str) -> list[str]:
    """The subcommands in the order of the help."""
    return re.findall(r"^    ([a-z]\w+)(?:  |$)", help_text, re.MULTILINE)


def test_help_has_the_order_of_the_pipeline(stages: str, capsys: pytest.CaptureFixture[str]) -> None:
    others = ["schema", "check", "init", "inspect", "verify"]
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert listed(capsys.readouterr().out) == [*PIPELINE, *AFTERWARDS, *others]
    assert sorted([*PIPELINE, *AFTERWARDS]) == sorted(real_stages())
    with pytest.raises(SystemExit, match="0"):
        main(["--help"], stages)
    assert listed(capsys.readouterr().out) == ["regrid", "fail", "tune", *others]


def test_help_of_a_stage(stages: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["tune", "--help"], stages)
    text = " ".join(capsys.readouterr().out.split())
    assert "Tune a model." in text
    assert "--method JSON|@FILE one Lora or Full. --data" in text
    assert "--workers INT (default: 2)" in text
    assert "--data PATH|@FILE [PATH|@FILE ...] training data; 100% of it, in order. --output" in text
    assert "--resume | --no-resume" in text


def test_only_the_chosen_stage_is_imported(stages: str, tmp_path: Path) -> None:
    (tmp_path / stages / "broken.py").write_text("raise RuntimeError('imported')\n")
    assert main(["fail", "--kind", "stop"], stages) == 130


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "must define the function wrong"),
        ("def wrong(x): pass", "parameter x of stage wrong has no type"),
        ("def wrong(x: bytes): pass", "no option can be made from the parameter x"),
    ],
)
def test_a_stage_that_is_none_is_named(stages: str, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / stages / "wrong.py").write_text(text)
    importlib.invalidate_caches()
    with pytest.raises(TypeError, match=message):
        main(["wrong"], stages)


def test_abbreviated_and_missing_options_are_refused(stages: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["regrid", "--spec", "{}", "--raw", "raw", "--out", "output"], stages)
    with pytest.raises(SystemExit, match="2"):
        main(["regrid", "--spec", "{}", "--raw", "raw"], stages)


def real_stages() -> list[str]:
    import weatherpeft.stages

    return [found.name for found in pkgutil.iter_modules(weatherpeft.stages.__path__)]


@pytest.mark.parametrize("name", real_stages())
def test_real_stages_become_subcommands(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])
    text = capsys.readouterr().out
    assert f"usage: weatherpeft {name}" in text
    assert "`" not in text


def imported(program: str, *suspects: str) -> set[str]:
    code = f"{program}\nimport sys\nprint(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    return set(found.stdout.split()) & set(suspects)


HEAVY = ("pandas", "torch", "xarray", "dask", "aurora", "peft", "scipy", "matplotlib")


@pytest.mark.parametrize(
    "name", ["weatherpeft.cli", *(f"weatherpeft.stages.{name}" for name in real_stages())]
)
def test_importing_stages_is_light(name: str) -> None:
    assert imported(f"import {name}", *HEAVY) == set()


def test_the_version_is_the_one_that_is_cited() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert run("--version").stdout == f"weatherpeft {citation['version']}\n"
    assert f"\n## [{citation['version']}] - " in (ROOT / "CHANGELOG.md").read_text()


def test_importing_the_config_is_light() -> None:
    assert imported("import weatherpeft.config", *HEAVY) == set()


def test_schema_is_json_and_the_same_each_time() -> None:
    first, second = (run("schema", PYTHONHASHSEED=seed) for seed in ("1", "2"))
    assert json.loads(first.stdout)["type"] == "object"
    assert first.stdout == second.stdout


NEEDS_FILES = ROOT / "config/postprocessing.yaml"
"""Its forecasts are files that no server offers."""


@pytest.mark.parametrize(
    "path", sorted({*(ROOT / "config").glob("*.yaml")} - {NEEDS_FILES}), ids=lambda path: path.name
)
def test_configs_are_valid(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(path)]) == 0
    valid, samples, jobs, parameters = capsys.readouterr().out.splitlines()
    assert valid == f"{path}: valid"
    assert re.fullmatch(r"samples: [1-9]\d* train, [1-9]\d* validation, [1-9]\d* test", samples)
    assert jobs.startswith("jobs: ") and parameters.startswith("parameters: ")


def test_files_that_a_config_needs_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(NEEDS_FILES)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "config/postprocessing.yaml:16: forecasts.source: ens10/output.sfc.20180101 is missing" in line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense_key: 1\n", "nonsense_key: unknown key"),
        ("a: [\n", "config.yaml:2: expected the node content"),
        ("a: " + "[" * 60 + "]" * 60, "50 deep"),
        ("a: [" + "1, " * 100_000 + "]", "expected at most 100000 values in all"),
        ("name: 2001-13-45", "config.yaml: month must be in 1..12"),
        ("seed: " + "9" * 5000, "config.yaml: Exceeds the limit"),
    ],
    ids=["key", "no YAML", "deep", "many", "date", "digits"],
)
def test_a_wrong_config_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    assert main(["check", str(path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("weatherpeft: error: ") for line in lines)
    assert any(message in line for line in lines)
