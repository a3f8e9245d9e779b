"""Curves as PNG images, whose bytes depend on the data alone."""

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STYLE: dict[str, Any] = {
    "font.size": 10.0,
    "axes.titlesize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a94a0",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e8ec",
    "legend.frameon": False,
}
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195", "#000000")
_DASHES = ("-", "--", ":", "-.")
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Image:
    """A figure for the page.

    Attributes:
        source: PNG as a data URI.
        width: width in CSS pixels.
        text: description for readers who cannot see the image.
    """

    source: str
    width: int
    text: str

    @property
    def png(self) -> bytes:
        """The image as the content of a file."""
        return base64.b64decode(self.source.partition(",")[2])


def pretty_units(units: str) -> str:
    """Units with superscripts.

    >>> pretty_units("m2 s-2"), pretty_units("1")
    ('m² s⁻²', '1')
    """
    parts = units.split()
    symbols = [part.rstrip("-0123456789") for part in parts]
    return " ".join(
        symbol + part[len(symbol) :].translate(_SUPERSCRIPTS) if symbol else part
        for part, symbol in zip(parts, symbols, strict=True)
    )


@contextmanager
def style(more: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Use the package's style instead of the user's, without changing global state.

    Args:
        more: settings of Matplotlib in addition to the style.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        settings: Any = {**_STYLE, **(more or {})}
        matplotlib.rcParams.update(settings)
        yield


def image_of(figure: Figure, text: str, resolution: int) -> Image:
    """Convert a figure to an image for the page.

    Args:
        figure: figure, whose width in inches is 1/100 of its width in pixels on the page.
        text: description of the figure.
        resolution: dots per inch.
    """
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=resolution, facecolor="white", metadata={"Software": None})
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return Image(f"data:image/png;base64,{data}", round(figure.get_figwidth() * 100), text)


def color_of(name: str, names: Sequence[str]) -> str:
    """Color of a method among all methods, which is the same in every figure."""
    return _COLORS[list(names).index(name) % len(_COLORS)]


def _dashes_of(name: str, names: Sequence[str]) -> str:
    return _DASHES[list(names).index(name) // len(_COLORS) % len(_DASHES)]


@dataclass(frozen=True)
class Curve:
    """Losses of a training.

    Attributes:
        name: name of the method.
        step: optimizer steps, ``(step,)``.
        train_loss: training loss at these steps, ``(step,)``.
        validation_step: optimizer steps of the validations, ``(validation_step,)``.
        validation_loss: validation loss at these steps, ``(validation_step,)``.
    """

    name: str
    step: np.ndarray
    train_loss: np.ndarray
    validation_step: np.ndarray
    validation_loss: np.ndarray


def smoothed(values: np.ndarray, window: int) -> np.ndarray:
    """Centered running mean of ``(step,)`` values; near the ends, the window has fewer values.

    >>> smoothed(np.array([0.0, 3.0, 6.0]), 3).tolist()
    [1.5, 3.0, 4.5]
    """
    sums = np.concatenate([[0.0], np.cumsum(values)])
    place = np.arange(values.size)
    first, last = np.maximum(place - window // 2, 0), np.minimum(place + window // 2 + 1, values.size)
    return (sums[last] - sums[first]) / (last - first)


def training_curves(curves: Sequence[Curve], pretraining: Curve | None) -> Image:
    """Training and validation loss of every run and of the pretraining, with one color per method.

    Args:
        curves: losses of the runs.
        pretraining: losses of the pretraining; None if there is none.
    """
    names = list(dict.fromkeys(curve.name for curve in curves))
    with style():
        count = 3 if pretraining else 2
        figure = Figure(figsize=(12.2, 4.6), layout="constrained")
        axes = figure.subplots(1, count, squeeze=False)[0]
        for curve in curves:
            named = curve is next(other for other in curves if other.name == curve.name)
            line = {
                "color": color_of(curve.name, names),
                "linestyle": _dashes_of(curve.name, names),
                "linewidth": 1.5,
                "label": curve.name if named else None,
            }
            _plot_training(axes[0], curve, line)
            axes[1].plot(curve.validation_step, curve.validation_loss, marker="o", markersize=3, **line)
        for axis, title in zip(axes, ("Fine-tuning: training", "Fine-tuning: validation"), strict=False):
            axis.set_title(title)
        if pretraining:
            _plot_training(axes[2], pretraining, {"color": "#8a94a0", "linewidth": 1.5, "label": "training"})
            axes[2].plot(
                pretraining.validation_step,
                pretraining.validation_loss,
                marker="o",
                markersize=3,
                color="#0072b2",
                label="validation",
            )
            axes[2].set_title("Pretraining")
            axes[2].legend(loc="upper right")
        for axis in axes:
            axis.set_yscale("log")
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.yaxis.set_minor_formatter(NullFormatter())
            axis.set_xlabel("Optimizer step")
        axes[0].set_ylabel("Loss (normalized units)")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(7, len(labels)))
        return image_of(figure, f"Training and validation loss of {', '.join(names)}", 160)


def _plot_training(axis: "Axes", curve: Curve, line: dict[str, Any]) -> None:
    window = max(1, curve.step.size // 40)
    axis.plot(curve.step, smoothed(curve.train_loss, window), **line)
