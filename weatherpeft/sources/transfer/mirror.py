"""Files of a web server, brought into a folder that several jobs share."""

import fcntl
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import requests

from weatherpeft.sources.formats.files import sniff

ATTEMPTS = 6
"""Failures in a row, none of which brought a byte, before a job gives up."""
BACKOFF_S = (2.0, 60.0)
"""First and longest wait after a failure; it doubles."""
TIMEOUT_S = 60.0
"""Longest silence of the server."""
BLOCK_BYTES = 2**18
"""Written at once; what has come of a block when a connection is cut is lost."""

_BUSY = (408, 429, 500, 502, 503, 504)
_log = logging.getLogger(__name__)


def bring(url: str, target: Path, check: Callable[[Path], object]) -> None:
    """Download a file, unless it is there.

    The body grows in ``<file>.part``, which a job holds locked: another one waits, and finds the file.
    A killed download goes on where it was. The file appears under its name when its size is the
    server's and its content has been checked.

    Args:
        url: of the file.
        target: its name; the folder is made if need be.
        check: raises ``ValueError`` where the content is not what it should be.

    Raises:
        ValueError: naming the URL and what the server has to say, or what ``check`` found.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    with part.open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        if target.exists():  # another job has brought it meanwhile
            part.unlink(missing_ok=True)
            return
        _log.info("downloading %s", url)
        _transfer(url, stream)
        try:
            if sniff(part) == "HTML page":
                raise ValueError(f"{url}: expected data, found an HTML page; a proxy or a login may answer")
            check(part)
        except ValueError:
            part.unlink()
            raise
        part.replace(target)
    _log.info("%s is complete, %.1f MB", target, target.stat().st_size / 1e6)


def _transfer(url: str, stream: BinaryIO) -> None:
    """Append the rest of a body, with patience."""
    failures, furthest = 0, stream.tell()
    while True:
        try:
            if _request(url, stream):
                return
            cause = f"the body ends early, at byte {stream.tell()}"
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
        ) as error:
            cause = str(error)
        except _Busy as error:
            cause = str(error)
        except requests.RequestException as error:
            raise ValueError(f"{url}: {error}") from error
        failures = 0 if stream.tell() > furthest else failures + 1
        furthest = max(furthest, stream.tell())
        if failures == ATTEMPTS:
            raise ValueError(f"{url}: {cause}; gave up after {ATTEMPTS} attempts")
        wait = min(BACKOFF_S[0] * 2.0 ** max(failures - 1, 0), BACKOFF_S[1])
        _log.warning("%s: %s; trying again in %.0f s", url, cause, wait)
        time.sleep(wait)


class _Busy(Exception):
    """A server that may answer later."""


def _request(url: str, stream: BinaryIO) -> bool:
    """One request for the bytes after those that are here; whether the body is complete then."""
    have = stream.tell()
    # Not asked for in compressed form: a range would count other bytes.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        if response.status_code in _BUSY:
            raise _Busy(f"HTTP {response.status_code} {response.reason}")
        stated = response.headers.get("Content-Range", "")
        if response.status_code == 416 and stated == f"bytes */{have}":
            return True
        if not response.ok and response.status_code != 416:
            raise ValueError(f"{url}: HTTP {response.status_code} {response.reason}")
        if response.status_code != 206:  # from the start, because what is here is of no use
            stream.truncate(0)
            stream.seek(0)
        if response.status_code == 416:
            return False
        total = stated.rpartition("/")[2] or response.headers.get("Content-Length", "")
        if not total.isdecimal():
            raise ValueError(f"{url}: the server does not say how large the file is")
        for block in response.iter_content(BLOCK_BYTES):
            stream.write(block)
            stream.flush()
    return stream.tell() == int(total)
