"""Sizes of adapter folders of the full Aurora, counted on shapes alone: no weights, no GPU, little memory."""

import argparse

import torch
from aurora_models import SIZES, VARIABLES_IN_USE

from weatherpeft.fields.grid import Grid
from weatherpeft.fields.variables import FieldSet
from weatherpeft.peft.sfas.gaps import coded
from weatherpeft.tasks.forecasting import Forecasting
from weatherpeft.training.shapes import unfilled

LEVELS = (50, 100, 150, 200, 250, 300, 400, 500, 600, 700, 850, 925, 1000)
FIELDS = FieldSet(measured=VARIABLES_IN_USE.model_copy(update={"levels_hpa": LEVELS}))
SHARES = (0.001, 0.005, 0.01, 0.05)


def main() -> None:
    """Print a line for each share of touched entries."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--shares", type=float, nargs="+", default=SHARES, help="touched entries of the backbone"
    )
    task = Forecasting(name="forecasting", grid=Grid(resolution_deg=0.25))
    model = unfilled(SIZES["base"], FIELDS, task)
    sizes = [each.numel() for each in model.backbone_parameters().values()]
    ends = sum(p.numel() for part in (model.encoder, model.decoder) for p in part.parameters())
    print(f"backbone {sum(sizes):,} parameters, encoder and decoder {ends:,} ({4 * ends / 1e6:,.0f} MB)")
    heads = ("places", "values", "together", "as int64")
    print(f"{'touched':>8} {'entries':>12} " + " ".join(f"{head:>10}" for head in heads))
    for share in parser.parse_args().shares:
        generator, places, entries = torch.Generator().manual_seed(0), 0, 0
        for size in sizes:
            touched = (torch.rand(size, generator=generator) < share).nonzero().squeeze(1)
            places, entries = places + len(coded(touched)), entries + len(touched)
        cells = (places, 4 * entries, places + 4 * entries, 12 * entries)
        print(f"{100 * share:>7.2g}% {entries:>12,} " + " ".join(f"{cell / 1e6:>7.1f} MB" for cell in cells))


if __name__ == "__main__":
    main()
