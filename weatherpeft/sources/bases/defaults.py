"""The base of every source: what holds unless a source says otherwise."""

from __future__ import annotations

from weatherpeft.spec import Spec


class SourceDefaults(Spec):
    """A source of real data that makes no forecasts."""

    name: str
    """Selects this source."""

    @property
    def makes_forecasts(self) -> bool:
        """Whether the source makes ensemble forecasts beside its analyses."""
        return False

    @property
    def synthetic(self) -> bool:
        """No, unless a subclass simulates its data."""
        return False
