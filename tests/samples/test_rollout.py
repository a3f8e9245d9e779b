"""Rollouts against plain loops: upstream's own, and what is fed back."""

from dataclasses import replace
from datetime import datetime, timedelta

import aurora as upstream
import numpy as np
import pytest
import torch
from torch import Tensor

from tests.backbones.small_aurora import FIELDS, activate, build, small_batch
from weatherpeft.fields.definition import Definition
from weatherpeft.fields.variables import FieldSet, VariableSet
from weatherpeft.samples.batch import Batch, Fields
from weatherpeft.samples.rollout import Feedback, current_rollout, in_rollout

SHORT = {
    "2m_temperature": "2t",
    "10m_u_component_of_wind": "10u",
    "temperature": "t",
    "geopotential": "z",
    "land_sea_mask": "lsm",
}


def first_batch(size: int = 2) -> Batch:
    """A small batch whose samples are told the model's own lead time."""
    return replace(small_batch(size), lead_hours=(6,) * size)


def upstream_batch(batch: Batch) -> upstream.Batch:
    def short(fields: dict[str, Tensor]) -> dict[str, Tensor]:
        return {SHORT[name]: field for name, field in fields.items()}

    return upstream.Batch(
        surf_vars=short(batch.inputs.surface),
        atmos_vars=short(batch.inputs.atmospheric),
        static_vars=short(batch.static),
        metadata=upstream.Metadata(
            lat=batch.latitude, lon=batch.longitude, time=batch.times, atmos_levels=batch.levels_hpa
        ),
    )


@pytest.mark.parametrize("residual", [False, True])
def test_it_is_upstreams_rollout_bit_for_bit(residual: bool) -> None:
    model, batch = activate(build(residual=residual)).eval(), first_batch()
    feedback = Feedback(FIELDS)
    with torch.no_grad():
        expected = list(upstream.rollout(model.model, upstream_batch(batch), steps=3))
        for number, other in enumerate(expected, 1):
            forecast = model(batch)
            for name, field in forecast.surface.items():
                assert torch.equal(field, other.surf_vars[SHORT[name]][:, 0]), (number, name)
            for name, field in forecast.atmospheric.items():
                assert torch.equal(field, other.atmos_vars[SHORT[name]][:, 0]), (number, name)
            batch = feedback(batch, forecast)
            assert (
                batch.times
                == other.metadata.time
                == (datetime(2020, 1, 1) + timedelta(hours=6 * number),) * 2
            )


class TestFeedback:
    FIELDS = FieldSet(
        measured=VariableSet(
            surface=("rain", "total_precipitation_6hr"),
            accumulated=("total_precipitation",),
            define={
                "rain": Definition.parse(
                    {
                        "kind": "surface",
                        "units": "m",
                        "minimum": 0.001,
                        "transformation": {"name": "log1p", "scale": 0.001},
                    }
                )
            },
        ),
        placeholders={"2m_temperature": 280.0, "temperature": 250.0, "land_sea_mask": 0.0},
    )

    def fed(self, forecast: float) -> tuple[Batch, Batch]:
        def frames(value: float, *shape: int) -> Tensor:
            return torch.full((1, *shape, 2, 3), value)

        batch = replace(
            first_batch(1),
            inputs=Fields(
                {
                    "rain": torch.stack([frames(1.0), frames(2.0)], 1),
                    "total_precipitation_6hr": frames(0.5, 2),
                    "2m_temperature": frames(280.0, 2),
                },
                {"temperature": frames(250.0, 2, 1)},
            ),
            lead_hours=(12,),
        )
        made = Fields(
            {
                "rain": frames(forecast),
                "total_precipitation_6hr": frames(forecast),
                "2m_temperature": frames(99.0),
            },
            {"temperature": frames(99.0, 1)},
        )
        return batch, Feedback(self.FIELDS)(batch, made)

    def test_the_last_frame_and_the_forecast_are_the_next_input(self) -> None:
        before, after = self.fed(3.0)
        assert after.inputs.surface["rain"][0, :, 0, 0].tolist() == [2.0, 3.0]
        assert after.times == (before.times[0] + timedelta(hours=12),)
        assert after.target is before.target and after.lead_hours == (12,)

    def test_placeholders_stay(self) -> None:
        _, after = self.fed(3.0)
        assert (after.inputs.surface["2m_temperature"] == 280).all()
        assert (after.inputs.atmospheric["temperature"] == 250).all()

    def test_what_is_below_a_minimum_is_fed_back_as_the_minimum(self) -> None:
        _, after = self.fed(-1.0)
        assert (after.inputs.surface["total_precipitation_6hr"][:, -1] == 0).all()
        least = self.FIELDS.measured.transformed({"rain": np.array(0.001, np.float32)})["rain"]
        assert (after.inputs.surface["rain"][:, -1] == float(least)).all() and float(least) == pytest.approx(
            np.log(2)
        )


def test_calls_know_their_rollout() -> None:
    assert current_rollout() is None
    with in_rollout("outer"):
        with in_rollout("inner"):
            assert current_rollout() == "inner"
        assert current_rollout() == "outer"
    assert current_rollout() is None
