"""Sizes of Aurora, its windows and its grids are refused if, and only if, upstream fails with them."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import torch
from aurora.model.swin3d import Swin3DTransformerBackbone
from pydantic import ValidationError

from tests.backbones.small_aurora import FIELDS, build, small_batch, small_spec
from weatherpeft.backbones.aurora.spec import LONGEST_LEAD_HOURS, Aurora
from weatherpeft.fields.boxes import nearest
from weatherpeft.fields.grid import Grid, Region

PATCH = 2


def grid_of(rows: int, columns: int) -> Grid:
    """A grid of so many patches."""
    region = Region(north=PATCH * rows, south=0, west=0, east=PATCH * columns - 1)
    grid = Grid(resolution_deg=1.0, region=region)
    assert grid.shape == (PATCH * rows, PATCH * columns)
    return grid


def spec_of(window: tuple[int, int, int], levels: int, stages: int) -> Aurora:
    heads = (1,) * stages
    depths: dict[str, Any] = {"encoder_depths": (2,) * stages, "decoder_depths": (2,) * stages}
    sizes: dict[str, Any] = {"encoder_num_heads": heads, "decoder_num_heads": heads, "patch_size": PATCH}
    return small_spec(window_size=window, latent_levels=levels, embed_dim=8, **depths, **sizes)


def fails(call: Callable[[], Any]) -> bool:
    try:
        with torch.no_grad():
            call()
    except (RuntimeError, TypeError, AssertionError, ValueError):
        return True
    return False


@pytest.mark.parametrize("stages", [2, 3])
@pytest.mark.parametrize(
    ("window", "levels"),
    [
        ((2, 2, 4), 2),
        ((2, 2, 4), 4),
        ((1, 2, 4), 2),
        ((2, 3, 3), 2),
        ((2, 1, 3), 2),
        ((2, 3, 1), 2),
        ((3, 1, 1), 3),
    ],
)
def test_grids_are_refused_that_upstream_cannot_split(
    window: tuple[int, int, int], levels: int, stages: int
) -> None:
    spec = spec_of(window, levels, stages)
    torch.manual_seed(0)
    swin = Swin3DTransformerBackbone(
        embed_dim=8,
        window_size=window,
        encoder_depths=spec.encoder_depths,
        decoder_depths=spec.decoder_depths,
        encoder_num_heads=spec.encoder_num_heads,
        decoder_num_heads=spec.decoder_num_heads,
    ).eval()
    outcomes = set()
    for rows in range(2 ** (stages - 1), 9):
        for columns in range(2 ** (stages - 1), 11):
            tokens = torch.zeros(1, levels * rows * columns, 8)

            def predict(tokens: torch.Tensor = tokens, size: Any = (levels, rows, columns)) -> Any:
                return swin(tokens, torch.tensor([6.0]), 0, size)

            bad = fails(predict)
            assert fails(lambda: spec.check(grid_of(rows, columns), FIELDS)) == bad, (rows, columns)  # noqa: B023
            outcomes.add(bad)
    if levels != window[0]:
        assert outcomes == {False}
    elif min(window) > 1:
        assert outcomes == {True, False}


def test_the_message_says_what_fits() -> None:
    grid = grid_of(7, 5)
    with pytest.raises(
        ValueError, match="windows of 2 x 4 patches; expected latent_levels 4, or at most 4 x 8"
    ):
        spec_of((2, 2, 4), 2, 2).check(grid, FIELDS)
    with pytest.raises(ValueError, match=r"4 x 8 points or more than 8 x 16$"):
        spec_of((2, 2, 4), 2, 2).check(grid, FIELDS)
    spec_of((2, 2, 4), 4, 2).check(grid, FIELDS)
    spec_of((2, 2, 4), 2, 2).check(grid_of(2, 4), FIELDS)
    spec_of((2, 2, 4), 2, 2).check(grid_of(5, 9), FIELDS)


def test_no_narrow_grid_is_the_nearest() -> None:
    spec, grid = spec_of((2, 2, 4), 2, 2), grid_of(7, 5)
    assert all(found and found.shape == grid.shape for found in nearest(grid, PATCH, 2 * PATCH))
    assert spec.nearest(grid) == (None, None)


@pytest.mark.parametrize(
    "changes",
    [
        *({"embed_dim": width} for width in (4, 8, 10, 12, 14, 15, 18, 20)),
        {
            "encoder_depths": (2,),
            "decoder_depths": (2,),
            "encoder_num_heads": (1,),
            "decoder_num_heads": (1,),
        },
        *({"patch_size": size} for size in (1, 2, 4, 8)),
        *(
            {"latent_levels": levels, "window_size": (window, 2, 4)}
            for levels in range(1, 7)
            for window in (1, 2, 3)
        ),
    ],
    ids=str,
)
def test_sizes_are_refused_that_upstream_cannot_predict_with(changes: dict[str, Any]) -> None:
    """The spec's own check, against a prediction of a model that is built without it."""
    heads: dict[str, Any] = {"encoder_num_heads": (1, 1), "decoder_num_heads": (1, 1), "num_heads": 1}
    unchecked = small_spec(**heads).model_copy(update=changes)
    bad = fails(lambda: build(spec=unchecked).eval()(small_batch(1)))
    refused = True
    with suppress(ValidationError):
        small_spec(**heads | changes).check(Grid(resolution_deg=11.25), FIELDS)
        refused = False
    assert refused == bad


@pytest.mark.parametrize("hours", [1, LONGEST_LEAD_HOURS, LONGEST_LEAD_HOURS + 1])
def test_lead_times_are_refused_that_upstream_does_not_encode(hours: int) -> None:
    bad = fails(lambda: build(lead_hours=hours).eval()(small_batch(1)))
    assert fails(lambda: small_spec().check(Grid(resolution_deg=11.25), FIELDS, (6, hours))) == bad
    assert bad == (hours > LONGEST_LEAD_HOURS)
