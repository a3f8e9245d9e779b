"""Scores of a store of forecasts, as the task's scoring asks for them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from weatherpeft.verification.ensemble import ensemble_scores
from weatherpeft.verification.field_scores import field_scores
from weatherpeft.verification.scoring import AnyScoring, EnsembleScoring

if TYPE_CHECKING:
    import xarray as xr


def scores_of(
    scoring: AnyScoring,
    data: Sequence[Path],
    predictions: Path,
    climatology: Path | None = None,
    efi: Path | None = None,
) -> "dict[str, xr.Dataset]":
    """Score a store of predictions.

    Args:
        scoring: fields, grid and lead times that are scored.
        data: artifacts of the regrid stage that cover the predicted times.
        predictions: artifact with ``predictions.zarr``, or a Zarr store in WeatherBench 2's layout.
        climatology: artifact of the climatology stage, if variables are compared with it.
        efi: artifact of the efi stage, if the forecasts are distributions or ensembles.

    Returns:
        Scores by name of their store: ``scores.zarr`` and, if regions are scored, ``regions.zarr``.

    Raises:
        ValueError: predictions and data do not share a variable, level, time, lead time, member or grid, a
            prediction is not finite, or a climatology or index is needed and not given. The message names it.
    """
    if isinstance(scoring, EnsembleScoring):
        if efi is None:
            raise ValueError("scores of an ensemble need its extreme forecast index, and none is given")
        return {"scores.zarr": ensemble_scores(scoring, data, predictions, efi)}
    if scoring.climatology and climatology is None:
        names = ", ".join(scoring.climatology)
        raise ValueError(f"scores of {names} need a climatology, and none is given")
    return field_scores(scoring, data, predictions, climatology)
