"""The windows of the tasks that predict fields."""

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
