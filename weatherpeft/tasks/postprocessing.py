"""Ensemble post-processing: an ensemble forecast to the distribution of the weather at its valid time."""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from weatherpeft.fields.grid import Grid
from weatherpeft.fields.variables import STD, OneField, VariableSet
from weatherpeft.samples.window import Ensemble, Window
from weatherpeft.spec import Spec

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
    grid: Grid
    """Of forecasts and analyses."""
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
    def window(self) -> Window:
        """From the forecast's start to its valid time."""
        fields = tuple(OneField(variable=each.variable, level_hpa=each.level_hpa) for each in self.targets)
        return Window(
            input_grid=self.grid,
            target_grid=self.grid,
            input_hours=(0,),
            target_hours=(self.forecast_hours,),
            ensemble=Ensemble(members=self.members, frames=self.frames, targets=fields),
        )

    @property
    def lead_hours(self) -> int:
        """The forecasts'; the model itself is told 0, since its input is valid when its target is."""
        return self.forecast_hours

    @property
    def needs_climatology(self) -> tuple[str, ...]:
        """None."""
        return ()

    def predicted(self, variables: VariableSet) -> VariableSet:
        """The targets' variables and levels.

        Raises:
            ValueError: if one is not among the variables.
        """
        known = variables.channels()
        for target in self.targets:
            if (target.variable, target.level_hpa) not in known:
                raise ValueError(f"task {self.name}: expected the target {target.label} among the variables")
        return self.window.ensemble.variables if self.window.ensemble else variables

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

        ensemble = self.window.ensemble
        assert ensemble is not None
        variables = ensemble.variables
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
