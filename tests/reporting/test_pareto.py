"""Which methods no other beats at a smaller cost, and the figure."""

from itertools import product

import numpy as np

from weatherpeft.reporting.pareto import Point, figure, frontier


def test_the_frontier_is_what_nothing_dominates() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        costs, skills = random.integers(0, 6, 12).tolist(), random.integers(0, 6, 12).tolist()

        def beaten(one: int, costs: list[int] = costs, skills: list[int] = skills) -> bool:
            return any(
                costs[other] <= costs[one]
                and skills[other] <= skills[one]
                and (costs[other], skills[other]) != (costs[one], skills[one])
                for other in range(len(costs))
            )

        expected = {(costs[one], skills[one]) for one in range(12) if not beaten(one)}
        found = frontier(costs, skills)
        assert {(costs[one], skills[one]) for one in found} == expected
        assert len(found) == len(expected)
        assert all(costs[one] < costs[other] for one, other in zip(found, found[1:], strict=False))


def test_a_figure_has_the_costs_that_are_known() -> None:
    points = [
        Point(f"{name}{number}", skill, (skill - 1, skill + 1), {"entries": 10.0**number, "bytes": 5.0})
        for (name, number), skill in zip(
            product("ab", range(5)), np.linspace(-3, 2, 10).tolist(), strict=True
        )
    ]
    points.append(Point("probe", 0.0, (0.0, 0.0), {"entries": 0.0}))
    image = figure(points, ("entries", "bytes", "seconds"), "probe")
    assert image is not None
    assert image == figure(points, ("entries", "bytes", "seconds"), "probe")
    assert image.text == "Scores against entries, bytes"
    assert figure(points, ("seconds",), "probe") is None
