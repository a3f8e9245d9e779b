"""Ensemble forecasts of an experiment: beside its analyses or from a source of their own, to stores."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from tests.shared_parts import raw_of, store_of
from tests.sources import ens10_layout
from weatherpeft.artifacts import store
from weatherpeft.artifacts.fingerprint import modules, spec_modules
from weatherpeft.config import Experiment
from weatherpeft.jobs import Jobs
from weatherpeft.stages.download import download
from weatherpeft.stages.regrid import regrid

CONFIG = Path(__file__).resolve().parents[2] / "config" / "test.yaml"
FIELDS = {"surface": ["2m_temperature"], "atmospheric": ["temperature"], "levels_hpa": [500, 850]}
PERIOD = "20010115-20010117"


def jobs(tmp_path: Path, ensemble: dict[str, Any] | None, forecasts: dict[str, Any]) -> Jobs:
    values = yaml.safe_load(CONFIG.read_text())
    values["source"]["ensemble"] = ensemble
    values["forecasts"] = {"variables": FIELDS, "members": [1, 2]} | forecasts
    folders = {name: str(tmp_path / name) for name in ("data", "results")}
    return Jobs(Experiment.parse(values | folders))


def test_the_toy_planets_forecasts_go_from_its_download_to_a_store(tmp_path: Path) -> None:
    own = jobs(tmp_path, {"members": 2, "resolution_deg": 7.5}, {})
    raw, output = Path(own.raw_forecasts(PERIOD)), tmp_path / "regridded"
    assert raw == tmp_path / "results/test/raw" / PERIOD, "beside the analyses"
    assert own.forecast_periods("train") == own.periods("train") == [PERIOD]
    download(own.download(PERIOD), raw, tmp_path / "shared/raw", tmp_path / "work")
    regrid(own.regrid_forecasts(PERIOD), raw, output, tmp_path / "shared/regridded")
    found = store.open_dataset(store_of(output, own.experiment.task.window.input_grid.label))
    assert found["temperature"].dims == ("member", "time", "level", "latitude", "longitude")
    assert found["2m_temperature"].shape == (2, 1, *own.experiment.task.window.input_grid.shape)
    np.testing.assert_array_equal(found["time"], np.array(["2001-01-17"], "datetime64[ns]"))
    np.testing.assert_array_equal(found["init_time"], np.array(["2001-01-15"], "datetime64[ns]"))
    weights = np.cos(np.deg2rad(found.latitude))
    means = found["2m_temperature"].weighted(weights).mean(["latitude", "longitude"]).values
    raw_request = own.regrid_forecasts(PERIOD).request
    decoded = own.experiment.source.decode(raw_request, raw_of(raw))["2m_temperature"]
    expected = decoded.weighted(np.cos(np.deg2rad(decoded.latitude))).mean(["latitude", "longitude"])
    np.testing.assert_allclose(means, expected.values, atol=0.7)


def test_a_source_of_their_own_has_jobs_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "ens10"
    folder.mkdir()
    for kind in ("sfc", "pl"):
        ens10_layout.write(folder / f"output.{kind}.20180115", (2001,), (1, 2))
    spans = [{"start": "2001-01-01", "end": "2003-12-31"}]
    source = {"name": "ens10", "folder": str(folder), "spans": spans, "days": ["0115"], "plausible": "warn"}
    own = jobs(tmp_path, None, {"source": source})
    assert own.forecast_periods() == ["20010101-20011231", "20020101-20021231", "20030101-20031231"]
    assert own.forecast_periods("test") == ["20030101-20031231"]
    assert own.forecast_files() == [str(folder / f"output.{kind}.20180115") for kind in ("sfc", "pl")]
    label = own.forecast_periods("train")[0]
    raw = Path(own.raw_forecasts(label))
    assert raw == tmp_path / "results/test/raw_forecasts" / label
    spec = own.download_forecasts(label)
    used = {name for seed in ("weatherpeft.stages.download", *spec_modules(spec)) for name in modules(seed)}
    assert {"weatherpeft.sources.ens10.files", "weatherpeft.sources.transfer.mirror"} <= used
    download(spec, raw, tmp_path / "shared/raw", tmp_path / "work")
    regrid(own.regrid_forecasts(label), raw, tmp_path / "regridded", tmp_path / "shared/regridded")
    found = store.open_dataset(store_of(tmp_path / "regridded", own.experiment.task.window.input_grid.label))
    np.testing.assert_array_equal(found["time"], np.array(["2001-01-17"], "datetime64[ns]"))
    assert found["temperature"].shape == (2, 1, 2, *own.experiment.task.window.input_grid.shape)


def test_an_experiment_without_forecasts_has_no_jobs_for_them(tmp_path: Path) -> None:
    own = Jobs(Experiment.parse(yaml.safe_load(CONFIG.read_text())))
    assert own.forecast_periods() == own.forecast_files() == []
    with pytest.raises(ValueError, match="experiment test has no forecasts"):
        own.regrid_forecasts(PERIOD)


@pytest.mark.parametrize(
    ("ensemble", "forecasts", "message"),
    [
        (None, {}, "source toy makes no ensemble forecasts; give forecasts.source"),
        ({}, {"members": [1]}, "at least 2 items"),
        (
            None,
            {
                "source": {
                    "name": "local",
                    "paths": ["*"],
                    "span": {"start": "2001-01-01", "end": "2001-12-31"},
                }
            },
            "splits.validation: the period 20020115-20020116 has 2 days, of which source local has 0",
        ),
    ],
)
def test_what_cannot_work_is_refused(
    tmp_path: Path, ensemble: dict[str, Any] | None, forecasts: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        jobs(tmp_path, ensemble, forecasts)
