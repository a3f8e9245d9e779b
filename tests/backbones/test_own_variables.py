"""Variables of one's own in Aurora: where their embeddings start, and how they are normalized."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.backbones.small_aurora import activate, build, small_batch
from weatherpeft.fields.variables import FieldSet, VariableSet
from weatherpeft.samples.batch import Batch, Fields

DEFINE: dict[str, Any] = {
    "no2": {"kind": "surface", "units": "kg kg-1", "starts_from": "2m_temperature"},
    "cloud_water": {"kind": "atmospheric", "units": "kg kg-1", "starts_from": "geopotential"},
    "fog": {"kind": "surface", "units": "1"},
    "lake_depth": {"kind": "static", "units": "m"},
}
OWN = FieldSet(
    measured=VariableSet.parse(
        {
            "define": DEFINE,
            "surface": ["2m_temperature", "no2", "fog"],
            "atmospheric": ["temperature", "geopotential", "cloud_water"],
            "levels_hpa": [500, 850],
            "static": ["land_sea_mask", "lake_depth"],
        }
    )
)
EMBEDDINGS = "encoder.{}_token_embeds.weights.{}"


def batch(factor: float = 1.0, depth: float = 1.0) -> Batch:
    """The batch of other tests with variables of one's own, times a factor; lakes in other units."""
    common = small_batch()
    random = torch.Generator().manual_seed(0)
    surface, upper = common.inputs.surface["2m_temperature"], common.inputs.atmospheric["temperature"]
    own = {name: factor * torch.randn(surface.shape, generator=random) for name in ("no2", "fog")}
    cloud = {"cloud_water": factor * torch.randn(upper.shape, generator=random)}
    lakes = depth * torch.rand(surface.shape[-2:], generator=random)
    inputs = Fields(
        {name: field for name, field in common.inputs.surface.items() if name == "2m_temperature"} | own,
        {**common.inputs.atmospheric, **cloud},
    )
    static = {"land_sea_mask": common.static["land_sea_mask"], "lake_depth": lakes}
    return dataclasses.replace(common, inputs=inputs, static=static)


def statistics(factor: float = 1.0) -> tuple[Fields, Fields]:
    def of(value: float) -> Fields:
        names = ("2m_temperature", "no2", "fog")
        upper = ("temperature", "geopotential", "cloud_water")
        levels = torch.full((2, 1, 1), value)
        return Fields(dict.fromkeys(names, torch.tensor(value)), dict.fromkeys(upper, levels))

    return of(0.0), of(factor)


def test_an_embedding_starts_from_that_of_the_variable_that_its_definition_names(tmp_path: Path) -> None:
    build().save(tmp_path / "published.ckpt")
    model = build(OWN, seed=1)
    fog = model.model.state_dict()[EMBEDDINGS.format("surf", "own_fog")].clone()
    model.load(tmp_path / "published.ckpt")
    published, found = torch.load(tmp_path / "published.ckpt", weights_only=True), model.model.state_dict()
    for kind, name, start in (("surf", "own_no2", "2t"), ("atmos", "own_cloud_water", "z")):
        assert torch.equal(found[EMBEDDINGS.format(kind, name)], published[EMBEDDINGS.format(kind, start)])
    assert torch.equal(found[EMBEDDINGS.format("surf", "own_fog")], fog), "without starts_from"


@pytest.mark.parametrize("residual", [False, True])
def test_they_are_normalized_by_the_statistics_of_the_data(residual: bool) -> None:
    """Also where upstream has statistics of a variable with that name, such as no2."""
    predictions = []
    for factor in (1.0, 1000.0):
        model = activate(build(OWN, residual=residual)).eval()
        model.complete_statistics(*statistics(factor))
        with torch.no_grad():
            predictions.append(model(batch(factor)))
    one, other = predictions
    torch.testing.assert_close(other.surface["no2"], 1000 * one.surface["no2"], rtol=1e-4, atol=1e-2)
    upper = "cloud_water"
    torch.testing.assert_close(other.atmospheric[upper], 1000 * one.atmospheric[upper], rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(other.surface["2m_temperature"], one.surface["2m_temperature"])


def test_static_ones_have_no_units_in_the_model() -> None:
    model = activate(build(OWN)).eval()
    model.complete_statistics(*statistics())
    with torch.no_grad():
        found = [model(batch(depth=depth)).surface["no2"] for depth in (1.0, 1000.0)]
        flat = batch()
        constant = torch.full_like(flat.static["lake_depth"], 7.3)
        other = model(dataclasses.replace(flat, static={**flat.static, "lake_depth": constant})).surface[
            "no2"
        ]
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)
    assert torch.isfinite(other).all() and not torch.equal(other, found[0])


def test_without_statistics_it_is_named() -> None:
    with pytest.raises(ValueError, match="has no statistics of no2; give it those of the data"):
        build(OWN)(batch())
