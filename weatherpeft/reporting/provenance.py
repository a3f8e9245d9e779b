"""The parts of artifacts' records that the page shows."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def short_name(path: Path) -> str:
    """Name of an artifact with that of its folder, without the rest of the machine's path."""
    return f"{path.parent.name}/{path.name}" if path.parent.name else path.name


def digests(name: str, record: dict[str, Any]) -> dict[str, str]:
    """Name of an artifact, and short digests of code, spec and contents from its record."""
    canonical = json.dumps(record["spec"], sort_keys=True, separators=(",", ":"))
    return {
        "name": name,
        "code": record["code"][:16],
        "spec": hashlib.sha256(canonical.encode()).hexdigest()[:16],
        "digest": record["digest"][:16],
    }


def packages(records: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Package versions by name; all versions if artifacts were made with different ones."""
    found: dict[str, set[str]] = {}
    for record in records:
        for name, version in record["packages"].items():
            found.setdefault(name, set()).add(version)
    return {name: " or ".join(sorted(versions)) for name, versions in sorted(found.items())}
