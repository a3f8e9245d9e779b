"""All that a tuned model is made of beside its pretrained weights, and where a run has it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from weatherpeft import __version__
from weatherpeft.artifacts import store
from weatherpeft.artifacts.manifest import PROVENANCE, read_manifest
from weatherpeft.training.model import FinetuneSpec
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

    def parts(self) -> Parts:
        """What the run made, and what it needs of other artifacts.

        Raises:
            ValueError: it is no run, or an artifact that it was made from is gone or another one by now. The
                message names it.
        """
        from weatherpeft.artifacts.fields import FieldReader
        from weatherpeft.training.checkpoint import load_tensors

        record = store.read_provenance(self.path)
        if "diverged" in record:
            raise ValueError(f"{self.path}: a candidate that dropped out: {record['diverged']}")
        spec = self._spec(record)
        model = spec.chosen(record).model
        fields, task = model.fields, model.task
        statistics = self._input(f"{self.experiment.name}/{task.statistics}")
        period = next(self._periods())
        reader = FieldReader([period], task.window.target_grid, ())
        static = {name: reader.static(name) for name in fields.measured.static}
        mean, scale = task.input_statistics(statistics, fields.measured)
        raw = store.read_provenance(self.experiment / "regridded" / period.name)["spec"]
        config = AdapterConfig(
            format=FORMAT,
            version=__version__,
            model=model,
            base=self.base()[1] if model.pretrained else None,
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
        return Parts(config, load_tensors(self.path / _TUNED), static, mean, scale)

    def _spec(self, record: Mapping[str, Any]) -> FinetuneSpec:
        """The training of the run, or of the candidate that was chosen as the run."""
        values = record["spec"]
        try:
            if "candidate_inputs" in record:
                values = values["candidates"][record["candidate"]]
            return FinetuneSpec.parse(values)
        except (ValueError, LookupError, TypeError) as error:
            raise ValueError(f"{self.path}: not a run of this version of weatherpeft") from error

    def base(self) -> tuple[Path | None, Base]:
        """The pretrained checkpoint that the run started from: where it is, if here, and which one it is."""
        for key, digest in self._inputs().items():
            folder, _, name = key.partition("/")
            above = [*self.experiment.parents, Path()]
            places = [self.experiment.parent / key, *(each / "data" / key for each in above)]
            for place in places:
                if (place / WEIGHTS).is_file() and store.artifact_digest(place) == digest:
                    record = store.read_provenance(place)
                    spec = record["spec"]
                    known = {each: spec.get(each, "") for each in ("repository", "file", "revision")}
                    return place / WEIGHTS, Base(sha256=read_manifest(place).digests[WEIGHTS], **known)
            if folder not in (self.experiment.name, "regridded", "packed", "forecasts", "runs", "weights"):
                return None, Base(sha256=digest)  # a checkpoint of the user's own
        raise ValueError(f"{self.path}: the weights that it started from are not here; give them as base")

    def scores(self) -> str:
        """A table of the run's scores in the report of its experiment (see ``card.scores_of``)."""
        from weatherpeft.tuned.card import scores_of

        return scores_of(self.experiment / "report", self.path.name)

    def _inputs(self) -> dict[str, str]:
        """Digests of what the run was made from, by the last two parts of its path."""
        record = store.read_provenance(self.path)
        inputs: dict[str, str] = record.get("candidate_inputs", record["inputs"])
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
        if store.artifact_digest(path) != self._inputs().get(key):
            raise ValueError(f"{self.path}: was made from another {path} than there is now; run the workflow")
        return path

    def _periods(self) -> Iterator[Path]:
        """The regridded or packed analyses that the run read."""
        for key in self._inputs():
            if key.startswith(("regridded/", "packed/")):
                yield self._input(key)


def _is_synthetic(source: Mapping[str, Any]) -> bool:
    from pydantic import TypeAdapter

    from weatherpeft.sources import AnyForecastSource, AnySource

    found: AnySource | AnyForecastSource = TypeAdapter(AnySource | AnyForecastSource).validate_json(
        json.dumps(source)
    )
    return found.synthetic
