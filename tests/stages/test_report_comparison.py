"""The report's comparison of everything with one reference, on the experiment of ``test_report``."""

import base64
import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from tests.stages.report_experiment import FACTORS, LABELS, STAGE, UNITS, Built, Made, spec_of
from weatherpeft.artifacts import store
from weatherpeft.reporting.comparison import Compared
from weatherpeft.reporting.scores import Entry, scored_channels
from weatherpeft.stages.report import ReportSpec
from weatherpeft.verification.significance import compare


def against(reference: str | None, labels: tuple[str, ...] = tuple(FACTORS)) -> ReportSpec:
    return spec_of(labels=labels).model_copy(update={"reference": reference})


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return Built(tmp_path_factory.mktemp("compared"), spec_of())


@pytest.fixture(scope="module")
def written(built: Built) -> Path:
    return built.report(built.root / "report")


def lines_of(path: Path) -> dict[tuple[str, str], dict[str, str]]:
    with (path / "differences.csv").open(newline="") as stream:
        return {(line["run"], line["field"]): line for line in csv.DictReader(stream)}


def section_of(path: Path) -> list[list[str]]:
    text = (path / "scores.txt").read_text()
    return [line.split() for line in text[text.index("Compared with") :].splitlines()]


def test_csv_has_the_differences_to_the_first_full_tuning(written: Path) -> None:
    lines = lines_of(written)
    others = {"interpolation": 4.0, "regression": 3.0, "full_random": 2.2, "lora": 1.65}
    assert set(lines) == {(name, field) for name in others for field in (*LABELS, "all")}
    for (name, field), line in lines.items():
        assert float(line["percent"]) == pytest.approx(100 * (others[name] / 1.1 - 1), rel=1e-6)
        assert float(line["percent_lower"]) <= float(line["percent"]) <= float(line["percent_upper"])
        assert line["seeds"] == "2" and line["score"] == "rmse"
        if field == "all":
            assert line["difference"] == line["units"] == line["q"] == ""
            continue
        expected = (others[name] - 1.1) * UNITS[field]
        assert float(line["difference"]) == pytest.approx(expected, rel=1e-6)
        assert float(line["lower"]) < expected < float(line["upper"])
    assert lines["lora", "z500"]["units"] == "m2 s-2"


def test_text_has_a_line_for_each_other(written: Path) -> None:
    title, heads, _, *lines = section_of(written)
    assert title == ["Compared", "with", "full"]
    assert heads == ["name", "mean", "95%", "interval", "better", "worse", "seeds", "block"]
    names = ["interpolation", "regression", "full_random", "lora"]
    assert [line[:2] for line in lines[:4]] == [
        list(pair) for pair in zip(names, ["+263.64%", "+172.73%", "+100.00%", "+50.00%"], strict=True)
    ]
    assert [line[-2:] for line in lines[:4]] == [["1", "d"]] * 4
    assert "covers" not in [word for line in lines[4:] for word in line]


def test_any_run_or_baseline_may_be_the_reference(built: Built, tmp_path: Path) -> None:
    path = built.report(tmp_path / "report", spec=against("regression"))
    lines = lines_of(path)
    assert {name for name, _ in lines} == {"interpolation", "full", "full_random", "lora"}
    assert float(lines["lora", "all"]["percent"]) == pytest.approx(100 * (1.65 / 3 - 1), rel=1e-6)
    assert "<h2>Compared with regression</h2>" in (path / "report.html").read_text()
    # One run against the other of no seed: nothing but days.
    assert lines["interpolation", "all"]["seeds"] == "1"
    words = " ".join((path / "scores.txt").read_text().split())
    assert "With one seed an interval covers days only." in words
    with pytest.raises(ValueError, match="reference: no run or baseline emos; known are interpolation, "):
        built.report(tmp_path / "refused", spec=against("emos"))


def test_nothing_is_compared_without_a_reference_or_another(tmp_path: Path) -> None:
    for name, labels in (("none", ("regression", "lora-seed0")), ("alone", ("full-seed0", "full-seed1"))):
        built = Built(tmp_path / name, against(None, labels))
        path = built.report(tmp_path / name / "report", benchmarks=None)
        assert not (path / "differences.csv").exists()
        for file in ("scores.txt", "report.html"):
            assert "Compared with" not in (path / file).read_text()


def test_the_crps_is_compared_where_there_is_one(built: Built, tmp_path: Path) -> None:
    """Scores with a CRPS, in which the order of the methods is the other way round."""
    paths = []
    for path in built.scores:
        dataset = store.open_dataset(path / "scores.zarr").load()
        new = tmp_path / "scores" / path.name
        crps = (10 / FACTORS[path.name]) * dataset["rmse"] / FACTORS[path.name]
        with store.artifact(new, Made(note="crps"), STAGE) as directory:
            store.write_dataset(dataset.assign(crps=crps), directory / "scores.zarr")
        paths.append(new)
    lines = lines_of(built.report(tmp_path / "report", scores=paths))
    full = 5 * (1 + 1 / 1.2)
    assert {line["score"] for line in lines.values()} == {"crps"}
    for name, expected in (("regression", 10 / 3), ("lora", 5 * (1 / 1.5 + 1 / 1.8))):
        assert float(lines[name, "2t"]["percent"]) == pytest.approx(100 * (expected / full - 1), rel=1e-6)


def test_fields_at_lead_times_are_found_by_their_labels(tmp_path: Path) -> None:
    from weatherpeft.reporting.comparison import compare_with

    times = np.datetime64("2001-03-01", "ns") + np.arange(12).astype("timedelta64[D]")
    leads = np.array([12, 24], "timedelta64[h]").astype("timedelta64[ns]")
    generator = np.random.default_rng(0)
    for name, factor in (("persistence", [2.0, 3.0]), ("full-seed0", [1.0, 1.0])):
        values = generator.uniform(0.99, 1.01, size=(12, 2, 1)) * np.array(factor)[:, None]
        coordinates = {"time": times, "prediction_timedelta": leads, "channel": ["tp"]}
        rmse = xr.DataArray(values, coordinates, ("time", "prediction_timedelta", "channel"))
        store.write_dataset(xr.Dataset({"rmse": rmse}), tmp_path / name / "scores.zarr")
    channels = scored_channels([("total_precipitation_6hr", None)], (12, 24))
    none = np.zeros(2)
    entries = [
        Entry("persistence", "persistence", "baseline", none, none),
        Entry("full-seed0", "full", "method", none, none, seed=0),
    ]
    paths = {entry.label: tmp_path / entry.label for entry in entries}
    # The channel is named by the label of its variable.
    assert [channel.field for channel in channels] == ["tp", "tp"]
    found = compare_with("full", entries, channels, paths)
    assert found
    np.testing.assert_allclose(found.comparisons["persistence"].percent, [100, 200], atol=3)
    assert found.lines()[0][3:5] == ["0 of 2", "2 of 2"]


def pixels(compared: Compared) -> np.ndarray:
    source = compared.scorecard().source
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).convert("RGB"))


@pytest.mark.parametrize("methods", [5, 40])
def test_the_scorecard_grows_with_the_methods(methods: int) -> None:
    generator = np.random.default_rng(0)
    channels = scored_channels([("temperature", level) for level in range(100, 101 + 27 * 10, 10)])
    reference = generator.uniform(1, 2, size=(2, 20, 28))
    times = np.datetime64("2001-03-01", "ns") + np.arange(20).astype("timedelta64[D]")
    found = {
        f"method{number}": compare(
            reference * (1 + 0.002 * number) + 0.1 * generator.normal(size=(2, 20, 28)), reference, times
        )
        for number in range(methods)
    }
    compared = Compared("full", "rmse", channels, found, [])
    image = compared.scorecard()
    assert re.match(r"data:image/png;base64,", image.source) and image.width > 1000
    drawn = pixels(compared)
    assert drawn.shape[0] > 140 * (0.28 * methods + 1) and drawn.std() > 10
    assert compared.scorecard().source == image.source


def test_the_scorecard_is_blue_where_better_red_where_worse_and_hatched_where_unclear() -> None:
    times = np.datetime64("2001-03-01", "ns") + np.arange(20).astype("timedelta64[D]")
    reference = np.random.default_rng(0).uniform(1, 2, size=(1, 20, 3))
    noise = np.where(np.arange(20) % 2, 3.0, -3.0)[:, None] * [0.0, 0.0, 1.0]
    scores = reference + np.array([-0.2, 0.2, 0.001]) + 0.1 * noise
    channels = scored_channels([("temperature", level) for level in (500, 700, 850)])
    compared = Compared("full", "rmse", channels, {"one": compare(scores, reference, times)}, [])
    drawn = pixels(compared).astype(int)
    strong = np.abs(drawn[..., 0] - drawn[..., 2]) > 60
    blue, red = (np.argwhere(strong & (sign * (drawn[..., 0] - drawn[..., 2]) > 0)) for sign in (-1, 1))
    top = drawn.shape[0] // 3
    assert blue[blue[:, 0] < top][:, 1].max() < red[red[:, 0] < top][:, 1].min()
    assert (np.all(drawn == [0x5B, 0x66, 0x70], axis=-1)).any()
    sure = scores - 0.1 * noise + [0, 0, 0.3]
    hatched = pixels(Compared("full", "rmse", channels, {"one": compare(sure, reference, times)}, []))
    assert not (np.all(hatched == [0x5B, 0x66, 0x70], axis=-1)).any()
