"""The atmosphere on the output grid: temperature and moisture at 850 hPa, and rain.

The flow comes from ``dynamics``. Here the wind carries two tracers, the surface warms and moistens the air,
and rain takes the moisture out.
"""

from datetime import datetime, timedelta

import numpy as np

from weatherpeft.sources.toy.dynamics import (
    ROTATION_RATE,
    WIND_UNIT,
    QuasiGeostrophicModel,
    linear_balance,
)
from weatherpeft.sources.toy.grid import Grid
from weatherpeft.sources.toy.physics import TRUE, Physics
from weatherpeft.sources.toy.planet import Planet, make_planet, noise, noise_synthesis
from weatherpeft.sources.toy.seasons import Day, land_warming, make_day, sun
from weatherpeft.sources.toy.spectral import Array, Synthesis, coupling
from weatherpeft.sources.toy.vertical import (
    GAS_CONSTANT,
    GRAVITY,
    layer_weights,
    reference_height,
    reference_temperature,
    saturation_humidity,
)

_STATIC_STABILITY = 5.0e-4
_LAYER_DEPTH = 0.47
_NOISE_HOURS = 5.0
_NOISE_SLOPE = -1.2
_DRIZZLE = 5e-6
_CONDENSATE_TO_METERS = 3.3


class Atmosphere:
    """State of the whole toy atmosphere.

    Attributes:
        grid: grid of the fields.
        planet: surface of the planet.
        physics: physics of the flow and of the surface.
        step_hours: hours of one ``advance``.
        now: valid time of the state, UTC.
        streamfunction: streamfunction in a²Ω, ``(layer, order, degree)``.
        temperature: temperature at 850 hPa in kelvin, ``(latitude, longitude)``.
        temperature_anomaly: departure of ``temperature`` from thermal wind balance.
        humidity: specific humidity at 850 hPa in kg/kg.
        relative_humidity: relative humidity at 850 hPa, 0…1.02.
        rise_east: eastward slope of the orography in meters per meter; ``rise_north`` is the northward one.
        coast_east: eastward slope of the land-sea mask per meter; ``coast_north`` is the northward one.
        land_slowing: share of the wind that remains at 10 m over rough land.
        vertical_motion: vertical motion in the lower troposphere during the last step, Pa/s.
    """

    def __init__(
        self,
        model: QuasiGeostrophicModel,
        resolution_deg: float,
        seed: int,
        physics: Physics = TRUE,
        step_hours: int = 1,
    ) -> None:
        """Make the grid and the planet; ``start`` sets the state.

        Args:
            model: model of the flow, which this object steps.
            resolution_deg: spacing of the grid, which has the poles.
            seed: seed of the planet.
            physics: physics of the model and of its surface.
            step_hours: time step of the tracers.
        """
        self.model = model
        self.physics = physics
        self.step_hours = step_hours
        self.grid = grid = Grid(resolution_deg)
        self.planet: Planet = make_planet(grid.latitudes_deg, grid.longitudes_deg, seed)
        self._synthesis = Synthesis(model.truncation, grid.latitudes_deg, len(grid.longitudes_deg))
        self._noise_synthesis = noise_synthesis(grid.latitudes_deg, len(grid.longitudes_deg))
        self._epsilon = coupling(model.truncation)
        self._coriolis = 2 * ROTATION_RATE * np.sin(grid.latitude)
        rise = grid.slopes(grid.smooth(self.planet.height, 0.7))
        self.rise_east, self.rise_north = (np.clip(slope, -0.012, 0.012) for slope in rise)
        self.coast_east, self.coast_north = grid.slopes(grid.smooth(self.planet.land_sea_mask, 0.8))
        height = self.planet.height
        variance = grid.smooth(height**2, 1.5) - grid.smooth(height, 1.5) ** 2
        self.land_slowing = 0.5 / (1 + np.sqrt(np.clip(variance, 0, None)) / 400)
        self._days: dict[int, Day] = {}

    def start(self, potential_vorticity: Array, now: datetime, generator: np.random.Generator) -> None:
        """Begin with a balanced flow and moderately moist air.

        Args:
            potential_vorticity: potential vorticity of the flow, ``(layer, order, degree)``. Call
                ``model.restart`` before where it is not the result of the model's last step.
            now: valid time, UTC.
            generator: random generator of the weather's noise.
        """
        self._generator = generator
        self.now = now
        self._potential_vorticity = potential_vorticity
        self.streamfunction = self.model.streamfunction(potential_vorticity)
        self.temperature = self.balanced_temperature(850)
        self.temperature_anomaly = np.zeros_like(self.temperature)
        self.humidity = 0.6 * saturation_humidity(self.temperature, 850)
        self._noise = self._draw_noise()

    @property
    def day(self) -> Day:
        """The fields that depend on the calendar, of the current day."""
        day_of_year = self.now.timetuple().tm_yday
        if day_of_year not in self._days:
            self._days = {day_of_year: make_day(self.grid, self.planet, day_of_year)}
        return self._days[day_of_year]

    def land_warming(self) -> Array:
        """Warming of land by the time of day, kelvin."""
        return land_warming(self.grid, self.planet, self.day, self.now.hour)

    def wind(self, pressure_hpa: float, streamfunction: Array | None = None) -> tuple[Array, Array]:
        """Zonal and meridional wind at a pressure, m/s, ``(latitude, longitude)``."""
        weights = layer_weights(pressure_hpa)[0].astype(np.float32)
        layers = self.streamfunction if streamfunction is None else streamfunction
        coefficients = np.tensordot(weights, layers, (0, 0))[None]
        zonal = -self._synthesis.meridional_slope(coefficients)[0] * WIND_UNIT / self.grid.cosine
        meridional = self._synthesis.zonal_slope(coefficients)[0] * WIND_UNIT / self.grid.cosine
        self.grid.close_wind_poles(zonal, meridional)
        return zonal, meridional

    def balanced_temperature(self, pressure_hpa: float) -> Array:
        """Temperature in thermal wind balance, kelvin, ``(latitude, longitude)``."""
        weights = layer_weights(pressure_hpa)[1].astype(np.float32)
        departure = self._balanced(weights) / GAS_CONSTANT
        return reference_temperature(pressure_hpa) - departure

    def balanced_height(self, pressure_hpa: float) -> Array:
        """Geopotential height in linear balance with the wind, meters, ``(latitude, longitude)``."""
        weights = layer_weights(pressure_hpa)[0].astype(np.float32)
        return reference_height(pressure_hpa) + self._balanced(weights) / GRAVITY

    def advance(self) -> Array:
        """Step by ``step_hours``, at most to the start of the next day.

        Returns:
            Precipitation of the step, meters, ``(latitude, longitude)``.
        """
        grid, planet, day, hours = self.grid, self.planet, self.day, self.step_hours
        before = self.streamfunction
        day_of_year = self.now.timetuple().tm_yday
        self._potential_vorticity = self.model.advance(self._potential_vorticity, day_of_year, hours)
        self.streamfunction = self.model.streamfunction(self._potential_vorticity)
        zonal, meridional = self.wind(850, 0.5 * (before + self.streamfunction))
        self.vertical_motion = self._flow_ascent(before, day_of_year) + day.overturning

        points = grid.departure_points(zonal, meridional, 3600.0 * hours)
        self.temperature = grid.interpolate(self.temperature, points)
        self.humidity = np.clip(grid.interpolate(self.humidity, points), 1e-6, None)

        balanced = self.balanced_temperature(850)
        land = planet.land_sea_mask > 0.5
        warmth = 4.5 * planet.land_sea_mask + 1.6e-3 * np.minimum(planet.height, 3000)
        surface = np.where(
            land,
            balanced - day.winter * warmth + 0.35 * self.land_warming(),
            0.5 * balanced + 0.5 * (day.sea_surface_temperature - 9.5),
        )
        pull = (balanced - self.temperature) / 20 + (surface - self.temperature) / 24
        self.temperature += hours * pull
        self.temperature_anomaly = self.temperature - balanced

        lift = -1.1 * 9.8 * 0.35 * (zonal * self.rise_east + meridional * self.rise_north)
        motion = self.vertical_motion + np.clip(lift, -0.8, 0.4)
        precipitation = self._moisten_and_rain(np.hypot(zonal, meridional), motion)
        self.now += timedelta(hours=hours)
        return precipitation

    def check(self) -> None:
        """Raise if the flow has left the plausible range (see ``QuasiGeostrophicModel.check``)."""
        self.model.check(self._potential_vorticity, f"{self.now:%Y-%m-%d %H} UTC")

    def _balanced(self, weights: Array) -> Array:
        combined = np.tensordot(weights, self.streamfunction, (0, 0))
        return self._synthesis.grid(linear_balance(combined, self._epsilon)[None])[0]

    def _flow_ascent(self, before: Array, day_of_year: int) -> Array:
        """Vertical motion that keeps the layer from 500 to 800 hPa in balance, Pa/s.

        By the thermodynamic equation it follows from the change of thickness beyond advection and
        relaxation.
        """
        model, after, synthesis = self.model, self.streamfunction, self._synthesis
        middle = 0.5 * (before + after)
        thickness = middle[1] - middle[2]
        change = ((after - before)[1] - (after - before)[2]) / (3600.0 * self.step_hours * ROTATION_RATE)
        heating = (thickness - model.equilibrium(day_of_year)[1]) * model.relaxation_rate
        waves = np.stack([middle[2], middle[1]])
        eastward = synthesis.grid(np.concatenate([waves * synthesis.zonal, (change + heating)[None]]))
        northward = synthesis.meridional_slope(waves)
        advection = eastward[0] * northward[1] - northward[0] * eastward[1]
        excess = eastward[2] + advection / self.grid.cosine**2
        scale = WIND_UNIT**2 * ROTATION_RATE / (GAS_CONSTANT * _LAYER_DEPTH * _STATIC_STABILITY)
        return self.grid.close_poles(np.clip(self._coriolis * excess * scale, -3, 3))

    def _moisten_and_rain(self, wind_speed: Array, motion: Array) -> Array:
        """Evaporation, uplift and rain of a step.

        Rain falls where the relative humidity exceeds a threshold. Rising air, the afternoon sun over land
        and noise with a memory of 5 hours lower the threshold.
        """
        grid, planet, day, hours = self.grid, self.planet, self.day, self.step_hours
        memory = np.exp(-hours / _NOISE_HOURS)
        self._noise = memory * self._noise + np.sqrt(1 - memory**2) * self._draw_noise()
        saturated = saturation_humidity(self.temperature, 850)
        tropics = np.exp(-((grid.latitude / 0.55) ** 2))
        near_sea = saturation_humidity(day.sea_surface_temperature - 7.5, 850)
        marine = (0.96 - 0.14 * tropics) * np.minimum(near_sea, 1.15 * saturated)
        sunshine = 0.4 + 2 * np.clip(sun(grid, day, self.now.hour), 0, None)
        evaporation = np.where(
            planet.land_sea_mask > 0.5,
            planet.wetness * np.clip(0.72 * saturated - self.humidity, 0, None) * sunshine / 35,
            np.clip(marine - self.humidity, -0.1 * saturated, None) * (0.3 + wind_speed / 8) / 26,
        )
        moist = self.humidity + hours * evaporation
        moist *= np.exp(np.clip(-motion * 3600.0 * hours / 15000, -0.3, 0.3))

        convection = 0.10 * planet.land_sea_mask * np.clip(sun(grid, day, self.now.hour - 3), 0, 1)
        noisiness = 0.04 + 0.03 * np.exp(-((grid.latitude / 0.42) ** 2))
        threshold = 0.92 - noisiness * self._noise - convection
        threshold += 0.05 * np.clip(motion / 0.2, 0, 1) - 0.20 * np.clip(-motion / 0.35, 0, 1)
        excess = np.clip(moist / saturated - threshold, 0, None)
        condensed = saturated * excess * (1 - np.exp(-hours * (0.25 + 6 * excess)))
        condensed = np.minimum(condensed, 0.5 * moist)
        self.humidity = np.minimum(moist - condensed, 1.02 * saturated)
        self.relative_humidity = self.humidity / saturated
        precipitation = condensed * _CONDENSATE_TO_METERS
        return np.where(precipitation < _DRIZZLE, 0, precipitation)

    def _draw_noise(self) -> Array:
        return noise(self._noise_synthesis, _NOISE_SLOPE, self._generator)
