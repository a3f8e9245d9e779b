"""What is kept from one process to the next: a cache is no condition of any work."""

import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any


def cache_folder(name: str) -> Path:
    """The folder of a kind of things that are remembered: ``weatherpeft/NAME`` below ``XDG_CACHE_HOME``."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "weatherpeft" / name


def replace(path: Path, content: bytes) -> None:
    """Write a file at once: of two processes that write it, the later one counts, and no reader sees a half.

    Raises:
        OSError: it cannot be written. Nothing is left of it.
    """
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(content)
        draft.replace(path)
    except OSError:
        with suppress(OSError):
            draft.unlink()
        raise


def remember(path: Path, values: Any) -> None:
    """Write values as JSON, if that can be (see ``replace``)."""
    with suppress(OSError):
        replace(path, json.dumps(values, separators=(",", ":")).encode())


def remembered(path: Path) -> Any:
    """The values of a JSON file; None where it cannot be read."""
    with suppress(OSError, ValueError):
        return json.loads(path.read_text(encoding="utf-8"))
    return None
