"""A tuned model in Python: loaded from a run, a folder or the Hub, and ready to predict."""

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import ValidationError

from weatherpeft.artifacts.predictions import fill_predictions, prediction_template
from weatherpeft.artifacts.store import write_dataset
from weatherpeft.config_errors import error_lines
from weatherpeft.fields.plausible import Decision
from weatherpeft.fields.screening import Screen
from weatherpeft.fields.variables import VariableSet
from weatherpeft.samples.batch import Samples
from weatherpeft.samples.decoded import DecodedFields
from weatherpeft.samples.frames import SampleFrames
from weatherpeft.samples.input_frames import input_frames
from weatherpeft.training.merging import save_merged
from weatherpeft.training.prediction import predictor
from weatherpeft.training.spec import Precision
from weatherpeft.training.tuning import TunedModel, tuned_model
from weatherpeft.tuned.base import found_base
from weatherpeft.tuned.card import model_card
from weatherpeft.tuned.config import CONFIG, AdapterConfig
from weatherpeft.tuned.folder import read_folder, write_folder
from weatherpeft.tuned.hub import fetched, push
from weatherpeft.tuned.parts import Parts, Run
from weatherpeft.tuned.raw import Wanted, from_dataset, from_files

if TYPE_CHECKING:
    import xarray as xr

_PROGRESS = "progress.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tuned:
    """A tuned model on a device.

    Attributes:
        parts: what it is made of beside its pretrained weights.
        tuned: the model with its methods attached.
        scores: lines of text about its scores, for its model card.
    """

    parts: Parts
    tuned: TunedModel
    scores: str = ""

    @property
    def config(self) -> AdapterConfig:
        """What the model is and reads."""
        return self.parts.config

    @property
    def predicted(self) -> VariableSet:
        """The variables and levels that it predicts."""
        return self.config.model.task.predicted(self.config.model.fields.measured)

    def rolled_out(self, steps: int) -> "Tuned":
        """The same model with forecasts of another number of steps, each made from the one before.

        Args:
            steps: number of lead times.

        Raises:
            ValueError: the model does not predict its own inputs, or the number is out of range.
        """
        try:
            task = self.config.model.task.rolled_out(steps)
        except ValidationError as error:
            raise ValueError("; ".join(error_lines(error))) from error
        model = self.config.model.model_copy(update={"task": task})
        config = self.config.model_copy(update={"model": model})
        return replace(self, parts=replace(self.parts, config=config))

    def predict(
        self, dataset: "xr.Dataset", rename: Mapping[str, str] | None = None, plausible: Decision = "stop"
    ) -> "xr.Dataset":
        """Predict from all times of a dataset that have every input.

        Args:
            dataset: fields on a latitude-longitude grid that holds the model's input grid, with every
                variable and level of the input. They are found by their names and by the attributes of the CF
                conventions, converted, checked and regridded as in training. Values may be lazy.
            rename: WeatherBench 2 names of variables by those in the dataset, where these do not tell; by
                default those that the training data needed.
            plausible: whether implausible values stop (``stop``) or are named (``warn``).

        Returns:
            The predictions under WeatherBench 2 names, dims ``([member,] time, [prediction_timedelta,]
            [level,] latitude, longitude)``. ``time`` is the time of the last input.

        Raises:
            ValueError: the dataset lacks a variable, a level or a part of the grid, or has no time with every
                input, or a value is not plausible. The message names it.
        """
        raw = from_dataset(dataset, self._wanted, self.config.rename if rename is None else rename)
        frames = self._frames(raw, "the dataset", plausible)
        found = prediction_template(frames, self.predicted)
        arrays = {str(name): np.zeros(array.shape, np.float32) for name, array in found.data_vars.items()}
        found = found.assign({name: (found[name].dims, values) for name, values in arrays.items()})
        fill_predictions(self._predictor(frames), frames, self.predicted, arrays, range(len(frames)))
        return self._described(found)

    def apply(
        self,
        files: Sequence[Path],
        output: Path,
        rename: Mapping[str, str] | None = None,
        plausible: Decision = "stop",
    ) -> None:
        """Predict from GRIB and NetCDF files and write a Zarr store, or NetCDF if the name ends in ``.nc``.

        Memory holds one sample. A call that was killed goes on where it was, if nothing has changed.

        Args:
            files: files with the inputs, mixed and named in any way (see ``predict``).
            output: new store or file.
            rename: see ``predict``; in GRIB the names are ecCodes' short names or param ids.
            plausible: see ``predict``.

        Raises:
            ValueError: there is something at ``output``, a file cannot be read, or see ``predict``.
        """
        if output.exists():
            raise ValueError(f"{output}: is there already; give another name, or remove it")
        raw = from_files(files, self._wanted, self.config.rename if rename is None else rename)
        frames = self._frames(raw, "the files", plausible)
        draft = output.with_name(f".{output.name}.partial")
        store, progress = draft / "forecast.zarr", draft / _PROGRESS
        job = json.dumps([self.config.model_dump(mode="json"), _states(files)])
        begun = json.loads(progress.read_text()) if progress.is_file() else {}
        done = int(begun["done"]) if begun.get("job") == job else 0
        if not done:
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            write_dataset(self._described(prediction_template(frames, self.predicted)), store, compute=False)
        predict = self._predictor(frames)
        for index in range(done, len(frames)):
            fill_predictions(predict, frames, self.predicted, store, [index])
            _write(progress, {"job": job, "done": index + 1})
            _log.info("predicted %d of %d, %s", index + 1, len(frames), frames.samples[index].time)
        if output.suffix == ".nc":
            import xarray as xr

            xr.open_zarr(store).to_netcdf(draft / "forecast.nc")
            store = draft / "forecast.nc"
        store.rename(output)
        shutil.rmtree(draft)

    def merge(self) -> "Merged":
        """The model as plain weights of the upstream package; nothing is left of the methods.

        Raises:
            ValueError: a method, or the kind of prediction, cannot be merged. The message says what to do
                instead.
        """
        return Merged(self.tuned, self.tuned.merged())

    def save(self, folder: Path | str) -> None:
        """Write the model as an adapter's folder in the layout of HF peft, without its pretrained weights.

        Raises:
            ValueError: there is something already.
        """
        write_folder(self.parts, model_card(self.parts, self.scores), Path(folder))

    def push(self, repository: str, private: bool = False) -> str:
        """Upload the model as a repository of the Hugging Face Hub, as ``save`` writes it.

        Args:
            repository: owner and name.
            private: whether a new repository is private.

        Returns:
            The full hash of the commit, the revision to load.
        """
        return push(self.save, repository, private)

    @cached_property
    def _wanted(self) -> Wanted:
        """The raw fields of the inputs."""
        model = self.config.model
        lead = model.task.window.target_hours[0] if model.task.needs_forecasts else 0
        return Wanted.of(model.fields.measured, lead)

    def _frames(self, raw: "xr.Dataset", where: str, plausible: Decision) -> SampleFrames:
        model = self.config.model
        window, measured = model.task.window, model.fields.measured
        screen = Screen(where, plausible)
        kept = len(window.input_hours)
        data = DecodedFields(raw, measured, window.input_grid, self.config.regridding, screen, kept)
        return input_frames(window, model.fields, data, self.parts.static)

    def _predictor(self, frames: SampleFrames) -> Any:
        rolled_out = self.config.model.task.rollout_steps > 1
        return predictor(self.tuned.model, Samples(frames), rolled_out)

    @property
    def _attributes(self) -> dict[str, str]:
        own = self.config
        data = "simulated data" if own.synthetic else own.source
        return {"source": f"weatherpeft {own.version}: {own.label} of {own.experiment}, trained on {data}"}

    def _described(self, dataset: "xr.Dataset") -> "xr.Dataset":
        """The dataset with units and names of its variables."""
        for name, array in dataset.data_vars.items():
            row = self.predicted.row(str(name).removesuffix("_std"))
            array.attrs = {"units": row.units, "long_name": row.long_name}
        return dataset.assign_attrs(self._attributes)


@dataclass(frozen=True)
class Merged:
    """A tuned model as plain weights.

    Attributes:
        tuned: the model that they are of.
        tensors: weights by upstream's names.
    """

    tuned: TunedModel
    tensors: Mapping[str, torch.Tensor]

    def save(self, output: Path | str) -> str:
        """Write a checkpoint that the upstream package loads by itself.

        Args:
            output: new file.

        Returns:
            Lines of Python that load it.

        Raises:
            ValueError: the file is there already.
        """
        return save_merged(self.tuned, Path(output), self.tensors)


def load(
    source: Path | str,
    *,
    base: Path | str | None = None,
    revision: str | None = None,
    device: str = "auto",
    precision: Precision | None = None,
) -> Tuned:
    """Load a tuned model.

    Args:
        source: a run of the workflow, such as ``results/default/runs/lora-seed0``, an adapter's folder, or
            owner and name of a repository of the Hugging Face Hub.
        base: checkpoint with the pretrained weights, or the artifact of the stage that made it. By default
            that of the run, or the file of the Hub that the folder names.
        revision: full hash of the commit of a repository of the Hub.
        device: where the model is to be, as torch names it; ``auto`` is a GPU if there is one.
        precision: number format that the backbone computes in; by default that of its training.

    Raises:
        ValueError: there is no such model, a file is damaged, or the pretrained weights are not those that
            the model was tuned from. The message names the file.
    """
    path, scores = Path(source), ""
    given = None if base is None else Path(base)
    if path.is_dir() and not (path / CONFIG).is_file():
        run = Run(path)
        given, known = run.base(given)
        parts, scores = run.parts(known), run.scores()
    else:
        parts = read_folder(path if path.is_dir() else fetched(str(source), revision))
    checkpoint = found_base(parts.config.base, given)
    moments = (parts.mean, parts.scale)
    own = parts.config
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    tuned = tuned_model(
        own.model, torch.device(device), checkpoint, statistics=moments, precision=precision or own.precision
    )
    tuned.load_result(parts.tensors)
    return Tuned(parts, tuned, scores)


def _states(files: Sequence[Path]) -> list[Any]:
    return [[str(file.absolute()), file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def _write(path: Path, values: Mapping[str, Any]) -> None:
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(values))
    draft.replace(path)
