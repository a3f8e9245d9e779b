"""Stage ``download``: raw files of one period, as the provider ships them."""

import logging
from pathlib import Path

from weatherpeft.interfaces import DataRequest
from weatherpeft.sources import AnyForecastSource, AnySource
from weatherpeft.spec import Spec

_log = logging.getLogger(__name__)


class DownloadSpec(Spec):
    """A source and a request."""

    source: AnySource | AnyForecastSource
    """Source of the data."""
    request: DataRequest
    """Fields, period, time step and members to download."""


def download(spec: DownloadSpec, output: Path, work: Path) -> None:
    """Fetch the raw files of one period and check their headers against the request.

    Args:
        spec: source and request.
        output: directory of the raw files.
        work: directory of unfinished downloads; a retry goes on from there.

    Raises:
        ValueError: the source cannot bring the files, or they do not hold the request. The message names the
            file, variable, level, time or member at fault. ``output`` is then absent.

    Example:
        weatherpeft download --spec @download.json --output data/test/raw/20010115-20010117
            --work data/test/work
    """
    import shutil

    from weatherpeft.artifacts import store

    underway = work / spec.digest()
    with store.working(underway, output, spec, code=__name__):
        with store.artifact(output, spec, code=__name__) as directory:
            spec.source.fetch(spec.request, directory, underway)
            dataset = spec.source.decode(spec.request, directory)
            _log.info(
                "%s holds %d variables of %s", output, len(dataset.data_vars), spec.request.period.label
            )
        shutil.rmtree(underway, ignore_errors=True)
