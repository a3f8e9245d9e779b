"""Stage ``download``: the raw files of one period, as the provider ships them."""

import logging
from pathlib import Path

from weatherpeft.interfaces import DataRequest
from weatherpeft.sources import AnyForecastSource, AnySource
from weatherpeft.spec import Spec

_log = logging.getLogger(__name__)


class DownloadSpec(Spec):
    """What to download, and from where."""

    source: AnySource | AnyForecastSource
    """The provider."""
    request: DataRequest
    """Fields, period, time step and members."""


def download(spec: DownloadSpec, output: Path, work: Path) -> None:
    """Fetch raw files, and check from their headers that they hold what was asked for.

    Args:
        spec: source and request.
        output: directory of the raw files.
        work: where a source keeps what is underway; a retry goes on from there.

    Raises:
        ValueError: naming the file, variable, level, time or member at fault; ``output`` is then absent.
    """
    import shutil

    from weatherpeft.artifacts import store

    underway = work / spec.digest()
    with store.artifact(output, spec, code=__name__) as directory:
        spec.source.fetch(spec.request, directory, underway)
        dataset = spec.source.decode(spec.request, directory)
        _log.info("%s holds %d variables of %s", output, len(dataset.data_vars), spec.request.period.label)
    shutil.rmtree(underway, ignore_errors=True)
