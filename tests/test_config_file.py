"""Configuration files: read as they are written, or refused with file, line and key."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from tests.experiments import CONFIGS
from weatherpeft.config_file import MOST_VALUES, check_command, read


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
