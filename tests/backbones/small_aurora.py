"""Small Auroras with active blocks, a batch for them, and the full Aurora without values."""

import functools
import unittest.mock
from datetime import datetime
from typing import Any, TypeVar, cast

import torch
from aurora.model.swin3d import Swin3DTransformerBackbone, WindowAttention
from torch import Tensor, nn

from weatherpeft.backbones.aurora.model import AuroraBackbone
from weatherpeft.backbones.aurora.spec import Aurora
from weatherpeft.fields.grid import Grid
from weatherpeft.fields.variables import FieldSet, VariableSet
from weatherpeft.interfaces import Backbone, TuningContext
from weatherpeft.samples.batch import Batch, Fields
from weatherpeft.tasks.forecasting import Forecasting

FIELDS = FieldSet(
    measured=VariableSet(
        surface=("2m_temperature", "10m_u_component_of_wind"),
        atmospheric=("temperature", "geopotential"),
        levels_hpa=(500, 850),
        static=("land_sea_mask",),
    )
)
CONTEXT = TuningContext(steps=10, seed=0)
Model = TypeVar("Model", bound=nn.Module)


def small_spec(depth: int = 1, **changes: Any) -> Aurora:
    """Two stages of ``depth`` blocks, each twice; windows are shifted in every second block."""
    size: dict[str, Any] = {
        "name": "aurora",
        "embed_dim": 16,
        "encoder_depths": (depth, depth),
        "encoder_num_heads": (2, 4),
        "decoder_depths": (depth, depth),
        "decoder_num_heads": (4, 2),
        "num_heads": 2,
        "window_size": (2, 2, 4),
        "latent_levels": 2,
    }
    return Aurora(**(size | changes))


def build(
    fields: FieldSet = FIELDS,
    spec: Aurora | None = None,
    *,
    lead_hours: int = 6,
    residual: bool = False,
    seed: int = 0,
) -> AuroraBackbone:
    """A model as upstream makes it: random weights, and blocks that are inert at first."""
    task = Forecasting(name="forecasting", grid=Grid(resolution_deg=11.25), residual=residual)
    task = task.model_copy(update={"lead_time_hours": lead_hours})  # a task of one's own may have 0
    return (spec or small_spec()).build(fields, task, seed)


def activate(model: Model) -> Model:
    """Upstream starts the modulation of its norms at zero, where every block is inert: perturb it."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".backbone." in name and "ln_modulation" in name:
                parameter.normal_(std=0.3, generator=generator)
    return model


def small_aurora(depth: int = 1) -> AuroraBackbone:
    """Active blocks of widths 32 and 64, the backbone frozen."""
    model = activate(build(spec=small_spec(depth, embed_dim=32)))
    model.backbone.requires_grad_(False)
    return model


def state_dict(model: Backbone) -> dict[str, Tensor]:
    """All weights and buffers."""
    assert isinstance(model, nn.Module)
    return dict(model.state_dict())


def small_batch(size: int = 2) -> Batch:
    """Random fields of a plausible size on a 16 × 32 grid."""
    generator = torch.Generator().manual_seed(2)

    def noise(*shape: int) -> Tensor:
        return torch.randn(size, *shape, 16, 32, generator=generator)

    def fields(*history: int) -> Fields:
        return Fields(
            {"2m_temperature": 280 + 20 * noise(*history), "10m_u_component_of_wind": 5 * noise(*history)},
            {"temperature": 260 + 20 * noise(*history, 2), "geopotential": 4e4 + 1e4 * noise(*history, 2)},
        )

    return Batch(
        inputs=fields(2),
        static={"land_sea_mask": noise()[0]},
        target=fields(),
        times=(datetime(2020, 1, 1),) * size,
        latitude=torch.linspace(84, -84, 16),
        longitude=torch.arange(32) * 11.25,
        levels_hpa=(500, 850),
    )


def loss(model: Any, batch: Batch) -> Tensor:
    """Mean square error over the fields' own deviations."""
    prediction, target = model(batch), batch.target
    pairs = [(prediction.surface[name], field) for name, field in target.surface.items()]
    pairs += [(prediction.atmospheric[name], field) for name, field in target.atmospheric.items()]
    return torch.stack([((one - other) / other.std()).square().mean() for one, other in pairs]).mean()


def full_aurora(variables: int) -> Backbone:
    """Aurora's full configuration as shapes only, as far as methods ask for it when they are attached."""
    return cast(Backbone, _FullAurora(variables))


class _FullAurora:
    def __init__(self, variables: int) -> None:
        linspace = functools.partial(torch.linspace, device="cpu")  # upstream reads values from it
        with torch.device("meta"), unittest.mock.patch("torch.linspace", linspace):
            self.backbone = Swin3DTransformerBackbone(
                embed_dim=512,
                window_size=(2, 6, 12),
                encoder_depths=(6, 10, 8),
                encoder_num_heads=(8, 16, 32),
                decoder_depths=(8, 10, 6),
                decoder_num_heads=(32, 16, 8),
            ).requires_grad_(False)
        self.variables = variables

    def backbone_parameters(self) -> dict[str, nn.Parameter]:
        return dict(self.backbone.named_parameters())

    def attention_modules(self) -> dict[str, nn.Module]:
        return {path: m for path, m in self.backbone.named_modules() if isinstance(m, WindowAttention)}

    def embedding_weights(self) -> Tensor:
        return torch.empty(512, self.variables, 2 * 4 * 4, device="meta")
