"""Adapters and checkpoints on the Hugging Face Hub."""

import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from weatherpeft.sources.transfer.hub_token import hub_refusals, keep_token_at

_COMMIT = r"[0-9a-f]{40}"


def push(save: Callable[[Path], None], repository: str, private: bool) -> str:
    """Upload a folder as one commit of a repository, which is made if it is not there.

    Args:
        save: writes the folder.
        repository: owner and name.
        private: whether a new repository is private.

    Returns:
        The full hash of the commit.

    Raises:
        ValueError: the Hub refuses it. The message has its answer.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, constants

    keep_token_at(constants.ENDPOINT)
    with tempfile.TemporaryDirectory() as place, hub_refusals(repository):
        folder = Path(place) / "adapter"
        save(folder)
        api = HfApi()
        api.create_repo(repository, private=private, exist_ok=True)
        files = [CommitOperationAdd(path.name, path) for path in sorted(folder.iterdir())]
        return str(api.create_commit(repository, files, commit_message="Add the adapter").oid)


def fetched(repository: str, revision: str | None) -> Path:
    """The folder of a repository's files at one commit, in the cache of ``huggingface_hub``.

    Raises:
        ValueError: there is no such repository or commit, or the commit is not given in full.
    """
    from huggingface_hub import constants, snapshot_download

    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise ValueError(f"{repository}: no such folder, and no repository of the Hub (owner/name)")
    _check_commit(repository, revision)
    keep_token_at(constants.ENDPOINT)
    with hub_refusals(repository):
        files = ["*.json", "*.safetensors", "README.md"]
        return Path(snapshot_download(repository, revision=revision, allow_patterns=files))


def downloaded(repository: str, file: str, revision: str) -> Path:
    """A file of a repository at one commit, in the cache of ``huggingface_hub``.

    Raises:
        ValueError: there is no such file.
    """
    from huggingface_hub import constants, hf_hub_download

    _check_commit(repository, revision)
    keep_token_at(constants.ENDPOINT)
    with hub_refusals(f"{repository}, {file}"):
        return Path(hf_hub_download(repository, file, revision=revision))


def _check_commit(repository: str, revision: str | None) -> None:
    if revision is None or not re.fullmatch(_COMMIT, revision):
        raise ValueError(
            f"{repository}: expected the full hash of a commit as revision, found {revision}; a branch may "
            "point to another file later"
        )
