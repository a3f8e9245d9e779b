"""Artifacts on disk: complete or absent, with a record of what made them.

An artifact is a directory. It is written under a temporary name in the folder of its final name and
renamed when it is complete, so that a killed job leaves nothing that looks finished.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from weatherpeft.artifacts.claim import Claim
from weatherpeft.artifacts.fingerprint import fingerprint, spec_modules
from weatherpeft.artifacts.manifest import (
    PROVENANCE,
    artifact_of,
    check_store,
    faults,
    file_digests,
    read_manifest,
    seal,
    total_digest,
)
from weatherpeft.fields.definition import Defining
from weatherpeft.spec import Spec

if TYPE_CHECKING:
    import xarray as xr

FIELDS = "fields"
"""Name of the array with all instantaneous fields of a regridded store; see ``field_store``."""
_ZARR_MARKS = ("zarr.json", ".zgroup")
_PACKAGES = ("numpy", "scipy", "xarray", "zarr", "dask", "eccodes", "torch", "microsoft-aurora", "peft")


class AlreadyMadeError(Exception):
    """The artifact is there, whole and made from just this, so that nothing is left to do.

    Args:
        output: the artifact.
    """

    def __init__(self, output: Path) -> None:
        super().__init__(f"{output}: another job has made it already")


@contextmanager
def artifact(
    output: Path,
    spec: Spec,
    code: str,
    inputs: Sequence[Path] = (),
    facts: dict[str, Any] | None = None,
    varying: Sequence[str] = (),
    claim: Claim | None = None,
) -> Iterator[Path]:
    """Write a directory that appears under its final name only when it is complete.

    One job writes an artifact at a time. Another one that wants to write it waits.

    Args:
        output: final name of the directory. An existing one is replaced, unless it is made from just this.
        spec: spec that the artifact is made from.
        code: module name of the stage, whose code digest is recorded.
        inputs: artifacts, or files in them, that were read.
        facts: further entries of the record. The caller may fill it until it leaves the context.
        varying: names of files that differ from run to run, such as times. The digest leaves them out, and
            the record names them.
        claim: claim on ``output`` that the caller has taken; it is given back. By default one is taken.

    Yields:
        The directory to write into.

    Raises:
        AlreadyMadeError: the same artifact is there.
        ValueError: another job has taken this one for dead.
    """
    with claim or Claim(output).wait() as own:
        if is_made(output, spec, code, inputs):
            raise AlreadyMadeError(output)
        directory = own.folder / output.name
        directory.mkdir(exist_ok=True)  # there already: a request that NFS repeated
        yield directory
        record = {
            **_origin(spec, code, inputs),
            "packages": _versions(),
            **({"varying": sorted(varying)} if varying else {}),
            **(facts or {}),
        }
        seal(directory, record, file_digests(directory))
        own.publish(directory)


@contextmanager
def working(folder: Path, output: Path, spec: Spec, code: str, inputs: Sequence[Path] = ()) -> Iterator[None]:
    """Hold the work folder of an unfinished artifact, which a job that is tried again goes on from.

    Args:
        folder: the work folder; it need not exist.
        output: final name of the artifact.
        spec: spec that it is made from.
        code: module name of the stage.
        inputs: artifacts, or files in them, that are read.

    Raises:
        AlreadyMadeError: the same artifact is there.
    """
    with Claim(folder).wait():
        if is_made(output, spec, code, inputs):
            raise AlreadyMadeError(output)
        yield


def is_made(output: Path, spec: Spec, code: str, inputs: Sequence[Path] = ()) -> bool:
    """Whether an artifact is complete, undamaged and made from just this.

    Args:
        output: path of the artifact.
        spec: spec that it should be made from.
        code: module name of the stage.
        inputs: artifacts, or files in them, that should have been read.
    """
    try:
        record = read_provenance(output)
    except ValueError:
        return False
    same = all(record[name] == value for name, value in _origin(spec, code, inputs).items())
    return same and not any(faults(output))


def _origin(spec: Spec, code: str, inputs: Sequence[Path]) -> dict[str, Any]:
    return {
        "spec": spec.model_dump(mode="json"),
        "code": fingerprint(code, spec_modules(spec)),
        "inputs": {"/".join(path.parts[-2:]): artifact_digest(path) for path in inputs},
    }


def read_provenance(path: Path) -> dict[str, Any]:
    """Record of an artifact.

    Raises:
        ValueError: the directory has no record, so it is not an artifact of this package, or one of another
            version, or the record is damaged.
    """
    return dict(read_manifest(path).record)


def artifact_digest(path: Path) -> str:
    """Content digest of an artifact, or of another file or Zarr store.

    The digest of an artifact and of every part of it is the one in the artifact's record.

    Raises:
        ValueError: there is no such file or Zarr store, and no record here or in a directory above.
    """
    if (directory := artifact_of(path)) is not None:
        return str(read_provenance(directory)["digest"])
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    if any((path / name).is_file() for name in _ZARR_MARKS):
        return content_digest(path)
    raise ValueError(f"{path}: no {PROVENANCE} here or above; not an artifact of weatherpeft")


def artifact_key(spec: Spec, code: str, inputs: Sequence[Path] = ()) -> str:
    """Name for the working directory of an unfinished artifact.

    It changes with the spec, the code and the contents of the inputs. A job that is tried again finds what it
    left, and a changed job never does.

    Args:
        spec: spec that the artifact is made from.
        code: module name of the stage.
        inputs: artifacts, or files in them, that are read.

    Raises:
        ValueError: an input is missing.
    """
    parts = [spec.canonical_json(), fingerprint(code, spec_modules(spec)), *map(artifact_digest, inputs)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def content_digest(directory: Path, left_out: Sequence[str] = ()) -> str:
    """SHA-256 over the names and bytes of the files below a directory, without bookkeeping files.

    Args:
        directory: directory to digest.
        left_out: further files to leave out, relative to the directory.
    """
    return total_digest(file_digests(directory), left_out)


def write_dataset(
    dataset: "xr.Dataset",
    path: Path,
    mode: Literal["w", "a", "r+"] = "w",
    encoding: Mapping[str, Mapping[str, Any]] | None = None,
    **options: Any,
) -> None:
    """Write a dataset as a Zarr store of format 3 with consolidated metadata and checksums in all chunks.

    Args:
        dataset: variables. Chunked arrays are written chunk by chunk.
        path: path of the store.
        mode: ``w`` creates the store, ``a`` adds variables to it, ``r+`` fills existing variables.
        encoding: encoding of variables. Their ``compressors`` are followed by a checksum.
        options: further arguments of ``xarray.Dataset.to_zarr``.
    """
    import warnings

    import zarr

    from weatherpeft.artifacts.chunks import CODECS, with_checksum

    # Zarr 3 specifies strings of variable length only.
    labels = {
        name: variable.astype(object)
        for name, variable in dataset.variables.items()
        if variable.dtype.kind == "U"
    }
    dataset = dataset.assign(labels).copy()
    given = {name: dict(values) for name, values in (encoding or {}).items()}
    there = set() if mode == "w" else set(zarr.open_group(path, mode="r").array_keys())
    for name in set(map(str, dataset.variables)) - there:
        if name in given:
            own = given[name].get("compressors")
            given[name]["compressors"] = with_checksum(own) if own else CODECS
        else:
            dataset.variables[name].encoding["compressors"] = CODECS
    with warnings.catch_warnings():
        # Consolidated metadata is not yet in the Zarr 3 specification; zarr-python writes and reads it.
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        dataset.to_zarr(path, mode=mode, zarr_format=3, consolidated=True, encoding=given, **options)


def open_dataset(path: Path) -> "xr.Dataset":
    """Open a store lazily. Fields of a ``field_store`` become variables with canonical dims.

    Raises:
        ValueError: the store is absent.
    """
    return canonical(open_stored(path))


def open_stored(path: Path) -> "xr.Dataset":
    """Open a store lazily, with its arrays as they are stored.

    Raises:
        ValueError: the store is absent, or one of another version.
        DamagedError: the store lacks a file, has one too many, or its metadata is damaged. A damaged chunk
            raises it when it is read.
    """
    import xarray as xr

    from weatherpeft.artifacts import chunks  # noqa: F401  names the chunk in errors

    if not path.is_dir():
        raise ValueError(f"{path}: no such Zarr store")
    check_store(path)
    return xr.open_zarr(path, consolidated=True, chunks=None)


def channel_places(stored: "xr.Dataset") -> dict[str, int | slice]:
    """Index, or slice over levels, of each variable along the channels of a ``field_store``.

    Args:
        stored: the store as ``open_stored`` opens it.

    Returns:
        Places by variable; empty if the store has no channels.
    """
    places: dict[str, int | slice] = {}
    if FIELDS in stored:
        attributes = stored[FIELDS].attrs
        levels, surface = len(attributes["levels_hpa"]), attributes["surface"]
        places = {name: index for index, name in enumerate(surface)}
        for index, name in enumerate(attributes["atmospheric"]):
            first = len(surface) + index * levels
            places[name] = slice(first, first + levels)
    return places


def defined(stored: "xr.Dataset") -> Defining:
    """The definitions of variables of one's own in a ``field_store``.

    Args:
        stored: the store as ``open_stored`` opens it.
    """
    return Defining.parse({"define": stored[FIELDS].attrs.get("define", {}) if FIELDS in stored else {}})


def canonical(stored: "xr.Dataset") -> "xr.Dataset":
    """Split the channels of a ``field_store`` into variables. Any other store is returned unchanged.

    Args:
        stored: the store as ``open_stored`` opens it.

    Returns:
        Lazy float32 variables with dims ``([member,] time, [level,] latitude, longitude)``, followed by the
        other variables of the store.
    """
    if FIELDS not in stored:
        return stored
    fields, packed = stored[FIELDS], "scale" in stored
    if packed:
        fields = fields.chunk(time=1)
        fields = fields.astype("float32") * stored["scale"].astype("float32")
        fields = fields + stored["offset"].astype("float32")
    names, variables = defined(stored), {}
    for name, place in channel_places(stored).items():
        array = fields.isel(channel=place).drop_vars("channel").drop_encoding()
        if isinstance(place, slice):
            array = array.rename(channel="level").assign_coords(level=stored["level"])
        if packed and (own := names.definition(name)) and own.transformation:
            inverse = own.transformation.inverse
            array = array.copy(data=array.data.map_blocks(inverse, dtype="f4"))
        row = names.row(name)
        attributes = {"units": row.units, "long_name": row.long_name, "short_name": row.short_name}
        array.attrs = attributes
        variables[name] = array
    others = stored.drop_dims("channel")
    return others.assign(variables)[[*variables, *map(str, others.data_vars)]]


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
