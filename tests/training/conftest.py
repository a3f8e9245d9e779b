"""Samples for the training loop."""

import pytest

from tests import small_data as small
from weatherpeft.samples.batch import Samples
from weatherpeft.samples.frames import SampleFrames

JANUARY = small.period("2001-01-01", "2001-01-03")
FEBRUARY = small.period("2001-02-01", "2001-02-02")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """Eleven samples."""
    data = [small.write_period(tmp_path_factory.mktemp("train"), JANUARY)]
    return Samples(SampleFrames(small.WINDOW, small.FIELDS, data, small.split(JANUARY)))


@pytest.fixture(scope="module")
def validation(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """Seven samples."""
    data = [small.write_period(tmp_path_factory.mktemp("validation"), FEBRUARY, seed=1)]
    return Samples(SampleFrames(small.WINDOW, small.FIELDS, data, small.split(FEBRUARY)))
