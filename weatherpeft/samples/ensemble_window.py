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
    """The frames of a sample of forecasts: it starts at the sample's time and is valid at the target's."""

    ensemble: Ensemble
    """The forecast as the input, and what is predicted of its valid time."""

    def frames(
        self, fields: FieldSet, data: Sequence[Path], split: Split, forecasts: Sequence[Path] = ()
    ) -> "EnsembleFrames":
        """See ``Window.frames``."""
        from weatherpeft.samples.ensemble_frames import EnsembleFrames

        return EnsembleFrames(self, fields, data, split, forecasts)


AnyWindow = EnsembleWindow | Window
