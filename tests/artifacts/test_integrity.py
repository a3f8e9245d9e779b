"""What is damaged on the disk is never read as other numbers, and is named."""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from tests import small_data as small
from weatherpeft.artifacts import manifest, store
from weatherpeft.artifacts.field_store import StoredFields
from weatherpeft.artifacts.forecasts import open_forecast
from weatherpeft.artifacts.manifest import DamagedError
from weatherpeft.fields.variables import VariableSet
from weatherpeft.options import binder, parameters
from weatherpeft.peft.sfas.fisher_store import read_fisher, write_fisher
from weatherpeft.spec import Spec

DAY = small.period("2001-02-01", "2001-02-01")
FLIPS = 60
"""Flipped bits of each kind of artifact, each in a file of its own choice."""


class Noted(Spec):
    note: str = "made"


def forecast() -> xr.Dataset:
    grid, random = small.COARSE, np.random.default_rng(3)
    times = np.array(["2001-02-01T00", "2001-02-01T12"], "datetime64[ns]")
    axes = {"time": times, "latitude": grid.latitude, "longitude": grid.longitude}
    values = random.normal(280, 5, (2, *grid.shape)).astype(np.float32)
    labels = ("time", np.array(["eins", "zwölf"]))
    return xr.Dataset({"2m_temperature": (tuple(axes), values), "label": labels}, axes)


def make_forecast(root: Path) -> Path:
    with store.artifact(root / "predictions", Noted(), "weatherpeft.spec", varying=["cost.json"]) as made:
        store.write_dataset(forecast(), made / "predictions.zarr")
        (made / "cost.json").write_text('{"seconds": 1}')
    return root / "predictions"


def make_fisher(root: Path) -> Path:
    torch.manual_seed(0)
    with store.artifact(root / "fisher", Noted(), "weatherpeft.spec") as made:
        values = [("scalar", torch.rand(())), ("bias", torch.zeros(3)), ("weight", torch.rand(4, 5))]
        write_fisher(made / "fisher.zarr", values, 2)
    return root / "fisher"


def make_fields(root: Path) -> Path:
    return small.write_period(root, DAY, members=(4, 2))


def read_fields(artifact: Path) -> list[np.ndarray]:
    """By the training's reader and by xarray."""
    found: list[np.ndarray] = []
    for grid in (small.COARSE, small.FINE):
        path = artifact / f"{grid.label}.zarr"
        stored = StoredFields(path, ("temperature", "2m_temperature"))
        found += [stored.times.astype(np.int64), np.array(stored.members)]
        for time in range(len(stored.times)):
            found += [field for row in (0, 1) for field in stored.read(time, row).values()]
        dataset = store.open_dataset(path).load()
        found += [array.values for array in dataset.variables.values() if array.dtype.kind in "fi"]
    return found


def read_forecast(artifact: Path) -> list[np.ndarray]:
    """As a forecast, and as a store; what else is there has a digest."""
    variables = VariableSet(surface=("2m_temperature",))
    predicted = open_forecast(artifact, variables, small.COARSE, (0,)).load()
    dataset = store.open_dataset(artifact / "predictions.zarr").load()
    names = [np.array([len(text) for text in dataset["label"].values])]
    return [predicted["2m_temperature"].values, dataset["2m_temperature"].values, *names]


def read_parameters(artifact: Path) -> list[np.ndarray]:
    return [values.numpy() for _, values in read_fisher(artifact / "fisher.zarr")]


Make = Callable[[Path], Path]
Read = Callable[[Path], list[np.ndarray]]
KINDS: dict[str, tuple[Make, Read]] = {
    "regridded": (make_fields, read_fields),
    "predictions": (make_forecast, read_forecast),
    "fisher": (make_fisher, read_parameters),
}


@pytest.fixture(scope="module", params=KINDS)
def made(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Read, list[np.ndarray]]:
    """An artifact, how it is read, and what it holds."""
    make, read = KINDS[request.param]
    path = make(tmp_path_factory.mktemp(request.param))
    return path, read, read(path)


def files(artifact: Path) -> list[Path]:
    return sorted(path for path in artifact.rglob("*") if path.is_file())


def flips(artifact: Path, count: int) -> Iterator[tuple[Path, int]]:
    """Files and bits in them: bookkeeping and metadata as often as chunks, small files as often as large."""
    random = np.random.default_rng(13)
    chosen = files(artifact)
    random.shuffle(chosen)
    for number in range(count):
        path = chosen[number % len(chosen)]
        yield path, int(random.integers(8 * path.stat().st_size))


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def outcome(read: Read, artifact: Path, expected: list[np.ndarray]) -> str:
    """What a reader says: nothing if it reads the same numbers."""
    try:
        found = read(artifact)
    except ValueError as error:
        return str(error)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    return ""


def test_a_flipped_bit_is_named_by_whoever_reads_it(made: tuple[Path, Read, list[np.ndarray]]) -> None:
    """A reader names the damaged file, or does not need it; a check of the whole artifact names it always."""
    artifact, read, expected = made
    unseen = set()
    for path, bit in flips(artifact, FLIPS):
        content = path.read_bytes()
        flip(path, bit)
        said = outcome(read, artifact, expected)
        with pytest.raises(ValueError) as whole:
            manifest.check_artifact(artifact)
        path.write_bytes(content)
        record = path.name in (manifest.PROVENANCE, manifest.MANIFEST)
        # The list is the only place that knows what a varying file should hold.
        names = (manifest.PROVENANCE, manifest.MANIFEST, "cost.json") if record else (str(path),)
        assert any(name in str(whole.value) for name in names), (path, bit)
        assert f"snakemake --cores all --force {artifact} " in str(whole.value)
        if said:
            assert any(name in said for name in names), (path, bit, said)
            assert f"snakemake --cores all --force {artifact} " in said
        else:
            unseen.add(path.name)
    assert unseen <= {"cost.json"}, "these readers do not open it"
    assert outcome(read, artifact, expected) == ""


@pytest.mark.parametrize("change", ["truncated", "missing", "foreign"])
def test_a_file_that_is_cut_gone_or_new_is_named(
    made: tuple[Path, Read, list[np.ndarray]], change: str
) -> None:
    artifact, read, expected = made
    for path in files(artifact):
        content = path.read_bytes()
        extra = path.with_name(f"{path.name}0")
        if change == "truncated":
            path.write_bytes(content[:-1])
        elif change == "missing":
            path.unlink()
        else:
            shutil.copyfile(path, extra)
        said = outcome(read, artifact, expected)
        with pytest.raises(ValueError) as whole:
            manifest.check_artifact(artifact)
        path.write_bytes(content)
        extra.unlink(missing_ok=True)
        for text in (said, str(whole.value)) if path.parent != artifact else (str(whole.value),):
            assert str(path) in text or path.name in text and path.parent == artifact, (path, text)
            assert "again with: snakemake --cores all --force" in text or "not a complete artifact" in text


def test_an_inner_chunk_of_a_shard_is_named(tmp_path: Path) -> None:
    path = make_fields(tmp_path) / f"{small.COARSE.label}.zarr"
    flip(path / "fields/c/1/0/0/0/0", 8 * 20)  # in the first of the shard's four chunks
    stored = StoredFields(path, ("2m_temperature",))
    stored.read(0, 0)
    stored.read(1, 1)
    with pytest.raises(DamagedError, match="fields/c/1/0/0/0/0: cannot read time 2001-02-01T00.*chunk 0 "):
        stored.read(0, 1)
    array = store.open_stored(path)["fields"]
    np.testing.assert_array_equal(array[1, 1].values[0], stored.read(1, 1)["2m_temperature"])
    with pytest.raises(DamagedError, match=r"fields/c/1/0/0/0/0: .*inner chunk \(0, 0, 0, 0, 0\): "):
        array[1, 0].load()


def test_an_entry_of_a_shards_table_is_not_trusted(tmp_path: Path) -> None:
    """It may point to another whole chunk, whose own checksum is right."""
    path = make_fields(tmp_path) / f"{small.COARSE.label}.zarr"
    shard = path / "fields/c/0/0/0/0/0"
    content = bytearray(shard.read_bytes())
    table = len(content) - 4 * 16 - 4
    content[table : table + 16] = content[table + 16 : table + 32]
    shard.write_bytes(content)
    with pytest.raises(DamagedError, match="its checksum is wrong"):
        StoredFields(path, ("2m_temperature",)).read(0, 0)


def test_sha256sum_reads_the_list(tmp_path: Path) -> None:
    artifact = make_forecast(tmp_path)
    command = ["sha256sum", "--check", "--strict", manifest.MANIFEST]
    done = subprocess.run(command, cwd=artifact, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    listed = {line.rpartition(":")[0] for line in done.stdout.splitlines()}
    assert listed == {str(path.relative_to(artifact)) for path in files(artifact)} - {manifest.MANIFEST}
    (artifact / "cost.json").write_text("{}")
    assert subprocess.run(command, cwd=artifact, capture_output=True, check=False).returncode == 1


def test_another_version_is_refused_by_name(tmp_path: Path) -> None:
    artifact = make_forecast(tmp_path)
    record, sums = artifact / manifest.PROVENANCE, artifact / manifest.MANIFEST
    old = record.read_bytes()
    new = old.replace(b'"format": 2', b'"format": 3')
    record.write_bytes(new)
    before, after = (hashlib.sha256(content).hexdigest() for content in (old, new))
    sums.write_text(sums.read_text().replace(before, after))
    for use in (store.read_provenance, store.artifact_digest, read_forecast):
        with pytest.raises(ValueError, match=re.escape(f"{artifact}: expected an artifact of format 2, fo")):
            use(artifact)
    sums.unlink()
    for use in (store.read_provenance, store.artifact_digest, read_forecast):
        with pytest.raises(ValueError, match=re.escape(f"{artifact}: no SHA256SUMS; made by an older ver")):
            use(artifact)
    shutil.rmtree(artifact / "predictions.zarr")
    record.unlink()
    with pytest.raises(ValueError, match=re.escape(f"{artifact}: no provenance.json")):
        store.read_provenance(artifact)


def test_a_record_that_is_missing_is_damage(tmp_path: Path) -> None:
    artifact = make_forecast(tmp_path)
    (artifact / manifest.PROVENANCE).unlink()
    for use in (store.read_provenance, store.artifact_digest, read_forecast):
        with pytest.raises(DamagedError, match=r"provenance\.json: missing; make it again with: snakemake"):
            use(artifact)


def test_a_store_of_others_needs_no_record(tmp_path: Path) -> None:
    store.write_dataset(forecast(), tmp_path / "theirs.zarr")
    variables = VariableSet(surface=("2m_temperature",))
    found = open_forecast(tmp_path / "theirs.zarr", variables, small.COARSE, (0,))
    np.testing.assert_array_equal(found["2m_temperature"].values[0], forecast()["2m_temperature"].values)
    flip(tmp_path / "theirs.zarr/2m_temperature/c/0/0/0", 99)
    with pytest.raises(DamagedError, match="theirs.zarr/2m_temperature/c/0/0/0: cannot be read") as caught:
        open_forecast(tmp_path / "theirs.zarr", variables, small.COARSE, (0,)).load()
    assert "snakemake" not in str(caught.value)


def test_what_another_machine_made_is_looked_at_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on NFS, which does not see it before its folder is listed."""
    with store.artifact(tmp_path / "made", Noted(note="one"), "weatherpeft.spec") as directory:
        (directory / "part").write_text("part")
    listed: list[Path] = []
    is_file, listdir = Path.is_file, os.listdir

    def looked(folder: Path) -> list[str]:
        listed.append(folder)
        return listdir(folder)

    monkeypatch.setattr(os, "listdir", looked)
    monkeypatch.setattr(Path, "is_file", lambda path: tmp_path in listed and is_file(path))
    assert manifest.read_manifest(tmp_path / "made").record["spec"] == {"note": "one"}
    with pytest.raises(ValueError, match="other: no provenance.json"):
        manifest.read_manifest(tmp_path / "other")


def test_a_job_looks_anew_at_its_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Path] = []

    def stage(data: Sequence[Path], output: Path) -> None:
        found.extend(data)

    listed: list[Path] = []
    monkeypatch.setattr(os, "listdir", listed.append)
    words = argparse.Namespace(
        data=[str(tmp_path / "regridded/2001"), str(tmp_path / "regridded/2002")], output=tmp_path / "out/run"
    )
    run = binder(stage, parameters(stage))(words)
    assert listed == [tmp_path, tmp_path / "out", tmp_path / "regridded"]
    run()
    assert len(found) == 2
