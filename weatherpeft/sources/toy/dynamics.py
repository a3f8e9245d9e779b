"""The large-scale flow: a three-layer quasi-geostrophic atmosphere on the sphere.

The structure follows Marshall and Molteni (1993, J. Atmos. Sci. 50, 1792-1818), with layers at 200,
500 and 800 hPa. Lengths are in earth radii and times in 1/Ω, so that a streamfunction is in a²Ω.
"""

import numpy as np

from weatherpeft.sources.toy.physics import TRUE, Physics
from weatherpeft.sources.toy.planet import make_planet
from weatherpeft.sources.toy.spectral import Array, GaussianTransform

EARTH_RADIUS = 6.371e6
"""In meters."""
ROTATION_RATE = 7.292e-5
"""In radians per second."""
WIND_UNIT = EARTH_RADIUS * ROTATION_RATE
"""One earth radius times Ω, in meters per second."""
WIND_LIMIT = 130.0
"""In meters per second. A faster wind means that the time step was unstable."""
TIME_STEP_SECONDS = {21: 1800, 31: 1200, 42: 900, 63: 600}
"""Time step for each truncation, a divisor of an hour. It is stable for winds up to 120 m/s."""

_HYPERDIFFUSION_DAYS = {21: 2.0, 31: 1.0, 42: 0.5, 63: 0.2}
_DEFORMATION_RADII = (700e3, 450e3)
_RELAXATION_DAYS = 15.0
_DRAG_DAYS = 2.5
_SHEAR = (22.0, 18.0)
_HEIGHT_SCALE = 9000.0
_DAY = 86400 * ROTATION_RATE


class QuasiGeostrophicModel:
    """Potential vorticity of three layers, advected, relaxed and damped.

    With thicknesses ``τ₁ = ψ₁ - ψ₂`` and ``τ₂ = ψ₂ - ψ₃`` the potential vorticities are
    ``q₁ = ∇²ψ₁ - τ₁/R₁² + f``, ``q₂ = ∇²ψ₂ + τ₁/R₁² - τ₂/R₂² + f`` and
    ``q₃ = ∇²ψ₃ + τ₂/R₂² + f·(1 + h/9 km)``. Each follows ``∂q/∂t = -J(ψ, q)`` plus a relaxation of the
    thicknesses towards two jets, Ekman drag on the lowest layer and ∇⁸ diffusion.

    Attributes:
        transform: Gaussian transform of the truncation.
        time_step_seconds: seconds of one ``step``.
    """

    def __init__(self, truncation: int, seed: int, physics: Physics = TRUE) -> None:
        """Build the model.

        Args:
            truncation: 21, 31, 42 or 63.
            seed: seed of the planet, whose orography and coasts shape the flow.
            physics: physics of the planet or of a forecast model.
        """
        self._physics = physics
        transform = self.transform = GaussianTransform(truncation)
        self.truncation = truncation
        self.time_step_seconds = TIME_STEP_SECONDS[truncation]
        self._time_step = self.time_step_seconds * ROTATION_RATE
        degree = np.arange(truncation + 1)
        stretching = [(EARTH_RADIUS / radius) ** 2 for radius in _DEFORMATION_RADII]
        self._stretching = np.array(stretching, np.float32)
        coupling = np.array(
            [
                [-stretching[0], stretching[0], 0],
                [stretching[0], -stretching[0] - stretching[1], stretching[1]],
                [0, stretching[1], -stretching[1]],
            ]
        )
        operator = coupling + (-degree * (degree + 1.0))[:, None, None] * np.eye(3)
        inverse = np.zeros_like(operator)
        inverse[1:] = np.linalg.inv(operator[1:])
        self._operator, self._inverse = (
            np.ascontiguousarray(matrices.transpose(1, 2, 0)[:, :, None], np.float32)
            for matrices in (operator, inverse)
        )

        rate = (degree * (degree + 1) / (truncation * (truncation + 1))) ** 4
        decay = rate * self._time_step / (_HYPERDIFFUSION_DAYS[truncation] * _DAY)
        self._diffusion = np.exp(-decay).astype(np.float32)

        height, self._land = self._smooth_surface(seed)
        drag = (1 + self._land + 1.5 * (1 - np.exp(-height / 1000))) / (_DRAG_DAYS * _DAY)
        self._drag = (physics.drag * drag).astype(np.float32)
        coriolis = np.broadcast_to(2 * transform.sine_of_latitude[:, None], height.shape)
        lowest = coriolis * (1 + physics.orography * height / _HEIGHT_SCALE)
        self._background = transform.analyze(np.stack([coriolis, coriolis, lowest]))
        self._cosine_squared = (1 - transform.sine_of_latitude**2)[:, None].astype(np.float32)
        self._equilibria: dict[int, Array] = {}
        self._tendencies: list[Array] = []

    def potential_vorticity(self, streamfunction: Array) -> Array:
        """The potential vorticity of a streamfunction, both dimensionless, ``(layer, order, degree)``."""
        return (self._operator * streamfunction).sum(1) + self._background

    def streamfunction(self, potential_vorticity: Array) -> Array:
        """The streamfunction of potential vorticity, with zero mean; both ``(layer, order, degree)``."""
        return (self._inverse * (potential_vorticity - self._background)).sum(1)

    def initial_state(self, day_of_year: int, generator: np.random.Generator) -> Array:
        """Potential vorticity near equilibrium, with random waves of a few thousand kilometers."""
        equilibrium = self.equilibrium(day_of_year)
        streamfunction = np.zeros((3, *equilibrium.shape[1:]), np.complex64)
        streamfunction[0] = 0.8 * equilibrium.sum(0)
        streamfunction[1] = 0.8 * equilibrium[1]
        degree = np.arange(self.truncation + 1)
        waves = (degree[None, :] >= degree[:, None]) & (degree[:, None] > 0)
        amplitude = 2e-4 * np.exp(-(((degree - 8) / 4) ** 2)) * waves
        draws = generator.standard_normal((2, *streamfunction.shape))
        streamfunction += (amplitude * (draws[0] + 1j * draws[1])).astype(np.complex64)
        return self.potential_vorticity(streamfunction)

    def equilibrium(self, day_of_year: int) -> Array:
        """Thicknesses ``ψ₁ - ψ₂`` and ``ψ₂ - ψ₃`` towards which radiation relaxes the flow.

        They have jets at 37 degrees, stronger and nearer to the equator in winter, and a wave of land and
        sea.

        Returns:
            Dimensionless thicknesses, ``(2, order, degree)``.
        """
        if day_of_year not in self._equilibria:
            latitude = np.arcsin(self.transform.sine_of_latitude)
            winter = np.cos(2 * np.pi * (day_of_year - 15) / 365)
            axis = np.deg2rad(37 + self._physics.jet_shift_deg) - np.deg2rad(4) * winter * np.sign(latitude)
            contrast = self._land - self._land.mean(1, keepdims=True)
            season = -winter * np.sin(2 * latitude) ** 2 * np.abs(np.tanh(latitude / 0.25))
            fields = []
            for shear, wave in zip(_SHEAR, (0.0012, 0.0022), strict=True):
                wind = (
                    self._physics.shear
                    * shear
                    * (1 + 0.22 * winter * np.tanh(latitude / 0.25))
                    * np.sqrt(np.cos(latitude))
                )
                wind *= np.exp(-(((np.abs(latitude) - axis) / np.deg2rad(19)) ** 2))
                slope = -wind / WIND_UNIT
                steps = 0.5 * (slope[1:] + slope[:-1]) * np.diff(latitude)
                zonal = np.concatenate([[0.0], np.cumsum(steps)])
                fields.append(zonal[:, None] + wave * season[:, None] * contrast)
            coefficients = self.transform.analyze(np.stack(fields))
            coefficients *= np.exp(-((np.arange(self.truncation + 1) / 20) ** 4)).astype(np.float32)
            coefficients[:, 0, 0] = 0
            self._equilibria[day_of_year] = coefficients
        return self._equilibria[day_of_year]

    @property
    def relaxation_rate(self) -> float:
        """Rate of the thicknesses' relaxation, in Ω."""
        return 1 / (_RELAXATION_DAYS * _DAY)

    def tendency(self, potential_vorticity: Array, day_of_year: int) -> Array:
        """Rate of change of potential vorticity without diffusion, in Ω², ``(layer, order, degree)``."""
        transform = self.transform
        streamfunction = self.streamfunction(potential_vorticity)
        both = np.concatenate([streamfunction, potential_vorticity])
        vorticity = streamfunction[2:] * transform.laplacian
        eastward = transform.grid(np.concatenate([both * transform.zonal, vorticity]))
        northward = transform.meridional_slope(both)
        rate = northward[:3] * eastward[3:6] - eastward[:3] * northward[3:6]
        rate /= self._cosine_squared
        rate[2] -= self._drag * eastward[6]
        result = transform.analyze(rate)
        thickness = streamfunction[:2] - streamfunction[1:]
        excess = (thickness - self.equilibrium(day_of_year)) * np.float32(self.relaxation_rate)
        upper, lower = excess[0] * self._stretching[0], excess[1] * self._stretching[1]
        result[0] += upper
        result[1] += lower - upper
        result[2] -= lower
        result[..., 0] = 0
        return result

    def restart(self) -> None:
        """Forget earlier tendencies, so that the next step can start from a new state."""
        self._tendencies = []

    def step(self, potential_vorticity: Array, day_of_year: int) -> Array:
        """One third-order Adams-Bashforth step, with exact diffusion."""
        latest = self.tendency(potential_vorticity, day_of_year)
        earlier = self._tendencies
        if not earlier:
            increment = latest
        elif len(earlier) == 1:
            increment = 1.5 * latest - 0.5 * earlier[0]
        else:
            increment = (23 * latest - 16 * earlier[0] + 5 * earlier[1]) / 12
        self._tendencies = [tendency * self._diffusion for tendency in [latest, *earlier[:1]]]
        advanced = potential_vorticity - self._background + np.float32(self._time_step) * increment
        return advanced * self._diffusion + self._background

    def advance(self, potential_vorticity: Array, day_of_year: int, hours: int) -> Array:
        """Integrate over whole hours of one day."""
        for _ in range(hours * 3600 // self.time_step_seconds):
            potential_vorticity = self.step(potential_vorticity, day_of_year)
        return potential_vorticity

    def wind(self, streamfunction: Array) -> tuple[Array, Array]:
        """Zonal and meridional wind on the Gaussian grid in m/s, ``(layer, latitude, longitude)``."""
        cosine = np.sqrt(self._cosine_squared)
        zonal = -self.transform.meridional_slope(streamfunction) * WIND_UNIT / cosine
        return zonal, self.transform.zonal_slope(streamfunction) * WIND_UNIT / cosine

    def check(self, potential_vorticity: Array, moment: str) -> None:
        """Raise if the state is not finite or a wind is too fast.

        Raises:
            FloatingPointError: the message names ``moment`` and the fastest wind.
        """
        fastest = max(np.abs(part).max() for part in self.wind(self.streamfunction(potential_vorticity)))
        if not fastest < WIND_LIMIT:
            raise FloatingPointError(
                f"toy planet, T{self.truncation}, {moment}: expected winds below {WIND_LIMIT:g} m/s, "
                f"found {fastest:g} m/s"
            )

    def _smooth_surface(self, seed: int) -> tuple[Array, Array]:
        """Height in meters and land fraction on the Gaussian grid, without the shortest waves."""
        transform = self.transform
        planet = make_planet(transform.latitudes_deg, transform.longitudes_deg, seed)
        degree = np.arange(self.truncation + 1)
        keep = np.exp(-((degree / (0.6 * self.truncation)) ** 4)).astype(np.float32)
        fields = transform.analyze(np.stack([planet.height, planet.land_sea_mask])) * keep
        height, land = transform.grid(fields)
        return np.clip(height, 0, None), np.clip(land, 0, 1)


def linear_balance(streamfunction: Array, epsilon: Array) -> Array:
    """Geopotential from ``∇²Φ = ∇·(f∇ψ)`` on the sphere.

    Args:
        streamfunction: streamfunction in a²Ω, ``(order, degree)``.
        epsilon: ``spectral.coupling`` of its truncation.

    Returns:
        Geopotential in m²/s², ``(order, degree)``.
    """
    count = streamfunction.shape[-1]
    degree = np.arange(count)
    geopotential = np.zeros_like(streamfunction)
    upper = degree[1:]
    geopotential[:, 1:] += 2 * (upper - 1) / upper * epsilon[:, 1:count] * streamfunction[:, :-1]
    inner = degree[1:-1]
    geopotential[:, 1:-1] += 2 * (inner + 2) / (inner + 1) * epsilon[:, 2:count] * streamfunction[:, 2:]
    return geopotential * np.float32(WIND_UNIT**2)
