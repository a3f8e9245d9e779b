"""How forecasts are scored: what a task asks of the evaluate stage; see ``scores`` for how it is done."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field

from weatherpeft.fields.grid import Grid, Region
from weatherpeft.fields.variables import VariableSet
from weatherpeft.samples.ensemble import Ensemble
from weatherpeft.spec import Spec


class FieldScoring(Spec):
    """Scores of predicted fields, one by one.

    They are latitude-weighted RMSE and bias, against a climatology ACC, and of sums of precipitation SEEPS.
    """

    kind: Literal["fields"] = "fields"
    variables: VariableSet
    """What is scored."""
    grid: Grid
    lead_hours: tuple[int, ...] = (0,)
    """Lead times that are scored."""
    climatology: tuple[str, ...] = ()
    """Variables that are compared with their climatology too."""
    regions: dict[str, Region] = Field(default={}, exclude_if=lambda regions: not regions)
    """Parts of the grid that are scored beside the whole."""

    def fields(self) -> list[tuple[str, int | None]]:
        """Variable and level of every scored field, in the order of the scores' channels."""
        return self.variables.channels()


class EnsembleScoring(Spec):
    """Scores of distributions and of ensembles, of the targets of an ensemble."""

    kind: Literal["ensemble"] = "ensemble"
    ensemble: Ensemble
    grid: Grid
    lead_hours: Annotated[tuple[int, ...], Field(min_length=1, max_length=1)]
    """The forecasts' lead time."""

    def fields(self) -> list[tuple[str, int | None]]:
        """Variable and level of every target, in the order of the scores' channels."""
        return [(target.variable, target.level_hpa) for target in self.ensemble.targets]


AnyScoring = Annotated[FieldScoring | EnsembleScoring, Discriminator("kind")]
