"""Stage ``download``: raw files of one period, as the provider ships them."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weatherpeft.fields.variables import VariableSet
from weatherpeft.interfaces import DataRequest
from weatherpeft.sources import AnyForecastSource, AnySource
from weatherpeft.spec import Spec

if TYPE_CHECKING:
    from weatherpeft.artifacts.catalog import Part

_log = logging.getLogger(__name__)


class DownloadSpec(Spec):
    """A source and a request."""

    source: AnySource | AnyForecastSource
    """Source of the data."""
    request: DataRequest
    """Fields, period, time step and members to download."""

    def of(self, variables: VariableSet) -> "DownloadSpec":
        """The same request for other variables."""
        return self.model_copy(update={"request": self.request.of(variables)})


def download(spec: DownloadSpec, output: Path, shared: Path, work: Path) -> None:
    """Fetch the raw files of one period that are not there yet, and check their headers.

    Args:
        spec: source and request.
        output: catalog of the raw files.
        shared: folder of the raw files of all experiments. Those that other jobs brought of the same source
            and period are taken from there, and only the variables that they lack are fetched.
        work: directory of unfinished downloads; a retry goes on from there.

    Raises:
        ValueError: the source cannot bring the files, or they do not hold the request. The message names the
            file, variable, level, time or member at fault. ``output`` is then absent.

    Example:
        weatherpeft download --spec @download.json --output results/test/raw/20010115-20010117
            --shared data/test/raw --work data/test/work
    """
    from weatherpeft.artifacts import catalog, store
    from weatherpeft.artifacts.claim import Claim
    from weatherpeft.artifacts.fingerprint import fingerprint, spec_modules

    def fits(record: Mapping[str, Any]) -> bool:
        own = DownloadSpec.parse(record["spec"])
        alike = own.of(VariableSet()) == spec.of(VariableSet())
        return bool(alike and record["code"] == fingerprint(__name__, spec_modules(own)))

    facts: dict[str, Any] = {}
    with store.artifact(output, spec, code=__name__, facts=facts, varying=[catalog.PATHS]) as directory:
        label, empty = spec.request.period.label, spec.of(VariableSet())
        states = catalog.file_states(spec.source.files())
        folder = catalog.folder(shared, spec.source.name, empty, label, states)
        with Claim(folder).wait():
            catalog.tidy(folder)
            parts, lacking = catalog.find(folder, spec.request.variables, fits)
            for part in parts:
                _log.info("%s has %s", part.path, ", ".join(part.variables.names))
            if lacking.names:
                parts.append(_fetch(spec.of(lacking), folder, output, work))
        catalog.write(directory, parts, facts)


def _fetch(spec: DownloadSpec, folder: Path, output: Path, work: Path) -> "Part":
    """Bring a part."""
    import shutil

    from weatherpeft.artifacts import catalog, store

    path = folder / catalog.key(spec.canonical_json())
    underway = work / spec.digest()
    with store.artifact(path, spec, code=__name__, facts={"catalog": str(output)}) as directory:
        spec.source.fetch(spec.request, directory, underway)
        dataset = spec.source.decode(spec.request, directory)
        _log.info("%s holds %d variables of %s", path, len(dataset.data_vars), spec.request.period.label)
    shutil.rmtree(underway, ignore_errors=True)
    return catalog.Part(path, store.artifact_digest(path), spec.request.variables)
