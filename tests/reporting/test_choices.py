"""Choices among candidates, as the report shows them."""

import pytest

from weatherpeft.reporting.choices import Choice

RATES = [{"sfas.learning_rate": rate, "sfas.noise": "none"} for rate in (1e-3, 1e-2, 3e-2)]


@pytest.mark.parametrize(("chosen", "edges"), [(0, True), (1, False), (2, True)])
def test_a_choice_at_the_edge_of_its_list_is_marked(chosen: int, edges: bool) -> None:
    losses = [3.0, 3.0, 3.0]
    losses[chosen] = 1.25
    choice = Choice.of("sfas", RATES, {"candidate": chosen, "validation_loss": losses})
    assert choice.edges == (["sfas.learning_rate"] if edges else [])
    lines = choice.text().splitlines()
    assert lines[1].split() == ["sfas.learning_rate", "sfas.noise", "validation", "loss"]
    marked = [line for line in lines if "chosen" in line]
    assert marked == [lines[2 + chosen]] and "1.25" in marked[0]
    assert ("at the edge of sfas.learning_rate" in marked[0]) == edges


def test_a_candidate_without_a_finite_loss_is_shown_as_diverged() -> None:
    lines = (
        Choice.of("sfas", RATES, {"candidate": 1, "validation_loss": [2.0, 1.0, None]}).text().splitlines()
    )
    assert [line.split()[2] for line in lines[2:]] == ["2", "1", "diverged"]


def test_a_switch_has_no_edge() -> None:
    candidates = [{"tadp.shared": value} for value in (False, True)]
    assert Choice.of("tadp", candidates, {"candidate": 1, "validation_loss": [2.0, 1.0]}).edges == []


def test_another_number_of_losses_is_refused() -> None:
    with pytest.raises(ValueError, match="sfas: expected 3 candidates, found 2"):
        Choice.of("sfas", RATES, {"candidate": 0, "validation_loss": [1.0, 2.0]})
