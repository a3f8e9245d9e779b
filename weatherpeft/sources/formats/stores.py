"""Zarr stores of format 2 and 3 at any URL or path, refused where their metadata cannot be trusted."""

from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weatherpeft.sources.formats.fields import CHUNK_BYTES, COORDINATES

if TYPE_CHECKING:
    import xarray as xr

CODECS = {
    *("blosc", "bz2", "gzip", "lz4", "lzma", "zlib", "zstd"),
    *("bitround", "bytes", "delta", "fixedscaleoffset", "quantize", "shuffle", "transpose"),
    *("adler32", "crc32", "crc32c", "fletcher32", "sharding_indexed", "vlen-bytes", "vlen-utf8"),
}
"""Codecs that only compute. Others, such as ``pickle``, may run what a store tells them to."""


def zarr_store(url: str, options: Mapping[str, Any]) -> Any:
    """A store of zarr-python for a URL or a path; nothing of it is read yet.

    Args:
        url: a ``gs://`` URL, which is read without an account, another URL that fsspec reads, a folder, or a
            ZIP file.
        options: options of fsspec for the URL; with any, ``gs://`` is read as they say.
    """
    from zarr.storage import FsspecStore, LocalStore, ZipStore

    if url.startswith("gs://") and not options:
        # The plain file system: the default one of gcsfs queries the kind of bucket before every object.
        from gcsfs.core import GCSFileSystem

        files = GCSFileSystem(token="anon", asynchronous=True)
        return FsspecStore(files, path=url.removeprefix("gs://"), read_only=True)
    if "://" in url:
        return FsspecStore.from_url(url, dict(options) or None, read_only=True)
    path = Path(url).expanduser()
    return ZipStore(path, mode="r") if path.is_file() else LocalStore(path, read_only=True)


def open_store(url: str) -> "xr.Dataset":
    """Open a store with consolidated metadata. Its values are lazy and as they are stored.

    Args:
        url: see ``zarr_store``.

    Raises:
        ValueError: the store cannot be reached, or there is none.
    """
    try:
        return open_zarr(zarr_store(url, {}), True)
    except Exception as error:  # depends on the file system that fsspec has for the URL
        raise ValueError(
            f"{url}: cannot open a Zarr store with consolidated metadata there ({cause(error)})"
        ) from error


def open_zarr(store: Any, consolidated: bool) -> "xr.Dataset":
    """A store's arrays, lazy and undecoded except for the time coordinate.

    Raises:
        ValueError: an array has a codec that is not in ``CODECS`` or is larger than any array of weather. The
            message names the array.
    """
    import xarray as xr
    import zarr

    check_arrays(dict(zarr.open_group(store, mode="r", use_consolidated=consolidated).arrays()))
    return xr.open_zarr(
        store, consolidated=consolidated, chunks=None, mask_and_scale=False, decode_timedelta=False
    )


def check_arrays(arrays: Mapping[str, Any]) -> None:
    """Refuse arrays of a store by their metadata, before anything of them is read.

    Raises:
        ValueError: see ``open_zarr``.
    """
    for name, array in arrays.items():
        _check_array(name, array)


def _check_array(name: str, array: Any) -> None:
    """Refuse an array by its metadata."""
    if {"..", ""} & set(name.replace("\\", "/").split("/")):
        raise ValueError(f"the array {name!r} leaves the store")
    unknown = sorted(set(_codecs(array.metadata.to_dict())) - CODECS)
    if unknown:
        raise ValueError(f"{name}: expected codecs that are known to be harmless, found {', '.join(unknown)}")
    if array.ndim < 2 and array.size > COORDINATES:
        raise ValueError(f"{name}: expected up to {COORDINATES} values, found {array.size}")
    chunk = prod(getattr(array, "shards", None) or array.chunks) * array.dtype.itemsize
    if chunk > CHUNK_BYTES:
        raise ValueError(f"{name}: expected chunks of up to {CHUNK_BYTES} bytes, found {chunk}")


def _codecs(metadata: Any) -> Iterator[str]:
    """Names of the codecs in an array's metadata of format 2 or 3, inside shards too."""
    if not isinstance(metadata, Mapping):
        return
    for key in ("compressor", "filters", "codecs", "index_codecs"):
        found = metadata.get(key) or ()
        for codec in [found] if isinstance(found, Mapping) else found:
            yield str(codec.get("id") or codec.get("name")).removeprefix("numcodecs.")
            yield from _codecs(codec.get("configuration"))


def cause(error: Exception) -> str:
    """The error of another library, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
