"""The windows of the tasks that predict fields."""

import pytest

from weatherpeft.fields.grid import Grid
from weatherpeft.tasks.downscaling import Downscaling
from weatherpeft.tasks.forecasting import Forecasting

GRID = {"resolution_deg": 11.25}


class TestWindows:
    def test_downscaling_is_at_one_time(self) -> None:
        task = Downscaling.parse(
            {"name": "downscaling", "input_grid": {"resolution_deg": 22.5}, "target_grid": GRID}
        )
        assert task.window.input_hours == (-6, 0) and task.window.target_hours == (task.lead_hours,) == (0,)
        assert task.window.input_grid == Grid(resolution_deg=22.5)
        assert task.window.target_grid == Grid(resolution_deg=11.25)
        longer = Downscaling.parse({**task.model_dump(), "history_hours": 12})
        assert longer.window.input_hours == (-12, 0) and longer.window.target_hours == (0,)

    def test_forecasting_looks_ahead_as_far_as_back(self) -> None:
        task = Forecasting.parse({"name": "forecasting", "grid": GRID, "lead_time_hours": 12})
        assert task.window.input_hours == (-12, 0)
        assert task.window.target_hours == (task.lead_hours,) == (12,)
        assert task.window.input_grid == task.window.target_grid == Grid(resolution_deg=11.25)
        assert task.training_window(1) == task.window and task.rollout_steps == 1
        assert "steps" not in task.model_dump() and "climatology" not in task.model_dump()

    def test_a_forecast_of_several_steps_has_as_many_lead_times(self) -> None:
        task = Forecasting.parse({"name": "forecasting", "grid": GRID, "lead_time_hours": 12, "steps": 3})
        assert task.window.target_hours == (12, 24, 36) and not task.window.later_hours
        assert task.lead_hours == 12 and task.report_sections == ("lead_times",)
        trained = task.training_window(2)
        assert trained.target_hours == (12,) and trained.later_hours == (24,)
        assert trained.hours == (-12, 0, 12, 24)

    def test_a_forecast_of_more_than_a_year_is_refused(self) -> None:
        with pytest.raises(ValueError, match="steps: 800 of 12 h are more than 8784 h"):
            Forecasting.parse({"name": "forecasting", "grid": GRID, "lead_time_hours": 12, "steps": 800})
