"""What ``adapter_config.json`` says of a tuned model."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from weatherpeft.spec import Spec
from weatherpeft.training.model import TunedModelSpec
from weatherpeft.training.spec import Precision

CONFIG = "adapter_config.json"
OURS = "weatherpeft"
"""Key of ``adapter_config.json`` under which all stands that HF peft does not know."""
FORMAT: Literal[1] = 1
"""Version of the layout of adapter folders."""
_SHA256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Base(Spec):
    """The pretrained checkpoint that a model was tuned from, which the folder does not hold."""

    sha256: _SHA256
    """Checksum of the file."""
    repository: str = ""
    """Owner and name of its repository on the Hub; empty if it is on none."""
    file: str = ""
    """Path in the repository."""
    revision: str = ""
    """Full hash of the commit."""

    def __str__(self) -> str:
        place = f"{self.repository}, {self.file} at {self.revision}, " if self.repository else ""
        return f"{place}SHA-256 {self.sha256}"


class AdapterConfig(Spec):
    """A tuned model: what it is made of, what it reads and what it was trained on."""

    format: Literal[1]
    """Version of the layout."""
    version: str
    """Version of this package."""
    model: TunedModelSpec
    """Backbone, variables, levels, grids, task and methods."""
    base: Base | None
    """Pretrained weights; None if the model started from random ones."""
    precision: Precision
    """Number format that the backbone was trained in and predicts in."""
    regridding: Literal["conservative", "bilinear"]
    """How raw fields are brought to the input grid."""
    rename: dict[str, str] = {}
    """Our names of variables by those in the files of the training data, where these did not tell."""
    source: str
    """Source of the training data by its name in a configuration."""
    synthetic: bool
    """Whether the training data was simulated, so that the model knows nothing of the Earth."""
    experiment: str
    """Name of the experiment."""
    label: str
    """Name of the run in it."""
    trained_on: tuple[str, ...]
    """Periods of the training samples."""
    counts: dict[str, Annotated[int, Field(ge=0, le=10**15)]]
    """Numbers of parameters (see ``stages.finetune``)."""
    packages: dict[str, str]
    """Versions of the packages that trained the model."""
    files: dict[str, _SHA256] = {}
    """Checksums of the folder's other files by name."""


class LoopConfig(Spec):
    """What was tuned in a training loop of a user's own, on a model that this package does not know."""

    format: Literal[1]
    """Version of the layout."""
    version: str
    """Version of this package."""
    methods: tuple[dict[str, Any], ...]
    """The methods as in a configuration."""
    files: dict[str, _SHA256] = {}
    """Checksums of the folder's other files by name."""


def read_config(folder: Path) -> AdapterConfig:
    """Read the configuration of an adapter's folder.

    Raises:
        ValueError: there is none, or it is one of another format or package, or of a training loop of a
            user's own.
    """
    own = _own(folder)
    if "model" not in own:
        methods = own.get("methods")
        raise ValueError(
            f"{folder}: was tuned on a model of one's own: build it as then, and weatherpeft.attach(model, "
            f"{methods}, steps=0).load({str(folder)!r})"
        )
    return AdapterConfig.parse(own)


def files_of(folder: Path) -> dict[str, str]:
    """Checksums of the files that the configuration of any adapter's folder lists, by name.

    Raises:
        ValueError: there is none, or it is one of another format or package.
    """
    own = _own(folder)
    return AdapterConfig.parse(own).files if "model" in own else LoopConfig.parse(own).files


def _own(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.is_file():
        raise ValueError(f"{folder}: no {CONFIG}; neither an adapter nor a run of weatherpeft")
    try:
        values: dict[str, Any] = json.loads(path.read_bytes())
        own: dict[str, Any] = values[OURS]
        found = own["format"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path}: expected an adapter that weatherpeft wrote, found none of its keys"
        ) from error
    if found != FORMAT:
        raise ValueError(
            f"{path}: expected format {FORMAT}, found {found}, of version {own.get('version')} of weatherpeft"
        )
    return own
