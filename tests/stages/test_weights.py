"""Downloading pretrained weights: the real client of the Hub, and a hub on loopback with faults."""

import hashlib
import io
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants

from tests.backbones.small_aurora import build, small_spec
from tests.loopback import recording
from tests.stages import hub_server
from tests.stages.hub_server import Hub
from weatherpeft.artifacts import store
from weatherpeft.fields.variables import FieldSet, VariableSet
from weatherpeft.stages.weights import WeightsSpec, weights
from weatherpeft.tasks.downscaling import Downscaling
from weatherpeft.training.tuning import build_model
from weatherpeft.training.unfinished import work_directory

REVISION = "0123456789abcdef" * 2 + "01234567"
SPEC = {"repository": "weather/aurora", "file": "small-pretrained.ckpt", "revision": REVISION}
CONTENT = bytes(range(256)) * 40
CHUNK = 1000
"""Bytes that the client writes at a time: what it has of the next ones is lost in a cut."""
TOKEN = "hf_" + "x" * 34


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_server.running(Hub(SPEC["repository"], SPEC["file"], REVISION, CONTENT)) as found:
        monkeypatch.setattr(constants, "ENDPOINT", found.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", found.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", CHUNK)
        monkeypatch.setattr("time.sleep", lambda _: None)
        yield found


def download(tmp_path: Path, **changes: Any) -> Path:
    output = tmp_path / "weights"
    weights(WeightsSpec.parse({**SPEC, **changes}), output, tmp_path / "work")
    return output


def partial(tmp_path: Path) -> list[Path]:
    return [path for path in tmp_path.rglob("*") if path.is_file()]


class TestSuccess:
    def test_the_artifact_holds_the_file_and_says_what_it_is(self, hub: Hub, tmp_path: Path) -> None:
        output = download(tmp_path)
        assert (output / "pretrained.ckpt").read_bytes() == CONTENT
        record = store.read_provenance(output)
        assert record["sha256"] == hashlib.sha256(CONTENT).hexdigest() and record["bytes"] == len(CONTENT)
        assert record["spec"]["revision"] == REVISION
        assert list((tmp_path / "work").iterdir()) == []

    def test_the_file_is_asked_for_by_its_commit(self, hub: Hub, tmp_path: Path) -> None:
        download(tmp_path)
        path = f"/weather/aurora/resolve/{REVISION}/small-pretrained.ckpt"
        assert [line for line, _ in hub.requests] == [f"HEAD {path}", f"GET {path}", "GET /storage"]

    def test_a_token_goes_to_the_hub_alone(
        self, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        download(tmp_path)
        sent = [headers.get("authorization") for headers in hub.asked("resolve")]
        assert sent == [f"Bearer {TOKEN}"] * 2
        assert hub.asked("/storage")[0].get("authorization") is None
        assert not any(TOKEN.encode() in path.read_bytes() for path in partial(tmp_path))

    @pytest.mark.parametrize("status", [302, 307, 308])
    def test_no_other_hub_gets_the_token(
        self, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
    ) -> None:
        asked: list[tuple[str, dict[str, str]]] = []
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        with recording(asked) as url:
            origin = ("http", "127.0.0.1", int(url.rpartition(":")[2]))
            monkeypatch.setattr("huggingface_hub.utils._http._HUB_ORIGINS", frozenset([origin]))
            hub.status, hub.stated = status, {"Location": f"{url}/elsewhere"}
            with pytest.raises(ValueError, match="what answers is not a Hugging Face Hub"):
                download(tmp_path)
        assert [line for line, _ in asked] == ["HEAD /elsewhere"]
        assert TOKEN not in str(asked)

    @pytest.mark.parametrize("path", [r"/{repo_id}/resolve/{revision}/{filename}", "/storage"])
    def test_nothing_is_asked_without_tls(
        self, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        if path == "/storage":
            hub.stated["Location"] = "http://hub.invalid/storage?signature=1"
        else:
            monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"http://hub.invalid{path}")
        with pytest.raises(ValueError, match="^http://hub.invalid: expected https"):
            download(tmp_path)

    def test_a_checksum_of_ones_own_serves_where_the_hub_has_none(self, hub: Hub, tmp_path: Path) -> None:
        hub.stated["X-Linked-ETag"] = '"' + "5" * 40 + '"'
        with pytest.raises(ValueError, match=r"states no SHA-256 of the file; give it as checkpoint\.sha256"):
            download(tmp_path)
        output = download(tmp_path, sha256=hashlib.sha256(CONTENT).hexdigest())
        assert (output / "pretrained.ckpt").read_bytes() == CONTENT


class TestCuts:
    @pytest.mark.parametrize("cuts", [[0], [1], [5000], [3000, 0, 0, 2000], [len(CONTENT) - 1]], ids=str)
    def test_a_cut_body_goes_on_where_it_was(self, hub: Hub, tmp_path: Path, cuts: list[int]) -> None:
        hub.cuts = [*cuts]
        assert (download(tmp_path) / "pretrained.ckpt").read_bytes() == CONTENT
        starts = [headers.get("range") for headers in hub.asked("/storage")]
        reached = list(accumulate(cut // CHUNK * CHUNK for cut in cuts))
        assert starts == [None, *(f"bytes={byte}-" if byte else None for byte in reached)]

    def test_a_job_that_gave_up_is_gone_on_with(self, hub: Hub, tmp_path: Path) -> None:
        hub.cuts = [4000, *[0] * 200]
        with pytest.raises(ValueError, match=r"gave up at byte 4000 of 10240, a new try goes on from there"):
            download(tmp_path)
        assert not (tmp_path / "weights").exists()
        hub.cuts, hub.requests = [], []
        assert (download(tmp_path) / "pretrained.ckpt").read_bytes() == CONTENT
        assert hub.asked("/storage")[0]["range"] == "bytes=4000-"

    def test_what_was_killed_before_the_check_is_checked(self, hub: Hub, tmp_path: Path) -> None:
        part = tmp_path / "work" / WeightsSpec.parse(SPEC).digest() / "pretrained.part"
        part.parent.mkdir(parents=True)
        part.write_bytes(CONTENT)
        assert (download(tmp_path) / "pretrained.ckpt").read_bytes() == CONTENT
        assert hub.asked("/storage") == []

    def test_a_longer_leftover_is_of_no_use(self, hub: Hub, tmp_path: Path) -> None:
        part = tmp_path / "work" / WeightsSpec.parse(SPEC).digest() / "pretrained.part"
        part.parent.mkdir(parents=True)
        part.write_bytes(CONTENT + b"more")
        assert (download(tmp_path) / "pretrained.ckpt").read_bytes() == CONTENT


class TestRefusals:
    def refused(self, tmp_path: Path, message: str, **changes: Any) -> None:
        with pytest.raises(ValueError, match=message) as caught:
            download(tmp_path, **changes)
        assert "/weather/aurora/resolve/" in str(caught.value)
        assert not (tmp_path / "weights").exists()

    def test_another_content_of_the_same_size(self, hub: Hub, tmp_path: Path) -> None:
        hub.bodies = [CONTENT[:-1] + b"?"]
        digest = hashlib.sha256(CONTENT).hexdigest()
        self.refused(tmp_path, f"expected SHA-256 {digest}, found [0-9a-f]{{64}}; the file is removed")
        assert partial(tmp_path) == []
        assert (download(tmp_path) / "pretrained.ckpt").read_bytes() == CONTENT

    @pytest.mark.parametrize("body", [CONTENT[:100], CONTENT + b"more", hub_server.PAGE], ids=len)
    def test_another_size(self, hub: Hub, tmp_path: Path, body: bytes) -> None:
        hub.bodies = [body]
        self.refused(tmp_path, f"expected 10240 bytes, found {len(body)}")
        assert partial(tmp_path) == []

    def test_a_checksum_of_ones_own_that_is_not_the_hubs(self, hub: Hub, tmp_path: Path) -> None:
        self.refused(tmp_path, f"expected SHA-256 {'a' * 64}, the Hub states", sha256="a" * 64)
        assert hub.asked("GET") == []

    def test_a_file_that_is_not_there(self, hub: Hub, tmp_path: Path) -> None:
        self.refused(tmp_path, r"other\.ckpt: .*404", file="other.ckpt")

    @pytest.mark.parametrize("status", [401, 503])
    def test_a_hub_that_refuses(self, hub: Hub, tmp_path: Path, status: int) -> None:
        hub.status = status
        self.refused(tmp_path, str(status))

    def test_a_page_instead_of_a_hub(self, hub: Hub, tmp_path: Path) -> None:
        hub.page = True
        self.refused(tmp_path, "is not a Hugging Face Hub; it may be a proxy or a login page")

    def test_another_revision(self, hub: Hub, tmp_path: Path) -> None:
        hub.stated["X-Repo-Commit"] = "f" * 40
        self.refused(tmp_path, f"expected revision {REVISION}, found {'f' * 40}")

    def test_no_connection(self, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        template = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        self.refused(tmp_path, "[Cc]onnect")

    @pytest.mark.parametrize(
        "change",
        [{"revision": "main"}, {"repository": "aurora"}, {"file": "/etc/passwd"}, {"sha256": "5"}],
        ids=str,
    )
    def test_what_names_no_file_of_a_commit(self, change: dict[str, str]) -> None:
        with pytest.raises(ValueError, match=next(iter(change))):
            WeightsSpec.parse({**SPEC, **change})


def test_the_retries_end(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("weatherpeft.stages.weights.time.sleep", waits.append)
    hub.cuts = [0] * 200
    with pytest.raises(ValueError, match="gave up at byte 0"):
        download(tmp_path)
    assert [wait for wait in waits if wait > 1] == [2.0, 4.0, 8.0, 16.0, 32.0]


SURFACE, UPPER, STATIC = ("2t", "10u", "10v", "msl"), ("z", "u", "v", "t", "q"), ("lsm", "z", "slt")


def published(state: dict[str, torch.Tensor]) -> bytes:
    """A model's weights in the form in which Aurora's are published: a number a variable, not a name."""
    state = dict(state)

    def take(pattern: str, names: tuple[str, ...]) -> list[torch.Tensor]:
        return [state.pop(pattern.format(name)) for name in names]

    old = {
        "encoder.surf_token_embeds.weight": torch.cat(
            take("encoder.surf_token_embeds.weights.{}", (*SURFACE, *STATIC)), dim=1
        ),
        "encoder.atmos_token_embeds.weight": torch.cat(
            take("encoder.atmos_token_embeds.weights.{}", UPPER), dim=1
        ),
    }
    for head, names in (("surf", SURFACE), ("atmos", UPPER)):
        for part in ("weight", "bias"):
            heads = take(f"decoder.{head}_heads.{{}}.{part}", names)
            old[f"decoder.{head}_head.{part}"] = torch.stack(heads, dim=1).flatten(0, 1)
    buffer = io.BytesIO()
    torch.save({f"net.{name}": value for name, value in (state | old).items()}, buffer)
    return buffer.getvalue()


def test_published_weights_reach_the_model(hub: Hub, tmp_path: Path) -> None:
    def fields(*surface: str) -> FieldSet:
        atmospheric = (
            "geopotential", "u_component_of_wind", "v_component_of_wind", "temperature", "specific_humidity",
        )  # fmt: skip
        return FieldSet(
            measured=VariableSet(
                surface=surface,
                atmospheric=atmospheric,
                levels_hpa=(500, 850),
                static=("land_sea_mask", "geopotential_at_surface", "soil_type"),
            )
        )

    wind = ("10m_u_component_of_wind", "10m_v_component_of_wind")
    spec = small_spec()
    theirs = build(fields("2m_temperature", *wind, "mean_sea_level_pressure"), seed=1).model.state_dict()
    hub.content = published(theirs)
    output = download(tmp_path)

    task = Downscaling.parse(
        {
            "name": "downscaling",
            "input_grid": {"resolution_deg": 22.5},
            "target_grid": {"resolution_deg": 11.25},
        }
    )
    model = build_model(spec, fields("2m_temperature", *wind), task, 0, output)
    own = model.model.state_dict()  # type: ignore[attr-defined]
    assert set(theirs) - set(own) == {
        "encoder.surf_token_embeds.weights.msl",
        "decoder.surf_heads.msl.weight",
        "decoder.surf_heads.msl.bias",
    }
    assert all(torch.equal(value, theirs[name]) for name, value in own.items())
    # Trainings find their work by their inputs' contents, which the record states: 5 GB are not read again.
    (output / "pretrained.ckpt").chmod(0)
    assert work_directory(tmp_path, output, task, "weatherpeft.stages.weights", [output])
