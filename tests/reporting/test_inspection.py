"""``weatherpeft inspect`` on the artifacts of the stages."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib.image import imread

from tests import small_data as small
from weatherpeft.artifacts import store
from weatherpeft.cli import main
from weatherpeft.spec import Spec
from weatherpeft.stages.baseline import BaselineSpec, baseline

JANUARY = small.period("2001-01-01", "2001-01-03")
FEBRUARY = small.period("2001-02-01", "2001-02-02")


class Made(Spec):
    note: str = "x"


def inspect(path: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(["inspect", str(path), *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def row(lines: list[str], name: str) -> list[str]:
    """Cells of the last line that begins with a name."""
    return next(line.split() for line in reversed(lines) if line.split()[:1] == [name])


@pytest.fixture
def data(tmp_path: Path) -> list[Path]:
    return [small.write_period(tmp_path / "regridded", period) for period in (JANUARY, FEBRUARY)]


def test_regridded(data: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "new" / "a.png"
    lines = inspect(data[1], capsys, "--picture", str(picture))
    text = "\n".join(lines)
    record = store.read_provenance(data[1])
    for part in ("regridded/20010201-20010202", record["code"][:16], record["digest"][:16], np.__version__):
        assert part in text
    assert "  time 8: 2001-02-01T00:00 … 2001-02-02T18:00" in lines
    fields = next(line for line in lines if line.split()[:2] == ["fields", "float32"])
    assert "8×3×16×32  1×3×16×32  8×3×16×32  blosc lz4 shuffle" in fields
    stored = sum(
        file.stat().st_size for file in (data[1] / "11.25deg.zarr" / "fields").rglob("*") if file.is_file()
    )
    size = 8 * 3 * 16 * 32 * 4
    assert fields.split()[-2:] == [f"{size / 2**20:.3f}", f"{stored / 2**20:.3f}"]
    values = store.open_dataset(data[1] / "11.25deg.zarr")["temperature"].values
    assert values.shape[0] == 8, "so all times are looked at"
    found = next(line.split() for line in lines if line.split()[:2] == ["temperature", "K"])
    assert found[-1] == "0"
    expected = [values.min(), values.mean(dtype=float), values.max()]
    np.testing.assert_allclose([float(cell) for cell in found[-4:-1]], expected, rtol=1e-5)
    assert lines[-1] == f"picture  {picture}"
    image = imread(picture)
    assert image.ndim == 3 and np.ptp(image[..., :3]) > 0.5, "the picture is empty"


def test_one_store_of_an_artifact(
    data: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = inspect(data[0] / "22.5deg.zarr", capsys)
    assert not any("11.25" in line for line in lines)
    assert any(line.startswith("  time 12:") for line in lines)
    assert lines[-1] == "picture  20010101-20010103-22.5deg.zarr.png"
    assert (tmp_path / "20010101-20010103-22.5deg.zarr.png").is_file()


def test_predictions_name_what_they_were_made_from(
    data: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = BaselineSpec(
        baseline="interpolation",
        fields=small.FIELDS,
        predicted=small.VARIABLES,
        window=small.WINDOW,
        train=small.split(JANUARY),
        test=small.split(FEBRUARY),
    )
    baseline(spec, data, tmp_path / "predictions" / "interpolation")
    before = store.content_digest(tmp_path / "predictions" / "interpolation")
    lines = inspect(tmp_path / "predictions" / "interpolation", capsys, "--picture", str(tmp_path / "p.png"))
    inputs = [line.split()[1:] for line in lines if line.startswith("inputs")]
    assert inputs == sorted([f"regridded/{p.name}", store.artifact_digest(p)[:16]] for p in data)
    assert "spec     baseline: interpolation" in lines
    assert row(lines, "2m_temperature")[1] == "K"
    assert (tmp_path / "p.png").is_file()
    assert store.content_digest(tmp_path / "predictions" / "interpolation") == before


def test_what_has_no_fields_has_no_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with store.artifact(tmp_path / "run", Made(), "weatherpeft.spec", facts={"steps": 3}) as directory:
        curve = np.array([3.0, 1.0, np.nan])
        store.write_dataset(xr.Dataset({"loss": ("step", curve)}), directory / "history.zarr")
        (directory / "tuned.safetensors").write_bytes(b"0" * 2**19)
    lines = inspect(tmp_path / "run", capsys, "--picture", str(tmp_path / "p.png"))
    assert row(lines, "loss") == ["loss", "step", "1", "2", "3", "1"]
    assert row(lines, "tuned.safetensors") == ["tuned.safetensors", "0.500"]
    assert "facts    steps: 3" in lines
    assert lines[-1] == "no picture: nothing here has latitude and longitude"
    assert not (tmp_path / "p.png").exists()


def test_what_is_no_artifact_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "folder").mkdir()
    for path, message in (
        (tmp_path / "none", "no such directory; give an artifact"),
        (tmp_path / "folder", "no provenance.json; not a complete artifact"),
    ):
        assert main(["inspect", str(path)]) == 1
        assert message in capsys.readouterr().err
