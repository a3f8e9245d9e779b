"""What `init` writes for files of one's own, and what it refuses."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.starting.files import BOX, GLOBE, fields, write_grib
from weatherpeft.cli import main
from weatherpeft.config import Experiment, load
from weatherpeft.starting.periods import split


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def init(*words: str) -> Experiment:
    assert main(["init", *words]) == 0
    assert main(["check", "my_experiment.yaml"]) == 0
    return load(Path("my_experiment.yaml"))


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["init", *words]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line.removeprefix("weatherpeft init: error: ")


def test_a_globe() -> None:
    dataset = fields(*GLOBE, days=5)
    flat = dataset["oddity"].assign_attrs(long_name="An oddity")
    dataset["Odd-Ones"] = dataset["t"].assign_attrs(units="g kg**-1")
    dataset["relief"] = flat.isel(time=0, drop=True).assign_attrs(units="m")
    dataset["nameless"], dataset["holes"] = flat.assign_attrs(units=""), flat.where(dataset.latitude < 0)
    dataset.to_netcdf("globe.nc")
    found = init("globe.nc")
    assert found.variables.surface == ("2m_temperature", "oddity")
    assert found.variables.atmospheric == ("temperature", "odd_ones")
    assert found.variables.levels_hpa == (500, 850) and found.variables.static == ("relief",)
    assert not found.placeholders
    values = {name: own.model_dump(exclude_defaults=True) for name, own in found.define.items()}
    assert values == {
        "oddity": {"kind": "surface", "units": "K"},
        "odd_ones": {"kind": "atmospheric", "units": "g kg-1", "aliases": ("Odd-Ones",)},
        "relief": {"kind": "static", "units": "m", "long_name": "An oddity"},
    }
    window = found.task.window
    assert window.target_grid.label == "15deg" and window.input_grid.label == "60deg"
    text = Path("my_experiment.yaml").read_text()
    assert "# Not taken: nameless: expected units that UDUNITS reads, such as W m-2 or 1, found ''" in text
    assert "# Not taken: holes: has missing values" in text


def test_a_box_across_greenwich_in_grib() -> None:
    dataset = fields(*BOX, days=5)
    write_grib(dataset, Path("box.grib"))
    found = init("box.grib")
    target = found.task.window.target_grid
    assert set(target.latitude) <= set(dataset.latitude.values)
    assert set(target.longitude) <= set(dataset.longitude.values)
    assert found.variables.levels_hpa == (500, 850)


def test_many_files_of_a_folder_become_a_pattern() -> None:
    dataset, folder = fields(*GLOBE, days=12), Path("raw files")
    folder.mkdir()
    for number, (_, day) in enumerate(dataset.groupby("time.date")):
        day.to_netcdf(folder / f"{number:02}.nc")
    for words in (["raw files"], sorted(map(str, folder.iterdir()))):
        source = init(*words, "--force").source
        assert source.model_dump()["paths"] in (("raw files/*",), ("raw files/*.nc",))
        assert len(source.files()) == 12


def test_the_longest_run_of_whole_days_and_what_it_leaves_out() -> None:
    dataset = fields(*GLOBE, days=9)
    dataset.isel(time=[*range(1, 8), *range(12, 36)]).to_netcdf("gap.nc")
    found = init("gap.nc")
    assert found.source.periods()[0].label == "20200304-20200309"
    assert "7 times beside the longest run of whole days" in Path("my_experiment.yaml").read_text()


def test_a_variable_with_other_units_is_left_out_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    dataset = fields(*GLOBE, days=5)
    dataset.assign(t=dataset.t.assign_attrs(units="furlong")).to_netcdf("units.nc")
    found = init("units.nc")
    assert found.variables.atmospheric == () and "temperature" in found.placeholders
    assert "furlong" in Path("my_experiment.yaml").read_text()


def test_what_cannot_be_used_is_named_and_nothing_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    dataset = fields(*GLOBE, days=5)
    dataset.to_netcdf("good.nc")
    Path("bad.nc").write_bytes(Path("good.nc").read_bytes()[:3000])
    dataset["oddity"].assign_attrs(units="").to_dataset().to_netcdf("odd.nc")
    dataset.isel(time=slice(0, 8)).to_netcdf("short.nc")
    dataset.isel(latitude=slice(0, 3)).to_netcdf("flat.nc")
    Path("page.nc").write_text("<html>login</html>")
    messages = {
        ("none.nc",): "no file matches 'none.nc'",
        ("good.nc", "bad.nc"): "bad.nc: truncated or damaged NetCDF4",
        ("odd.nc",): "odd.nc: no field that can be used; the files hold oddity",
        ("short.nc",): "the files hold 2 whole days one after the other, 2020-03-01 to 2020-03-02",
        ("flat.nc",): "the grid 3×24",
        ("page.nc",): "page.nc: expected GRIB or NetCDF, found a file that is HTML page",
    }
    for words, message in messages.items():
        assert message in refused(capsys, *words)
        assert not list(Path().glob("*.yaml*")) and not list(Path().glob(".my*"))


def test_a_field_that_is_there_twice_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one.nc", "two.nc"):
        fields(*GLOBE, days=5).to_netcdf(name)
    line = refused(capsys, "one.nc", "two.nc")
    assert "is there twice, in one.nc, two.nc" in line and not Path("my_experiment.yaml").exists()


def test_a_file_that_is_there_stays_without_force(capsys: pytest.CaptureFixture[str]) -> None:
    fields(*GLOBE, days=5).to_netcdf("globe.nc")
    Path("my_experiment.yaml").write_text("mine")
    assert "my_experiment.yaml: is there already" in refused(capsys, "globe.nc")
    assert Path("my_experiment.yaml").read_text() == "mine"
    init("globe.nc", "--force")


def test_levels_that_give_most_fields() -> None:
    dataset = fields(*GLOBE, days=5)
    dataset.to_netcdf("t.nc")
    for name in ("u", "v"):
        wind = dataset[["t"]].sel(level=[850]).rename(t=name)
        wind[name].attrs["units"] = "m s-1"
        wind.to_netcdf(f"{name}.nc")
    found = init("t.nc", "u.nc", "v.nc").variables
    assert found.atmospheric == ("temperature", "u_component_of_wind", "v_component_of_wind")
    assert found.levels_hpa == (850,)
    assert "# Not taken: temperature at 500 hPa: " in Path("my_experiment.yaml").read_text()


@given(total=st.integers(1, 4000), days=st.integers(1, 3), longer=st.integers(1, 4))
def test_periods_lie_in_the_days_and_leave_gaps(total: int, days: int, longer: int) -> None:
    start = date(2000, 1, 1)
    end = (np.datetime64(start) + total - 1).item()
    if total < days + 2 * longer:
        with pytest.raises(ValueError, match=f"{total} whole days"):
            split(start, end, days, longer)
        return
    parts = split(start, end, days, longer)
    own = [parts.train, parts.validation, parts.test]
    assert own[0].start == start and own[2].end == end
    assert [(b.start - a.end).days - 1 for a, b in zip(own[:2], own[1:], strict=True)] == [parts.gap] * 2
    assert own[0].days >= longer and own[1].days >= longer and own[2].days >= days
    assert parts.gap <= 5 and (total < 60 or parts.gap == 5)
