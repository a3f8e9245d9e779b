"""A Hugging Face Hub on loopback that takes commits and gives back what they hold."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from huggingface_hub import constants

from tests.loopback import Handler, serving


class Hub:
    """The server's state.

    Attributes:
        commits: files of each commit by its hash, the newest last.
        requests: method and path of each request, with its ``Authorization``.
        refuses: status with which commits are refused; 0 takes them.
        url: address.
    """

    def __init__(self) -> None:
        self.commits: dict[str, dict[str, bytes]] = {}
        self.requests: list[tuple[str, str]] = []
        self.refuses = 0
        self.private = False
        self.url = ""

    def commit(self, files: dict[str, bytes]) -> str:
        name = hashlib.sha1(b"".join(files.values())).hexdigest()
        self.commits[name] = files
        return name


class _Handler(Handler):
    def __init__(self, hub: Hub, *arguments: Any) -> None:
        self.hub = hub
        super().__init__(*arguments)

    def answer(self) -> None:
        hub, body = self.hub, self.rfile.read(int(self.headers.get("Content-Length") or 0))
        hub.requests.append((f"{self.command} {self.path}", self.headers.get("Authorization") or ""))
        if self.path == "/api/repos/create":
            hub.private = json.loads(body).get("visibility") == "private"
            self._json({"url": f"{hub.url}/weather/model"})
        elif self.path == "/api/validate-yaml":  # of the card's head
            self._json({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = [{"path": each["path"], "uploadMode": "regular"} for each in json.loads(body)["files"]]
            self._json({"files": [{**each, "shouldIgnore": False, "oid": None} for each in files]})
        elif "/commit/" in self.path and hub.refuses:
            self.reply(hub.refuses, b'{"error": "no write access"}', {"Content-Type": "application/json"})
        elif "/commit/" in self.path:
            lines = [json.loads(line) for line in body.splitlines()]
            files = [line["value"] for line in lines if line["key"] == "file"]
            name = hub.commit({each["path"]: base64.b64decode(each["content"]) for each in files})
            self._json({"commitUrl": f"{hub.url}/weather/model/commit/{name}", "commitOid": name})
        elif found := re.fullmatch(r"/api/models/weather/model/revision/(\w+)(\?.*)?", self.path):
            siblings = [{"rfilename": path} for path in hub.commits.get(found[1], {})]
            self._json({"id": "weather/model", "sha": found[1], "siblings": siblings})
        elif found := re.fullmatch(r"/api/models/weather/model/tree/(\w+)(\?.*)?", self.path):
            held = hub.commits.get(found[1], {}).items()
            oid = "0" * 40
            self._json([{"type": "file", "path": p, "size": len(c), "oid": oid} for p, c in held])
        elif found := re.fullmatch(r"/weather/model/resolve/(\w+)/(.+)", self.path):
            content = hub.commits[found[1]][found[2]]
            etag = f'"{hashlib.sha256(content).hexdigest()}"'
            self.reply(200, content, {"ETag": etag, "X-Repo-Commit": found[1]})
        else:
            self.reply(404, b"{}", {"X-Error-Code": "RepoNotFound", "Content-Type": "application/json"})

    def _json(self, values: Any) -> None:
        self.reply(200, json.dumps(values).encode(), {"Content-Type": "application/json"})


@contextmanager
def running(monkeypatch: pytest.MonkeyPatch, cache: Any) -> Iterator[Hub]:
    """The hub at its ``url``, which is the client's Hub meanwhile."""
    hub = Hub()
    with serving(partial(_Handler, hub)) as hub.url:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        yield hub
