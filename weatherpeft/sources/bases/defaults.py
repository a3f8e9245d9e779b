"""The base of every source: what holds unless a source says otherwise."""

from __future__ import annotations

from pydantic import Field

from weatherpeft.fields.plausible import Decision
from weatherpeft.interfaces import DataRequest
from weatherpeft.spec import Spec


class SourceDefaults(Spec):
    """A source of real data that makes no forecasts."""

    name: str
    """Selects this source."""
    plausible: Decision = Field(default="stop", exclude_if=lambda decision: decision == "stop")
    """Whether the job stops at a field with values that its variable cannot have on Earth, or warns of it and
    takes it. NaN and infinite values stop it anyway."""

    @property
    def makes_forecasts(self) -> bool:
        """Whether the source makes ensemble forecasts beside its analyses."""
        return False

    def check(self, request: DataRequest) -> None:
        """Accept everything: what is not there, the data will tell (see ``interfaces.Source``)."""

    @property
    def synthetic(self) -> bool:
        """No, unless a subclass simulates its data."""
        return False
