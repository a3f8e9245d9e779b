"""Downloads from a web server into a folder that several jobs share."""

import fcntl
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import requests

from weatherpeft.sources.formats.files import sniff

ATTEMPTS = 6
"""Failures in a row, without a new byte, after which a job gives up."""
BACKOFF_S = (2.0, 60.0)
"""First and longest wait after a failure, in seconds; the wait doubles each time."""
TIMEOUT_S = 60.0
"""Longest silence of the server, in seconds."""
BLOCK_BYTES = 2**18
"""Bytes that are written together; an incomplete block is lost when the connection is cut."""
BUSY = (408, 429, 500, 502, 503, 504)
"""HTTP statuses of a server that may answer later."""

_log = logging.getLogger(__name__)


def bring(url: str, target: Path, check: Callable[[Path], object]) -> None:
    """Download a file, unless it is there already.

    The body goes to ``<file>.part``, which the job locks. Another job waits and then finds the file. A
    killed download resumes where it was. The file gets its name when its size is the one that the server
    states and its content has been checked.

    Args:
        url: URL of the file.
        target: path of the file; its folder is made if need be.
        check: raises ``ValueError`` where the content is wrong.

    Raises:
        ValueError: the server does not send the file, or ``check`` refuses it. The message names the URL
            and the cause.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    with part.open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        if target.exists():  # another job has downloaded it meanwhile
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
    """Append the rest of a body, and retry after failures."""
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
    """The server is busy and may answer later."""


def _request(url: str, stream: BinaryIO) -> bool:
    """Request the bytes that are still missing, and tell whether the body is then complete."""
    have = stream.tell()
    # Uncompressed, because a range of a compressed body would count other bytes.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        if response.status_code in BUSY:
            raise _Busy(f"HTTP {response.status_code} {response.reason}")
        stated = response.headers.get("Content-Range", "")
        if response.status_code == 416 and stated == f"bytes */{have}":
            return True
        if not response.ok and response.status_code != 416:
            raise ValueError(f"{url}: HTTP {response.status_code} {response.reason}")
        if response.status_code != 206:  # the body comes from its start, so that the bytes here are of no use
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
