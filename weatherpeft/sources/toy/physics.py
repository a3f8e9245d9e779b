"""What may differ between the planet and a forecast model of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Physics:
    """Strengths of processes, as factors and shifts of the planet's own, which the defaults are.

    Attributes:
        drag: factor of the surface drag.
        shear: factor of the jets that radiation pulls towards.
        jet_shift_deg: of these jets, poleward.
        orography: factor of the height that the flow feels.
        daily_cycle: factor of the 2 m temperature's daily cycle over land.
        inversion: factor of the winter inversions over land.
        land_warmth: added to the 2 m temperature over land, kelvin.
    """

    drag: float = 1.0
    shear: float = 1.0
    jet_shift_deg: float = 0.0
    orography: float = 1.0
    daily_cycle: float = 1.0
    inversion: float = 1.0
    land_warmth: float = 0.0


TRUE = Physics()
"""The planet's own."""
