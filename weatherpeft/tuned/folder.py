"""Adapters as folders in the layout of HF peft.

``adapter_config.json`` says what the model is and what each file's checksum is. ``adapter_model.safetensors``
holds what was tuned between encoder and decoder, ``encoder_decoder.safetensors`` these two,
``static.safetensors`` the fields without time, and ``normalization.safetensors`` what the input is normalized
by. ``README.md`` is the model card.
"""

import hashlib
import json
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch

from weatherpeft.samples.batch import Fields
from weatherpeft.training.checkpoint import load_tensors, save_tensors
from weatherpeft.tuned.config import CONFIG, OURS, AdapterConfig, read_config
from weatherpeft.tuned.names import ENDS, PEFT_PREFIX, HfNames
from weatherpeft.tuned.parts import Parts

METHODS, ENDS_FILE = "adapter_model.safetensors", "encoder_decoder.safetensors"
STATIC, NORMALIZATION = "static.safetensors", "normalization.safetensors"
CARD = "README.md"
_FILES = (METHODS, ENDS_FILE, STATIC, NORMALIZATION, CARD)
_KINDS = ("surface", "atmospheric")


def write_folder(parts: Parts, card: str, output: Path) -> None:
    """Write an adapter's folder, which appears when it is complete.

    Args:
        parts: the tuned model.
        card: text of the model card.
        output: new folder.

    Raises:
        ValueError: there is something already.
    """
    if output.exists():
        raise ValueError(f"{output}: is there already; give another folder, or remove it")
    draft = output.with_name(f".{output.name}.{secrets.token_hex(4)}.partial")
    draft.mkdir(parents=True)
    try:
        names = HfNames(parts.config.model)
        for file, tensors in _tensors(parts, names).items():
            if tensors:
                save_tensors(tensors, draft / file)
        (draft / CARD).write_text(card, encoding="utf-8")
        files = {path.name: _sha256(path) for path in sorted(draft.iterdir())}
        own = parts.config.model_copy(update={"files": files})
        _write_config(own, names, draft / CONFIG)
        draft.rename(output)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _tensors(parts: Parts, names: HfNames) -> dict[str, Mapping[str, torch.Tensor]]:
    """The tensors of each file."""
    ends = {name: each for name, each in parts.tensors.items() if name.startswith(ENDS)}
    methods = {names.theirs(name): each for name, each in parts.tensors.items() if name not in ends}
    normalization = {
        f"{part}.{kind}.{name}": values
        for part in ("mean", "scale")
        for kind in _KINDS
        for name, values in getattr(getattr(parts, part), kind).items()
    }
    static = {name: torch.from_numpy(field) for name, field in parts.static.items()}
    return {METHODS: methods, ENDS_FILE: ends, STATIC: static, NORMALIZATION: normalization}


def _write_config(config: AdapterConfig, names: HfNames, path: Path) -> None:
    base = config.base
    values = {
        **(names.config or {"peft_type": OURS.upper()}),
        "base_model_name_or_path": (base.repository or None) if base else None,
        "revision": (base.revision or None) if base else None,
        OURS: config.model_dump(mode="json"),
    }
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_folder(folder: Path) -> Parts:
    """Read an adapter's folder.

    Raises:
        ValueError: it is none, or a file is missing or not as it was written. The message names it.
    """
    config = read_config(folder)
    for name, digest in config.files.items():
        if name not in _FILES:
            raise ValueError(f"{folder / CONFIG}: expected files among {', '.join(_FILES)}, found {name}")
        path = folder / name
        if not path.is_file():
            raise ValueError(f"{path}: missing; {CONFIG} lists it")
        if name != CARD and _sha256(path) != digest:  # people write on cards
            raise ValueError(f"{path}: damaged or changed, its bytes are not those that {CONFIG} states")
    for name in _FILES:
        if name != CARD and name not in config.files and (folder / name).exists():
            raise ValueError(f"{folder / name}: foreign, {CONFIG} does not list it")
    read = {name: load_tensors(folder / name) for name in config.files if name.endswith(".safetensors")}
    moments: dict[str, dict[str, dict[str, torch.Tensor]]]
    moments = {part: {kind: {} for kind in _KINDS} for part in ("mean", "scale")}
    for key, values in read.get(NORMALIZATION, {}).items():
        part, kind, name = key.split(".", 2)
        moments[part][kind][name] = values
    methods = read.get(METHODS, {})
    if any(name.startswith(PEFT_PREFIX) for name in methods):
        names = HfNames(config.model)
        methods = {names.ours(name): values for name, values in methods.items()}
    return Parts(
        config=config,
        tensors={**read.get(ENDS_FILE, {}), **methods},
        static={name: field.numpy() for name, field in read.get(STATIC, {}).items()},
        mean=Fields(**moments["mean"]),
        scale=Fields(**moments["scale"]),
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
