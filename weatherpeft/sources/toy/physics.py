"""Physics that may differ between the planet and a forecast model of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Physics:
    """Strengths of processes relative to those of the planet, which the defaults give.

    Attributes:
        drag: factor of the surface drag.
        shear: factor of the jets towards which radiation relaxes the flow.
        jet_shift_deg: poleward shift of these jets in degrees.
        orography: factor of the surface height that acts on the flow.
        daily_cycle: factor of the daily cycle of 2 m temperature over land.
        inversion: factor of the winter inversions over land.
        land_warmth: offset of the 2 m temperature over land in kelvin.
    """

    drag: float = 1.0
    shear: float = 1.0
    jet_shift_deg: float = 0.0
    orography: float = 1.0
    daily_cycle: float = 1.0
    inversion: float = 1.0
    land_warmth: float = 0.0


TRUE = Physics()
"""Physics of the planet."""
