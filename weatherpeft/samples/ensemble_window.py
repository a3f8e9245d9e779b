"""Samples of ensemble forecasts, with the analyses of their valid times as targets."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from weatherpeft.fields.variables import FieldSet
from weatherpeft.samples.ensemble import Ensemble
from weatherpeft.samples.splits import Split
from weatherpeft.samples.window import Window

if TYPE_CHECKING:
    from weatherpeft.samples.ensemble_frames import EnsembleFrames


class EnsembleWindow(Window):
    """The frames of a sample of forecasts, which start at its time and are valid at the target's time."""

    ensemble: Ensemble
    """Forecast as the input, and targets at its valid time."""

    def frames(
        self, fields: FieldSet, data: Sequence[Path], split: Split, forecasts: Sequence[Path] = ()
    ) -> "EnsembleFrames":
        """See ``Window.frames``."""
        from weatherpeft.samples.ensemble_frames import EnsembleFrames

        return EnsembleFrames(self, fields, data, split, forecasts)


AnyWindow = EnsembleWindow | Window
