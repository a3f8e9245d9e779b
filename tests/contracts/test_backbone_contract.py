"""What every backbone of the union promises, in its smallest form."""

from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from tests.backbones.small_aurora import small_spec
from weatherpeft.backbones import AnyBackbone
from weatherpeft.fields.grid import Grid
from weatherpeft.fields.variables import FieldSet, VariableSet
from weatherpeft.interfaces import Backbone, BackboneSpec
from weatherpeft.samples.batch import Batch, Fields
from weatherpeft.spec import Spec
from weatherpeft.tasks.forecasting import Forecasting

_UNION = get_args(AnyBackbone)[0]
KINDS: list[type[Spec]] = list(get_args(_UNION)) or [_UNION]
SMALL: dict[str, Spec] = {"aurora": small_spec()}
"""A size for tests of every backbone; a new one needs a line here."""
GRID = Grid(resolution_deg=11.25)
TASK = Forecasting(name="forecasting", grid=GRID, lead_time_hours=6)
FIELDS = FieldSet(
    measured=VariableSet(
        surface=("2m_temperature", "10m_u_component_of_wind"),
        atmospheric=("temperature",),
        levels_hpa=(500, 700, 850),
    ),
    placeholders={"mean_sea_level_pressure": 101325.0, "land_sea_mask": 0.0},
)
SIZE = 2


def name_of(kind: type[Spec]) -> str:
    return str(get_args(kind.model_fields["name"].annotation)[0])


@pytest.fixture(params=KINDS, ids=name_of)
def spec(request: pytest.FixtureRequest) -> Any:
    return SMALL[name_of(request.param)]


@pytest.fixture
def model(spec: Any) -> Any:
    return spec.build(FIELDS, TASK, 0)


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return 280 + 10 * torch.randn(SIZE, *shape, *GRID.shape, generator=generator)

    variables = FIELDS.all
    return Batch(
        inputs=Fields(
            {name: noise(2) for name in variables.surface},
            {name: noise(2, 3) for name in variables.atmospheric},
        ),
        static={name: torch.zeros(GRID.shape) for name in variables.static},
        target=Fields({}, {}),
        times=(datetime(2001, 1, 1), datetime(2001, 7, 1, 18)),
        latitude=torch.tensor(GRID.latitude, dtype=torch.float32),
        longitude=torch.tensor(GRID.longitude, dtype=torch.float32),
        levels_hpa=variables.levels_hpa,
    )


def test_it_offers_the_whole_socket(spec: Any, model: Any) -> None:
    for socket, offered in ((BackboneSpec, spec), (Backbone, model)):
        assert [name for name in vars(socket) if name[0] != "_" and not hasattr(offered, name)] == []


def test_a_prediction_has_every_field_of_one_time(spec: Any, model: Any, batch: Batch) -> None:
    spec.check(GRID, FIELDS)
    with torch.no_grad():
        found = model.eval()(batch)
    assert list(found.surface) == list(FIELDS.all.surface)
    assert list(found.atmospheric) == list(FIELDS.all.atmospheric)
    assert all(field.shape == (SIZE, *GRID.shape) for field in found.surface.values())
    assert all(field.shape == (SIZE, 3, *GRID.shape) for field in found.atmospheric.values())
    assert torch.isfinite(found.channels()).all() and found.channels().dtype == torch.float32


def test_the_model_can_run_on_the_nearest_grids(spec: Any) -> None:
    region = {"north": 61.0, "south": -33.5, "west": -101.0, "east": 37.0}
    for poles in (False, True):
        grid = Grid.parse({"resolution_deg": 1.5, "poles": poles, "region": region})
        inner, outer = spec.nearest(grid)
        for near in (inner, outer):
            spec.check(near, FIELDS)
        assert set(inner.latitude) <= set(grid.latitude) <= set(outer.latitude)
        assert set(inner.longitude % 360) <= set(grid.longitude % 360) <= set(outer.longitude % 360)


def test_samples_of_a_batch_do_not_see_each_other(model: Any, batch: Batch) -> None:
    def sample(index: int) -> Batch:
        rows = slice(index, index + 1)
        surface = {name: field[rows] for name, field in batch.inputs.surface.items()}
        upper = {name: field[rows] for name, field in batch.inputs.atmospheric.items()}
        coordinates = batch.latitude, batch.longitude, batch.levels_hpa
        return Batch(Fields(surface, upper), batch.static, batch.target, batch.times[rows], *coordinates)

    with torch.no_grad():
        together = model.eval()(batch).channels()
        alone = torch.cat([model(sample(index)).channels() for index in range(SIZE)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-3)
    assert not torch.allclose(together[0], together[1])


def test_encoder_backbone_and_decoder_are_the_whole(model: Any) -> None:
    parts = (model.encoder, model.backbone, model.decoder)
    inside = [id(parameter) for part in parts for parameter in part.parameters()]
    assert len(inside) == len(set(inside)), "parts share a parameter"
    assert set(inside) == {id(parameter) for parameter in model.parameters()}
    assert all(list(part.parameters()) for part in parts)


def test_backbone_parameters_are_the_backbones_by_its_names(model: Any) -> None:
    found, expected = model.backbone_parameters(), dict(model.backbone.named_parameters())
    assert found.keys() == expected.keys()
    assert all(found[name] is parameter for name, parameter in expected.items())
    assert any(name.endswith(".bias") for name in found)
    assert any(parameter.ndim == 2 for parameter in found.values())


def test_names_stay_as_before_any_method_was_attached(model: Any) -> None:
    before = dict(model.backbone_parameters())
    path, attention = next(iter(model.attention_modules().items()))
    attention.extra = nn.Linear(2, 2)
    assert list(model.backbone_parameters()) == list(before)
    assert any(name.startswith(f"{path}.extra") for name, _ in model.backbone.named_parameters())


def test_every_attention_is_found_in_the_order_of_the_forward_pass(model: Any, batch: Batch) -> None:
    modules = model.attention_modules()
    assert modules and len({id(module) for module in modules.values()}) == len(modules)
    ran: list[str] = []
    for path, module in modules.items():
        assert model.backbone.get_submodule(path) is module
        module.register_forward_hook(lambda *_, path=path: ran.append(path))
    with torch.no_grad():
        model(batch)
    assert ran == list(modules)


def test_embedding_weights_are_of_every_variable_and_carry_gradients(model: Any) -> None:
    found = model.embedding_weights()
    variables = FIELDS.all
    count = len(variables.surface) + len(variables.static) + len(variables.atmospheric)
    assert found.ndim == 3 and found.shape[1] == count
    assert found.shape[2] % 2 == 0, "history times patch"
    found.square().sum().backward()
    reached = [parameter for parameter in model.encoder.parameters() if parameter.grad is not None]
    assert sum(parameter.grad.numel() for parameter in reached) == found.numel()
    assert all(torch.equal(parameter.grad, 2 * parameter) for parameter in reached)


def test_heads_make_the_fields(model: Any, batch: Batch) -> None:
    """All of them, and nothing else: with their parameters at zero, every variable is one number a level."""
    heads = model.heads()
    variables = FIELDS.all
    assert len(heads) == len(variables.surface) + len(variables.atmospheric)
    for path, head in heads.items():
        assert isinstance(head, nn.Linear) and model.decoder.get_submodule(path) is head
        assert head.weight.std().item() == pytest.approx(model.head_deviation, rel=0.2)
        with torch.no_grad():
            head.weight.zero_()
            head.bias.zero_()
    with torch.no_grad():
        fields = model.eval()(batch).channels()
    assert torch.equal(fields, fields[:1, :, :1, :1].expand_as(fields))


def test_gradients_reach_every_part(model: Any, batch: Batch) -> None:
    model(batch).channels().square().mean().backward()
    for part in (model.encoder, model.backbone, model.decoder):
        assert any(p.grad is not None and p.grad.any() for p in part.parameters())


def test_a_residual_model_has_the_same_weights_and_another_prediction(
    spec: Any, model: Any, batch: Batch
) -> None:
    residual = spec.build(FIELDS, TASK.model_copy(update={"residual": True}), 0)
    weights = model.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in residual.state_dict().items())
    with torch.no_grad():
        assert not torch.allclose(residual(batch).channels(), model(batch).channels())


def test_what_is_saved_is_loaded(spec: Any, model: Any, tmp_path: Path) -> None:
    other = spec.build(FIELDS, TASK, 1)
    weights = model.state_dict()
    assert any(not torch.equal(weights[name], value) for name, value in other.state_dict().items())
    model.save(tmp_path / "pretrained.ckpt")
    other.load(tmp_path / "pretrained.ckpt")
    assert all(torch.equal(weights[name], value) for name, value in other.state_dict().items())
