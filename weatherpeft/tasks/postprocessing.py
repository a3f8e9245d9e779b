"""Ensemble post-processing: from an ensemble forecast to a distribution of the weather at its valid time."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from weatherpeft.fields.grid import Grid, Region
from weatherpeft.fields.variables import STD, OneField, VariableSet
from weatherpeft.interfaces import TaskData
from weatherpeft.samples.ensemble import Ensemble
from weatherpeft.samples.ensemble_window import EnsembleWindow
from weatherpeft.spec import Hours, Positive, Spec
from weatherpeft.verification.scoring import EnsembleScoring

if TYPE_CHECKING:
    import torch

    from weatherpeft.samples.batch import Fields


class Target(OneField):
    """A field whose mean and spread are predicted."""

    weight: Positive = 1.0
    """Weight in the loss of the field's CRPS, which has the field's own units."""


PUBLISHED = (
    Target(variable="2m_temperature", weight=14.0),
    Target(variable="10m_u_component_of_wind", weight=7.0),
    Target(variable="10m_v_component_of_wind", weight=7.0),
    Target(variable="temperature", level_hpa=850, weight=8.0),
    Target(variable="geopotential", level_hpa=500, weight=0.1),
)
"""Targets and weights of the paper (arXiv 2509.22020)."""


class Postprocessing(Spec):
    """Corrected mean and honest spread of the experiment's ensemble forecasts.

    At every point, both are predicted relative to the ensemble's own: mean + spread · output and
    spread · exp(output).
    """

    name: Literal["postprocessing"]
    """Selects this task."""
    grid: Grid
    """Grid of forecasts and analyses."""
    frames: Literal["moments", "members"] = "moments"
    """Input frames that the model sees: the ensemble's standard deviation and mean, or every member."""
    members: int = Field(default=10, ge=2, lt=10**4)
    """Number of members of the experiment's forecasts."""
    forecast_hours: Hours = 48
    """Lead time of the experiment's forecasts in hours."""
    targets: Annotated[tuple[Target, ...], Field(min_length=1)] = PUBLISHED
    """Fields that are predicted; by default the five fields of the paper."""

    @model_validator(mode="after")
    def _different(self) -> Self:
        labels = [target.label for target in self.targets]
        if len(set(labels)) != len(labels):
            raise ValueError(f"targets: a field is named twice: {', '.join(labels)}")
        return self

    @property
    def residual(self) -> bool:
        """False. The model has heads of its own, whose output is relative to the ensemble."""
        return False

    @property
    def ensemble(self) -> Ensemble:
        """Members and frames of the forecasts, and the targets whose distribution is predicted."""
        fields = tuple(
            OneField(define=each.define, variable=each.variable, level_hpa=each.level_hpa)
            for each in self.targets
        )
        return Ensemble(members=self.members, frames=self.frames, targets=fields)

    @property
    def window(self) -> EnsembleWindow:
        """Input at the start of the forecast, target at its valid time."""
        return EnsembleWindow(
            input_grid=self.grid,
            target_grid=self.grid,
            input_hours=(0,),
            target_hours=(self.forecast_hours,),
            ensemble=self.ensemble,
        )

    @property
    def rollout_steps(self) -> int:
        """One. A correction is of one lead time."""
        return 1

    def rolled_out(self, steps: int) -> Self:
        """The task itself for one step.

        Raises:
            ValueError: there are more.
        """
        if steps != 1:
            raise ValueError(
                f"{self.name}: expected 1 step, found {steps}; its model does not predict its input"
            )
        return self

    def training_window(self, steps: int) -> EnsembleWindow:
        """The window (see ``interfaces.Task``)."""
        return self.window

    @property
    def lead_hours(self) -> int:
        """Lead time of the forecasts. The model gets 0: input and target are valid at the same time."""
        return self.forecast_hours

    @property
    def needs_climatology(self) -> tuple[str, ...]:
        """No variables, because no score needs a climatology."""
        return ()

    @property
    def dry_thresholds(self) -> Mapping[str, float]:
        """None, because there is no climatology."""
        return {}

    @property
    def needs_forecasts(self) -> bool:
        """True. Samples are made of ensemble forecasts."""
        return True

    @property
    def statistics(self) -> Literal["statistics", "standardization"]:
        """The standardization stage, which has mean and scale of every input frame at every grid point."""
        return "standardization"

    @property
    def baselines(self) -> tuple[str, ...]:
        """The raw ensemble, and its statistical correction (EMOS)."""
        return "ensemble", "emos"

    @property
    def report_sections(self) -> tuple[str, ...]:
        """Scores of distributions, with histograms and maps of skill."""
        return ("ensemble",)

    def check(self, data: TaskData) -> None:
        """Refuse an experiment without forecasts, or with data that does not fit the task.

        Args:
            data: variables, splits and forecasts of the experiment.

        Raises:
            ValueError: forecasts, targets, splits, training store or regions do not fit. The message says
                which.
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
            if target.row(target.variable).partial:
                raise ValueError(
                    f"task {self.name} predicts {target.variable}, which is not defined everywhere; "
                    "leave it out"
                )
        if data.training_store != "float32":
            raise ValueError(
                f"task {self.name} reads forecasts, which have no training_store {data.training_store}"
            )
        if any(split.members for split in (data.splits.train, data.splits.validation, data.splits.test)):
            raise ValueError(f"task {self.name} corrects forecasts by one analysis; splits have no members")
        if data.regions:
            raise ValueError(f"regions: the task {self.name} is not scored by region")

    def inputs(self, analyses: VariableSet, forecasts: VariableSet | None) -> VariableSet:
        """The variables of the forecasts and the static variables of the analyses."""
        own = forecasts or analyses
        define = {**own.define, **analyses.defined(analyses.static)}
        return own.model_copy(update={"static": analyses.static, "define": define})

    def predicted(self, variables: VariableSet) -> VariableSet:
        """Variables and levels of the targets.

        Raises:
            ValueError: a target is not among the variables.
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
        """Mean and scale of every input frame, ``(history, [level,] latitude, longitude)`` each."""
        from weatherpeft.samples.standardization import training_standardization

        return training_standardization(statistics, measured, self.ensemble)

    def loss_scale(self, statistics: Path, measured: VariableSet) -> "Fields":
        """No fields, because the CRPS is in the fields' own units."""
        from weatherpeft.samples.batch import Fields

        return Fields({}, {})

    def loss(self, prediction: "Fields", target: "Fields", scale: "Fields") -> "torch.Tensor":
        """Sum of weight · mean CRPS of every target in its own units (see ``interfaces.Task``).

        Args:
            prediction: mean and, as ``<variable>_std``, standard deviation of the targets' variables at the
                targets' levels, ``(batch, [level,] latitude, longitude)`` each.
            target: the same variables at the same levels, ``(batch, [level,] latitude, longitude)`` each.
            scale: not used.

        Returns:
            A scalar.
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
