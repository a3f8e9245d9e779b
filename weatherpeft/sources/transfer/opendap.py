"""OPeNDAP servers: what is asked for and no more, in requests of bounded size, which are repeated on failure.

pydap reads them, because the NetCDF library hands out whatever is in memory where a response ends too early.
"""

import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

from weatherpeft.sources.formats.fields import COORDINATES
from weatherpeft.sources.formats.stores import cause
from weatherpeft.sources.transfer.mirror import ATTEMPTS, BACKOFF_S, BUSY

if TYPE_CHECKING:
    import xarray as xr

REQUEST_VALUES = 2**22
"""Values of a request: 32 MB in double precision, for which servers' limits are usually hundreds of MB."""

_SCHEMES = ("http://", "https://", "dap2://", "dap4://")
_Result = TypeVar("_Result")
_log = logging.getLogger(__name__)


def is_opendap(path: str, engine: str | None) -> bool:
    """Whether a store is an OPeNDAP server's: a URL of an engine for it or of no engine, and not Zarr's.

    >>> is_opendap("https://a.org/dap/t.nc", None), is_opendap("https://a.org/t.zarr", None)
    (True, False)
    """
    if engine == "netcdf4" and "#mode=" in path:  # a file that is read by ranges of its bytes
        return False
    served = engine in ("pydap", "netcdf4") or (
        engine is None and not path.rstrip("/").endswith((".zarr", ".zarr.zip"))
    )
    return served and path.startswith(_SCHEMES)


def open_opendap(url: str, engine: str | None, options: Mapping[str, Any]) -> "xr.Dataset":
    """Open a dataset of an OPeNDAP server. Its values are lazy, and decoded as the CF conventions say.

    Args:
        url: of the dataset, without ``.dds`` or ``.html``.
        engine: None or ``pydap``.
        options: must be empty.

    Raises:
        ValueError: pydap is missing, the server does not answer or has no such dataset, or there are
            options. The message names the URL and says what to do.
    """
    import xarray as xr

    if engine == "netcdf4":
        raise ValueError(
            f"{url}: the engine netcdf4 takes a response that ends too early for a whole one; "
            "say engine: pydap"
        )
    if options:
        raise ValueError(f"{url}: OPeNDAP takes no storage_options; keep name and password in ~/.netrc")
    try:
        import pydap  # noqa: F401
    except ImportError as error:
        raise ValueError(f"{url}: OPeNDAP needs the package pydap: pip install pydap") from error

    def opened() -> xr.Dataset:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="PyDAP was unable to determine the DAP protocol")
            return xr.open_dataset(url, engine="pydap", cache=False, decode_timedelta=False)

    try:
        dataset = _attempts(opened, url)
    except Exception as error:  # depends on what is wrong with the response
        raise ValueError(
            f"{url}: cannot open a dataset of an OPeNDAP server there ({cause(error)}); "
            f"see whether {url}.dds shows its variables, and try again later if it does"
        ) from error
    for name, array in dataset.variables.items():
        if array.ndim == 1 and array.size > COORDINATES:
            raise ValueError(f"{url}: {name}: expected up to {COORDINATES} values, found {array.size}")
    served = {name: array.variable for name, array in dataset.data_vars.items() if array.ndim}
    return dataset.assign({name: array.copy(data=_lazy(array, url)) for name, array in served.items()})


def _lazy(array: "xr.Variable", url: str) -> Any:
    return indexing.LazilyIndexedArray(_Served(array, url))


class _Served(BackendArray):
    """An array that is read by requests of bounded size, of runs of points that follow one another."""

    def __init__(self, array: "xr.Variable", url: str) -> None:
        self.shape, self.dtype = array.shape, array.dtype
        self._array, self._url = array, url

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._outer
        )

    def _outer(self, key: tuple[Any, ...]) -> NDArray[Any]:
        axes = [np.atleast_1d(np.arange(size)[part]) for part, size in zip(key, self.shape, strict=True)]
        values = np.empty([axis.size for axis in axes], self.dtype)
        for box in _boxes([_runs(axis) for axis in axes]):
            asked = tuple(
                slice(int(axis[part.start]), int(axis[part.stop - 1]) + 1)
                for axis, part in zip(axes, box, strict=True)
            )
            values[box] = _attempts(partial(self._read, asked), self._url)
        return values[tuple(0 if isinstance(part, int | np.integer) else slice(None) for part in key)]

    def _read(self, asked: tuple[slice, ...]) -> NDArray[Any]:
        return self._array[asked].values


def _runs(places: NDArray[np.intp]) -> list[slice]:
    """The parts of a list of positions in which one follows the other.

    >>> _runs(np.array([0, 1, 2, 7, 8]))
    [slice(0, 3, None), slice(3, 5, None)]
    """
    borders = (np.flatnonzero(np.diff(places) != 1) + 1).tolist()
    return [slice(*ends) for ends in zip([0, *borders], [*borders, places.size], strict=True)]


def _boxes(runs: list[list[slice]]) -> Iterator[tuple[slice, ...]]:
    """Boxes of one run of each axis, cut along the first axes until none has more than ``REQUEST_VALUES``."""
    axis = next((number for number, parts in enumerate(runs) if len(parts) > 1), None)
    box = tuple(parts[0] for parts in runs)
    if axis is None and prod(part.stop - part.start for part in box) > REQUEST_VALUES:
        axis = next(number for number, part in enumerate(box) if part.stop - part.start > 1)
        middle = (box[axis].start + box[axis].stop) // 2
        runs = [*runs]
        runs[axis] = [slice(box[axis].start, middle), slice(middle, box[axis].stop)]
    if axis is None:
        yield box
        return
    for part in runs[axis]:
        yield from _boxes([*runs[:axis], [part], *runs[axis + 1 :]])


def _attempts(ask: Callable[[], _Result], url: str) -> _Result:
    """The answer, asked for again where the connection fails or the server is busy.

    Raises:
        Exception: of the last attempt, or one that another attempt would have too.
    """
    import requests

    for number in range(ATTEMPTS):
        try:
            return ask()
        except requests.RequestException as error:
            response = getattr(error.__cause__, "response", None)  # pydap's own error has none
            if isinstance(error, requests.HTTPError) and getattr(response, "status_code", None) not in BUSY:
                raise
            last = error
        if number < ATTEMPTS - 1:
            wait = min(BACKOFF_S[0] * 2.0**number, BACKOFF_S[1])
            _log.warning("%s: %s; trying again in %.0f s", url, cause(last), wait)
            time.sleep(wait)
    raise requests.ConnectionError(f"{cause(last)}; gave up after {ATTEMPTS} attempts") from last
