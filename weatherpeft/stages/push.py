"""Stage ``push``: a tuned model as a repository of the Hugging Face Hub."""

import logging
from pathlib import Path


def push(adapter: Path, repository: str, private: bool = False, base: Path | None = None) -> None:
    """Upload a tuned model to the Hugging Face Hub and log the commit, which is the revision to load.

    The token is read from its usual places (HF_TOKEN, hf auth login).

    Args:
        adapter: run of the workflow or adapter's folder.
        repository: owner and name, for example ``weather-service/aurora-uk``. It is made if it is not there.
        private: whether a new repository is private.
        base: checkpoint with the pretrained weights, if the adapter names none on the Hub.

    Raises:
        ValueError: the adapter is not as it should be, or the Hub refuses the upload.

    Example:
        weatherpeft push --adapter my_adapter --repository weather-service/aurora-uk --private
    """
    from weatherpeft.tuned.model import load

    commit = load(adapter, base=base).push(repository, private)
    logging.getLogger(__name__).info("%s is at revision %s", repository, commit)
