"""Skill against what a method costs, with the methods that no other beats at a smaller cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from weatherpeft.reporting.figures import Image, color_of, image_of, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Point:
    """A method.

    Attributes:
        name: of the method.
        skill: difference of its scores to the reference in percent, mean over the fields; less is better.
        interval: bounds of the 95 % interval of the skill.
        costs: what it costs, by the name of the cost. A cost that is not known is left out.
    """

    name: str
    skill: float
    interval: tuple[float, float]
    costs: Mapping[str, float]


def frontier(costs: Sequence[float], skills: Sequence[float]) -> list[int]:
    """Indices of the points that no other beats in one of the two and equals in the other, by rising cost.

    >>> frontier([3, 1, 2, 2], [0.0, 2.0, 3.0, 1.0])
    [1, 3, 0]
    """
    found: list[int] = []
    for index in sorted(range(len(costs)), key=lambda each: (costs[each], skills[each])):
        if not found or skills[index] < skills[found[-1]]:
            found.append(index)
    return found


def figure(points: Sequence[Point], costs: Sequence[str], reference: str) -> Image | None:
    """One panel for each cost; None if no point has any of them.

    Args:
        points: methods.
        costs: names of the costs, which become the labels of the axes.
        reference: name of the run or baseline that the skill is against.
    """
    shown = [cost for cost in costs if any(cost in point.costs for point in points)]
    if not shown:
        return None
    names = [point.name for point in points]
    with style({"font.size": 9.0}):
        drawing = Figure(figsize=(12.2, 4.8 + 0.16 * (len(points) // 7)), layout="constrained")
        axes = drawing.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        for axis, cost in zip(axes, shown, strict=True):
            _panel(axis, [point for point in points if cost in point.costs], cost, names)
        axes[0].set_ylabel(f"Score against {reference} (%)")
        handles, labels = axes[0].get_legend_handles_labels()
        drawing.legend(handles, labels, loc="outside lower center", ncols=min(8, len(labels)))
        return image_of(drawing, f"Scores against {', '.join(shown)}", 160)


def _panel(axis: "Axes", points: Sequence[Point], cost: str, names: Sequence[str]) -> None:
    values = [point.costs[cost] for point in points]
    for point, value in zip(points, values, strict=True):
        low, high = point.interval
        axis.errorbar(
            value,
            point.skill,
            yerr=[[max(0.0, point.skill - low)], [max(0.0, high - point.skill)]],
            fmt="osD^v<>P"[names.index(point.name) // 8 % 8],
            color=color_of(point.name, names),
            markersize=5,
            elinewidth=0.8,
            label=point.name,
        )
    best = frontier(values, [point.skill for point in points])
    axis.plot(
        [values[index] for index in best],
        [points[index].skill for index in best],
        color="#8a94a0",
        linewidth=1.0,
        drawstyle="steps-post",
        zorder=0,
    )
    for index in best:
        place = (values[index], points[index].skill)
        axis.annotate(points[index].name, place, (4, -9), textcoords="offset points", fontsize=7.5)
    positive = [value for value in values if value > 0]
    if positive and len(positive) < len(values):
        first, last = np.floor(np.log10([min(positive), max(positive)]))
        axis.set_xscale("symlog", linthresh=10.0**first, linscale=0.5)
        axis.set_xticks([0.0, *10.0 ** np.arange(first, last + 1)])
    elif max(values) > 10 * min(values):
        axis.set_xscale("log")
    axis.set_xlabel(cost)
