"""The layout of adapter folders, which is that of HF peft.

``adapter_config.json`` says what the model is and what each file's checksum is. ``adapter_model.safetensors``
holds what was tuned between encoder and decoder, ``encoder_decoder.safetensors`` these two. ``folder``
adds what predicting from raw data takes.
"""

import hashlib
import json
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from weatherpeft.spec import Spec
from weatherpeft.training.checkpoint import load_tensors, save_tensors
from weatherpeft.tuned.config import CONFIG, OURS
from weatherpeft.tuned.names import ENDS, PEFT_PREFIX, HfNames

METHODS, ENDS_FILE = "adapter_model.safetensors", "encoder_decoder.safetensors"
STATIC, NORMALIZATION = "static.safetensors", "normalization.safetensors"
CARD = "README.md"
FILES = (METHODS, ENDS_FILE, STATIC, NORMALIZATION, CARD)


@contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """A draft of a folder, which appears when it is complete.

    Raises:
        ValueError: there is something already.
    """
    if output.exists():
        raise ValueError(f"{output}: is there already; give another folder, or remove it")
    draft = output.with_name(f".{output.name}.{secrets.token_hex(4)}.partial")
    draft.mkdir(parents=True)
    try:
        yield draft
        draft.rename(output)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def write_tuned(tensors: Mapping[str, torch.Tensor], names: HfNames, folder: Path) -> None:
    """Write what was tuned.

    Args:
        tensors: tensors of ``TunedModel.result``.
        names: names in the folder.
        folder: the draft.
    """
    ends = {name: each for name, each in tensors.items() if name.startswith(ENDS)}
    methods = {names.theirs(name): each for name, each in tensors.items() if name not in ends}
    for file, each in ((METHODS, methods), (ENDS_FILE, ends)):
        if each:
            save_tensors(each, folder / file)


def write_config(own: Spec, names: HfNames, folder: Path, base: str = "", revision: str = "") -> None:
    """Write ``adapter_config.json`` after all other files.

    Args:
        own: what HF peft does not know. Its ``files`` are those in the folder.
        names: has what HF peft knows.
        folder: the draft.
        base: repository of the pretrained weights on the Hub.
        revision: the hash of their commit.
    """
    files = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
    values = {
        **(names.config or {"peft_type": OURS.upper()}),
        "base_model_name_or_path": base or None,
        "revision": revision or None,
        OURS: own.model_copy(update={"files": files}).model_dump(mode="json"),
    }
    (folder / CONFIG).write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def check_files(folder: Path, files: Mapping[str, str]) -> None:
    """Check that the files of a folder are those that its configuration lists.

    Args:
        folder: adapter's folder.
        files: checksums by name. That of the card does not count, because people write on cards.

    Raises:
        ValueError: a file is missing, foreign or not as it was written. The message names it.
    """
    for name, digest in files.items():
        if name not in FILES:
            raise ValueError(f"{folder / CONFIG}: expected files among {', '.join(FILES)}, found {name}")
        path = folder / name
        if not path.is_file():
            raise ValueError(f"{path}: missing; {CONFIG} lists it")
        if name != CARD and _sha256(path) != digest:
            raise ValueError(f"{path}: damaged or changed, its bytes are not those that {CONFIG} states")
    for name in FILES:
        if name != CARD and name not in files and (folder / name).exists():
            raise ValueError(f"{folder / name}: foreign, {CONFIG} does not list it")


def read_tuned(folder: Path, files: Collection[str], names: Callable[[], HfNames]) -> dict[str, torch.Tensor]:
    """Read what was tuned, by the names of ``TunedModel.result``.

    Args:
        folder: adapter's folder.
        files: names of its files.
        names: gives the names in the folder, where HF peft's own are used.
    """
    methods = load_tensors(folder / METHODS) if METHODS in files else {}
    if any(name.startswith(PEFT_PREFIX) for name in methods):
        known = names()
        methods = {known.ours(name): values for name, values in methods.items()}
    return {**(load_tensors(folder / ENDS_FILE) if ENDS_FILE in files else {}), **methods}


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
