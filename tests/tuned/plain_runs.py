"""Runs of the workflow's stages on a model that upstream's own class can build, too."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import aurora
from torch import Tensor

from tests import small_data as small
from tests.backbones.small_aurora import activate, build
from tests.stages.test_training_stages import (
    BACKBONE,
    FIELDS,
    METHODS,
    SPLITS,
    TRAINING,
    Project,
    prepared,
)
from weatherpeft.samples.batch import Batch, Fields, Samples
from weatherpeft.samples.frames import SampleFrames
from weatherpeft.tasks.downscaling import Downscaling
from weatherpeft.training.model import TunedModelSpec

TASK = Downscaling(name="downscaling", input_grid=small.COARSE, target_grid=small.FINE)
NAMES = {"2m_temperature": "2t", "mean_sea_level_pressure": "msl", "temperature": "t", "land_sea_mask": "lsm"}


def make(root: Path) -> tuple[Project, Path]:
    """Data, statistics, and the checkpoint ``pretrained.ckpt`` of a model with active blocks."""
    project = prepared(root)
    activate(build(FIELDS, BACKBONE, lead_hours=TASK.lead_hours)).save(root / "pretrained.ckpt")
    return project, root / "pretrained.ckpt"


def model_spec(project: Project, *methods: dict[str, Any], **changes: Any) -> TunedModelSpec:
    parsed = [METHODS.validate_json(json.dumps(method)).model_dump(exclude_unset=True) for method in methods]
    return project.model(*parsed, **{"task": TASK, **changes})


def samples_of(project: Project) -> Samples:
    """The training samples."""
    return Samples(SampleFrames(TASK.window, FIELDS, project.data[:2], SPLITS.train))


def batches(project: Project, size: int = 1) -> list[Batch]:
    """Those of the steps of a run."""
    found = samples_of(project).batches(0, size)
    return [next(found) for _ in range(TRAINING.steps)]


def upstream_model(checkpoint: Path) -> aurora.Aurora:
    """Upstream's own model, built and loaded as its users do."""
    model = aurora.Aurora(
        surf_vars=("2t", "msl"),
        static_vars=("lsm",),
        atmos_vars=("t",),
        timestep=timedelta(hours=TASK.lead_hours),
        use_lora=False,
        **BACKBONE.model_dump(exclude={"name"}),
    )
    model.load_checkpoint_local(str(checkpoint))
    return model


def upstream_inputs(batch: Batch) -> aurora.Batch:
    def named(fields: dict[str, Tensor]) -> dict[str, Tensor]:
        return {NAMES[name]: field for name, field in fields.items()}

    metadata = aurora.Metadata(
        lat=batch.latitude, lon=batch.longitude, time=batch.times, atmos_levels=batch.levels_hpa
    )
    return aurora.Batch(
        surf_vars=named(batch.inputs.surface),
        static_vars=named(batch.static),
        atmos_vars=named(batch.inputs.atmospheric),
        metadata=metadata,
    )


def fields_of(prediction: aurora.Batch, batch: Batch) -> Fields:
    """Upstream's prediction as fields."""
    return Fields(
        {name: prediction.surf_vars[NAMES[name]][:, 0] for name in batch.inputs.surface},
        {name: prediction.atmos_vars[NAMES[name]][:, 0] for name in batch.inputs.atmospheric},
    )
