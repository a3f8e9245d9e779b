"""Scores of a store of forecasts, as a task asks for them."""

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
        scoring: what is scored.
        data: artifacts of the regrid stage that cover the predicted times.
        predictions: artifact with ``predictions.zarr``, or a Zarr store in WeatherBench 2's layout.
        climatology: artifact of the climatology stage, where variables are compared with it.
        efi: artifact of the efi stage, for distributions and ensembles.

    Returns:
        Scores by name of their store: ``scores.zarr``, and ``regions.zarr`` where regions are scored.

    Raises:
        ValueError: predictions and data do not share a variable, level, time, lead time, member or grid; a
            prediction is not finite; a climatology or index is needed and not given. The message names it.
    """
    if isinstance(scoring, EnsembleScoring):
        if efi is None:
            raise ValueError("scores of an ensemble need its extreme forecast index, and none is given")
        return {"scores.zarr": ensemble_scores(scoring, data, predictions, efi)}
    if scoring.climatology and climatology is None:
        names = ", ".join(scoring.climatology)
        raise ValueError(f"scores of {names} need a climatology, and none is given")
    return field_scores(scoring, data, predictions, climatology)
