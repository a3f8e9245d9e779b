"""Configuration files: read as they are written, or refused with file, line and key."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pytest
import yaml

from tests.experiments import CONFIGS
from weatherpeft.config_file import MOST_VALUES, check_command, merged, read, where


def powers(base: int, exponent: int, item: str, mapping: bool) -> str:
    """Lists or mappings of aliases that stand for ``base ** exponent`` items."""
    parts = [item] * base
    lines = []
    for level in range(exponent):
        named = [f"k{number}: {part}" for number, part in enumerate(parts)] if mapping else parts
        lines.append(f"a{level}: &a{level} " + ("{%s}" if mapping else "[%s]") % ", ".join(named))
        parts = [f"*a{level}"] * base
    return "\n".join(lines)


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_is_read_as_yaml_reads_it(path: Path) -> None:
    assert read(path) == yaml.safe_load(path.read_text())


def test_json_and_aliases_are_read(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text('{"a": [1, true, null], "b": {"c": "ü"}}')
    assert read(tmp_path / "c.json") == {"a": [1, True, None], "b": {"c": "ü"}}
    (tmp_path / "c.yaml").write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [*a, *a]\n'on': 2\n")
    assert read(tmp_path / "c.yaml") == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 1, "y": 3},
        "c": [{"x": 1, "y": 2}] * 2,
        "on": 2,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a: 1\nname: M\xfcnchen\n".encode("latin-1"),
            "2: expected UTF-8, found the byte 0xfc after 'name: M'",
        ),
        ("runs:\n  on: {methods: []}\n", "2: runs: the key on is of the type bool in YAML; put it in quotes"),
        ("runs: [{2: 3}]\n", "1: runs.0: the key 2 is of the type int in YAML"),
        ("? [a]\n: 1\n", "1: the key that is a list or a mapping is of the type seq"),
        ("a: 1\nb: {c: 1, c: 2}\n", "2: b: the key c is there twice"),
        (powers(9, 8, "1", mapping=False), f"a6.1: aliases stand for more than {MOST_VALUES} values"),
        (powers(9, 8, "1", mapping=True), f"a6.k1: aliases stand for more than {MOST_VALUES} values"),
        (powers(9, 40, "1", mapping=True), f"aliases stand for more than {MOST_VALUES} values"),
        (powers(9, 40, "{x: 1}", mapping=True).replace("k0", "<<"), "aliases stand for more than"),
        ("a: &a\n  b: [1, *a]\n", "a.b.1: an alias refers to what it is part of"),
        ("a: " + "[" * 5000, ": nested too deeply"),
        ("a: !!python/name:os.system\n", "1: could not determine a constructor for the tag"),
        ("a: b: c\n", "1: mapping values are not allowed here"),
        ("a: \x07\n", "special characters are not allowed"),
        ("- a\n", ": not a YAML mapping"),
        ("", ": not a YAML mapping"),
    ],
)  # fmt: skip
def test_a_file_that_is_refused(
    tmp_path: Path, text: str | bytes, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ValueError) as found:
        read(path)
    assert str(found.value).startswith(f"{path}:") and message in str(found.value)
    for arguments in (["-n", "--configfile", str(path)], ["--configfiles", "none.yaml", str(path), "-n"]):
        with pytest.raises(SystemExit, match="c.yaml"):
            check_command(["snakemake", *arguments])


def test_a_file_is_no_program(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("__use_yte__: true\na: ?open('x', 'w')\n")
    with pytest.raises(SystemExit, match="c.yaml: __use_yte__"):
        check_command([f"--configfile={tmp_path / 'c.yaml'}"])


@pytest.mark.parametrize(
    "arguments",
    [["-n"], ["--config", "a=b"], ["--configfile", "missing.yaml"], ["all", "--cores", "2", "--", "x"]],
)
def test_other_command_lines_are_left_to_snakemake(arguments: Sequence[str]) -> None:
    check_command(["snakemake", *arguments])


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1e-3", 1e-3),
        ("1E-3", 1e-3),
        (".5e-2", 0.005),
        ("-1.5e3", -1500.0),
        ("2.e1", 20.0),
        ("1E5", 100_000),
        ("+1e3", 1000),
        ("1.0e-3", 1e-3),
    ],
)
def test_a_number_with_an_exponent_is_one_with_and_without_a_point(
    tmp_path: Path, text: str, number: float
) -> None:
    (tmp_path / "c.yaml").write_text(f"a: [{text}, '{text}', x{text}, {text}x, {{b: {text}}}]\n")
    found = read(tmp_path / "c.yaml")["a"]
    assert found == [number, text, f"x{text}", f"{text}x", {"b": number}]
    assert type(found[0]) is type(number)


def test_files_and_settings_are_merged_by_key(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "training: {steps: 250, learning_rate: 1e-3}\nseeds: [0, 1]\nb: {c: 1}\n"
    )
    (tmp_path / "b.yaml").write_text("training: {steps: 20}\nseeds: [2]\nb: 3\n")
    entries = ["training={steps: 80, clip_norm: 1e-2, text: '80'}", "x=2001-01-15", "y=", "z=a=b"]
    assert merged([tmp_path / "a.yaml", tmp_path / "b.yaml"], entries) == {
        "training": {"steps": 80, "learning_rate": 1e-3, "clip_norm": 1e-2, "text": "80"},
        "seeds": [2],
        "b": 3,
        "x": date(2001, 1, 15),
        "y": None,
        "z": "a=b",
    }
    with pytest.raises(ValueError, match=r"^--config training:1: training: the key a is there twice"):
        merged([], ["training={a: 1, a: 2}"])


def test_the_place_of_a_key_is_in_the_last_file_that_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("a:\n  b: 1\n  c:\n    - 1\n    - d: 2\n")
    second.write_text("\na: {b: 2}\n")
    assert where([first], ["a", "c", 1, "d"]) == "a.yaml:5"
    assert where([first], ["a", "c", 7]) == "a.yaml:3"
    assert where([first, second], ["a", "b"]) == "b.yaml:2"
    assert where([first, second], ["a", "c"]) == "a.yaml:3"
    assert where([first, second], ["x"]) == "a.yaml, b.yaml"
    assert where([], ["x"]) == ""
