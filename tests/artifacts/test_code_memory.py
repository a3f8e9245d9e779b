"""What fingerprints remember from one process to the next: never something else than the code says."""

import json
from pathlib import Path

import pytest

from weatherpeft.artifacts import fingerprint as fingerprints
from weatherpeft.artifacts.fingerprint import Code, modules

FILES = {
    "world/__init__.py": "",
    "world/peft/__init__.py": "from world.peft.low import Low\n",
    "world/peft/low.py": "class Low: pass\n",
    "world/tune.py": "from world.peft import Low\nfrom world.draw import draw\n",
    "world/draw.py": 'def draw():\n    return "page.jinja", "other.jinja"\n',
    "world/page.jinja": "<p>page</p>",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def remembered(root: Path) -> dict[str, str]:
    fingerprints._parse.cache_clear()
    return Code(root, root / "kept" / "code.json").modules("world.tune")


def test_a_second_process_parses_nothing_and_finds_the_same(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = remembered(root)
    assert first == modules("world.tune", root=root)
    assert "world.peft.low" in first

    def parse(*arguments: object) -> None:
        raise AssertionError(f"parsed {arguments}")

    parse.cache_clear = fingerprints._parse.cache_clear  # type: ignore[attr-defined]
    monkeypatch.setattr(fingerprints, "_parse", parse)
    assert remembered(root) == first


@pytest.mark.parametrize(
    ("name", "text", "changed"),
    [
        ("world/draw.py", "def draw():\n    return 1\n", {"world.draw"}),
        ("world/page.jinja", "<p>Page</p>", {"world.draw"}),
        ("world/other.jinja", "", set()),  # there now, and with nothing in it
        ("world/other.jinja", "new", {"world.draw"}),
    ],
)
def test_a_changed_file_is_read_again_whatever_its_time_and_size(
    root: Path, name: str, text: str, changed: set[str]
) -> None:
    before = remembered(root)
    (root / name).write_text(text)
    after = remembered(root)
    fingerprints._parse.cache_clear()
    assert after == modules("world.tune", root=root)
    assert {module for module in before if before[module] != after[module]} == changed


def test_imports_are_remembered_as_they_are_now(root: Path) -> None:
    assert "world.draw" in remembered(root)
    (root / "world/tune.py").write_text("from world.peft import Low\n")
    assert set(remembered(root)) == {"world", "world.peft", "world.peft.low", "world.tune"}


@pytest.mark.parametrize(
    "damage", ["", "[]", "{}", '{"made_by": 1, "modules": {}}', "cut", "entries", "older"]
)
def test_a_damaged_or_foreign_memory_counts_for_nothing(root: Path, damage: str) -> None:
    before, kept = remembered(root), root / "kept" / "code.json"
    values = json.loads(kept.read_text())
    if damage == "cut":
        kept.write_text(kept.read_text()[:-40])
    elif damage == "entries":
        kept.write_text(
            json.dumps({**values, "modules": {"world.tune": ["a"], "world.draw": {}, "world": 1}})
        )
    elif damage == "older":
        for entry in values["modules"].values():
            entry[1] = "0" * 16
        kept.write_text(json.dumps({**values, "made_by": "another version"}))
    else:
        kept.write_text(damage)
    assert remembered(root) == before
    assert json.loads(kept.read_text())["made_by"] == values["made_by"]


def test_where_nothing_can_be_written_nothing_is_remembered(root: Path) -> None:
    before = remembered(root)
    (root / "file").write_text("")
    assert Code(root, root / "file" / "code.json").modules("world.tune") == before
