"""Maps of one field at one time."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from weatherpeft.artifacts import store
from weatherpeft.fields.grid import Grid
from weatherpeft.reporting.figures import Image, image_of, pretty_units, style
from weatherpeft.reporting.scores import Channel
from weatherpeft.verification.metrics import latitude_weighted_rmse

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh


def read_prediction(
    path: Path, channel: Channel, time: np.datetime64, lead_hours: int, member: int | None
) -> np.ndarray:
    """One predicted field, ``(latitude, longitude)``.

    Args:
        path: artifact of the predict or baseline stage.
        channel: field to read.
        time: time of the prediction's last input.
        lead_hours: hours from there to the valid time.
        member: number of the ensemble member; None if the data has no member dimension.

    Raises:
        ValueError: the predictions lack the field. The message names the path.
    """
    dataset = store.open_dataset(path / "predictions.zarr")
    if channel.variable not in dataset:
        raise ValueError(f"{path}: predictions lack the variable {channel.variable}")
    wanted: dict[str, Any] = {"time": time, "level": channel.level_hpa, "member": member}
    if lead_hours:
        wanted["prediction_timedelta"] = np.timedelta64(lead_hours, "h")
    field = dataset[channel.variable]
    for name, value in wanted.items():
        if value is None:
            continue
        if name not in field.coords or value not in field[name].values:
            raise ValueError(f"{path}: predictions of {channel.variable} lack the {name} {value}")
        field = field.sel({name: value})
    values: np.ndarray = field.transpose("latitude", "longitude").values
    return values


def maps(
    channel: Channel,
    grid: Grid,
    source: tuple[str, np.ndarray],
    target: np.ndarray,
    predictions: Mapping[str, np.ndarray],
    land: np.ndarray | None,
) -> Image:
    """Maps of one field at one time: input, target, predictions and their errors.

    Args:
        channel: field of the maps.
        grid: grid of every array.
        source: title and field of the input on the target grid, ``(latitude, longitude)``.
        target: target field, ``(latitude, longitude)``.
        predictions: predicted fields by run, ``(latitude, longitude)``, at most as many as fit side by side.
        land: land-sea mask for the coasts, ``(latitude, longitude)``; None if there is none.
    """
    factor, units = channel.display
    units = pretty_units(units)
    truth, start = target * factor, source[1] * factor
    forecasts = {name: field * factor for name, field in predictions.items()}
    errors = {name: field - truth for name, field in {source[0]: start, **forecasts}.items()}
    low, high = np.percentile(np.concatenate([truth.ravel(), start.ravel()]), [0.2, 99.8])
    largest = float(np.percentile(np.abs(np.stack(list(errors.values()))), 99.5)) or 1.0
    fields = {"cmap": "viridis", "vmin": low, "vmax": high if high > low else low + 1}
    signed = {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest}
    south_north, west_east = grid.latitude_bounds(), grid.longitude_bounds()
    aspect = abs(south_north[0] - south_north[-1]) / (west_east[-1] - west_east[0])
    columns, rows = max(3, len(forecasts)), 3 if forecasts else 1
    width = 3.95 * columns
    height = rows * (3.7 * min(aspect, 1.3) + 0.45) + 0.95
    with style({"axes.grid": False, "axes.spines.top": True, "axes.spines.right": True}):
        figure = Figure(figsize=(width, height), layout="constrained")
        parts: Any = figure.subfigures(2, 1, height_ratios=[height - 0.75, 0.75])
        upper, lower = parts
        axes, color_axes = upper.subplots(rows, columns, squeeze=False), lower.subplots(1, 2)

        def draw(axis: "Axes", title: str, field: np.ndarray, colors: dict[str, Any]) -> "QuadMesh":
            mesh = axis.pcolormesh(west_east, south_north, field, rasterized=True, **colors)
            if land is not None and land.min() < 0.5 < land.max():
                axis.contour(
                    grid.longitude, grid.latitude, land, levels=[0.5], colors="#202020", linewidths=0.8
                )
            axis.set_title(title)
            axis.set_aspect("equal", adjustable="box")
            geographic(axis)
            return mesh

        def error_title(name: str) -> str:
            rmse = latitude_weighted_rmse(errors[name], np.zeros_like(truth), grid.area_weights())
            return f"{name} − target, RMSE {float(rmse):.3g} {units}"

        mesh = draw(axes[0, 0], source[0], start, fields)
        draw(axes[0, 1], "Target", truth, fields)
        error_mesh = draw(axes[0, 2], error_title(source[0]), errors[source[0]], signed)
        for column, (name, field) in enumerate(forecasts.items()):
            draw(axes[1, column], f"Prediction of {name}", field, fields)
            draw(axes[2, column], error_title(name), errors[name], signed)
        used = [3] + [len(forecasts)] * (rows - 1)
        for row in range(rows):
            for column in range(columns):
                axis = axes[row, column]
                if column >= used[row]:
                    axis.set_axis_off()
                    continue
                if column == 0:
                    axis.set_ylabel("Latitude")
                else:
                    axis.tick_params(labelleft=False)
                if row == rows - 1 or column >= used[row + 1]:
                    axis.set_xlabel("Longitude")
                else:
                    axis.tick_params(labelbottom=False)
        meanings = [
            (mesh, f"{channel.long_name} ({units})"),
            (error_mesh, f"Error: prediction − target ({units})"),
        ]
        for axis, (mappable, label) in zip(color_axes, meanings, strict=True):
            figure.colorbar(mappable, cax=axis, orientation="horizontal", label=label, extend="both")
        text = f"Maps of {channel.long_name}: {source[0]}, target, {', '.join(forecasts)}, and their errors"
        return image_of(figure, text, 140)


def geographic(axis: "Axes") -> None:
    """Label an axis with degrees east and north."""

    def longitude(value: float, _: int | None = None) -> str:
        value = (value + 180) % 360 - 180
        side = "" if value in (0, -180) else "E" if value > 0 else "W"
        return f"{abs(value):g}°{side}"

    def latitude(value: float, _: int | None = None) -> str:
        return f"{abs(value):g}°{'' if value == 0 else 'N' if value > 0 else 'S'}"

    axis.xaxis.set_major_formatter(FuncFormatter(longitude))
    axis.yaxis.set_major_formatter(FuncFormatter(latitude))
    axis.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 3, 4.5, 6, 9, 10]))
    axis.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 1.5, 2, 3, 4.5, 6, 9, 10]))
    axis.tick_params(labelsize=9)
