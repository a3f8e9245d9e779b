"""Chunks of Zarr stores with checksums, and errors that name the chunk.

Every chunk ends in a CRC-32C of its compressed bytes, in shards every inner chunk. Importing this module
makes Zarr name the file and the inner chunk that it cannot read, whoever reads the store in this process.
"""

from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.core.codec_pipeline import BatchedCodecPipeline
from zarr.registry import register_pipeline

from weatherpeft.artifacts.manifest import DamagedError, artifact_of

CODECS: tuple[Any, ...] = (ZstdCodec(level=0), Crc32cCodec())
"""Zarr's usual compressor and a checksum, for arrays that need no other compressor."""


class NamingPipeline(BatchedCodecPipeline):
    """Zarr's pipeline, whose errors name the chunk."""

    async def read_batch(self, batch_info: Iterable[Any], out: Any, drop_axes: tuple[int, ...] = ()) -> None:
        """Read chunks as Zarr does.

        Raises:
            DamagedError: a chunk cannot be read. The message names the file.
            ValueError: an inner chunk of a shard cannot be read. The message names its place in the shard.
        """
        chunks = list(batch_info)
        try:
            await super().read_batch(chunks, out, drop_axes)
        except Exception as error:  # depends on codec and file system
            cause = " ".join(str(error).split()) or type(error).__name__
            source = chunks[0][0]  # the pipeline's batches have one chunk
            place = getattr(source, "chunk_coords", None)
            if place is not None:
                raise ValueError(f"inner chunk {place}: {cause}") from error
            file = Path(str(source).removeprefix("file://"))
            raise DamagedError(file, f"cannot be read ({cause})", artifact_of(file)) from error


register_pipeline(NamingPipeline)
zarr.config.set({"codec_pipeline.path": f"{NamingPipeline.__module__}.{NamingPipeline.__qualname__}"})


def with_checksum(*compressors: Any) -> tuple[Any, ...]:
    """Compressors of an array, followed by a checksum."""
    return (*compressors, Crc32cCodec())


def damaged_inner_chunks(file: Path) -> list[str]:
    """The inner chunks of a shard that cannot be read, by their place in the shard.

    Args:
        file: any file of an artifact.

    Returns:
        Places as text; empty if the file is no shard, or the metadata of its array cannot be read.
    """
    folder = next((parent.parent for parent in file.parents if parent.name == "c"), None)
    if folder is None or not (folder / "zarr.json").is_file():
        return []
    try:
        array: Any = zarr.open_array(folder, mode="r")
        shard = [int(part) for part in file.relative_to(folder / "c").parts]
        shards, chunks, shape = array.shards, array.chunks, array.shape
    except Exception:  # whatever Zarr makes of damaged metadata, which the caller finds by its own checksum
        return []
    damaged: list[str] = []
    if shards is None:
        return damaged
    for place in product(*(range(size // chunk) for size, chunk in zip(shards, chunks, strict=True))):
        first = [
            number * size + index * chunk
            for number, size, index, chunk in zip(shard, shards, place, chunks, strict=True)
        ]
        if all(start < length for start, length in zip(first, shape, strict=True)):
            try:
                array[tuple(slice(start, start + chunk) for start, chunk in zip(first, chunks, strict=True))]
            except ValueError:
                damaged.append(str(place))
    return damaged
