"""Specs of how a task has its forecasts scored; ``scores`` computes the scores."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field

from weatherpeft.fields.grid import Grid, Region
from weatherpeft.fields.variables import Definition, VariableSet
from weatherpeft.samples.ensemble import Ensemble
from weatherpeft.spec import Offset, Positive, Spec


class FieldScoring(Spec):
    """Scores of predicted fields, one by one.

    They are latitude-weighted RMSE and bias. Variables with a climatology also have ACC, and sums of
    precipitation among them SEEPS.
    """

    kind: Literal["fields"] = "fields"
    """Selects this scoring."""
    variables: VariableSet
    """Fields that are scored."""
    grid: Grid
    """Grid of forecasts and targets."""
    lead_hours: tuple[Offset, ...] = (0,)
    """Lead times in hours that are scored."""
    climatology: tuple[str, ...] = ()
    """Variables that are also compared with their climatology."""
    dry_thresholds: dict[str, Positive] = Field(default={}, exclude_if=lambda dry: not dry)
    """Values, by name of a sum among them, from which on a time is not dry. Those of total precipitation are
    known, and other sums have no SEEPS without one."""
    regions: dict[str, Region] = Field(default={}, exclude_if=lambda regions: not regions)
    """Parts of the grid that are scored in addition to the whole, by name."""

    @property
    def define(self) -> dict[str, Definition]:
        """Definitions of the variables that the table lacks."""
        return self.variables.define

    def fields(self) -> list[tuple[str, int | None]]:
        """Variable and level of every scored field, in the order of the scores' channels."""
        return self.variables.channels()


class EnsembleScoring(Spec):
    """Scores of distributions and of ensembles for the targets of an ensemble."""

    kind: Literal["ensemble"] = "ensemble"
    """Selects this scoring."""
    ensemble: Ensemble
    """Ensemble whose targets are scored."""
    grid: Grid
    """Grid of forecasts and analyses."""
    lead_hours: Annotated[tuple[Offset, ...], Field(min_length=1, max_length=1)]
    """Lead time of the forecasts in hours."""

    @property
    def define(self) -> dict[str, Definition]:
        """Definitions of the variables that the table lacks."""
        return self.ensemble.variables.define

    def fields(self) -> list[tuple[str, int | None]]:
        """Variable and level of every target, in the order of the scores' channels."""
        return [(target.variable, target.level_hpa) for target in self.ensemble.targets]


AnyScoring = Annotated[FieldScoring | EnsembleScoring, Discriminator("kind")]
