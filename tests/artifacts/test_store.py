"""Artifacts: complete or absent, with a record; and Zarr stores."""

import json
import os
import subprocess
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from weatherpeft.artifacts import manifest, store
from weatherpeft.artifacts.fingerprint import fingerprint
from weatherpeft.spec import Spec

CODE = "weatherpeft.spec"


class Made(Spec):
    note: str = "first"


def make(output: Path, text: str, note: str = "first", inputs: tuple[Path, ...] = ()) -> Path:
    with store.artifact(output, Made(note=note), CODE, inputs) as directory:
        (directory / "content.txt").write_text(text)
    return output


def content(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): path.read_text()
        for path in root.rglob("*")
        if path.is_file() and path.name not in manifest.BOOKKEEPING
    }


class TestCompleteOrAbsent:
    @pytest.mark.parametrize("error", [ValueError("bad data"), KeyboardInterrupt()])
    def test_an_exception_leaves_nothing(self, tmp_path: Path, error: BaseException) -> None:
        with pytest.raises(type(error)), store.artifact(tmp_path / "made", Made(), CODE) as directory:
            (directory / "content.txt").write_text("half")
            raise error
        assert list(tmp_path.iterdir()) == []

    def test_an_exception_leaves_what_stood_there(self, tmp_path: Path) -> None:
        output = make(tmp_path / "made", "old")
        with pytest.raises(ValueError), store.artifact(output, Made(note="second"), CODE) as directory:
            (directory / "content.txt").write_text("half")
            raise ValueError("bad data")
        assert content(tmp_path) == {"made/content.txt": "old"}
        assert store.artifact_digest(output) == store.content_digest(output)

    def test_an_input_that_is_no_artifact_leaves_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "raw").mkdir()
        with pytest.raises(ValueError, match="raw"):
            make(tmp_path / "made", "text", inputs=(tmp_path / "raw",))
        assert [path.name for path in tmp_path.iterdir()] == ["raw"]

    def test_a_killed_run_leaves_nothing_under_the_final_name_and_the_next_run_cleans_up(
        self, tmp_path: Path
    ) -> None:
        program = f"""
import os
from pathlib import Path
from weatherpeft.artifacts import store
from weatherpeft.spec import Spec
with store.artifact(Path({str(tmp_path)!r}) / "made", Spec(), {CODE!r}) as directory:
    (directory / "stale.txt").write_text("half")
    os._exit(9)
"""
        assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 9
        (left,) = (name for name in content(tmp_path) if not name.endswith("/.alive"))
        assert left.startswith(".made.") and left.endswith(".partial/made/stale.txt")
        make(tmp_path / "made", "whole")
        assert content(tmp_path) == {"made/content.txt": "whole"}

    def test_what_stands_there_is_replaced_at_the_end_and_as_a_whole(self, tmp_path: Path) -> None:
        output = make(tmp_path / "made", "old")
        (output / "more.txt").write_text("old")
        with store.artifact(output, Made(note="second"), CODE) as directory:
            (directory / "content.txt").write_text("new")
            assert (output / "content.txt").read_text() == "old"
            assert store.read_provenance(output)["spec"] == {"note": "first"}
        assert content(tmp_path) == {"made/content.txt": "new"}
        assert store.read_provenance(output)["spec"] == {"note": "second"}

    def test_what_is_made_from_the_same_stays(self, tmp_path: Path) -> None:
        output = make(tmp_path / "made", "text")
        with pytest.raises(store.AlreadyMadeError), store.artifact(output, Made(), CODE):
            raise AssertionError("there is nothing to do")
        assert content(tmp_path) == {"made/content.txt": "text"}

    def test_what_is_damaged_is_replaced(self, tmp_path: Path) -> None:
        output = make(tmp_path / "made", "text")
        (output / "content.txt").write_text("tent")
        make(output, "text")
        assert content(tmp_path) == {"made/content.txt": "text"}

    def test_a_run_that_is_killed_while_it_replaces_leaves_no_half_artifact(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        output = make(tmp_path / "made", "old")
        monkeypatch.setattr("shutil.rmtree", self._killed)
        second = Made(note="second")
        with pytest.raises(KeyboardInterrupt), store.artifact(output, second, CODE) as directory:
            (directory / "content.txt").write_text("new")
        # absent, or as complete as its record says
        assert not output.exists() or store.content_digest(output) == store.artifact_digest(output)
        monkeypatch.undo()
        make(output, "newer")
        assert content(tmp_path) == {"made/content.txt": "newer"}

    @staticmethod
    def _killed(directory: Path, **_: object) -> None:
        """Stands for a removal that is killed after its first file."""
        os.remove(next(iter(directory.rglob("content.txt"))))
        raise KeyboardInterrupt


class TestRecord:
    def test_it_says_what_made_the_artifact(self, tmp_path: Path) -> None:
        one, two = make(tmp_path / "data" / "one", "1"), make(tmp_path / "data" / "two", "2")
        facts = {"seconds": 0}
        output = tmp_path / "made"
        with store.artifact(output, Made(note="x"), CODE, [one, two / "content.txt"], facts) as directory:
            (directory / "content.txt").write_text("text")
            facts["seconds"] = 7
        record = store.read_provenance(output)
        assert record["spec"] == {"note": "x"}
        assert record["code"] == fingerprint(CODE)
        assert record["inputs"] == {
            "data/one": store.content_digest(one),
            "two/content.txt": store.content_digest(two),
        }
        assert record["digest"] == store.content_digest(output)
        assert record["seconds"] == 7
        assert record["packages"]["torch"] == version("torch")
        assert record["packages"]["numpy"] == np.__version__

    def test_the_same_twice_is_the_same_record(self, tmp_path: Path) -> None:
        one, two = make(tmp_path / "one", "text"), make(tmp_path / "two", "text")
        for name in (manifest.PROVENANCE, manifest.MANIFEST):
            assert (one / name).read_bytes() == (two / name).read_bytes()

    def test_a_directory_without_a_record_is_no_artifact(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=f"{tmp_path}: no provenance.json"):
            store.read_provenance(tmp_path)
        with pytest.raises(ValueError, match=f"{tmp_path}: no provenance.json"):
            store.artifact_digest(tmp_path)


class TestDigest:
    def test_bookkeeping_does_not_count(self, tmp_path: Path) -> None:
        output = make(tmp_path / "made", "text")
        before = store.content_digest(output)
        (output / ".snakemake_timestamp").touch()
        (output / manifest.PROVENANCE).write_text(json.dumps({"digest": "other"}))
        assert store.content_digest(output) == before

    def test_names_and_bytes_count(self, tmp_path: Path) -> None:
        def digest(files: dict[str, str]) -> str:
            root = tmp_path / str(len(list(tmp_path.iterdir())))
            for name, text in files.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text)
            return store.content_digest(root)

        contents = [
            {"a": "1", "b": "2"},
            {"a": "2", "b": "1"},
            {"a": "12", "b": ""},
            {"a": "1", "c": "2"},
            {"a": "1", "b": "2", "c": ""},
            {"a": "1", "b/b": "2"},
            {"a/b": "1", "b": "2"},
        ]
        assert len({digest(files) for files in contents}) == len(contents)
        assert digest({"b": "2", "a": "1"}) == digest(contents[0])

    def test_a_file_in_an_artifact_stands_for_the_artifact(self, tmp_path: Path) -> None:
        output = tmp_path / "made"
        with store.artifact(output, Made(), CODE) as directory:
            (directory / "deep").mkdir()
            (directory / "deep" / "content.txt").write_text("text")
        expected = store.content_digest(output)
        assert store.artifact_digest(output) == expected
        assert store.artifact_digest(output / "deep") == expected
        assert store.artifact_digest(output / "deep" / "content.txt") == expected

    def test_a_file_from_elsewhere_stands_for_its_bytes(self, tmp_path: Path) -> None:
        for name, text in (("one", "1"), ("two", "1"), ("three", "3")):
            (tmp_path / name).write_text(text)
        one, two, three = (store.artifact_digest(tmp_path / name) for name in ("one", "two", "three"))
        assert one == two != three
        with pytest.raises(ValueError, match="none"):
            store.artifact_digest(tmp_path / "none")

    def test_the_key_changes_with_spec_code_and_contents_and_with_nothing_else(self, tmp_path: Path) -> None:
        one, two = make(tmp_path / "one", "1"), make(tmp_path / "two", "2")
        same = make(tmp_path / "elsewhere" / "one", "1", note="made from another spec")
        key = store.artifact_key(Made(), CODE, [one, two])
        assert store.artifact_key(Made(), CODE, [same, two]) == key
        others = {
            store.artifact_key(Made(note="second"), CODE, [one, two]),
            store.artifact_key(Made(), "weatherpeft.fields.grid", [one, two]),
            store.artifact_key(Made(), CODE, [two, one]),
            store.artifact_key(Made(), CODE, [one]),
            store.artifact_key(Made(), CODE, [one, make(tmp_path / "three", "3")]),
        }
        assert len(others | {key}) == 6


class TestZarr:
    def dataset(self) -> xr.Dataset:
        times = np.arange("2001-01-01", "2001-01-03", 6, dtype="datetime64[h]").astype("datetime64[ns]")
        values = np.random.default_rng(0).random((times.size, 2, 3))
        return xr.Dataset(
            {
                "field": (("time", "channel", "longitude"), values.astype(np.float32)),
                "score": (("time", "channel"), values[..., 0]),
                "count": ("channel", np.array([3, 4])),
                "label": ("channel", np.array(["eins", "zwölf"])),
            },
            {"time": times, "channel": ["2t", "z500"], "longitude": [0.0, 120.0, 240.0]},
        )

    def test_what_is_written_is_read_without_a_warning(self, tmp_path: Path) -> None:
        dataset = self.dataset()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            store.write_dataset(dataset, tmp_path / "a.zarr")
            found = store.open_dataset(tmp_path / "a.zarr").load()
        for name, variable in dataset.variables.items():
            assert found[name].dims == variable.dims
            assert found[name].values.tolist() == variable.values.tolist()
            if variable.dtype.kind != "U":
                assert found[name].dtype == variable.dtype
        assert found.sel(channel="z500")["count"] == 4
        assert dataset["channel"].dtype.kind == "U", "the caller's dataset is changed"

    def test_it_is_zarr_3_with_consolidated_metadata(self, tmp_path: Path) -> None:
        store.write_dataset(self.dataset(), tmp_path / "a.zarr")
        metadata = json.loads((tmp_path / "a.zarr" / "zarr.json").read_text())
        assert metadata["zarr_format"] == 3
        assert set(metadata["consolidated_metadata"]["metadata"]) == set(self.dataset().variables)

    def test_every_chunk_has_a_checksum(self, tmp_path: Path) -> None:
        dataset, path = self.dataset(), tmp_path / "a.zarr"
        encoding = {"field": {"chunks": (1, 2, 3), "shards": (4, 2, 3), "compressors": BloscCodec()}}
        store.write_dataset(dataset[["field", "count"]], path, encoding=encoding)
        score = {"score": {"chunks": (2, 2)}}
        store.write_dataset(dataset[["score", "label"]], path, mode="a", encoding=score)
        for name, array in zarr.open_group(path, mode="r").arrays():
            assert array.compressors[-1] == Crc32cCodec(), name
            assert len(array.compressors) == 2, name
        assert zarr.open_array(path / "field", mode="r").shards == (4, 2, 3)
        # what is read and written again gets one checksum, not two
        store.write_dataset(store.open_dataset(path).load(), tmp_path / "b.zarr")
        for name, array in zarr.open_group(tmp_path / "b.zarr", mode="r").arrays():
            assert array.compressors[-1] == Crc32cCodec() and len(array.compressors) == 2, name

    def test_the_same_twice_is_the_same_bytes(self, tmp_path: Path) -> None:
        for name in ("one", "two"):
            store.write_dataset(self.dataset(), tmp_path / name / "a.zarr")
        assert store.content_digest(tmp_path / "one") == store.content_digest(tmp_path / "two")

    def test_fields_are_read_when_they_are_asked_for(self, tmp_path: Path) -> None:
        store.write_dataset(self.dataset(), tmp_path / "a.zarr")
        found = store.open_dataset(tmp_path / "a.zarr")
        values = self.dataset()
        values["field"] = values["field"] + 1
        store.write_dataset(values[["field"]], tmp_path / "a.zarr", mode="r+")
        np.testing.assert_array_equal(found["field"].values, values["field"].values)

    def test_a_store_that_is_absent_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=f"{tmp_path}/a.zarr: no such Zarr store"):
            store.open_dataset(tmp_path / "a.zarr")
