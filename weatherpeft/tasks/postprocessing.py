"""Ensemble post-processing: an ensemble forecast to the distribution of the weather at its valid time."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from weatherpeft.fields.grid import Grid, Region
from weatherpeft.fields.variables import STD, VARIABLES, OneField, VariableSet
from weatherpeft.interfaces import TaskData
from weatherpeft.samples.ensemble import Ensemble
from weatherpeft.samples.ensemble_window import EnsembleWindow
from weatherpeft.spec import Spec
from weatherpeft.verification.scoring import EnsembleScoring

if TYPE_CHECKING:
    import torch

    from weatherpeft.samples.batch import Fields


class Target(OneField):
    """A field whose mean and spread are predicted."""

    weight: float = Field(default=1.0, gt=0)
    """Of its CRPS, in the field's own units, in the loss."""


PUBLISHED = (
    Target(variable="2m_temperature", weight=14.0),
    Target(variable="10m_u_component_of_wind", weight=7.0),
    Target(variable="10m_v_component_of_wind", weight=7.0),
    Target(variable="temperature", level_hpa=850, weight=8.0),
    Target(variable="geopotential", level_hpa=500, weight=0.1),
)
"""Targets and weights of the paper (arXiv 2509.22020)."""


class Postprocessing(Spec):
    """The forecasts of an experiment, corrected and given an honest spread.

    Mean and spread are predicted relative to the ensemble's own, at every point: mean + spread · output
    and spread · exp(output).
    """

    name: Literal["postprocessing"]
    """Selects this task."""
    grid: Grid
    """Grid of forecasts and analyses."""
    frames: Literal["moments", "members"] = "moments"
    """What the model sees: the ensemble's standard deviation and mean, or every member."""
    members: int = Field(default=10, ge=2)
    """Of the experiment's forecasts."""
    forecast_hours: int = Field(default=48, gt=0)
    """Lead time of the experiment's forecasts."""
    targets: Annotated[tuple[Target, ...], Field(min_length=1)] = PUBLISHED
    """What is predicted, by default the paper's five fields."""

    @model_validator(mode="after")
    def _different(self) -> Self:
        labels = [target.label for target in self.targets]
        if len(set(labels)) != len(labels):
            raise ValueError(f"targets: a field is named twice: {', '.join(labels)}")
        return self

    @property
    def residual(self) -> bool:
        """False: the model has heads of its own, relative to the ensemble."""
        return False

    @property
    def ensemble(self) -> Ensemble:
        """Members and frames of the forecasts, and the fields whose distribution is predicted."""
        fields = tuple(OneField(variable=each.variable, level_hpa=each.level_hpa) for each in self.targets)
        return Ensemble(members=self.members, frames=self.frames, targets=fields)

    @property
    def window(self) -> EnsembleWindow:
        """From the forecast's start to its valid time."""
        return EnsembleWindow(
            input_grid=self.grid,
            target_grid=self.grid,
            input_hours=(0,),
            target_hours=(self.forecast_hours,),
            ensemble=self.ensemble,
        )

    @property
    def lead_hours(self) -> int:
        """The forecasts'; the model itself is told 0, since its input is valid when its target is."""
        return self.forecast_hours

    @property
    def needs_climatology(self) -> tuple[str, ...]:
        """No variable."""
        return ()

    @property
    def needs_forecasts(self) -> bool:
        """Yes."""
        return True

    @property
    def statistics(self) -> Literal["statistics", "standardization"]:
        """Mean and scale of every input frame at every grid point."""
        return "standardization"

    @property
    def baselines(self) -> tuple[str, ...]:
        """The ensemble as it is, and its statistical correction."""
        return "ensemble", "emos"

    @property
    def report_sections(self) -> tuple[str, ...]:
        """Scores of distributions, histograms and maps of skill."""
        return ("ensemble",)

    def check(self, data: TaskData) -> None:
        """Refuse an experiment without forecasts, or with others than the task's.

        Raises:
            ValueError: naming what differs.
        """
        if data.forecast_variables is None:
            raise ValueError(f"task {self.name} corrects ensemble forecasts; give forecasts")
        for key, wanted, given in (
            ("members", self.members, data.members),
            ("forecast_hours", self.forecast_hours, data.forecast_hours),
        ):
            if wanted != given:
                raise ValueError(f"task.{key} is {wanted}, and the forecasts' is {given}")
        known = {"variables": data.variables, "forecasts.variables": data.forecast_variables}
        for target in self.targets:
            for where, variables in known.items():
                if (target.variable, target.level_hpa) not in variables.channels():
                    raise ValueError(f"task {self.name}: the target {target.label} is not in {where}")
            if VARIABLES[target.variable].partial:
                raise ValueError(
                    f"task {self.name} predicts {target.variable}, which is not defined everywhere; "
                    "leave it out"
                )
        if data.training_store != "float32":
            raise ValueError(
                f"task {self.name} reads forecasts, of which there is no training_store {data.training_store}"
            )
        if any(split.members for split in (data.splits.train, data.splits.validation, data.splits.test)):
            raise ValueError(f"task {self.name} corrects forecasts by one analysis; splits have no members")
        if data.regions:
            raise ValueError(f"regions: the task {self.name} is not scored by region")

    def inputs(self, analyses: VariableSet, forecasts: VariableSet | None) -> VariableSet:
        """The forecasts' variables and the static ones of the analyses."""
        return (forecasts or analyses).model_copy(update={"static": analyses.static})

    def predicted(self, variables: VariableSet) -> VariableSet:
        """The targets' variables and levels.

        Raises:
            ValueError: one is not among the variables.
        """
        known = variables.channels()
        for target in self.targets:
            if (target.variable, target.level_hpa) not in known:
                raise ValueError(f"task {self.name}: expected the target {target.label} among the variables")
        return self.ensemble.variables

    def scoring(self, variables: VariableSet, regions: Mapping[str, Region]) -> EnsembleScoring:
        """Scores of the targets' distributions."""
        return EnsembleScoring(ensemble=self.ensemble, grid=self.grid, lead_hours=(self.forecast_hours,))

    def input_statistics(self, statistics: Path, measured: VariableSet) -> "tuple[Fields, Fields]":
        """Mean and scale of every input frame, ``(history, [level,] latitude, longitude)``."""
        from weatherpeft.samples.standardization import training_standardization

        return training_standardization(statistics, measured, self.ensemble)

    def loss_scale(self, statistics: Path, measured: VariableSet) -> "Fields":
        """None: the CRPS is in the fields' own units."""
        from weatherpeft.samples.batch import Fields

        return Fields({}, {})

    def loss(self, prediction: "Fields", target: "Fields", scale: "Fields") -> "torch.Tensor":
        """Sum of weight · mean CRPS, each in its field's own units (see ``interfaces.Task``).

        Args:
            prediction: mean and, as ``<variable>_std``, standard deviation of the targets' variables, at the
                targets' levels.
            target: the same variables at the same levels.
            scale: not used.
        """
        import torch

        from weatherpeft.samples.batch import Fields
        from weatherpeft.tasks.losses.crps import weighted_crps

        variables = self.ensemble.variables
        weights = {(each.variable, each.level_hpa): each.weight for each in self.targets}
        one = next(iter((target.surface | target.atmospheric).values()))
        by_variable = Fields(
            {name: one.new_tensor(weights[name, None]) for name in variables.surface},
            {
                name: one.new_tensor([weights.get((name, level), 0.0) for level in variables.levels_hpa])
                for name in variables.atmospheric
            },
        )
        sigma = Fields(
            {name: prediction.surface[f"{name}{STD}"] for name in variables.surface},
            {name: prediction.atmospheric[f"{name}{STD}"] for name in variables.atmospheric},
        )
        loss: torch.Tensor = weighted_crps(prediction, sigma, target, by_variable)
        return loss
