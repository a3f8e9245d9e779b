"""Stage ``apply``: forecasts of a tuned model from any raw files, without the workflow."""

from collections.abc import Sequence
from pathlib import Path

from weatherpeft.fields.plausible import Decision


def apply(
    adapter: Path,
    input: Sequence[Path],
    output: Path,
    base: Path | None = None,
    revision: str | None = None,
    steps: int | None = None,
    plausible: Decision = "stop",
    device: str = "auto",
) -> None:
    """Predict with a tuned model from all times of some files that have every input.

    No target data is needed. A call that was killed goes on where it was.

    Args:
        adapter: run of the workflow, adapter's folder, or owner/name of a repository of the Hub.
        input: GRIB and NetCDF files, mixed and named in any way. Forecasts of an ensemble must be in GRIB.
        output: new Zarr store, or NetCDF file if its name ends in .nc, with WeatherBench 2 names.
        base: checkpoint with the pretrained weights, if the adapter is a folder that names none on the Hub.
        revision: full hash of the commit of a repository of the Hub.
        steps: number of lead times of a forecasting model, each made from the one before; by default those of
            its task.
        plausible: whether a raw field that is not plausible stops the job.
        device: where the model runs, as torch names it; auto takes a GPU if there is one.

    Raises:
        ValueError: the adapter, its pretrained weights or the files are not as they should be. The message
            names the file, variable, level or time.

    Example:
        weatherpeft apply --adapter results/default/runs/weatherpeft-seed0 --input today/*.grib
            --output forecast.zarr
    """
    from weatherpeft.tuned.model import load

    tuned = load(adapter, base=base, revision=revision, device=device)
    (tuned if steps is None else tuned.rolled_out(steps)).apply(input, output, plausible=plausible)
