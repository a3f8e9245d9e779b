"""Methods that the backbone cannot have are refused before any job, and what it can have is not."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.experiments import CONFIGS, NAMES, changed, put, values
from tests.peft.test_huggingface import SMALL
from weatherpeft.checks.methods import methods
from weatherpeft.cli import main
from weatherpeft.config import load
from weatherpeft.peft.huggingface import OPTIONS

Change = Callable[[dict[str, Any]], Any]
UNKNOWN = "no linear layer of the backbone is named"
MISS = {"name": "huggingface", "type": "miss", "options": {"r": 512}}
LAYERS = "'fc1', 'fc2', 'lin1', 'lin2', 'proj', 'qkv', 'reduction'"


def run(*given: dict[str, Any]) -> Change:
    return put("runs", {"one": {"methods": list(given)}})


def lines(tmp_path: Path, *changes: Change) -> list[str]:
    return list(methods(changed(*changes), tmp_path / "cache"))


@pytest.mark.parametrize(
    ("given", "number", "message"),
    [
        *(
            ([{"name": name, "targets": ["qkv", "key"]}], 0, f"{name}: {UNKNOWN} 'key'")
            for name in ("lora", "lora_plus", "dora")
        ),
        (
            [{"name": "huggingface", "targets": ["key"]}],
            0,
            f"huggingface: type 'vera' with {{}}: {UNKNOWN} 'key'",
        ),
        ([{"name": "tadp"}, {"name": "lora", "targets": ["norm"]}], 1, f"lora: {UNKNOWN} 'norm'"),
        ([{"name": "sfas", "fraction": 1e-9}], 0, "sfas: fraction 1e-09 of the model selects 0 entries"),
        ([{"name": "sfas", "budget": 2}], 0, "sfas: found a budget of 2 entries"),
        (
            [{"name": "huggingface", "type": "ia3", "options": {"feedforward_modules": ["fc2"]}}],
            0,
            "huggingface: type 'ia3'",
        ),
        (
            [{"name": "huggingface", "type": "c3a", "options": {"block_size": 7}}],
            0,
            "huggingface: type 'c3a' with {'block_size': 7}: The block size should be a factor",
        ),
        (
            [{"name": "huggingface", "type": "boft", "options": {"boft_block_size": -1}}],
            0,
            "huggingface: ",
        ),
        ([{"name": "tadp"}, MISS], 1, "huggingface: type 'miss'"),
    ],
)  # fmt: skip
def test_what_the_backbone_cannot_have_names_the_run_and_the_method(
    given: list[dict[str, Any]], number: int, message: str, tmp_path: Path
) -> None:
    for _ in range(2):  # nothing of it is remembered
        (line,) = lines(tmp_path, run(*given))
        assert line.startswith(f"runs.one.methods.{number}: {message}")


def test_the_names_that_there_are_are_said(tmp_path: Path) -> None:
    (line,) = lines(tmp_path, run({"name": "lora", "targets": ["query"]}))
    assert LAYERS in line


def test_each_wrong_run_has_a_line_and_each_value_of_a_list_counts(tmp_path: Path) -> None:
    runs = {
        "right": {"methods": [{"name": "lora", "rank": [2, 4], "alpha": [1.0, 2.0]}]},
        "one": {"methods": [{"name": "sfas", "fraction": [0.1, 0.2, 1e-9], "gamma": [0.1, 0.2]}]},
        "two": {"methods": [{"name": "lora", "targets": ["key"]}]},
    }
    found = lines(tmp_path, put("runs", runs))
    assert [line.partition(": ")[0] for line in found] == ["runs.one.methods.0", "runs.two.methods.0"]


@pytest.mark.parametrize("kind", [kind for kind in OPTIONS if kind not in ("c3a", "miss", "psoft", "road")])
def test_types_that_the_backbone_can_have_pass(kind: str, tmp_path: Path) -> None:
    """Also SHiRA, which asks for values that a model of shapes does not have."""
    targets = {"targets": ["norm"]} if kind == "ln_tuning" else {}
    options = SMALL.get(kind, {})
    assert lines(tmp_path, run({"name": "huggingface", "type": kind, "options": options, **targets})) == []


@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_of_the_repository_passes(name: str, tmp_path: Path) -> None:
    assert list(methods(load(CONFIGS / name), tmp_path)) == []


def test_the_check_names_the_line_and_imports_torch_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config, path = values(), tmp_path / "own.yaml"
    run({"name": "lora", "targets": ["key"]})(config)
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    assert main(["check", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "targets" in path.read_text().splitlines()[int(line.split(":")[3])]
    run({"name": "lora", "targets": ["qkv"]})(config)
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    code = f"""if True:
        import sys
        from weatherpeft.cli import main
        assert main(["check", {str(path)!r}]) == 0
        print(bool({{"torch", "peft", "aurora"}} & set(sys.modules)))"""
    said = [
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
        for _ in range(2)
    ]
    assert [each.splitlines()[-1] for each in said] == ["True", "False"]
    assert said[0].splitlines()[:-1] == said[1].splitlines()[:-1]
