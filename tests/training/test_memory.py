"""bfloat16 and recomputed blocks: what they change, and what not."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.training.processes import Job, digest, tiny_aurora, tiny_loss, write_data
from weatherpeft.training.memory import save_memory

FROZEN = ["linear_probe", "lora", "tadp"]
"""Methods that leave the backbone's matrices as they are."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


def trained(
    data: Path, folder: Path, methods: str, gradient: str | None = None, **options: Any
) -> dict[str, Any]:
    schedule = {"steps": 3, "batch_size": 2, "clip_norm": None, "validation_samples": 2}
    return Job(data, methods, schedule | options, gradient=gradient).run(folder)


class TestPrecision:
    @pytest.mark.parametrize("methods", FROZEN)
    def test_frozen_matrices_in_bfloat16_give_the_bits_of_autocast(
        self, data: Path, tmp_path: Path, methods: str
    ) -> None:
        results = {
            precision: trained(data, tmp_path / precision, methods, precision=precision)
            for precision in ("float32", "autocast", "bfloat16")
        }
        plain, expected, found = results.values()
        assert found["history"] == expected["history"]
        assert found["weights"].keys() == expected["weights"].keys()
        for name, value in expected["weights"].items():
            assert torch.equal(found["weights"][name], value.to(found["weights"][name].dtype)), name
        assert expected["history"] != plain["history"]
        # The loss before the first update: AdamW's first steps are as long as the learning rate, whatever
        # the gradient's size, so from then on the sign of small gradients counts, which rounding decides.
        first = [run["history"]["train_loss"][0] for run in (expected, plain)]
        assert first[0] == pytest.approx(first[1], rel=2**-10)
        # half the bytes of what is frozen in linear layers, and of nothing else
        layers = {
            name
            for name, value in found["weights"].items()
            if value.dtype == torch.bfloat16 and name.startswith("model.backbone.")
        }
        matrices = {name for name in found["weights"] if ".backbone." in name and name.endswith("weight")}
        own = {name for name in matrices if "lora_" in name or "generator" in name}
        assert {name for name in layers if name.endswith("weight")} == {
            name for name in matrices - own if found["weights"][name].ndim == 2
        }
        others = set(found["weights"]) - layers
        assert all(found["weights"][name].dtype == torch.float32 for name in others)

    @pytest.mark.parametrize("gradient", ["pushforward", "backpropagation"])
    def test_rollouts_too(self, data: Path, tmp_path: Path, gradient: str) -> None:
        def run(name: str, **options: Any) -> dict[str, Any]:
            return trained(data, tmp_path / name, "lora", gradient, **options)

        plain, expected = run("plain"), run("autocast", precision="autocast")
        found = run("bfloat16", precision="bfloat16", recompute=True)
        assert found["history"] == expected["history"] != plain["history"]
        first = [each["history"]["train_loss"][0] for each in (found, plain)]
        assert first[0] == pytest.approx(first[1], rel=2**-8)

    @pytest.mark.parametrize("methods", ["full", "sfas", "weatherpeft"])
    def test_what_trains_the_matrices_needs_them_in_float32(self, data: Path, methods: str) -> None:
        with pytest.raises(
            ValueError, match="precision bfloat16 .* but time_mlp.0.weight is trained: expected"
        ):
            Job(data, methods, {"precision": "bfloat16"}).model()
        Job(data, methods, {"precision": "autocast"}).model()

    def test_encoder_and_decoder_compute_in_float32(self, data: Path) -> None:
        model, found = tiny_aurora(), {}

        def note(name: str) -> Any:
            return lambda module, inputs, output: found.update({name: output.dtype})

        for name, layer in model.named_modules():
            if isinstance(layer, nn.Linear):
                layer.register_forward_hook(note(name))
        save_memory(model, "autocast", False)
        tiny_loss(False)(model, Job(data, "full").samples()[0].batch([0]))
        assert {dtype for name, dtype in found.items() if ".backbone." in name} == {torch.bfloat16}
        assert {dtype for name, dtype in found.items() if ".backbone." not in name} == {torch.float32}


class TestRecomputation:
    @pytest.mark.parametrize("precision", ["float32", "autocast"])
    @pytest.mark.parametrize("methods", ["full", "lora", "weatherpeft"])
    def test_it_changes_nothing(self, data: Path, tmp_path: Path, methods: str, precision: str) -> None:
        found, expected = (
            digest(trained(data, tmp_path / str(again), methods, precision=precision, recompute=again))
            for again in (True, False)
        )
        assert found == expected

    def test_less_is_kept(self, data: Path) -> None:
        batch, kept = Job(data, "full").samples()[0].batch([0, 1]), {}
        for again in (False, True):
            model = tiny_aurora()
            names = list(model.state_dict())
            save_memory(model, "float32", again)
            assert list(model.state_dict()) == names
            weights = {parameter.data_ptr() for parameter in model.parameters()}
            tensors: dict[int, Tensor] = {}

            def keep(tensor: Tensor) -> Tensor:
                if tensor.data_ptr() not in weights:  # noqa: B023
                    tensors[tensor.data_ptr()] = tensor  # noqa: B023
                return tensor

            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                tiny_loss(False)(model, batch)
            kept[again] = sum(tensor.nbytes for tensor in tensors.values())
        assert kept[True] < kept[False] / 4

    def test_a_copy_of_the_model_asks_itself(self, data: Path) -> None:
        batch, model = Job(data, "full").samples()[0].batch([0]), tiny_aurora()
        save_memory(model, "autocast", True)
        copy = deepcopy(model)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        assert tiny_loss(False)(copy, batch) != tiny_loss(False)(model, batch)
