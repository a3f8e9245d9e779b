"""Fixtures of the sources that read a Zarr store."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sources.cloud_stores import Server, serve


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    """An HTTP server of the stores in the module's ``folder``."""
    with serve(folder) as server:
        yield server
