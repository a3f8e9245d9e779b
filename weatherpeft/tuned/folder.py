"""Tuned models as adapter folders (see ``layout``), with all that is needed to predict from raw data.

``static.safetensors`` holds the fields without time, ``normalization.safetensors`` what the input is
normalized by. ``README.md`` is the model card.
"""

from pathlib import Path

import torch

from weatherpeft.samples.batch import Fields
from weatherpeft.training.checkpoint import load_tensors, save_tensors
from weatherpeft.tuned.config import read_config
from weatherpeft.tuned.layout import (
    CARD,
    NORMALIZATION,
    STATIC,
    check_files,
    new_folder,
    read_tuned,
    write_config,
    write_tuned,
)
from weatherpeft.tuned.names import HfNames
from weatherpeft.tuned.parts import Parts

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
    with new_folder(output) as draft:
        names, base = HfNames.of(parts.config.model), parts.config.base
        write_tuned(parts.tensors, names, draft)
        normalization = {
            f"{part}.{kind}.{name}": values
            for part in ("mean", "scale")
            for kind in _KINDS
            for name, values in getattr(getattr(parts, part), kind).items()
        }
        static = {name: torch.from_numpy(field) for name, field in parts.static.items()}
        for file, tensors in ((STATIC, static), (NORMALIZATION, normalization)):
            if tensors:
                save_tensors(tensors, draft / file)
        (draft / CARD).write_text(card, encoding="utf-8")
        where = (base.repository, base.revision) if base else ()
        write_config(parts.config, names, draft, *where)


def read_folder(folder: Path) -> Parts:
    """Read an adapter's folder.

    Raises:
        ValueError: it is none, or a file is missing or not as it was written. The message names it.
    """
    config = read_config(folder)
    check_files(folder, config.files)
    moments: dict[str, dict[str, dict[str, torch.Tensor]]]
    moments = {part: {kind: {} for kind in _KINDS} for part in ("mean", "scale")}
    normalization, static = (
        load_tensors(folder / name) if name in config.files else {} for name in (NORMALIZATION, STATIC)
    )
    for key, values in normalization.items():
        part, kind, name = key.split(".", 2)
        moments[part][kind][name] = values
    return Parts(
        config=config,
        tensors=read_tuned(folder, config.files, lambda: HfNames.of(config.model)),
        static={name: field.numpy() for name, field in static.items()},
        mean=Fields(**moments["mean"]),
        scale=Fields(**moments["scale"]),
    )
