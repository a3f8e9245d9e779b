"""Full tuning, linear probe, LoRA, published counts, and what the methods share."""

import copy

import pytest
import torch
from pydantic import ValidationError

from tests.backbones.small_aurora import CONTEXT, full_aurora, small_aurora, small_batch
from weatherpeft.interfaces import TuningContext
from weatherpeft.peft.adapters.dense import DenseAdapter, frozen_backbone, is_bias
from weatherpeft.peft.bitfit import BitFit
from weatherpeft.peft.dora import Dora
from weatherpeft.peft.full import Full
from weatherpeft.peft.linear_probe import LinearProbe
from weatherpeft.peft.lora import Lora
from weatherpeft.peft.lora_plus import LoraPlus
from weatherpeft.peft.tadp.spec import Tadp


def numel(parameters: dict[str, torch.nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters.values())


def test_full_trains_the_backbone() -> None:
    model = small_aurora()
    adapter = Full(name="full").attach(model, CONTEXT)
    assert adapter.trainable_backbone() == numel(model.backbone_parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_full_needs_something_frozen() -> None:
    with pytest.raises(ValueError, match="no frozen parameter"):
        Full(name="full").attach(small_aurora().requires_grad_(True), CONTEXT)


def test_linear_probe_trains_nothing_of_it() -> None:
    model = small_aurora()
    adapter = LinearProbe(name="linear_probe").attach(model, CONTEXT)
    assert adapter.trainable_backbone() == 0 and adapter.result() == {}
    assert not any(parameter.requires_grad for parameter in model.backbone.parameters())


def test_lora_counts() -> None:
    """Rank r adds r · (inputs + outputs) a layer: qkv and proj of widths 32 and 64, twice each."""
    model = small_aurora()
    biases = sum(p.numel() for name, p in model.backbone_parameters().items() if is_bias(name))
    adapter = Lora(name="lora", rank=4).attach(model, CONTEXT)
    assert adapter.trainable_backbone() - biases == 2 * sum(4 * (w + 3 * w) + 4 * (w + w) for w in (32, 64))
    bare = Lora(name="lora", rank=4, biases=False).attach(small_aurora(), CONTEXT)
    assert all(name.startswith("lora.") for name in bare.dense_parameters())
    first = next(iter(bare.dense_parameters()))
    assert first == "lora.encoder_layers.0.blocks.0.attn.qkv.lora_A.weight"


@pytest.mark.parametrize(
    ("variables", "prompts", "published"), [(11, 30, 1_439_712), (21, 5, 1_140_192), (13, 20, 1_340_400)]
)
def test_tadp_counts_are_the_published(variables: int, prompts: int, published: int) -> None:
    model = full_aurora(variables)
    assert sum(parameter.numel() for parameter in model.backbone.parameters()) == 1_239_943_168
    assert len(model.attention_modules()) == 48
    d, v, s, h = 512, variables, 32, variables // 2
    block = (2 * 16 * d + 16 + d) + 2 * d + (2 * 8 * s + 8 + s) + 2 * s + (2 * v * h + h + v) + 2 * v
    block += 2 * s * v + (s * v * prompts + prompts)
    adapter = Tadp(name="tadp", prompts=prompts).attach(model, CONTEXT)
    assert 48 * block == published
    assert adapter.trainable_backbone() == published + 780_800


def test_lora_count_is_the_published() -> None:
    adapter = Lora(name="lora").attach(full_aurora(variables=11), CONTEXT)
    assert adapter.trainable_backbone() == 2_850_816 + 780_800


def test_counts_of_lora_plus_dora_and_bitfit() -> None:
    found = {
        method.name: method.attach(full_aurora(variables=11), CONTEXT).trainable_backbone()
        for method in (LoraPlus(name="lora_plus"), Dora(name="dora"), BitFit(name="bitfit"))
    }
    lora, columns = 2_850_816 + 780_800, 118_784
    assert f"{(lora + columns) / 1e6:.2f}" == "3.75"  # the paper's table: a magnitude for each column
    rows = 2 * columns  # qkv has three times as many rows as columns, proj as many
    assert found == {"lora_plus": lora, "dora": lora + rows, "bitfit": 780_800}
    of_inputs = Dora(name="dora", magnitude="input").attach(full_aurora(variables=11), CONTEXT)
    assert of_inputs.trainable_backbone() == lora + columns


def test_dora_is_its_formula() -> None:
    """The rows of W + B A, scaled to the trained magnitudes, which start as the rows' own norms."""
    model = small_aurora()
    pretrained, layer = model.backbone_parameters(), "encoder_layers.0.blocks.0.attn.qkv"
    weight, bias = (pretrained[f"{layer}.{part}"].detach().clone() for part in ("weight", "bias"))
    parameters = Dora(name="dora", rank=2, alpha=6.0).attach(model, CONTEXT).dense_parameters()
    place = f"dora.{layer}"
    a, b = (parameters[f"{place}.lora_{part}.weight"] for part in "AB")
    (magnitude,) = (
        value for name, value in parameters.items() if name.startswith(f"{place}.") and "magnitude" in name
    )
    torch.testing.assert_close(magnitude, weight.norm(dim=1))
    with torch.no_grad():
        b.normal_(std=0.1)
        magnitude.mul_(1.5)
    direction = weight + 3.0 * b @ a
    expected = magnitude[:, None] * direction / direction.norm(dim=1, keepdim=True)
    x = torch.randn(5, weight.shape[1], generator=torch.Generator().manual_seed(3))
    wrapped = model.backbone.get_submodule(layer)
    torch.testing.assert_close(wrapped(x), x @ expected.T + bias, rtol=1e-4, atol=1e-5)


def test_lora_is_its_formula() -> None:
    model = small_aurora()
    place = "encoder_layers.0.blocks.0.attn.qkv"
    layer = model.backbone.get_submodule(place)
    adapter = Lora(name="lora", rank=4, alpha=6.0).attach(model, CONTEXT)
    down, up = (adapter.dense_parameters()[f"lora.{place}.lora_{part}.weight"] for part in "AB")
    assert not up.any() and down.any()
    torch.nn.init.normal_(up)
    x = torch.randn(5, 32)
    adapted = model.backbone.get_submodule(place)
    torch.testing.assert_close(adapted(x), layer(x) + 1.5 * x @ down.T @ up.T)


def test_lora_leaves_the_rest_of_the_model_alone() -> None:
    """``decoder`` names a part of the backbone too; encoder and decoder have linear layers named ``proj``."""
    model = small_aurora()
    encoder, decoder = ([name for name, _ in side.named_modules()] for side in (model.encoder, model.decoder))
    Lora(name="lora", targets=("qkv", "proj", "fc1", "fc2")).attach(model, CONTEXT)
    assert encoder == [name for name, _ in model.encoder.named_modules()]
    assert decoder == [name for name, _ in model.decoder.named_modules()]


def test_lora_keeps_what_earlier_methods_train() -> None:
    model = small_aurora()
    tadp = Tadp(name="tadp").attach(model, CONTEXT)
    lora = Lora(name="lora").attach(model, CONTEXT)
    assert all(parameter.requires_grad for parameter in tadp.dense_parameters().values())
    assert not any(name.startswith("backbone.") for name in lora.dense_parameters())  # tadp has the biases


def test_lora_starts_as_a_function_of_the_seed_and_leaves_the_global_generator() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    contexts = [TuningContext(steps=1, seed=seed) for seed in (0, 0, 1)]
    results = [Lora(name="lora").attach(small_aurora(), context).result() for context in contexts]
    assert torch.equal(torch.rand(1), expected)
    same, other = (
        [torch.equal(results[0][name], result[name]) for name in results[0] if "lora_A" in name]
        for result in results[1:]
    )
    assert all(same) and not any(other)


def test_lora_survives_a_deep_copy() -> None:
    model, batch = small_aurora(), small_batch()
    Lora(name="lora").attach(model, CONTEXT)
    with torch.no_grad():
        assert torch.equal(copy.deepcopy(model)(batch).channels(), model(batch).channels())


def test_an_unknown_target_is_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match="'key'.*'fc1'.*'qkv'"):
        Lora(name="lora", targets=("qkv", "key")).attach(small_aurora(), CONTEXT)


@pytest.mark.parametrize("values", [{"rank": 0}, {"alpha": 0.0}, {"targets": []}, {"ranks": 8}])
def test_a_wrong_hyperparameter_is_an_error_that_names_it(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(values))):
        Lora.parse({"name": "lora", **values})


@pytest.mark.parametrize(
    "tensor", [torch.zeros(3), torch.zeros(2, dtype=torch.float64)], ids=["shape", "type"]
)
def test_a_result_of_another_shape_or_type_is_an_error_and_nothing_is_copied(tensor: torch.Tensor) -> None:
    first, second = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    adapter = DenseAdapter({"first": first, "second": second})
    with pytest.raises(ValueError, match="'second'.*expected"):
        adapter.load_result({"first": torch.zeros(2), "second": tensor})
    assert first.all() and second.all()


def test_a_state_is_refused_where_there_is_none() -> None:
    with pytest.raises(ValueError, match="moment"):
        DenseAdapter({}).load_state_dict({"moment": torch.zeros(1)})


def test_a_parameter_belongs_to_the_first_method_that_takes_it() -> None:
    model = small_aurora()
    DenseAdapter(frozen_backbone(model, is_bias))
    assert not frozen_backbone(model, is_bias)
    assert all(not is_bias(name) for name in frozen_backbone(model))
