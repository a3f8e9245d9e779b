"""Stage ``weights``: published weights of a backbone from the Hugging Face Hub."""

import hashlib
import logging
import time
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import StringConstraints

from weatherpeft.sources.transfer.hub_token import keep_token_at
from weatherpeft.spec import Spec

ATTEMPTS = 6
"""Number of lost connections in a row, none of which brought a byte, after which the job gives up."""
BACKOFF_S = 2.0
"""Seconds to wait after the first of them; the wait doubles after each further one."""

_SHA256 = r"^[0-9a-f]{64}$"
_log = logging.getLogger(__name__)


class WeightsSpec(Spec):
    """A checkpoint in the upstream package's format, which is one file of a repository of the Hub."""

    repository: Annotated[str, StringConstraints(pattern=r"^[\w.-]+/[\w.-]+$")]
    """Owner and name of the repository, for example ``microsoft/aurora``."""
    file: Annotated[str, StringConstraints(pattern=r"^[\w.-]+(/[\w.-]+)*$")]
    """Path of the file in the repository."""
    revision: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
    """Full hash of the commit. A branch is refused, because it may point to another file later."""
    sha256: Annotated[str, StringConstraints(pattern=_SHA256)] | None = None
    """SHA-256 that the file must have; by default the one that the Hub states."""

    @property
    def label(self) -> str:
        """Folder name of the weights, for example ``aurora-0.25-pretrained-0be7e57c685d``."""
        return f"{PurePosixPath(self.file).stem}-{self.revision[:12]}"


def weights(spec: WeightsSpec, output: Path, work: Path) -> None:
    """Download pretrained weights and check their size and SHA-256.

    ``HF_ENDPOINT`` is the Hub's address. If a repository needs a token, it is read from its usual places
    (``HF_TOKEN``, ``hf auth login``) and sent to that address alone.

    Args:
        spec: repository, file and revision.
        output: artifact with ``pretrained.ckpt``, as the pretrain stage writes it.
        work: directory of an unfinished download; a retry goes on from there.

    Raises:
        ValueError: the Hub refuses the request, or the size or checksum of the file is wrong. The message
            names the URL and the Hub's answer or the wrong value.

    Example:
        weatherpeft weights --spec @weights.json --output data/weights/aurora-0.25-pretrained-0be7e57c685d
            --work data/work
    """
    import shutil

    from weatherpeft.artifacts import store

    underway = work / spec.digest()
    with store.working(underway, output, spec, code=__name__):
        underway.mkdir(parents=True, exist_ok=True)
        part = underway / "pretrained.part"
        checksum = _fetch(spec, part)
        facts = {"sha256": checksum, "bytes": part.stat().st_size}
        with store.artifact(output, spec, code=__name__, facts=facts) as directory:
            shutil.move(part, directory / "pretrained.ckpt")
        shutil.rmtree(underway)


def _fetch(spec: WeightsSpec, part: Path) -> str:
    """Download a file, continuing after the part that is there, and return its SHA-256."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.utils import httpx

    url = hf_hub_url(spec.repository, spec.file, revision=spec.revision)
    keep_token_at(url)
    try:
        stated = get_hf_file_metadata(url, retry_on_errors=True)
    except (httpx.HTTPError, OSError) as error:
        raise ValueError(f"{url}: {_said(error)}") from error
    if stated.commit_hash is None or stated.etag is None or stated.size is None:
        raise ValueError(f"{url}: what answers is not a Hugging Face Hub; it may be a proxy or a login page")
    if stated.commit_hash != spec.revision:
        raise ValueError(f"{url}: expected revision {spec.revision}, found {stated.commit_hash}")
    published = stated.etag if len(stated.etag) == 64 else None  # a small file has Git's digest
    expected = spec.sha256 or published
    if expected is None:
        raise ValueError(f"{url}: the Hub states no SHA-256 of the file; give it as checkpoint.sha256")
    if published not in (None, expected):
        raise ValueError(f"{url}: expected SHA-256 {expected}, the Hub states {published}")
    _transfer(url, part, stated.size)
    with part.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != expected:
        part.unlink()
        raise ValueError(f"{url}: expected SHA-256 {expected}, found {found}; the file is removed, try again")
    _log.info("%s is complete, %.2f GB, SHA-256 %s", url, stated.size / 1e9, found)
    return found


def _transfer(url: str, part: Path, size: int) -> None:
    """Append the rest of a file and go on where the connection is lost."""
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import HfHubHTTPError, build_hf_headers, httpx

    if part.exists() and part.stat().st_size > size:
        part.unlink()
    failures = 0
    while True:
        have = part.stat().st_size if part.exists() else 0
        _log.info("downloading %s from byte %d of %d", url, have, size)
        try:
            with part.open("ab") as stream:
                http_get(url, stream, resume_size=have, headers=build_hf_headers(), expected_size=size)
            return
        except HfHubHTTPError as error:
            raise ValueError(f"{url}: {_said(error)}") from error
        except httpx.TransportError as error:
            failures = 0 if part.stat().st_size > have else failures + 1
            if failures == ATTEMPTS:
                raise ValueError(
                    f"{url}: {_said(error)}; gave up at byte {part.stat().st_size} of {size}, "
                    "a new try goes on from there"
                ) from error
            time.sleep(BACKOFF_S * 2 ** max(failures - 1, 0))
        except OSError as error:
            found = part.stat().st_size
            if found == size:
                raise
            part.unlink()  # a complete answer, but not the file, for example an error page
            raise ValueError(f"{url}: expected {size} bytes, found {found}") from error


def _said(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
