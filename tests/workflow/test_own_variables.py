"""An experiment with variables of its own, from files of two kinds to the report."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from tests import own_variables as own
from tests.workflow.workflow import Checkout
from weatherpeft.artifacts import store


@pytest.mark.slow
def test_variables_of_ones_own_come_to_the_report_in_their_units(tmp_path: Path) -> None:
    checkout = Checkout.of_repository(tmp_path / "checkout")
    own.write_files(checkout.folder / "files")
    values = own.experiment(Path("files"), checkout.folder / "config/test.yaml")
    (checkout.folder / "own.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    checkout.snakemake(config="own.yaml")

    results = checkout.folder / "results/own"
    stored = store.open_dataset(checkout.store("regridded/20200301-20200306", "11.25deg", "own"))
    hail = stored["hail_mass"]
    assert hail.attrs == {"units": "kg m-2", "long_name": "Hail mass", "short_name": "hail_mass"}
    np.testing.assert_allclose(hail[5], own.hail(5), rtol=1e-5)
    cloud = own.cloud(5, 850)  # packed with 16 bits, whose step is at most twice the range's share
    np.testing.assert_allclose(stored["cloud_water"][5, 1], cloud, rtol=0, atol=cloud.max() / 2**16)

    # persistence is the field of six hours before, scored against that of its time, in kg m-2
    weights = own.GRID.area_weights()[:, None] * np.ones(own.GRID.shape)
    errors = [
        np.average((own.hail(step - 1) - own.hail(step)) ** 2, weights=weights) for step in range(18, 24)
    ]
    scores = store.open_dataset(results / "scores/persistence/scores.zarr").load()
    found = scores["rmse"].sel(channel="hail_mass").values.ravel()
    np.testing.assert_allclose(found, np.sqrt(errors), rtol=1e-4)

    statistics = store.open_dataset(results / "statistics/statistics.zarr").load()
    means = [np.average(np.log1p(own.cloud(step, 500) / 1e-6), weights=weights) for step in range(12)]
    mean = statistics["mean"].sel(channel="cloud_water_500").item()
    np.testing.assert_allclose(mean, np.mean(means), rtol=1e-3)

    predicted = store.open_dataset(results / "predictions/full-seed0/predictions.zarr")
    for name in ("hail_mass", "cloud_water"):
        assert predicted[name].min() >= 0 and np.isfinite(predicted[name]).all()
    page = (results / "report/report.html").read_text()
    assert "Cloud liquid water at 850 hPa" in page and "hail_mass" in page
    assert "the embedding of own_hail_mass starts from" not in checkout.logs()  # its own is pretrained

    # a further variable of one's own, which the experiment does not use, changes no job
    values["define"]["fog"] = {"kind": "surface", "units": "1"}
    (checkout.folder / "own.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    assert not checkout.planned("own.yaml")
