"""What every task of the union promises."""

from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor

from weatherpeft.baselines.registry import BASELINES
from weatherpeft.fields.grid import Grid
from weatherpeft.fields.variables import STD, VARIABLES, VariableSet, accumulation
from weatherpeft.interfaces import Task, TaskData
from weatherpeft.reporting.sections import SECTIONS
from weatherpeft.samples.batch import Fields
from weatherpeft.samples.ensemble_window import AnyWindow
from weatherpeft.samples.splits import Split, Splits
from weatherpeft.spec import Spec
from weatherpeft.stages.baseline import AnyBaseline, Baseline
from weatherpeft.tasks import AnyTask
from weatherpeft.verification.scoring import AnyScoring

KINDS: list[type[Spec]] = list(get_args(get_args(AnyTask)[0]))
GRID = Grid(resolution_deg=22.5)
MEASURED = VariableSet(
    surface=(
        "2m_temperature",
        "10m_u_component_of_wind",
        "10m_v_component_of_wind",
        "total_precipitation_6hr",
    ),
    accumulated=("total_precipitation",),
    atmospheric=("temperature", "geopotential"),
    levels_hpa=(500, 850),
)
SCALE = Fields(
    {
        "2m_temperature": torch.tensor(5.0),
        "10m_u_component_of_wind": torch.tensor(3.0),
        "10m_v_component_of_wind": torch.tensor(3.0),
        "total_precipitation_6hr": torch.tensor(1.5),
    },
    {"temperature": torch.full((2, 1, 1), 4.0), "geopotential": torch.tensor([800.0, 500.0])[:, None, None]},
)


NO_DAYS = Split(periods=())


def name_of(kind: type[Spec]) -> str:
    return str(get_args(kind.model_fields["name"].annotation)[0])


def instance(kind: type[Spec]) -> Any:
    """With default hyperparameters; what has no default is a grid, and that of an input a coarser one."""
    required = {name for name, field in kind.model_fields.items() if field.is_required()} - {"name"}
    assert all(kind.model_fields[name].annotation is Grid for name in required), "extend this test"
    coarse = GRID.model_copy(update={"resolution_deg": 2 * GRID.resolution_deg})
    grids = {name: coarse if name == "input_grid" else GRID for name in required}
    return kind.model_validate({"name": name_of(kind), **grids})


def random_fields(seed: int, requires_grad: bool = False) -> Fields:
    """Measured fields and a placeholder, ``(batch, [level,] latitude, longitude)``."""
    generator = torch.Generator().manual_seed(seed)

    def field(*shape: int) -> Tensor:
        return torch.randn(3, *shape, *GRID.shape, generator=generator).requires_grad_(requires_grad)

    return Fields(
        {name: field() for name in (*SCALE.surface, "mean_sea_level_pressure")},
        {name: field(2) for name in SCALE.atmospheric},
    )


def certain(task: Any, prediction: Fields) -> Fields:
    """The prediction as a task takes it: where it wants distributions, without any spread."""
    if task.ensemble is None:
        return prediction

    def spread(fields: dict[str, Tensor]) -> dict[str, Tensor]:
        return {f"{name}{STD}": torch.zeros_like(field) for name, field in fields.items()}

    return Fields(
        prediction.surface | spread(prediction.surface),
        prediction.atmospheric | spread(prediction.atmospheric),
    )


def counts(task: Any, prediction: Fields, target: Fields, scale: Fields = SCALE) -> Tensor:
    """The loss."""
    return task.loss(certain(task, prediction), target, scale)


@pytest.mark.parametrize("kind", KINDS, ids=name_of)
class TestEveryTask:
    def test_a_window_ends_with_the_present(self, kind: type[Spec]) -> None:
        task = instance(kind)
        window = task.window
        assert window.input_hours[-1] == 0
        assert list(window.input_hours) == sorted(set(window.input_hours))
        assert window.target_hours[0] == task.lead_hours >= 0
        assert list(window.target_hours) == sorted(set(window.target_hours))
        assert isinstance(task.residual, bool)
        assert all(name in VARIABLES or accumulation(name) for name in task.needs_climatology)

    def test_a_training_of_one_step_sees_the_first_lead_time(self, kind: type[Spec]) -> None:
        task = instance(kind)
        window = task.training_window(1)
        assert window.target_hours[0] == task.lead_hours and not window.later_hours
        assert task.rollout_steps > 1 or task.training_window(1) == task.window

    def test_it_offers_the_whole_socket(self, kind: type[Spec]) -> None:
        task = instance(kind)
        assert [name for name in vars(Task) if name[0] != "_" and not hasattr(task, name)] == []
        assert set(BASELINES) == set(get_args(Baseline))
        assert task.baselines and set(task.baselines) <= set(get_args(AnyBaseline))
        assert set(task.report_sections) <= set(SECTIONS)
        assert task.statistics in ("statistics", "standardization")
        assert task.needs_forecasts == (task.ensemble is not None)

    def test_window_and_scoring_go_through_json(self, kind: type[Spec]) -> None:
        """As the specs of the jobs do, which hold them and not the task."""
        task = instance(kind)
        inputs = task.inputs(MEASURED, MEASURED)
        scoring = task.scoring(inputs, {})
        assert set(scoring.fields()) <= set(task.predicted(inputs).channels()) and scoring.fields()
        assert scoring.lead_hours == task.window.target_hours and scoring.grid == task.window.target_grid
        unions: tuple[tuple[Spec, TypeAdapter[Any]], ...] = (
            (task.window, TypeAdapter(AnyWindow)),
            (scoring, TypeAdapter(AnyScoring)),
        )
        for value, union in unions:
            again = union.validate_json(value.canonical_json())
            assert again == value and type(again) is type(value)

    def test_it_checks_what_an_experiment_has(self, kind: type[Spec]) -> None:
        task, splits = instance(kind), Splits(train=NO_DAYS, validation=NO_DAYS, test=NO_DAYS)
        data = TaskData(variables=MEASURED, splits=splits)
        if task.ensemble is not None:
            with pytest.raises(ValueError, match=f"task {task.name} corrects ensemble forecasts"):
                task.check(data)
            members, hours = task.ensemble.members, task.lead_hours
            data = replace(data, forecast_variables=MEASURED, members=members, forecast_hours=hours)
        task.check(data)
        if task.predicted(MEASURED) != MEASURED or task.ensemble is not None:
            with pytest.raises(ValueError, match=task.name):
                task.check(replace(data, variables=VariableSet(surface=("mean_sea_level_pressure",))))

    def test_a_perfect_prediction_has_no_loss_and_every_error_has_one(self, kind: type[Spec]) -> None:
        task, target = instance(kind), random_fields(0)
        assert counts(task, target, target).item() == 0
        assert counts(task, target, target).shape == ()
        predicted = task.predicted(MEASURED)
        assert {*predicted.channels()} <= {*MEASURED.channels()} and predicted.channels()
        for part in ("surface", "atmospheric"):
            for name in getattr(SCALE, part):
                wrong = Fields(dict(target.surface), dict(target.atmospheric))
                getattr(wrong, part)[name] = getattr(target, part)[name] + 1
                assert (counts(task, wrong, target).item() > 0) == (name in getattr(predicted, part)), name

    def test_twice_the_unit_is_the_same_loss(self, kind: type[Spec]) -> None:
        """The loss is of normalized fields: units do not count; a CRPS is in them."""
        task, prediction, target = instance(kind), random_fields(0), random_fields(1)

        def doubled(fields: Fields) -> Fields:
            surface = {name: 2 * field for name, field in fields.surface.items()}
            return Fields(surface, {name: 2 * field for name, field in fields.atmospheric.items()})

        expected = (2 if task.ensemble else 1) * counts(task, prediction, target)
        found = counts(task, doubled(prediction), doubled(target), doubled(SCALE))
        torch.testing.assert_close(found, expected)

    def test_it_is_differentiable_and_goes_downhill(self, kind: type[Spec]) -> None:
        task, prediction, target = instance(kind), random_fields(0, requires_grad=True), random_fields(1)
        before = counts(task, prediction, target)
        before.backward()
        fields = [
            field
            for part in ("surface", "atmospheric")
            for name, field in getattr(prediction, part).items()
            if name in getattr(task.predicted(MEASURED), part)
        ]
        with torch.no_grad():
            for field in fields:
                assert torch.isfinite(field.grad).all() and field.grad.any()
                field -= 0.1 * field.grad
            assert counts(task, prediction, target) < before

    def test_placeholders_do_not_count(self, kind: type[Spec]) -> None:
        task, prediction, target = instance(kind), random_fields(0, requires_grad=True), random_fields(1)
        loss = counts(task, prediction, target)
        other = Fields(
            {**prediction.surface, "mean_sea_level_pressure": torch.tensor(torch.nan)}, prediction.atmospheric
        )
        assert torch.equal(counts(task, other, target), loss)
        loss.backward()
        assert prediction.surface["mean_sea_level_pressure"].grad is None

    def test_a_batch_is_the_mean_of_its_samples(self, kind: type[Spec]) -> None:
        task, prediction, target = instance(kind), random_fields(0), random_fields(1)

        def sample(fields: Fields, index: int) -> Fields:
            surface = {name: field[index : index + 1] for name, field in fields.surface.items()}
            upper = {name: field[index : index + 1] for name, field in fields.atmospheric.items()}
            return Fields(surface, upper)

        singles = [counts(task, sample(prediction, i), sample(target, i)) for i in range(3)]
        torch.testing.assert_close(counts(task, prediction, target), torch.stack(singles).mean())
