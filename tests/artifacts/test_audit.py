"""``weatherpeft verify``: every artifact has a line, and a bad one says what was made from it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tests import small_data as small
from weatherpeft.artifacts import manifest, store
from weatherpeft.artifacts.audit import Finding, audit
from weatherpeft.cli import main
from weatherpeft.spec import Spec


class Noted(Spec):
    note: str = "made"


def make(output: Path, *inputs: Path) -> Path:
    with store.artifact(output, Noted(note=output.name), "weatherpeft.spec", inputs) as directory:
        store.write_dataset(xr.Dataset({"x": ("i", np.arange(5.0))}), directory / "a.zarr")
        (directory / "tuned.safetensors").write_bytes(output.name.encode())
    return output


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fields, statistics of them, two runs of which one reads a file of the other, and one apart."""
    monkeypatch.chdir(tmp_path)
    fields = small.write_period(Path("data"), small.period("2001-02-01", "2001-02-02"))
    statistics = make(Path("results/a/statistics"), fields)
    first = make(Path("results/a/runs/first"), statistics)
    make(Path("results/a/runs/second"), first / "tuned.safetensors")
    make(Path("results/b/statistics"))
    (tmp_path / "results/a/logs").mkdir()
    (tmp_path / "results/a/logs/x.log").touch()
    return tmp_path


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


def states(*paths: str) -> dict[str, Finding]:
    return {str(found.path): found for found in audit([Path(path) for path in paths])}


ALL = ["data/20010201-20010202", "results/a/runs/first", "results/a/runs/second"]
ALL += ["results/a/statistics", "results/b/statistics"]


def test_sound_artifacts_have_a_line_each(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"ok          {path}" for path in ALL[1:] + ALL[:1]]
    assert main(["verify", "results/a/runs", "results/b/statistics/a.zarr"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"ok          {path}" for path in (*ALL[1:3], "results/b/statistics")
    ]


def test_a_bad_one_names_chunk_users_and_command(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shard = f"{small.FINE.label}.zarr/fields/c/0/0/0/0"
    flip(project / ALL[0] / shard, 30)
    assert main(["verify", "data", "results"]) == 1
    printed = capsys.readouterr()
    assert printed.out.splitlines()[:4] == [
        f"corrupt     {ALL[0]}",
        f"            {shard}, inner chunk (0, 0, 0, 0): damaged, its bytes are not those that were written",
        "            used by: results/a/runs/first, results/a/runs/second, results/a/statistics",
        f"            make it again with: snakemake --cores all --force {ALL[0]} --configfile CONFIG",
    ]
    assert printed.out.splitlines()[4:] == [f"ok          {path}" for path in ALL[1:]]
    assert "1 of 5 artifacts are not as they were written" in printed.err


def test_every_file_of_an_artifact_counts(project: Path) -> None:
    target, users = "results/a/statistics", [Path(path) for path in ALL[1:3]]
    files = sorted(path for path in Path(target).rglob("*") if path.is_file())
    assert len(files) == 6
    for path in files:
        content = path.read_bytes()
        for damaged in (content[:-1], content[:-1] + bytes([content[-1] ^ 1]), None):
            path.unlink()
            if damaged is not None:
                path.write_bytes(damaged)
            found = states("results")
            path.write_bytes(content)
            assert [name for name, one in found.items() if one.state != "ok"] == [target], path
            assert list(found[target].users) == users
            (problem,) = found[target].problems
            name = path.name if path.parent == Path(target) else str(path.relative_to(target))
            assert name in problem or manifest.MANIFEST in problem and path.name == manifest.PROVENANCE
    assert {one.state for one in states("results").values()} == {"ok"}


def test_what_is_no_artifact_is_said(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store.write_dataset(xr.Dataset({"x": ("i", np.arange(5.0))}), Path("data/theirs.zarr"))
    shutil.copytree("results/a/runs/first", "results/a/runs/.third.host-0-1.partial")
    (project / "results/a/runs/second" / manifest.MANIFEST).unlink()
    old = Path("results/b/statistics") / manifest.PROVENANCE
    old.write_text(json.dumps(json.loads(old.read_text()) | {"format": 3}))
    found = states("data", "results")
    assert found["data/theirs.zarr"].state == "foreign"
    assert found["results/a/runs/second"].state == "incomplete"
    assert "made by an older version" in found["results/a/runs/second"].problems[0]
    assert found["results/b/statistics"].state == "corrupt"
    assert sum(one.is_bad for one in found.values()) == 2
    assert found["results/a/runs/.third.host-0-1.partial"].state == "incomplete"
    assert main(["verify", "results/a/logs"]) == 1
    assert capsys.readouterr().out.splitlines()[0] == "foreign     results/a/logs"
    assert main(["verify", "nowhere"]) == 1
    assert "nowhere: no such file or directory" in capsys.readouterr().err
