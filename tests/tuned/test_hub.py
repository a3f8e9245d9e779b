"""Adapters on the Hub: pushed and loaded with the real client."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from tests.backbones.small_aurora import small_aurora
from tests.tuned import hub as hub_server
from tests.tuned.hub import Hub
from tests.tuned.test_folder import WEATHERPEFT, parts_of, predicted
from weatherpeft.cli import main
from weatherpeft.tuned.config import Base
from weatherpeft.tuned.folder import write_folder
from weatherpeft.tuned.model import load

TOKEN = "hf_" + "x" * 34


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with hub_server.running(monkeypatch, tmp_path / "cache") as found:
        yield found


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "small.ckpt"
    small_aurora().save(path)
    return path


def test_a_pushed_model_is_loaded_by_its_commit(
    hub: Hub, base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parts, expected = parts_of(base, *WEATHERPEFT)
    write_folder(parts, "a card", tmp_path / "adapter")
    call = ["push", "--adapter", str(tmp_path / "adapter"), "--repository", "weather/model", "--private"]
    with caplog.at_level("INFO"):
        assert main([*call, "--base", str(base)]) == 0
    (commit,) = hub.commits
    assert hub.private and commit in caplog.text
    assert hub.commits[commit].keys() == {path.name for path in (tmp_path / "adapter").iterdir()}
    assert {token for _, token in hub.requests} <= {f"Bearer {TOKEN}", ""}
    found = load("weather/model", revision=commit, base=base, device="cpu")
    assert torch.equal(predicted(found.tuned.model), expected)


def test_the_base_comes_from_the_hub_too(hub: Hub, base: Path, tmp_path: Path) -> None:
    content = base.read_bytes()
    commit = hub.commit({"pretrained/small.ckpt": content})
    place = {"repository": "weather/model", "file": "pretrained/small.ckpt", "revision": commit}
    parts, expected = parts_of(base, *WEATHERPEFT)
    named = parts.config.model_copy(update={"base": Base(sha256=sha256(content).hexdigest(), **place)})
    write_folder(type(parts)(named, parts.tensors, parts.static, parts.mean, parts.scale), "", tmp_path / "a")
    assert torch.equal(predicted(load(tmp_path / "a", device="cpu").tuned.model), expected)
    hub.commits[commit]["pretrained/small.ckpt"] = content[:-1]
    hub.commits["f" * 40] = hub.commits[commit]
    other = named.model_copy(update={"base": Base(**{**named.base.model_dump(), "revision": "f" * 40})})  # type: ignore[union-attr]
    write_folder(type(parts)(other, parts.tensors, parts.static, parts.mean, parts.scale), "", tmp_path / "b")
    with pytest.raises(ValueError, match="expected the checkpoint weather/model, .* at ffff.*found SHA-256"):
        load(tmp_path / "b", device="cpu")


def test_a_refusal_is_one_line(
    hub: Hub, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(parts_of(base, *WEATHERPEFT)[0], "a card", tmp_path / "adapter")
    hub.refuses = 403
    call = ["push", "--adapter", str(tmp_path / "adapter"), "--repository", "weather/model"]
    assert main([*call, "--base", str(base)]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(lines) == 1 and "weather/model: " in lines[0] and TOKEN not in lines[0]
    assert not hub.commits
    with pytest.raises(ValueError, match="^weather/none: "):
        load("weather/none", revision="0" * 40)
