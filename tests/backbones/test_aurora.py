"""The wrapped Aurora, against the upstream package itself."""

import dataclasses
import logging
import random
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import aurora as upstream
import numpy as np
import pytest
import torch
from aurora.normalisation import locations
from pydantic import ValidationError
from torch import Tensor

from tests.backbones.small_aurora import FIELDS, activate, build, small_aurora, small_batch, small_spec
from weatherpeft.fields.grid import Grid
from weatherpeft.fields.variables import FieldSet, VariableSet
from weatherpeft.samples.batch import Batch, Fields

SHORT = {
    "2m_temperature": "2t",
    "10m_u_component_of_wind": "10u",
    "temperature": "t",
    "geopotential": "z",
    "land_sea_mask": "lsm",
}


def fields(surface: Iterable[str], atmospheric: Iterable[str], static: Iterable[str] = ("land_sea_mask",)):
    levels = (500, 850) if atmospheric else ()
    return FieldSet(
        measured=VariableSet(
            surface=tuple(surface),
            atmospheric=tuple(atmospheric),
            levels_hpa=levels,
            static=tuple(static),
        )
    )


def upstream_batch(batch: Batch) -> upstream.Batch:
    return upstream.Batch(
        surf_vars={SHORT[name]: field for name, field in batch.inputs.surface.items()},
        atmos_vars={SHORT[name]: field for name, field in batch.inputs.atmospheric.items()},
        static_vars={SHORT[name]: field for name, field in batch.static.items()},
        metadata=upstream.Metadata(
            lat=batch.latitude, lon=batch.longitude, time=batch.times, atmos_levels=batch.levels_hpa
        ),
    )


class TestUpstream:
    def upstream(self, path: Path, lead_hours: int = 6) -> upstream.Aurora:
        model = upstream.Aurora(
            surf_vars=("2t", "10u"),
            static_vars=("lsm",),
            atmos_vars=("t", "z"),
            use_lora=False,
            autocast=False,
            timestep=timedelta(hours=lead_hours),
            **small_spec().model_dump(exclude={"name"}),
        )
        model.load_checkpoint_local(str(path), strict=True)
        return model.eval()

    def test_upstream_reads_a_saved_checkpoint_and_predicts_the_same(self, tmp_path: Path) -> None:
        model = build()
        activate(model)
        model.save(tmp_path / "pretrained.ckpt")
        batch = small_batch()
        with torch.no_grad():
            found = model.eval()(batch)
            expected = self.upstream(tmp_path / "pretrained.ckpt")(upstream_batch(batch))
            other = self.upstream(tmp_path / "pretrained.ckpt", 12)(upstream_batch(batch))
        for name, field in found.surface.items():
            assert field.shape == (2, 16, 32)
            assert torch.equal(field, expected.surf_vars[SHORT[name]][:, 0]), name
        for name, field in found.atmospheric.items():
            assert field.shape == (2, 2, 16, 32)
            assert torch.equal(field, expected.atmos_vars[SHORT[name]][:, 0]), name
        assert not torch.equal(found.surface["2m_temperature"], other.surf_vars["2t"][:, 0]), "lead time"

    def test_upstream_weights_are_loaded(self, tmp_path: Path) -> None:
        model = build(seed=1)
        theirs = build(seed=2).model.state_dict()
        torch.save({f"net.{name}": value for name, value in theirs.items()}, tmp_path / "upstream.ckpt")
        model.load(tmp_path / "upstream.ckpt")
        assert all(torch.equal(value, theirs[name]) for name, value in model.model.state_dict().items())

    def test_a_residual_model_is_saved_in_the_same_format(self, tmp_path: Path) -> None:
        model = build(residual=True)
        model.save(tmp_path / "pretrained.ckpt")
        loaded = self.upstream(tmp_path / "pretrained.ckpt").state_dict()
        assert all(torch.equal(loaded[name], value) for name, value in model.model.state_dict().items())

    def test_the_same_weights_are_the_same_bytes(self, tmp_path: Path) -> None:
        for name in ("one", "two"):
            build().save(tmp_path / name)
        assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


class TestResidual:
    def without_heads(self, residual: bool) -> tuple[Fields, Batch]:
        model, batch = build(residual=residual), small_batch()
        activate(model)
        with torch.no_grad():
            for name, parameter in model.decoder.named_parameters():
                if "_heads." in name:
                    parameter.zero_()
            return model.eval()(batch), batch

    def test_it_adds_to_the_last_input_frame(self) -> None:
        prediction, batch = self.without_heads(residual=True)
        for kind in ("surface", "atmospheric"):
            for name, field in getattr(prediction, kind).items():
                last = getattr(batch.inputs, kind)[name][:, -1]
                torch.testing.assert_close(field, last, rtol=0, atol=1e-5 * float(last.abs().max()))

    def test_an_absolute_model_does_not(self) -> None:
        prediction, _ = self.without_heads(residual=False)
        # zero in upstream's normalized units is upstream's mean
        for name, field in prediction.surface.items():
            expected = torch.full_like(field, locations[SHORT[name]])
            torch.testing.assert_close(field, expected, rtol=1e-5, atol=1e-5)
        for name, field in prediction.atmospheric.items():
            for level, pressure in enumerate((500, 850)):
                expected = torch.full_like(field[:, level], locations[f"{SHORT[name]}_{pressure}"])
                torch.testing.assert_close(field[:, level], expected, rtol=1e-5, atol=1e-5)

    def test_both_differ_by_the_last_frame_alone(self) -> None:
        batch, predictions = small_batch(), []
        for residual in (True, False):
            model = build(residual=residual)
            activate(model)
            with torch.no_grad():
                predictions.append(model.eval()(batch).surface["2m_temperature"])
        expected = batch.inputs.surface["2m_temperature"][:, -1] - locations["2t"]
        torch.testing.assert_close(predictions[0] - predictions[1], expected, rtol=0, atol=1e-3)


class TestLoad:
    def test_variables_that_the_model_has_not_are_left_out(self, tmp_path: Path) -> None:
        more = build(fields(["2m_temperature", "10m_u_component_of_wind"], ["temperature", "geopotential"]))
        more.save(tmp_path / "more.ckpt")
        less = build(fields(["2m_temperature"], ["temperature"]), seed=1)
        less.load(tmp_path / "more.ckpt")
        weights = more.model.state_dict()
        assert all(torch.equal(weights[name], value) for name, value in less.model.state_dict().items())

    def test_variables_that_the_checkpoint_has_not_start_at_random_and_are_logged(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        build(fields(["2m_temperature"], ["temperature"])).save(tmp_path / "less.ckpt")
        seen = fields(["2m_temperature", "10m_u_component_of_wind"], ["temperature", "geopotential"])
        more = build(seen, seed=1)
        before = {name: value.clone() for name, value in more.model.state_dict().items()}
        with caplog.at_level(logging.WARNING):
            more.load(tmp_path / "less.ckpt")
        weights = torch.load(tmp_path / "less.ckpt", weights_only=True)
        kept = set()
        for name, value in more.model.state_dict().items():
            if name in weights:
                assert torch.equal(value, weights[name]), name
            else:
                assert torch.equal(value, before[name]), name
                kept.add(name)
        assert kept == {
            "encoder.surf_token_embeds.weights.10u",
            "encoder.atmos_token_embeds.weights.z",
            "decoder.surf_heads.10u.weight",
            "decoder.surf_heads.10u.bias",
            "decoder.atmos_heads.z.weight",
            "decoder.atmos_heads.z.bias",
        }
        (record,) = caplog.records
        assert set(record.getMessage().partition(": ")[2].split(", ")) == kept

    @pytest.mark.parametrize("residual", [False, True])
    def test_relative_humidity_starts_from_specific_humidity(self, tmp_path: Path, residual: bool) -> None:
        """Its embedding, in a task that is no ensemble's; its head is new."""
        build(fields(["2m_temperature"], ["temperature", "specific_humidity"])).save(tmp_path / "q.ckpt")
        model = build(
            fields(["2m_temperature"], ["temperature", "relative_humidity"]), residual=residual, seed=1
        )
        head = model.model.state_dict()["decoder.atmos_heads.r.weight"].clone()
        model.load(tmp_path / "q.ckpt")
        published, found = torch.load(tmp_path / "q.ckpt", weights_only=True), model.model.state_dict()
        embedding = "encoder.atmos_token_embeds.weights."
        assert torch.equal(found[f"{embedding}r"], published[f"{embedding}q"])
        assert not torch.equal(found[f"{embedding}r"], published[f"{embedding}t"])
        assert torch.equal(found["decoder.atmos_heads.r.weight"], head)

    def test_a_model_without_2m_temperature_reads_what_it_saved(self, tmp_path: Path) -> None:
        seen = fields(["10m_u_component_of_wind"], ["temperature"])
        saved, loaded = build(seen), build(seen, seed=1)
        saved.save(tmp_path / "pretrained.ckpt")
        loaded.load(tmp_path / "pretrained.ckpt")
        weights = saved.model.state_dict()
        assert all(torch.equal(weights[name], value) for name, value in loaded.model.state_dict().items())

    @pytest.mark.parametrize(
        ("size", "weight"),
        [
            ({"embed_dim": 32}, r"encoder\.\S+ "),
            ({"encoder_depths": (1, 2), "decoder_depths": (2, 1)}, r"encoder_layers\.1\.blocks\.1\."),
            ({"latent_levels": 4}, r"encoder\.atmos_latents"),
        ],
    )
    def test_another_size_names_file_and_weight(
        self, tmp_path: Path, size: dict[str, Any], weight: str
    ) -> None:
        build().save(tmp_path / "small.ckpt")
        model = build(spec=small_spec(**size), seed=1)
        before = {name: value.clone() for name, value in model.model.state_dict().items()}
        with pytest.raises(ValueError, match=rf"small\.ckpt: checkpoint does not fit the model: .*{weight}"):
            model.load(tmp_path / "small.ckpt")
        assert all(torch.equal(before[name], value) for name, value in model.model.state_dict().items())

    def test_a_shared_weight_that_is_missing_is_named(self, tmp_path: Path) -> None:
        weights = dict(build().model.state_dict())
        del weights["encoder.surf_mlp.net.0.bias"]
        torch.save(weights, tmp_path / "broken.ckpt")
        with pytest.raises(ValueError, match=r"broken\.ckpt: .*encoder\.surf_mlp\.net\.0\.bias \(1 in all\)"):
            build().load(tmp_path / "broken.ckpt")

    def test_a_file_that_is_no_checkpoint_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "page.ckpt").write_text("<html>not found</html>")
        with pytest.raises(ValueError, match=r"page\.ckpt"):
            build().load(tmp_path / "page.ckpt")


def test_a_region_across_greenwich_begins_at_the_meridian_that_upstream_accepts() -> None:
    model, batch = build().eval(), small_batch(1)
    west = dataclasses.replace(batch, longitude=torch.arange(32) * 0.25 - 4)
    east = dataclasses.replace(batch, longitude=torch.arange(32) * 0.25)
    with torch.no_grad():
        found, expected, elsewhere = model(west), model(east), model(batch)
    for name, field in found.surface.items():
        assert torch.equal(field, expected.surface[name])
        assert not torch.equal(field, elsewhere.surface[name])


class TestCheck:
    SPEC = small_spec()

    def test_grids_that_fit_pass(self) -> None:
        for resolution in (11.25, 5.625, 3.0):
            self.SPEC.check(Grid(resolution_deg=resolution), FIELDS)

    @pytest.mark.parametrize(
        ("grid", "message"),
        [
            ({"resolution_deg": 10.0}, "patch size 4 does not divide the grid 10deg of 18 x 36 points"),
            ({"resolution_deg": 12.0}, "patch size 4 does not divide the grid 12deg of 15 x 30 points"),
            ({"resolution_deg": 3.0, "poles": True}, "grid 3deg-poles has pole rows"),
            ({"resolution_deg": 45.0}, "grid 45deg gives 1 x 2 patches, fewer than its 2 stages need"),
        ],
    )
    def test_grids_that_do_not_fit_are_named(self, grid: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=f"backbone aurora: .*{message}"):
            self.SPEC.check(Grid(**grid), FIELDS)

    def test_a_part_of_a_grid_with_poles_has_none(self) -> None:
        region = {"north": 57.0, "south": 36.0, "west": 357.0, "east": 18.0}
        self.SPEC.check(Grid.parse({"resolution_deg": 3.0, "poles": True, "region": region}), FIELDS)

    def test_a_row_too_many_is_refused_since_upstream_would_drop_it(self) -> None:
        region = {"north": 25.5, "south": -22.5, "west": 0.0, "east": 45.0}
        grid = Grid.parse({"resolution_deg": 3.0, "region": region})
        assert grid.shape == (17, 16)
        with pytest.raises(ValueError, match="patch size 4 does not divide the grid .* of 17 x 16 points"):
            self.SPEC.check(grid, FIELDS)

    @pytest.mark.parametrize(
        ("surface", "atmospheric", "static", "kind"),
        [
            ([], ["temperature"], ["land_sea_mask"], "surface"),
            (["2m_temperature"], [], ["land_sea_mask"], "atmospheric"),
            (["2m_temperature"], ["temperature"], [], "static"),
        ],
    )
    def test_each_kind_of_field_is_needed(
        self, surface: list[str], atmospheric: list[str], static: list[str], kind: str
    ) -> None:
        grid = Grid(resolution_deg=11.25)
        with pytest.raises(ValueError, match=f"needs at least one {kind} variable or placeholder"):
            self.SPEC.check(grid, fields(surface, atmospheric, static))

    def test_a_placeholder_is_a_field(self) -> None:
        measured = fields(["2m_temperature"], ["temperature"], []).measured
        seen = FieldSet(measured=measured, placeholders={"soil_type": 1.0})
        self.SPEC.check(Grid(resolution_deg=11.25), seen)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"encoder_num_heads": (2,)}, "one entry a stage"),
            ({"decoder_num_heads": (4, 2, 2)}, "one entry a stage"),
            ({"encoder_depths": (1, 2)}, r"reversed, found \(1, 1\) and \(1, 2\)"),
        ],
    )
    def test_sizes_are_consistent(self, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(ValidationError, match=message):
            small_spec(**changes)


class TestSeed:
    def test_weights_are_a_function_of_the_seed(self) -> None:
        one, again, two = (build(seed=seed).state_dict() for seed in (1, 1, 2))
        assert all(torch.equal(again[name], value) for name, value in one.items())
        drawn = [name for name, value in one.items() if not torch.equal(two[name], value)]
        for part in ("encoder", "backbone", "decoder"):
            assert any(name.startswith(f"model.{part}") for name in drawn)

    def test_the_global_generators_are_left_alone(self) -> None:
        torch.manual_seed(3)
        states = (
            torch.get_rng_state(),
            np.random.get_state(legacy=False)["state"]["key"].tolist(),
            random.getstate(),
        )
        first = build(seed=1).state_dict()
        assert torch.equal(torch.get_rng_state(), states[0])
        assert np.random.get_state(legacy=False)["state"]["key"].tolist() == states[1]
        assert random.getstate() == states[2]
        torch.manual_seed(4)
        second = build(seed=1).state_dict()
        assert all(torch.equal(second[name], value) for name, value in first.items())


class TestEmbeddingWeights:
    def test_they_are_the_encoders_in_its_order(self) -> None:
        model = small_aurora()
        encoder = model.model.encoder
        # surface and static variables in alphabetical order, then the upper ones
        names = [("surf", "10u"), ("surf", "2t"), ("surf", "lsm"), ("atmos", "t"), ("atmos", "z")]
        found = model.embedding_weights()
        assert found.shape == (32, 5, 2 * 4 * 4)
        for position, (kind, name) in enumerate(names):
            weight: Tensor = getattr(encoder, f"{kind}_token_embeds").weights[name]
            assert weight.shape == (32, 1, 2, 4, 4)
            for history, row, column in ((0, 0, 0), (0, 1, 2), (1, 3, 3)):
                entry = history * 16 + row * 4 + column
                assert torch.equal(found[:, position, entry], weight[:, 0, history, row, column])

    def test_gradients_flow_back_into_the_encoder(self) -> None:
        model = small_aurora()
        model.embedding_weights().sum().backward()
        for embeds in (model.model.encoder.surf_token_embeds, model.model.encoder.atmos_token_embeds):
            for weight in embeds.weights.values():
                assert torch.equal(weight.grad, torch.ones_like(weight))
