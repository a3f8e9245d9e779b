"""One file of a Hugging Face Hub on loopback: what its client asks for, and faults on demand."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import quote

from tests.loopback import Handler, serving

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


class _Handler(Handler):
    def __init__(self, hub: Hub, *arguments: Any) -> None:
        self.hub = hub
        super().__init__(*arguments)

    def answer(self) -> None:
        hub = self.hub
        if self.path.startswith("/api/"):  # the client's own affairs, once a process: not about a file
            return self.reply(404, b"", {})
        headers = {name.lower(): value for name, value in self.headers.items()}
        hub.requests.append((f"{self.command} {self.path}", headers))
        if hub.page:
            self.reply(200, PAGE, {"Content-Type": "text/html"})
        elif self.path == "/storage":
            body = hub.bodies.pop(0) if hub.bodies else hub.content
            self.reply_from_start_asked_for(body, {}, limit=hub.cuts.pop(0) if hub.cuts else None)
        elif self.path != hub.path:
            self.reply(404, b"", {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"})
        elif not 300 <= hub.status < 400:
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
            self.reply(hub.status, b"", {name: value for name, value in stated.items() if value is not None})


@contextmanager
def running(hub: Hub) -> Iterator[Hub]:
    """The hub, answering at its ``url``."""
    with serving(partial(_Handler, hub)) as hub.url:
        yield hub
