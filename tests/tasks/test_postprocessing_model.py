"""Aurora for ensembles: close to the raw ensemble at first, related embeddings, the published counts."""

import functools
import unittest.mock
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from aurora.normalisation import locations, scales
from pydantic import TypeAdapter

from tests.backbones.small_aurora import CONTEXT, build, small_spec
from tests.tasks import forecast_data as small
from tests.tasks.forecast_data import EVERY_MEMBER, FIELDS, SEA, TASK, TRAIN
from weatherpeft.backbones.aurora.ensemble import SMALLEST_SPREAD, EnsembleAuroraBackbone
from weatherpeft.config import load
from weatherpeft.fields.variables import RELATED, VARIABLES, FieldSet
from weatherpeft.peft import AnyMethod
from weatherpeft.peft.tadp.spec import Tadp
from weatherpeft.samples.batch import Batch, Fields, Samples
from weatherpeft.stages.standardization import StandardizationSpec, standardization
from weatherpeft.tasks.postprocessing import Postprocessing
from weatherpeft.training.tuning import attach, build_model

SPEC = small_spec()
METHODS: TypeAdapter[Any] = TypeAdapter(AnyMethod)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    data, forecasts = small.write_all(folder)
    for task in (TASK, EVERY_MEMBER):
        spec = StandardizationSpec(window=task.window, fields=FIELDS, train=TRAIN)
        standardization(spec, data[:2], forecasts[:2], folder / task.frames)
    return folder


def batch_of(task: Postprocessing, folder: Path) -> Batch:
    data, forecasts = (
        [folder / kind / each.label for each in small.YEARS["train"]] for kind in ("analyses", "forecasts")
    )
    return Samples(task.window.frames(FIELDS, data, TRAIN, forecasts)).batch([0, 3])


def model_of(task: Postprocessing, folder: Path, start: Path | None = None) -> EnsembleAuroraBackbone:
    model = build_model(SPEC, FIELDS, task, 0, start, folder / task.frames).eval()
    assert isinstance(model, EnsembleAuroraBackbone)
    return model


@pytest.mark.parametrize("task", [TASK, EVERY_MEMBER], ids=lambda task: task.frames)
@torch.no_grad()
def test_it_starts_close_to_the_raw_ensemble(task: Postprocessing, folder: Path) -> None:
    model, batch = model_of(task, folder), batch_of(task, folder)
    found = model(batch)
    members = batch_of(EVERY_MEMBER, folder).inputs
    for part, name, place in (
        ("surface", "2m_temperature", ...),
        ("atmospheric", "temperature", slice(1, 2)),
    ):
        raw = getattr(members, part)[name]
        spread, mean = raw.std(dim=1), raw.mean(dim=1)
        if part == "atmospheric":
            spread, mean = spread[:, place], mean[:, place]
        own = getattr(found, part)
        assert ((own[name] - mean).abs() / spread).max() < 0.1
        torch.testing.assert_close(own[f"{name}_std"], spread, rtol=0.1, atol=0)
        assert own[name].shape == mean.shape
    loss, raw_loss = (
        task.loss(each, batch.target, Fields({}, {}))
        for each in (
            found,
            Fields(
                {
                    "2m_temperature": members.surface["2m_temperature"].mean(1),
                    "2m_temperature_std": members.surface["2m_temperature"].std(1),
                },
                {
                    "temperature": members.atmospheric["temperature"].mean(1)[:, 1:],
                    "temperature_std": members.atmospheric["temperature"].std(1)[:, 1:],
                },
            ),
        )
    )
    torch.testing.assert_close(loss, raw_loss, rtol=0.02, atol=0)


@torch.no_grad()
def test_the_heads_are_in_units_of_the_spread(folder: Path) -> None:
    """mean + spread · output and spread · exp(output), with the bias alone as output."""
    model, batch = model_of(TASK, folder), batch_of(TASK, folder)
    raw = model(batch)
    decoder: Any = model.decoder
    for heads in (decoder.surf_heads, decoder.atmos_heads):
        for name, head in heads.items():
            head.weight.zero_()
            head.bias.fill_(2.0 if name.endswith("_mean") else np.log(3.0))
    found, inputs = model(batch), batch.inputs
    spread, mean = inputs.surface["2m_temperature"].unbind(1)
    torch.testing.assert_close(found.surface["2m_temperature"], mean + 2 * spread)
    torch.testing.assert_close(found.surface["2m_temperature_std"], 3 * spread)
    spread, mean = inputs.atmospheric["temperature"][:, :, 1:].unbind(1)
    torch.testing.assert_close(found.atmospheric["temperature"], mean + 2 * spread)
    assert not torch.equal(raw.surface["2m_temperature"], found.surface["2m_temperature"])


def seen_by_the_encoder(model: EnsembleAuroraBackbone, batch: Batch) -> Any:
    seen: list[Any] = []
    hook = model.encoder.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    model(batch)
    hook.remove()
    return seen[0]


@torch.no_grad()
def test_aurora_sees_standardized_frames_and_its_own_static_fields(folder: Path) -> None:
    model, batch = model_of(TASK, folder), batch_of(TASK, folder)
    seen = seen_by_the_encoder(model, batch)
    for name, short in (("2m_temperature", "2t"), ("total_precipitation_48hr", "tp")):
        mean, scale = (model.get_buffer(f"{name}_{part}") for part in ("mean", "scale"))
        torch.testing.assert_close(seen.surf_vars[short], (batch.inputs.surface[name] - mean) / scale)
        assert seen.surf_vars[short].std() < 2
    sea = seen.surf_vars["sst"]
    assert (sea[..., torch.from_numpy(~SEA)] == 0).all() and sea[..., torch.from_numpy(SEA)].std() > 0.5
    mask = batch.static["land_sea_mask"]
    torch.testing.assert_close(seen.static_vars["lsm"][0, 0], (mask - locations["lsm"]) / scales["lsm"])
    with pytest.raises(ValueError, match="has no statistics of 2m_temperature; give it those of the data"):
        build_model(SPEC, FIELDS, TASK, 0, None)(batch)


@torch.no_grad()
def test_only_what_may_be_undefined_is_filled(folder: Path) -> None:
    model, batch = model_of(TASK, folder), batch_of(TASK, folder)
    batch.inputs.surface["total_precipitation_48hr"][..., 0, 0] = torch.nan
    assert torch.isnan(seen_by_the_encoder(model, batch).surf_vars["tp"]).any()


@torch.no_grad()
def test_an_ensemble_without_spread_has_the_smallest(folder: Path) -> None:
    model, batch = model_of(TASK, folder), batch_of(TASK, folder)
    batch.inputs.surface["2m_temperature"][:, 0] = 0
    smallest = SMALLEST_SPREAD * model.get_buffer("2m_temperature_scale")[-1]
    found = model(batch).surface["2m_temperature_std"]
    torch.testing.assert_close(found, smallest.expand_as(found), rtol=0.1, atol=0)


def test_the_model_is_told_a_lead_time_of_zero(folder: Path) -> None:
    model, batch = model_of(TASK, folder), batch_of(TASK, folder)
    with unittest.mock.patch.object(model.model, "forward", wraps=model.model.forward) as forward:
        model(batch)
    given, leads = forward.call_args.args
    assert leads.tolist() == [0, 0] and given.metadata.time == batch.times


class TestPretrained:
    def checkpoint(self, path: Path) -> dict[str, torch.Tensor]:
        """Of a model of the analyses, as the pretrain stage saves it."""
        analyses = small.ANALYSES.model_copy(
            update={
                "surface": ("2m_temperature", "mean_sea_level_pressure"),
                "atmospheric": ("temperature", "v_component_of_wind"),
            }
        )
        model = build(FieldSet(measured=analyses), residual=True, seed=7)
        model.save(path)
        return model.model.state_dict()

    def test_unseen_variables_start_from_related_ones(self, tmp_path: Path, folder: Path) -> None:
        theirs = self.checkpoint(tmp_path / "pretrained.ckpt")
        for task in (TASK, EVERY_MEMBER):
            model = model_of(task, folder, tmp_path / "pretrained.ckpt")
            own = model.model.state_dict()
            for kind, name, source in (
                ("surf", "2t", "2t"),
                ("surf", "sst", "2t"),
                ("surf", "tp", "msl"),
                ("surf", "lsm", "lsm"),
                ("atmos", "t", "t"),
                ("atmos", "w", "v"),
            ):
                prefix = f"encoder.{kind}_token_embeds.weights."
                found, expected = own[f"{prefix}{name}"], theirs[f"{prefix}{source}"]
                if task is TASK:
                    assert torch.equal(found, expected), name
                else:  # members that agree are embedded as a state that stays as it is
                    assert found.shape[2] == small.MEMBERS
                    torch.testing.assert_close(found.sum(2), expected.sum(2))
            for name, value in model.model.backbone.state_dict().items():
                assert torch.equal(value, theirs[f"backbone.{name}"]), name
            assert torch.equal(
                own["decoder.atmos_levels_embed.weight"], theirs["decoder.atmos_levels_embed.weight"]
            )
            fresh = model_of(task, folder).model.state_dict()
            heads = [name for name in own if "_heads." in name]
            assert len(heads) == 2 * 2 * 2 and all(torch.equal(own[name], fresh[name]) for name in heads)

    def test_the_table_relates_variables_of_a_kind(self) -> None:
        for name, other in RELATED.items():
            assert VARIABLES[name].kind == VARIABLES[other].kind and other not in RELATED

    def test_upstreams_tables_stay_as_they_are(self, folder: Path) -> None:
        before = dict(locations), dict(scales)
        model_of(TASK, folder)(batch_of(TASK, folder))
        assert (locations, scales) == before


@pytest.mark.parametrize(
    "methods",
    [
        ({"name": "full"},),
        ({"name": "linear_probe"},),
        ({"name": "lora", "rank": 2},),
        ({"name": "tadp", "prompts": 2}, {"name": "sfas", "fraction": 0.01}),
    ],
    ids=lambda methods: methods[-1]["name"],
)
@pytest.mark.parametrize("task", [TASK, EVERY_MEMBER], ids=lambda task: task.frames)
def test_every_method_works_and_everything_it_trains_has_a_gradient(
    task: Postprocessing, folder: Path, methods: tuple[dict[str, Any], ...]
) -> None:
    model, batch = build_model(SPEC, FIELDS, task, 0, None, folder / task.frames), batch_of(task, folder)
    tuned = attach(model, [METHODS.validate_python(each) for each in methods], CONTEXT)
    task.loss(model(batch), batch.target, Fields({}, {})).backward()
    ends = {
        name: p for name, p in tuned.dense_parameters().items() if name.startswith(("encoder.", "decoder."))
    }
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in ends.values())
    unseen = ends["encoder.surf_token_embeds.weights.sst"].grad
    assert unseen is not None and unseen.any()
    for adapter in tuned.adapters:
        adapter.step(0, 1e-3)


def test_counts_at_the_papers_configuration_are_the_published() -> None:
    """V = 21 variables, P = 5 prompts, Aurora's full size, as shapes only."""
    own = load(Path(__file__).resolve().parents[2] / "config" / "postprocessing.yaml")
    linspace = functools.partial(torch.linspace, device="cpu")  # upstream reads values from it
    with torch.device("meta"), unittest.mock.patch("torch.linspace", linspace):
        model = own.backbone.build(own.inputs, own.task, 0)
    assert isinstance(model, EnsembleAuroraBackbone)
    assert model.embedding_weights().shape == (512, 21, 2 * 4 * 4)
    assert sum(p.numel() for p in model.backbone.parameters()) == 1_239_943_168
    decoder: Any = model.decoder
    assert len(decoder.surf_heads) == 2 * 3 and len(decoder.atmos_heads) == 2 * 2
    (method,) = own.runs["tadp"].methods
    assert isinstance(method, Tadp)
    tadp = METHODS.validate_python({"name": "tadp", "prompts": method.prompts})
    model.backbone.requires_grad_(False)
    adapter = tadp.attach(model, CONTEXT)
    assert adapter.trainable_backbone() == 1_140_192 + 780_800
