"""Files over HTTP on loopback, with ranges, and faults on demand."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from tests.loopback import serving


@dataclass
class FileServer:
    """The server's state.

    Attributes:
        url: base of the files.
        asked: the path of every request.
        ranges: the range of every request.
        faults: of the next requests, in order: a status, ``cut:N`` (after N bytes of the body), ``page``
            (HTML), ``damage`` (the last byte is another) or ``no range``.
    """

    url: str
    asked: list[str] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)
    faults: list[int | str] = field(default_factory=list)


@contextmanager
def running(folder: Path) -> Iterator[FileServer]:
    """Serve the files of a folder."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            state.ranges.append(self.headers["Range"])
            fault = state.faults.pop(0) if state.faults else ""
            if isinstance(fault, int):
                self.send_error(fault)
                return
            body = (folder / self.path.lstrip("/")).read_bytes()
            if fault == "page":
                body = b"<!DOCTYPE html><html></html>"
            elif fault == "damage":
                body = body[:-1] + b"X"
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
            start = int(wanted[1]) if wanted and fault != "no range" else 0
            if start >= len(body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            cut = re.fullmatch(r"cut:(\d+)", str(fault))
            self.wfile.write(body[start : start + int(cut[1])] if cut else body[start:])
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as url:
        state = FileServer(url)
        yield state
