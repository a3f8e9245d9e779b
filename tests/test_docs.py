"""What the documents name exists: files, folders, links and their anchors."""

import re
from pathlib import Path

import pytest

import weatherpeft

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
PATH = re.compile(r"`((?:weatherpeft|tests|config|docs|benchmarks|workflow)/[\w/.-]+)`")
MODULE = re.compile(r"`(weatherpeft(?:\.\w+)+)`")
LINK = re.compile(r"\]\(([^)#:\s]*)(?:#([\w-]+))?\)")


def anchors(document: Path) -> set[str]:
    """Anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_named_paths_exist(document: Path) -> None:
    text = document.read_text()
    offered = {f"weatherpeft.{name}" for name in weatherpeft.__all__}
    modules = [name for name in MODULE.findall(text) if name not in offered]
    paths = PATH.findall(text) + [f"{name.replace('.', '/')}.py" for name in modules]
    assert [path for path in paths if not (ROOT / path).exists()] == []
    for target, anchor in LINK.findall(text):
        linked = document.parent / target if target else document
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), anchor


def test_readme_shows_every_room() -> None:
    listed = set(re.findall(r"^      ([a-z]\w+(?:/|\.py))  ", (ROOT / "README.md").read_text(), re.MULTILINE))
    found = {path.name + ("/" if path.is_dir() else "") for path in (ROOT / "weatherpeft").glob("[a-z]*")}
    assert found - listed == set()


def test_where_is_names_a_file_for_each_question() -> None:
    section = (ROOT / "CONTRIBUTING.md").read_text().partition("## Where is …?")[2].partition("\n## ")[0]
    questions = re.findall(r"^\| Where .*$", section, re.MULTILINE)
    assert len(questions) == 11
    assert all(PATH.search(question) for question in questions)
