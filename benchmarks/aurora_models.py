"""Auroras of several sizes with random weights, a batch, a loss and command line options for them."""

import argparse
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import cast

import torch
from aurora.normalisation import locations, scales

from weatherpeft.backbones.aurora.model import AuroraBackbone
from weatherpeft.backbones.aurora.spec import Aurora
from weatherpeft.fields.grid import Grid
from weatherpeft.fields.variables import VARIABLES, FieldSet, VariableSet
from weatherpeft.samples.batch import Batch, Fields
from weatherpeft.tasks.forecasting import Forecasting

SIZES = {
    "tiny": Aurora(
        name="aurora",
        embed_dim=32,
        encoder_depths=(1, 1),
        encoder_num_heads=(2, 4),
        decoder_depths=(1, 1),
        decoder_num_heads=(4, 2),
        num_heads=4,
        window_size=(2, 2, 4),
    ),
    "small": Aurora(
        name="aurora",
        embed_dim=256,
        encoder_depths=(2, 6, 2),
        encoder_num_heads=(4, 8, 16),
        decoder_depths=(2, 6, 2),
        decoder_num_heads=(16, 8, 4),
        num_heads=8,
    ),
    "base": Aurora(name="aurora"),
}
"""A toy, the published AuroraSmall and the published Aurora of 1.3 B parameters."""

VARIABLES_IN_USE = VariableSet(
    surface=(
        "2m_temperature",
        "10m_u_component_of_wind",
        "10m_v_component_of_wind",
        "mean_sea_level_pressure",
    ),
    atmospheric=(
        "geopotential",
        "u_component_of_wind",
        "v_component_of_wind",
        "temperature",
        "specific_humidity",
    ),
    levels_hpa=(100, 250, 500, 850),
    static=("land_sea_mask", "geopotential_at_surface", "soil_type"),
)


TASK = Forecasting(name="forecasting", grid=Grid(resolution_deg=1.0))


def options(description: str, grid: tuple[int, int]) -> argparse.ArgumentParser:
    """The options that benchmarks of a model share, with this default grid."""
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("--model", choices=SIZES, default="small")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: the CPU and, if any, the GPU")
    parser.add_argument("--grid", type=int, nargs=2, default=grid, metavar=("ROWS", "COLUMNS"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, help="also write a .json or .csv file")
    return parser


def devices(arguments: argparse.Namespace) -> list[str]:
    """Names of the devices to measure; on the CPU with the given number of threads."""
    torch.set_num_threads(arguments.threads)
    if arguments.device:
        return [arguments.device]
    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def build(size: str, device: torch.device) -> AuroraBackbone:
    """A model in training mode.

    Upstream starts the modulation of its norms at zero, where every block is inert and most gradients
    are zero: it is perturbed.
    """
    fields = FieldSet(measured=VARIABLES_IN_USE)
    model = SIZES[size].build(fields, TASK, 0).to(device)
    generator = torch.Generator(device).manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.backbone.named_parameters():
            if "ln_modulation" in name:
                parameter.normal_(std=0.02, generator=generator)
    return model.train()


def build_batch(rows: int, columns: int, device: torch.device) -> Batch:
    """One sample of noise with the mean and the deviation of each field."""
    generator = torch.Generator().manual_seed(2)

    def field(key: str, *shape: int) -> torch.Tensor:
        noise = torch.randn(*shape, rows, columns, generator=generator)
        return locations[key] + scales[key] * noise

    def fields(*history: int) -> Fields:
        surface = {name: field(VARIABLES[name].short_name, 1, *history) for name in VARIABLES_IN_USE.surface}
        upper = {
            name: torch.stack(
                [
                    field(f"{VARIABLES[name].short_name}_{level}", 1, *history)
                    for level in VARIABLES_IN_USE.levels_hpa
                ],
                dim=1 + len(history),
            )
            for name in VARIABLES_IN_USE.atmospheric
        }
        return Fields(surface, upper)

    return Batch(
        inputs=fields(2),
        static={name: field(VARIABLES[name].short_name) for name in VARIABLES_IN_USE.static},
        target=fields(),
        times=(datetime(2020, 1, 1),),
        latitude=90 - 180 / rows * (torch.arange(rows) + 0.5),
        longitude=360 / columns * torch.arange(columns),
        levels_hpa=VARIABLES_IN_USE.levels_hpa,
    ).to(device)


def loss(model: AuroraBackbone, batch: Batch) -> torch.Tensor:
    """Mean square error over every field's own variance."""
    found, expected = cast(Fields, model(batch)), batch.target
    errors = [
        ((found_kind[name] - field) / field.std()).square().mean()
        for found_kind, kind in ((found.surface, expected.surface), (found.atmospheric, expected.atmospheric))
        for name, field in kind.items()
    ]
    return torch.stack(errors).mean()


def saved_bytes(forward: Callable[[], torch.Tensor], known: Iterable[torch.Tensor]) -> int:
    """Storage that a forward pass keeps for the backward pass, without the tensors that are there anyway."""
    found: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = forward()
    for tensor in known:
        found.pop(tensor.untyped_storage().data_ptr(), None)
    del output
    return sum(found.values())
