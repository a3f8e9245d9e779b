"""Fields of several periods as one."""

from pathlib import Path

import numpy as np
import pytest
import zarr

from tests.small_data import COARSE, FINE, period, write_period
from weatherpeft.artifacts.fields import FieldReader

PERIODS = (period("2001-01-01", "2001-01-01"), period("2001-02-01", "2001-02-01"))


def test_a_static_field_is_the_same_in_every_period(tmp_path: Path) -> None:
    directories = [write_period(tmp_path, covered, seed=i) for i, covered in enumerate(PERIODS)]
    stored = zarr.open_array(directories[1] / f"{FINE.label}.zarr/land_sea_mask", mode="r+")
    found = FieldReader(directories, FINE, ()).static("land_sea_mask")
    np.testing.assert_array_equal(found, stored[:])

    stored[0, 3] = np.nan
    with pytest.raises(
        ValueError, match=r"20010201-20010201/.*: static variable land_sea_mask is not the same"
    ):
        FieldReader(directories, FINE, ()).static("land_sea_mask")
    FieldReader(directories, COARSE, ()).static("land_sea_mask")  # of the other grid nothing has changed
    first = zarr.open_array(directories[0] / f"{FINE.label}.zarr/land_sea_mask", mode="r+")
    first[0, 3] = np.nan
    assert np.isnan(FieldReader(directories, FINE, ()).static("land_sea_mask")[0, 3])
    with pytest.raises(ValueError, match="20010101-20010101/.*static variable soil_type is missing"):
        FieldReader(directories, FINE, ()).static("soil_type")
