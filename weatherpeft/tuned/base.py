"""The pretrained checkpoint that a tuned model needs."""

import hashlib
from pathlib import Path

from weatherpeft.tuned.config import Base
from weatherpeft.tuned.parts import WEIGHTS


def found_base(base: Base | None, given: Path | None) -> Path | None:
    """The checkpoint, after a comparison with its checksum.

    Args:
        base: the checkpoint that the model was tuned from; None if it started from random weights.
        given: where it is: a file, or the artifact of the stage that made it. By default it is taken from the
            Hub, where it stays in the cache of ``huggingface_hub``.

    Raises:
        ValueError: it is not there, or another one. The message says which one is expected.
    """
    if base is None:
        return None
    if given is None:
        if not base.repository:
            raise ValueError(
                f"the model needs the checkpoint that it was tuned from: {base}; give it as base"
            )
        from weatherpeft.tuned.hub import downloaded

        given = downloaded(base.repository, base.file, base.revision)
    path = given / WEIGHTS if given.is_dir() else given
    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected the checkpoint {base}")
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != base.sha256:
        raise ValueError(f"{path}: expected the checkpoint {base}, found SHA-256 {found}")
    return path
