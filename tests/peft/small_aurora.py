"""A small Aurora with active blocks, and a batch for it."""

from datetime import datetime

import torch

from weatherpeft.backbones.aurora import Aurora
from weatherpeft.backbones.aurora_model import AuroraBackbone
from weatherpeft.batch import Batch, Fields
from weatherpeft.interfaces import TuningContext
from weatherpeft.variables import FieldSet, VariableSet

FIELDS = FieldSet(
    measured=VariableSet(
        surface=("2m_temperature", "10m_u_component_of_wind"),
        atmospheric=("temperature", "geopotential"),
        levels_hpa=(500, 850),
        static=("land_sea_mask",),
    )
)
CONTEXT = TuningContext(steps=10, seed=0)


def small_aurora(depth: int = 1) -> AuroraBackbone:
    """Two stages of ``depth`` blocks, the backbone frozen; windows are shifted in every second block.

    Upstream starts the modulation of its norms at zero, where every block is inert: it is perturbed.
    """
    spec = Aurora(
        name="aurora",
        embed_dim=32,
        encoder_depths=(depth, depth),
        encoder_num_heads=(2, 4),
        decoder_depths=(depth, depth),
        decoder_num_heads=(4, 2),
        num_heads=4,
        window_size=(2, 2, 4),
    )
    model = spec.build(FIELDS, lead_hours=6, residual=False, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.backbone.named_parameters():
            if "ln_modulation" in name:
                parameter.normal_(std=0.3, generator=generator)
    model.backbone.requires_grad_(False)
    return model


def small_batch(size: int = 2) -> Batch:
    """Random fields of a plausible size on a 16 × 32 grid."""
    generator = torch.Generator().manual_seed(2)

    def noise(*shape: int) -> torch.Tensor:
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


def loss(model: AuroraBackbone, batch: Batch) -> torch.Tensor:
    """Mean square error over the fields' own deviations."""
    prediction, target = model(batch), batch.target
    pairs = [(prediction.surface[name], field) for name, field in target.surface.items()]
    pairs += [(prediction.atmospheric[name], field) for name, field in target.atmospheric.items()]
    return torch.stack([((one - other) / other.std()).square().mean() for one, other in pairs]).mean()
