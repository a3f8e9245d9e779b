"""One file of a Hugging Face Hub on loopback: what its client asks for, and faults on demand."""

import hashlib
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

PAGE = b"<!DOCTYPE html><html><body>Please log in.</body></html>"


class Hub:
    """The server's state; tests read what it was asked, and set how it answers.

    As on the real one, the Hub knows size and checksum and redirects to a storage, which has the bytes.

    Attributes:
        requests: every request but those to its API, as (``METHOD /path``, headers by lower-case name).
        content: of the file.
        stated: headers that replace those of the Hub's answer; None leaves one out.
        cuts: after how many bytes of its body each next answer of the storage is cut; None for whole.
        bodies: what the storage's next answers hold instead of the file.
        status: of the Hub's answers.
    """

    def __init__(self, repository: str, file: str, revision: str, content: bytes) -> None:
        self.path = f"/{repository}/resolve/{revision}/{quote(file)}"
        self.revision, self.content = revision, content
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.stated: dict[str, str | None] = {}
        self.cuts: list[int | None] = []
        self.bodies: list[bytes] = []
        self.page = False
        self.status = 302
        self.url = ""

    def asked(self, pattern: str) -> list[dict[str, str]]:
        """Headers of the requests that a pattern finds."""
        return [headers for line, headers in self.requests if re.search(pattern, line)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def log_message(self, *_: Any) -> None:
        """Nothing on the test's standard error."""

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        hub = self.server.hub
        if self.path.startswith("/api/"):  # the client's own affairs, once a process: not about a file
            return self.reply(404, b"", {})
        headers = {name.lower(): value for name, value in self.headers.items()}
        hub.requests.append((f"{self.command} {self.path}", headers))
        if hub.page:
            self.reply(200, PAGE, {"Content-Type": "text/html"})
        elif self.path == "/storage":
            self.storage(hub)
        elif self.path != hub.path:
            self.reply(404, b"", {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"})
        elif hub.status != 302:
            self.reply(hub.status, b"", {})
        else:
            stated: dict[str, str | None] = {
                "X-Repo-Commit": hub.revision,
                "X-Linked-Size": str(len(hub.content)),
                "X-Linked-ETag": f'"{hashlib.sha256(hub.content).hexdigest()}"',
                # Another name of the same host: a host of the storage's own.
                "Location": hub.url.replace("127.0.0.1", "localhost") + "/storage",
            }
            stated |= hub.stated
            self.reply(302, b"", {name: value for name, value in stated.items() if value is not None})

    def storage(self, hub: Hub) -> None:
        body = hub.bodies.pop(0) if hub.bodies else hub.content
        start, headers = 0, {"Accept-Ranges": "bytes"}
        if wanted := self.headers.get("Range"):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        self.reply(206 if start else 200, body[start:], headers, hub.cuts.pop(0) if hub.cuts else None)

    def reply(self, status: int, body: bytes, headers: dict[str, str], limit: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:limit])
        if limit is not None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, hub: Hub) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub


@contextmanager
def running(hub: Hub) -> Iterator[Hub]:
    """The hub, answering at its ``url``."""
    server = _Server(hub)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
