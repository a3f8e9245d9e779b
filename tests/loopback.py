"""HTTP on the loopback interface: what the servers of the tests share."""

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


@contextmanager
def serving(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    """Base URL of a server on a free port, one thread a connection."""
    server = _Server(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class Handler(BaseHTTPRequestHandler):
    """Connections that stay open, answers of known length, ranges, and bodies that end too early."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Nothing on the test's standard error."""

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def answer(self) -> None:
        """One request, whatever its method."""
        raise NotImplementedError

    def reply(
        self,
        status: int,
        body: bytes,
        headers: Mapping[str, str],
        limit: int | None = None,
        stall: Event | None = None,
    ) -> None:
        """Answer.

        Args:
            status: of the answer.
            body: whole, as its stated length is.
            headers: all but that length.
            limit: bytes of the body after which the connection is cut; None sends all of it.
            stall: what the connection waits for, in silence, before it is cut.
        """
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:limit])
        if stall:
            self.wfile.flush()
            stall.wait()
        if limit is not None:
            self.cut()

    def reply_from_start_asked_for(self, body: bytes, headers: Mapping[str, str], **ending: Any) -> None:
        """Answer with a file, or with its end where the request has a range; ``ending`` as in ``reply``."""
        start, stated = 0, {"Accept-Ranges": "bytes", **headers}
        if wanted := self.headers.get("Range"):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            stated["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        self.reply(206 if start else 200, body[start:], stated, **ending)

    def cut(self) -> None:
        """Close the connection at once."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def recording(asked: list[tuple[str, dict[str, str]]]) -> Iterator[str]:
    """Base URL of a server that answers everything with ``{}`` and records it: ``METHOD /path``, headers."""

    class Recorder(Handler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.append((f"{self.command} {self.path}", dict(self.headers)))
            self.reply(200, b"{}", {"Content-Type": "application/json"})

    with serving(Recorder) as url:
        yield url
