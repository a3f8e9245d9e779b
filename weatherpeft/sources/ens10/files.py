"""The files of ENS-10: an index of their headers, and the messages that a request needs."""

import logging
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weatherpeft.interfaces import DataRequest
from weatherpeft.sources.ens10.spec import Ens10
from weatherpeft.sources.formats.fields import PRESSURE, Key
from weatherpeft.sources.formats.files import sniff
from weatherpeft.sources.formats.grib_header import inventory
from weatherpeft.sources.transfer.mirror import bring

_COLUMNS = np.dtype(
    [
        ("offset", "i8"), ("length", "i8"), ("param_id", "i4"), ("level", "i4"), ("start", "M8[h]"),
        ("lead_hours", "i4"), ("member", "i4"),
    ]
)  # fmt: skip
_NO_LEVEL = -1
_log = logging.getLogger(__name__)


def extract(source: Ens10, request: DataRequest, output: Path) -> None:
    """Write the messages of every start of a request to ``output.<kind>.<start>``, in the files' order.

    Raises:
        ValueError: see ``Ens10.fetch``.
    """
    variables = request.variables
    wanted = {
        "sfc": [Key(name) for name in variables.surface],
        "pl": [Key(name, level) for name in variables.atmospheric for level in variables.levels_hpa],
    }
    if variables.static:
        raise ValueError(f"ENS-10 has no static fields, found {', '.join(variables.static)}")
    for start in source.starts(request):
        for kind, keys in wanted.items():
            if not keys:
                continue
            path = source.file(kind, f"{start:%m%d}")
            if source.url is not None and not path.exists():
                bring(f"{source.url.rstrip('/')}/{path.name}", path, check=inventory)
            chosen = _choose(path, keys, start, request)
            with path.open("rb") as stream, (output / f"output.{kind}.{start:%Y%m%d}").open("wb") as taken:
                for row in np.sort(chosen, order="offset"):
                    stream.seek(row["offset"])
                    taken.write(stream.read(row["length"]))
            _log.info("took %d messages of %s out of %s", len(chosen), f"{start:%Y-%m-%d}", path)


def index(path: Path) -> NDArray[Any]:
    """Place and content of every message of a file, one row each, in the order of the file.

    The rows come from ``<file>.index.npz`` where that belongs to the current file. Otherwise the file is
    scanned and the index written.

    Raises:
        ValueError: the file is missing, truncated or not GRIB, or its folder cannot be written.
    """
    kind = sniff(path)
    if kind != "GRIB":
        raise ValueError(f"{path}: expected GRIB, found {kind}")
    stored = path.with_name(f"{path.name}.index.npz")
    state = path.stat()
    made_from = np.array([state.st_size, state.st_mtime_ns])
    if stored.exists():
        with np.load(stored) as found:
            if np.array_equal(found["made_from"], made_from) and found["messages"].dtype == _COLUMNS:
                rows: NDArray[Any] = found["messages"]
                return rows
    rows = np.array(
        [
            (
                message.offset,
                message.length,
                message.param_id,
                message.level if message.type_of_level == PRESSURE else _NO_LEVEL,
                message.valid_time - np.timedelta64(message.lead_hours, "h"),
                message.lead_hours,
                -1 if message.member is None else message.member,
            )
            for message in inventory(path)
        ],
        _COLUMNS,
    )
    draft = path.with_name(f".{stored.name}.{os.getpid()}")  # another job may index the same file
    try:
        with draft.open("wb") as stream:
            np.savez(stream, messages=rows, made_from=made_from)
        draft.replace(stored)
    except PermissionError as error:
        raise ValueError(
            f"{path.parent}: expected a folder that an index can be written to ({error})"
        ) from error
    _log.info("indexed %s: %d messages", path, len(rows))
    return rows


def _choose(path: Path, keys: list[Key], start: datetime, request: DataRequest) -> NDArray[Any]:
    """The rows of an index that a request needs from one start, one for each field and member.

    Raises:
        ValueError: a field is missing, or there twice. The message names the first one.
    """
    rows = index(path)
    what = f"{start:%Y-%m-%d} + {request.lead_hours} h"
    rows = rows[rows["start"] == np.datetime64(start, "h")]
    if not rows.size:
        raise ValueError(f"{path}: no forecast started on {start:%Y-%m-%d}")
    steps = np.unique(rows["lead_hours"])
    rows = rows[rows["lead_hours"] == request.lead_hours]
    if not rows.size:
        raise ValueError(f"{path}: {what} is missing; found steps {', '.join(map(str, steps))} h")
    chosen = []
    for key in keys:
        level = _NO_LEVEL if key.level is None else key.level
        param_id = request.variables.row(key.variable).param_id
        same = rows[(rows["param_id"] == param_id) & (rows["level"] == level)]
        for member in request.members:
            found = same[same["member"] == member]
            if len(found) != 1:
                problem = "there twice" if len(found) else "missing"
                members = ", ".join(map(str, np.unique(same["member"]))) or "none at all"
                named = key._replace(member=member)
                raise ValueError(f"{path}: {named} of {what} is {problem}; found members {members}")
            chosen.append(found[0])
    return np.array(chosen, _COLUMNS)
