"""All that a tuned model is made of beside its pretrained weights, and where a run has it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from weatherpeft import __version__
from weatherpeft.artifacts import store
from weatherpeft.artifacts.manifest import PROVENANCE, artifact_of, read_manifest
from weatherpeft.training.model import FinetuneSpec, TunedModelSpec
from weatherpeft.tuned.config import FORMAT, AdapterConfig, Base

if TYPE_CHECKING:
    import torch

    from weatherpeft.samples.batch import Fields

WEIGHTS = "pretrained.ckpt"
_TUNED = "tuned.safetensors"


@dataclass(frozen=True)
class Parts:
    """A tuned model without its pretrained weights.

    Attributes:
        config: what it is and reads.
        tensors: what was tuned (see ``training.tuning.TunedModel.result``).
        static: measured fields without time on the target grid, ``(latitude, longitude)`` each.
        mean: means that the input is normalized by (see ``interfaces.Task.input_statistics``).
        scale: scales in the shapes of ``mean``.
    """

    config: AdapterConfig
    tensors: Mapping[str, "torch.Tensor"]
    static: Mapping[str, NDArray[np.float32]]
    mean: "Fields"
    scale: "Fields"


@dataclass(frozen=True)
class Run:
    """A run of the workflow, with the other artifacts of its experiment where the workflow keeps them.

    Args:
        path: artifact of the finetune stage.
    """

    path: Path

    @property
    def experiment(self) -> Path:
        """Folder of the experiment's artifacts."""
        return self.path.absolute().parents[1]

    @cached_property
    def spec(self) -> FinetuneSpec:
        """The training of the run, or of the candidate that was chosen as the run.

        Raises:
            ValueError: it is no run, or a candidate that dropped out.
        """
        record = self._record
        if "diverged" in record:
            raise ValueError(f"{self.path}: a candidate that dropped out: {record['diverged']}")
        values = record["spec"]
        try:
            if "candidate_inputs" in record:
                values = values["candidates"][record["candidate"]]
            return FinetuneSpec.parse(values)
        except (ValueError, LookupError, TypeError) as error:
            raise ValueError(f"{self.path}: not a run of this version of weatherpeft") from error

    @property
    def model(self) -> TunedModelSpec:
        """The model that was trained."""
        return self.spec.chosen(self._record).model

    @property
    def statistics(self) -> Path:
        """The artifact that normalizes the model's input.

        Raises:
            ValueError: it is gone, or another one by now.
        """
        return self._input(f"{self.experiment.name}/{self.model.task.statistics}")

    def tensors(self) -> "dict[str, torch.Tensor]":
        """What was tuned (see ``training.tuning.TunedModel.result``)."""
        from weatherpeft.training.checkpoint import load_tensors

        return load_tensors(self.path / _TUNED)

    def parts(self, base: Base | None) -> Parts:
        """What the run made, and what it needs of other artifacts.

        Args:
            base: the checkpoint that it started from; None for random weights.

        Raises:
            ValueError: it is no run, or an artifact that it was made from is gone or another one by now. The
                message names it.
        """
        from weatherpeft.artifacts.fields import FieldReader

        spec, model, record = self.spec, self.model, self._record
        fields, task = model.fields, model.task
        mean, scale = task.input_statistics(self.statistics, fields.measured)
        period = next(self._periods())
        reader = FieldReader([period], task.window.target_grid, ())
        static = {name: reader.static(name) for name in fields.measured.static}
        raw = store.read_provenance(self.experiment / "regridded" / period.name)["spec"]
        config = AdapterConfig(
            format=FORMAT,
            version=__version__,
            model=model,
            base=base,
            precision=spec.training.precision,
            regridding=raw["method"],
            rename=raw["source"].get("rename", {}),
            source=raw["source"]["name"],
            synthetic=_is_synthetic(raw["source"]),
            experiment=self.experiment.name,
            label=self.path.name,
            trained_on=tuple(str(each) for each in spec.splits.train.periods),
            counts={name: record[name] for name in ("trainable_backbone", "trainable_total")},
            packages=record["packages"],
        )
        return Parts(config, self.tensors(), static, mean, scale)

    def base(self, given: Path | None = None) -> tuple[Path | None, Base | None]:
        """The pretrained checkpoint that the run started from: where it is, if here, and which one it is.

        Args:
            given: where it is: the artifact of the stage that made it, or a file. By default it is looked for
                where workflows keep it.

        Returns:
            Twice None for a run that started from random weights.

        Raises:
            ValueError: what is given is another one, or an artifact is nowhere.
        """
        if not self.model.pretrained:
            return None, None
        key, digest = next(each for each in self._inputs.items() if self._is_weights(each[0]))
        above = [*self.experiment.parents, Path()]
        places = [each / key for each in above] + [each / "data" / key for each in above]
        places += [found for each in above for found in (each / "data").glob(f"*/{key}")]
        for place in [given] if given else places:
            if place.exists() and store.artifact_digest(place) == digest:
                return _checkpoint(place)
        if given:
            raise ValueError(f"{given}: not the weights that {self.path} started from")
        if key.startswith(("weights/", f"{self.experiment.name}/pretrained")):
            raise ValueError(f"{self.path}: started from {key}, which is not here; give it as base")
        return None, Base(sha256=digest)  # a checkpoint of the user's own

    def _is_weights(self, key: str) -> bool:
        folder, _, name = key.partition("/")
        if folder == self.experiment.name:
            return name not in ("statistics", "standardization", "fisher")
        return folder not in ("regridded", "packed", "forecasts", "runs")

    def scores(self) -> str:
        """A table of the run's scores in the report of its experiment (see ``card.scores_of``)."""
        from weatherpeft.tuned.card import scores_of

        return scores_of(self.experiment / "report", self.path.name)

    @cached_property
    def _record(self) -> dict[str, Any]:
        return store.read_provenance(self.path)

    @property
    def _inputs(self) -> dict[str, str]:
        """Digests of what the run was made from, by the last two parts of its path."""
        inputs: dict[str, str] = self._record.get("candidate_inputs", self._record["inputs"])
        return inputs

    def _input(self, key: str) -> Path:
        """An artifact that the run was made from.

        Raises:
            ValueError: it is gone, or another one by now.
        """
        folder, _, name = key.partition("/")
        path = self.experiment / name if folder == self.experiment.name else self.experiment / key
        if not (path / PROVENANCE).is_file():
            raise ValueError(f"{self.path}: was made from {path}, which is gone; make it again")
        if store.artifact_digest(path) != self._inputs.get(key):
            raise ValueError(f"{self.path}: was made from another {path} than there is now; run the workflow")
        return path

    def _periods(self) -> Iterator[Path]:
        """The regridded or packed analyses that the run read."""
        for key in self._inputs:
            if key.startswith(("regridded/", "packed/")):
                yield self._input(key)


def _checkpoint(place: Path) -> tuple[Path, Base]:
    """The checkpoint of an artifact, or a file, and what is known of it."""
    file = place / WEIGHTS if place.is_dir() else place
    if (artifact := artifact_of(file.parent)) is None:
        return file, Base(sha256=store.artifact_digest(file))
    spec = store.read_provenance(artifact)["spec"]
    known = {each: spec.get(each, "") for each in ("repository", "file", "revision")}
    return file, Base(sha256=read_manifest(artifact).digests[WEIGHTS], **known)


def _is_synthetic(source: Mapping[str, Any]) -> bool:
    from pydantic import TypeAdapter

    from weatherpeft.sources import AnyForecastSource, AnySource

    found: AnySource | AnyForecastSource = TypeAdapter(AnySource | AnyForecastSource).validate_json(
        json.dumps(source)
    )
    return found.synthetic
