"""Requests to a data store of ECMWF: queued, awaited, downloaded, verified, and resumed after a kill.

The client package submits and polls. This module adds retries where a server is busy or gone, a record of
every request on disk, downloads that resume where they were cut, and the check of the server's checksum.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from ecmwf import datastores
from ecmwf.datastores.config import get_config
from ecmwf.datastores.processing import LinkError, ProcessingFailedError
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from weatherpeft.sources.formats.files import sniff
from weatherpeft.sources.transfer.checksum import has_checksum
from weatherpeft.sources.transfer.secrets import check_encrypted, same_server

QUEUED = 4
"""Most requests of one job at the server at a time; its queue prefers users with few requests."""
ATTEMPTS = 20
"""Failures of one exchange in a row after which a job gives up: about half an hour."""
BACKOFF_S = (2.0, 120.0)
"""First and longest wait after a failure, in seconds; the wait doubles each time."""
POLL_S = (1.0, 120.0)
"""First and longest wait between two polls of the queue, in seconds."""
TIMEOUT_S = 60.0
"""Longest silence of the server, in seconds."""
PROGRESS_S = 30.0
"""Seconds between two log lines about one download."""
BLOCK = 2**16
"""Bytes that are written together; an incomplete block is lost when the connection is cut."""

_CUT = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
_TOO_MANY = 429
_BUSY = (408, _TOO_MANY, 500, 502, 503, 504)
_GONE = (404, 410)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Retrieval:
    """One request and the file that it brings.

    Attributes:
        label: name of the retrieval in logs and errors.
        file: name of the file.
        collection: name of the data set at the server.
        inputs: body of the request.
        check: raises ``ValueError`` where a downloaded file does not hold what was requested.
    """

    label: str
    file: str
    collection: str
    inputs: Mapping[str, Any]
    check: Callable[[Path], None]


def retrieve(retrievals: Sequence[Retrieval], folder: Path) -> None:
    """Download the files of all retrievals that are not in a folder yet.

    A file gets its name when size, checksum and content are right. Beside it lies a record with the
    request and its id at the server, by which a later call resumes the request.

    Args:
        retrievals: retrievals with different file names.
        folder: folder of the files, made if need be.

    Raises:
        ValueError: the server refuses or fails, or a file is wrong. The message names the retrieval and
            the cause.
    """
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = [each for each in (_Request(one, folder) for one in retrievals) if not each.finished]
    _log.info("%d files to retrieve, %d are here", len(retrievals), len(retrievals) - len(unfinished))
    if not unfinished:
        return
    url, key = _access()
    session = _PatientSession(url, key)
    with _hidden(key):
        client = datastores.Client(
            url=url, key=key, progress=False, maximum_tries=1, session=session, log_callback=_forward
        )
        pause = POLL_S[0]
        while unfinished:
            for request in unfinished[:QUEUED]:
                with _named(request.label):
                    request.advance(client, session)
            remaining = [request for request in unfinished if not request.finished]
            if len(remaining) == len(unfinished):
                time.sleep(pause)
                pause = min(1.5 * pause, POLL_S[1])
            else:
                pause = POLL_S[0]
            unfinished = remaining


def _access() -> tuple[str, str]:
    """URL and key from the client's configuration, or from the older client's file."""
    for path in (None, os.environ.get("CDSAPI_RC", "~/.cdsapirc")):
        try:
            url, key = get_config("url", path).strip(), get_config("key", path).strip()
        except (FileNotFoundError, KeyError):
            continue
        if url and key:
            return url, key
    raise ValueError(
        "no access to the Climate Data Store: expected its url and your key in ECMWF_DATASTORES_URL and "
        "ECMWF_DATASTORES_KEY, in ~/.ecmwfdatastoresrc or in ~/.cdsapirc, found none of them"
    )


@contextmanager
def _hidden(key: str) -> Iterator[None]:
    """Keep the key out of logs and errors, whatever a server answers. Errors therefore lose their causes."""

    def hide(record: logging.LogRecord) -> bool:
        record.msg, record.args = record.getMessage().replace(key, "***"), ()
        return True

    _log.addFilter(hide)
    try:
        yield
    except ValueError as error:
        raise ValueError(str(error).replace(key, "***")) from None
    finally:
        _log.removeFilter(hide)


@contextmanager
def _named(label: str) -> Iterator[None]:
    """Turn errors into one line that starts with a label."""
    try:
        yield
    except (requests.RequestException, ProcessingFailedError, LinkError, ValueError) as error:
        raise ValueError(" ".join(f"{label}: {error}".split())) from error


@contextmanager
def _understood() -> Iterator[None]:
    """Turn what the client raises where it reads an answer of another form into one line."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, AssertionError) as error:
        raise ValueError(f"the server's answer is not that of a data store ({error!r})") from error


def _forward(level: int, message: str) -> None:
    """Log a message of the client, at debug level if it is mere progress, which this module logs itself."""
    _log.log(level if level > logging.INFO else logging.DEBUG, "%s", message)


def _backoff(failures: int) -> float:
    """Seconds to wait after a number of failures in a row."""
    return float(min(BACKOFF_S[0] * 2 ** min(failures - 1, 30), BACKOFF_S[1]))


class _PatientSession(requests.Session):
    """A session that retries where a server is busy or a connection is cut, and refuses HTML pages.

    The key goes to the server of a URL alone: the client attaches it to each link of an answer, and
    ``requests`` takes it along to whatever server an answer redirects to.
    """

    def __init__(self, url: str, key: str) -> None:
        check_encrypted(url)
        super().__init__()
        self._url, self._key = url, key

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send a request or a redirected one (see ``requests.Session``), without the key to other servers."""
        url = request.url or ""
        check_encrypted(url)
        if not same_server(url, self._url):
            for name in [name for name, value in request.headers.items() if self._key in str(value)]:
                del request.headers[name]
                _log.warning("the key stays behind: %s is another server than %s", url, self._url)
        return super().send(request, **options)

    def request(self, method: Any, url: Any, *arguments: Any, **options: Any) -> requests.Response:
        """Send a request (see ``requests.Session``). It is retried without end after HTTP 429."""
        tries = failures = 0
        while True:
            tries += 1
            wait = _backoff(tries)
            try:
                response = super().request(method, url, *arguments, **options)
            except requests.exceptions.SSLError:
                raise
            except _CUT as error:
                failures += 1
                if failures == ATTEMPTS:
                    raise
                cause = str(error)
            else:
                if response.status_code not in _BUSY:
                    return _no_page(response)
                failures += response.status_code != _TOO_MANY
                if failures == ATTEMPTS:
                    return response
                cause = f"{url} answered HTTP {response.status_code} {response.reason}"
                wait = _retry_after(response, wait)
                response.close()
            _log.warning("%s; trying again in %.0f s", cause, wait)
            time.sleep(wait)


def _retry_after(response: requests.Response, otherwise: float) -> float:
    """Seconds that the server asks to wait, or ``otherwise`` where it states none."""
    stated = response.headers.get("Retry-After")
    if stated is None:
        return otherwise
    try:
        return max(BACKOFF_S[0], Retry().parse_retry_after(stated))
    except InvalidHeader:
        return otherwise


def _no_page(response: requests.Response) -> requests.Response:
    if response.ok and response.headers.get("Content-Type", "").startswith("text/html"):
        raise ValueError(f"{response.url}: expected data, found an HTML page; a proxy or a login may answer")
    return response


class _Request:
    """A retrieval in progress: its file, its record on disk and its state at the server."""

    def __init__(self, retrieval: Retrieval, folder: Path) -> None:
        self.label = retrieval.label
        self._retrieval = retrieval
        self._path = folder / retrieval.file
        self._part = self._path.with_name(f"{retrieval.file}.part")
        self._record = self._path.with_name(f"{retrieval.file}.json")
        self._remote: datastores.Remote | None = None
        self._status = ""
        self._failures = 0
        self.finished = self._path.exists() and self._recorded_id() is not None

    def advance(self, client: datastores.Client, session: requests.Session) -> None:
        """Submit or resume the request, poll its state, and download the file once it is ready.

        Raises:
            ValueError: the server has failed, or the file does not hold what was requested.
            requests.RequestException: the server cannot be reached or refuses.
        """
        request_id = self._recorded_id()
        if self._remote is None and request_id is None:
            self._submit(client)
        try:
            if self._remote is None:
                with _understood():
                    self._remote = client.get_remote(str(request_id))
                _log.info("%s: resuming request %s", self.label, request_id)
            with _understood():
                status = self._remote.status
            if status != self._status:
                _log.info("%s: %s", self.label, status)
                self._status = status
            if status == "successful":
                with _understood():
                    results = self._remote.get_results()
                    url, size = results.location, results.content_length
                    checksum = str(results.asset["file:checksum"])
                self._download(url, size, checksum, session)
            elif status == "rejected":  # too many are queued
                self._again(self._reason(self._remote))
            elif status not in ("accepted", "running"):
                reason = self._reason(self._remote)
                self._forget()
                raise ValueError(f"the server says {status}: {reason}")
        except requests.HTTPError as error:
            if error.response is None or error.response.status_code not in _GONE:
                raise
            self._again(f"the server has it no longer ({error})")

    def _recorded_id(self) -> str | None:
        """The id of the same request, submitted by this run or an earlier one."""
        if not self._record.exists():
            return None
        record = json.loads(self._record.read_text())
        return str(record["id"]) if record == self._as_record(record["id"]) else None

    def _as_record(self, request_id: str) -> dict[str, Any]:
        inputs = dict(self._retrieval.inputs)
        return {"collection": self._retrieval.collection, "inputs": inputs, "id": request_id}

    def _submit(self, client: datastores.Client) -> None:
        for stale in (self._path, self._part):
            stale.unlink(missing_ok=True)
        with _understood():
            self._remote = client.submit(self._retrieval.collection, dict(self._retrieval.inputs))
        draft = self._record.with_suffix(".draft")
        draft.write_text(json.dumps(self._as_record(self._remote.request_id), indent=1))
        draft.replace(self._record)
        _log.info("%s: submitted as request %s", self.label, self._remote.request_id)

    def _forget(self) -> None:
        """Delete the record of the request, so that the next attempt submits it anew."""
        for leftover in (self._record, self._part):
            leftover.unlink(missing_ok=True)
        self._remote = None
        self._status = ""

    def _again(self, reason: str) -> None:
        """Wait, and have the request submitted anew; after too many failures give up."""
        self._forget()
        self._failures += 1
        if self._failures == ATTEMPTS:
            raise ValueError(reason)
        wait = _backoff(self._failures)
        _log.warning("%s: %s; submitting again in %.0f s", self.label, reason, wait)
        time.sleep(wait)

    @staticmethod
    def _reason(remote: datastores.Remote) -> str:
        """The reason that the server gives for not fulfilling the request."""
        try:
            remote.get_results()
        except (requests.HTTPError, ProcessingFailedError) as error:
            return str(error)
        return "no reason given"

    def _download(self, url: str, size: int, checksum: str, session: requests.Session) -> None:
        """Download, verify and rename the file. A file with a wrong size or checksum is fetched once more."""
        for first in (True, False):
            etag = self._transfer(url, size, session)
            found = self._part.stat().st_size
            if found == size and has_checksum(self._part, checksum, etag):
                break
            problem = f"{url}: expected {size} bytes with checksum {checksum}, found "
            problem += "another checksum" if found == size else f"{found} bytes"
            if not first:
                self._forget()
                raise ValueError(problem)
            _log.warning("%s: %s; downloading it again", self.label, problem)
            self._part.unlink()
        try:
            self._retrieval.check(self._part)
        except ValueError:
            self._forget()
            raise
        self._part.replace(self._path)
        self.finished = True
        _log.info("%s: complete, %.1f MB", self.label, size / 1e6)

    def _transfer(self, url: str, size: int, session: requests.Session) -> str:
        """Append the missing bytes to the ``.part`` file, and return the ETag of the body."""
        etag = ""
        failures = furthest = 0
        while (have := self._part.stat().st_size if self._part.exists() else 0) < size:
            # Uncompressed, because a range of a compressed body would count other bytes.
            headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
            cause = "the body ends early"
            with session.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
                response.raise_for_status()
                etag = response.headers.get("ETag", "")
                try:
                    self._write(response, size)
                except _CUT as error:
                    cause = str(error)
            if sniff(self._part) == "HTML page":
                self._part.unlink()
                raise ValueError(f"{url}: expected GRIB, found an HTML page")
            reached = self._part.stat().st_size
            if reached >= size:
                break
            failures = 0 if reached > furthest else failures + 1
            furthest = max(furthest, reached)
            if failures == ATTEMPTS:
                raise ValueError(f"{url}: truncated at byte {reached} of {size}, {ATTEMPTS} times ({cause})")
            wait = _backoff(failures + 1)
            _log.warning(
                "%s: at byte %d of %d: %s; going on in %.0f s", self.label, reached, size, cause, wait
            )
            time.sleep(wait)
        return etag

    def _write(self, response: requests.Response, size: int) -> None:
        told = time.monotonic()
        with self._part.open("ab" if response.status_code == 206 else "wb", buffering=0) as stream:
            for block in response.iter_content(BLOCK):
                stream.write(block)
                if time.monotonic() - told > PROGRESS_S:
                    told = time.monotonic()
                    _log.info("%s: %.0f of %.0f MB", self.label, stream.tell() / 1e6, size / 1e6)
