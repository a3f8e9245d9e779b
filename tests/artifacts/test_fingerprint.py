"""Code digests: what changes them, what does not."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from weatherpeft.artifacts.fingerprint import ROOT, fingerprint, modules, spec_modules
from weatherpeft.spec import Spec

FILES = {
    "world/__init__.py": '"""A package."""\n__version__ = "1"\n',
    "world/stages/__init__.py": "",
    "world/stages/tune.py": """
        from typing import TYPE_CHECKING

        from world.peft import AnyMethod
        from world.stages import helper

        if TYPE_CHECKING:
            from world.typing_only import Thing

        def tune(method: AnyMethod, thing: "Thing"):
            from world.lazy import work

            return work(method, helper)
        """,
    "world/stages/helper.py": "from ..deep import base as other\n",
    "world/stages/draw.py": """
        import world.deep.base

        def draw():
            return "page.html.jinja"
        """,
    "world/stages/page.html.jinja": "<p>page</p>",
    "world/stages/merge.py": "from world.peft import Low\n",
    "world/typing_only.py": "class Thing: pass\n",
    "world/lazy.py": '''
        """Work."""

        def work(method, helper):
            """Do it."""
            # in this way
            return method.attach(helper)
        ''',
    "world/deep/__init__.py": "",
    "world/deep/base.py": "BASE = 1\n",
    "world/unrelated.py": "",
    "world/peft/__init__.py": """
        from typing import Annotated

        from world.peft.high import High
        from world.peft.low import Low

        AnyMethod = Annotated[High | Low, "name"]
        """,
    "world/peft/shared.py": "def inject(): return 1\n",
    "world/peft/high.py": "class High: pass\n",
    "world/peft/low.py": """
        class Low:
            def attach(self, helper):
                from .shared import inject

                return inject()
        """,
}


class World:
    """A small package on disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name, text in FILES.items():
            self.write(name, text)

    def write(self, name: str, text: str) -> None:
        lines = text.lstrip("\n").splitlines()
        margin = len(lines[0]) - len(lines[0].lstrip()) if lines else 0
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(line[margin:] for line in lines) + "\n")

    def replace(self, name: str, old: str, new: str) -> None:
        path = self.root / name
        assert old in path.read_text()
        before = path.stat().st_mtime_ns
        path.write_text(path.read_text().replace(old, new))
        os.utime(path, ns=(before + 1, before + 1))  # one edit within the clock's resolution

    def names(self, module: str, *extensions: str) -> set[str]:
        found = modules(module, extensions, root=self.root)
        assert list(found) == sorted(found)
        return set(found)

    def digests(self) -> dict[str, str]:
        return {
            "tune low": fingerprint("world.stages.tune", ["world.peft.low"], root=self.root),
            "tune high": fingerprint("world.stages.tune", ["world.peft.high"], root=self.root),
            "draw": fingerprint("world.stages.draw", root=self.root),
            "merge": fingerprint("world.stages.merge", root=self.root),
        }

    def changed(self, name: str, old: str, new: str) -> set[str]:
        before = self.digests()
        self.replace(name, old, new)
        after = self.digests()
        return {key for key in before if before[key] != after[key]}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_covers_what_a_module_imports_and_nothing_else(world: World) -> None:
    assert world.names("world.stages.tune", "world.peft.low") == {
        "world",
        "world.stages",
        "world.stages.tune",
        "world.stages.helper",
        "world.deep",
        "world.deep.base",
        "world.lazy",
        "world.peft",
        "world.peft.low",
        "world.peft.shared",
    }


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("world/lazy.py", "# in this way", "# in another way, on\n    # two lines"),
        ("world/lazy.py", "Do it.", "Do it with care."),
        ("world/lazy.py", '"""Work."""', ""),
        ("world/lazy.py", "method.attach(helper)", "method.attach( helper, )"),
        ("world/deep/base.py", "BASE = 1", 'BASE = 1\n"""Documented."""'),
        ("world/stages/tune.py", "import Thing", "import Thing as Thing, Other"),
        ("world/typing_only.py", "pass", "x = 1"),
        ("world/unrelated.py", "", "x = 1"),
        ("world/__init__.py", '"1"', '"2"'),
    ],
)
def test_comments_docstrings_layout_and_unused_code_change_nothing(
    world: World, name: str, old: str, new: str
) -> None:
    assert world.changed(name, old, new) == set()


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        ("world/lazy.py", "attach(helper)", "attach(helper, 1)", {"tune low", "tune high"}),
        ("world/stages/tune.py", "work(method", "work(-method", {"tune low", "tune high"}),
        ("world/deep/base.py", "BASE = 1", "BASE = 2", {"tune low", "tune high", "draw"}),
        ("world/peft/low.py", "return inject()", "return -inject()", {"tune low", "merge"}),
        ("world/peft/shared.py", "return 1", "return 2", {"tune low", "merge"}),
        ("world/peft/high.py", "pass", "x = 1", {"tune high"}),
        ("world/stages/page.html.jinja", "page", "new page", set()),  # within a process, data is read once
    ],
)
def test_changed_code_changes_those_who_use_it(
    world: World, name: str, old: str, new: str, expected: set[str]
) -> None:
    assert world.changed(name, old, new) == expected


def test_changed_module_changes_its_own_digest_alone(world: World) -> None:
    before = modules("world.stages.tune", root=world.root)
    world.replace("world/lazy.py", "attach(helper)", "attach(helper, 1)")
    after = modules("world.stages.tune", root=world.root)
    assert {name for name in before if before[name] != after[name]} == {"world.lazy"}


def test_a_new_extension_changes_nothing(world: World) -> None:
    before = world.digests()
    world.write("world/peft/other.py", "class Other: pass\n")
    world.replace("world/peft/__init__.py", "import Low\n", "import Low\nfrom .other import Other as Else\n")
    world.replace("world/peft/__init__.py", "High | Low", "High | Low | Else")
    assert world.digests() == before


def test_code_in_the_init_of_an_extension_package_counts(world: World) -> None:
    before = world.digests()
    world.replace("world/peft/__init__.py", "AnyMethod =", "def default(): return Low()\n\nAnyMethod =")
    assert world.digests() != before
    assert "world.peft.low" in world.names("world.stages.tune", "world.peft.high")


def test_extensions_of_others_do_not_count(world: World) -> None:
    assert not world.names("world.stages.tune") & {"world.peft.low", "world.peft.high", "world.peft.shared"}


def test_a_name_taken_from_an_extension_package_leads_to_its_member(world: World) -> None:
    names = world.names("world.stages.merge")
    assert "world.peft.low" in names
    assert "world.peft.high" not in names


def test_a_file_that_a_module_names_counts(world: World, tmp_path: Path) -> None:
    other = World(tmp_path / "other")
    other.replace("world/stages/page.html.jinja", "page", "new page")
    differing = {key for key, digest in world.digests().items() if other.digests()[key] != digest}
    assert differing == {"draw"}


def test_the_place_on_disk_does_not_matter(world: World, tmp_path: Path) -> None:
    assert World(tmp_path / "other").digests() == world.digests()


def test_unknown_and_broken_modules_are_named(world: World) -> None:
    with pytest.raises(ValueError, match=r"no module world\.peft\.lwo .* is asked for"):
        fingerprint("world.stages.tune", ["world.peft.lwo"], root=world.root)
    world.replace("world/lazy.py", "def work", "def def")
    with pytest.raises(ValueError, match=r"lazy\.py:3: "):
        fingerprint("world.stages.tune", root=world.root)


class Inner(Spec):
    name: Literal["inner"] = "inner"


class Outer(Spec):
    one: Inner | None
    several: tuple[Inner, ...]
    named: dict[str, Inner]


class Plain(Spec):
    pass


def test_spec_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Inner, "__module__", "weatherpeft.peft.inner")
    monkeypatch.setattr(Outer, "__module__", "weatherpeft.stages.outer")
    outer = Outer(one=None, several=(), named={})
    assert spec_modules(outer) == ("weatherpeft.stages.outer",)
    for fields in ({"one": Inner()}, {"several": (Inner(),)}, {"named": {"a": Inner()}}):
        spec = outer.model_copy(update=fields)
        assert spec_modules([spec, Plain()]) == ("weatherpeft.peft.inner", "weatherpeft.stages.outer")


def package_modules() -> list[str]:
    paths = sorted((ROOT / "weatherpeft").rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    return [name.removesuffix(".__init__") for name in names]


@pytest.mark.parametrize("name", package_modules())
def test_every_module_of_the_package_has_a_fingerprint(name: str) -> None:
    assert name in modules(name)


def test_fingerprints_import_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from weatherpeft.artifacts.fingerprint import fingerprint\n"
        "fingerprint('weatherpeft.samples.batch')\n"
        "print(*(name for name in ('torch', 'numpy', 'xarray', 'pydantic') if name in sys.modules))\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT
    )
    assert found.stdout.split() == []
