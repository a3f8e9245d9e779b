"""Every type of Hugging Face peft: those that work here, and those that are refused."""

import dataclasses
from typing import Any

import peft
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from tests.backbones.small_aurora import CONTEXT, loss, small_aurora, small_batch
from weatherpeft.interfaces import TuningContext
from weatherpeft.peft.adapters.composition import composed
from weatherpeft.peft.huggingface import OPTIONS, REFUSED, HuggingFace
from weatherpeft.peft.lora import Lora
from weatherpeft.peft.sfas.spec import Sfas
from weatherpeft.training.memory import save_memory
from weatherpeft.training.tuning import TunedModel, attach

SMALL: dict[str, dict[str, Any]] = {
    "c3a": {"block_size": 16},
    "fourierft": {"n_frequency": 64},
    "miss": {"r": 8},
    "psoft": {"r": 8},
    "randlora": {"r": 8},
    "road": {"group_size": 16},
    "shira": {"r": 4},
    "vblora": {"num_vectors": 32, "vector_length": 16},
    "vera": {"r": 8},
    "waveft": {"n_frequency": 64},
}
"""Options for layers of widths 32 and 64."""
RANDOM_START = {"c3a", "fourierft", "unilora", "vblora"}
ROUNDED_START = {"deft", "hra", "osf"}
FIXED = {
    *(
        "fourierft",
        "osf",
        "psoft",
        "randlora",
        "shira",
        "supertuning",
        "tinylora",
        "unilora",
        "vera",
        "waveft",
    )
}
SET_BY_THE_WORKFLOW = {
    *(field.name for field in dataclasses.fields(peft.PeftConfig)),
    *(
        "target_modules",
        "exclude_modules",
        "modules_to_save",
        "layers_to_transform",
        "layers_pattern",
        "bias",
    ),
    *("rank_pattern", "alpha_pattern", "n_frequency_pattern", "block_size_pattern", "lambda_pattern"),
    *("random_loc_seed", "random_seed", "projection_prng_key", "projection_seed", "proj_seed"),
    *("save_projection", "save_indices", "save_only_topk_weights", "save_precomputed_indices"),
    *(
        "fan_in_fan_out",
        "boft_n_butterfly_factor",
        "use_effective_conv2d",
        "rank_dropout_scale",
        "init_ia3_weights",
        "mask_type",
    ),
    *("target_svd_config", "init_weights"),
}
BATCH = small_batch()


def spec(type: str, **values: Any) -> HuggingFace:
    targets = {"targets": ("norm",)} if type == "ln_tuning" else {}
    return HuggingFace(
        **{"name": "huggingface", "type": type, "options": SMALL.get(type, {}), **targets, **values}
    )


def tuned(method: HuggingFace, context: TuningContext = CONTEXT) -> TunedModel:
    return attach(small_aurora().train(), (method,), context)


def predict(model: Any) -> Tensor:
    with torch.no_grad():
        prediction: Tensor = model.eval()(BATCH).channels()
    model.train()
    return prediction


def train(model: TunedModel, steps: int = 2, parts: int = 1) -> None:
    optimizer = torch.optim.AdamW(model.dense_parameters().values(), lr=1e-2, weight_decay=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        for _ in range(parts):
            (loss(model.model, BATCH) / parts).backward()
        optimizer.step()


@pytest.mark.parametrize("type", OPTIONS)
class TestEveryType:
    def test_starts_as_the_pretrained_model(self, type: str) -> None:
        model = small_aurora()
        expected, pretrained = predict(model), model.backbone_parameters()
        values = {name: parameter.clone() for name, parameter in pretrained.items()}
        attach(model, (spec(type),), CONTEXT)
        found = predict(model)
        assert torch.equal(found, expected) == (type not in RANDOM_START | ROUNDED_START)
        if type not in RANDOM_START:
            assert (found - expected).norm() < 1e-6 * expected.norm()
        inside = {id(parameter) for parameter in model.backbone.parameters()}
        for name, parameter in model.backbone_parameters().items():
            assert parameter is pretrained[name] and id(parameter) in inside
            assert torch.equal(parameter, values[name])

    def test_trains_what_it_counts_and_its_result_rebuilds_the_model(self, type: str) -> None:
        """The rebuilt model has another seed: what was drawn comes from the result."""
        model = tuned(spec(type))
        (adapter,) = model.adapters
        dense = adapter.dense_parameters()
        before = {name: p.detach().clone() for name, p in dense.items()}
        trained = {id(parameter) for parameter in model.dense_parameters().values()}
        rest = {
            name: (p, p.detach().clone())
            for name, p in model.model.backbone.named_parameters()
            if id(p) not in trained
        }
        assert rest and not any(parameter.requires_grad for parameter, _ in rest.values())
        assert adapter.trainable_backbone() == sum(p.numel() for p in dense.values())
        train(model)
        assert [name for name, p in dense.items() if torch.equal(p, before[name])] == []
        assert [name for name, (p, value) in rest.items() if not torch.equal(p, value)] == []

        rebuilt = tuned(spec(type), TuningContext(steps=0, seed=7))
        rebuilt.load_result(model.result())
        assert rebuilt.counts() == model.counts()
        assert torch.equal(predict(rebuilt.model), predict(model.model))

    def test_the_seed_decides_all_that_is_drawn(self, type: str) -> None:
        adapters = [tuned(spec(type), TuningContext(steps=1, seed=seed)).adapters[0] for seed in (0, 0, 1)]
        first, same, other = (adapter.result() for adapter in adapters)
        assert first.keys() == same.keys() == other.keys()
        assert all(torch.equal(tensor, same[name]) for name, tensor in first.items())
        fixed = first.keys() - adapters[0].dense_parameters().keys()
        assert bool(fixed) == (type in FIXED)
        if fixed and type not in {"osf", "psoft", "supertuning"}:  # these follow from the pretrained weights
            assert not all(torch.equal(first[name], other[name]) for name in fixed)

    def test_recomputation_and_accumulation_change_nothing(self, type: str) -> None:
        plain, saving = tuned(spec(type)), tuned(spec(type))
        save_memory(saving.model, "float32", recompute=True)
        train(plain, 1)
        train(saving, 1, parts=2)
        expected = plain.result()
        assert all(torch.equal(tensor, expected[name]) for name, tensor in saving.result().items())

    def test_bfloat16_is_close(self, type: str) -> None:
        model = tuned(spec(type))
        train(model)
        expected = predict(model.model)
        save_memory(model.model, "bfloat16", recompute=False)
        loss(model.model, BATCH).backward()
        found = predict(model.model)
        assert not torch.equal(found, expected)
        assert (found - expected).norm() < 1e-3 * expected.norm()

    def test_options_are_those_of_peft(self, type: str) -> None:
        config = peft.PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType(type.upper())]
        defaults = {field.name: field.default for field in dataclasses.fields(config)}
        assert OPTIONS[type].keys() <= defaults.keys()
        assert {
            name
            for name in defaults.keys() - SET_BY_THE_WORKFLOW - OPTIONS[type].keys()
            if not name.endswith("dropout")
        } == set()
        for name in OPTIONS[type]:
            value = getattr(defaults[name], "value", defaults[name])
            assert value is None or spec(type, options={name: value}).options == {name: value}


@pytest.mark.parametrize("type", REFUSED)
def test_a_type_that_a_model_cannot_have_is_refused_with_the_reason(type: str) -> None:
    with pytest.raises(ValidationError, match=f"huggingface: type '{type}' {REFUSED[type]}"):
        spec(type)


def test_every_type_of_peft_is_accepted_or_refused() -> None:
    assert {kind.value.lower() for kind in peft.PeftType} == OPTIONS.keys() | REFUSED.keys()
    assert not OPTIONS.keys() & REFUSED.keys()
    with pytest.raises(ValidationError, match="found type 'veera', expected one of beft.*vera"):
        spec("veera")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"type": "vera", "options": {"rank": 8}}, "type 'vera' has no option 'rank': expected r, d_initial"),
        ({"type": "vera", "options": {"r": "8"}}, "option 'r' of type 'vera' cannot be '8'"),
        ({"type": "vera", "options": {"r": True}}, "option 'r' of type 'vera' cannot be True"),
        ({"type": "vera", "options": {"r": 8.0}}, "option 'r' of type 'vera' cannot be 8.0"),
        ({"type": "vera", "options": {"vera_dropout": 0.1}}, "has no option 'vera_dropout'"),
        ({"type": "beft", "options": {"target_modules": "qkv"}}, "no option 'target_modules': expected none"),
    ],
)
def test_a_wrong_option_is_an_error_of_the_configuration(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        HuggingFace.parse({"name": "huggingface", **values})


def test_a_whole_number_may_stand_for_a_number_and_a_list_for_a_tuple() -> None:
    method = HuggingFace.parse({"name": "huggingface", "type": "vera", "options": {"d_initial": 1}})
    assert method.options == {"d_initial": 1}
    assert HuggingFace.parse(method.model_dump(mode="json")) == method
    names = HuggingFace.parse(
        {"name": "huggingface", "type": "ia3", "options": {"feedforward_modules": ["fc2"]}}
    )
    assert names.options == {"feedforward_modules": ("fc2",)}


def test_ia3_scales_the_inputs_of_feedforward_layers() -> None:
    """A vector of the outputs of qkv, 3 · 32, and one of the inputs of fc2, 4 · 32."""
    options = {"feedforward_modules": ("fc2",)}
    model = tuned(spec("ia3", options=options, targets=("qkv", "fc2"), biases=False))
    dense = model.adapters[0].dense_parameters()
    block = "huggingface.encoder_layers.0.blocks.0"
    assert dense[f"{block}.attn.qkv.ia3_l"].shape == (96, 1)
    assert dense[f"{block}.mlp.fc2.ia3_l"].shape == (1, 128)
    with pytest.raises(ValueError, match="type 'ia3' .*feedforward_modules.* subset"):
        tuned(spec("ia3", options=options))


def test_a_value_that_peft_refuses_names_the_type_and_the_options() -> None:
    with pytest.raises(ValueError, match=r"type 'miss' with \{'r': 64\}: .*in_features"):
        tuned(spec("miss", options={"r": 64}))


def test_a_target_must_be_a_layer_that_the_type_can_adapt() -> None:
    with pytest.raises(ValueError, match=r"no layer norm with weights .* named 'qkv'; found \['norm'\]"):
        tuned(spec("ln_tuning", targets=("qkv",)))
    with pytest.raises(ValueError, match="no linear layer .* named 'norm'"):
        tuned(spec("vera", targets=("norm",)))


def test_ln_tuning_trains_the_norms_at_the_rate_of_the_method() -> None:
    method = spec("ln_tuning", bias_learning_rate=1.0, learning_rate=0.5)
    model = tuned(method)
    dense = model.adapters[0].dense_parameters()
    norm = "encoder_layers.0.downsample.norm"
    for part in ("weight", "bias"):
        assert dense[f"huggingface.{norm}.{part}"] is model.model.backbone_parameters()[f"{norm}.{part}"]
        assert method.peak(0.1, f"huggingface.{norm}.{part}") == 0.5
    assert f"backbone.{norm}.bias" not in dense
    assert len([name for name in dense if name.startswith("huggingface.")]) == 4


def test_vera_is_its_formula() -> None:
    model = small_aurora()
    place = "encoder_layers.0.blocks.0.attn.qkv"
    layer = model.backbone.get_submodule(place)
    (adapter,) = attach(model, (spec("vera"),), CONTEXT).adapters
    result = adapter.result()
    scale, rank_scale = (
        adapter.dense_parameters()[f"huggingface.{place}.vera_lambda_{part}"] for part in ("b", "d")
    )
    down, up = (result[f"huggingface.{place}.vera_{part}"] for part in "AB")
    assert down.shape == (8, 64) and up.shape == (192, 8)  # one pair, of the size that the widest layer needs
    assert sum("vera_A" in name for name in result) == 1
    torch.nn.init.normal_(scale)
    x = torch.randn(5, 32)
    update = scale * ((rank_scale * (x @ down[:, :32].T)) @ up[:96].T)
    torch.testing.assert_close(model.backbone.get_submodule(place)(x), layer(x) + update)


def test_types_are_trained_together() -> None:
    methods = [
        spec("vera", targets=("qkv",)),
        spec("ia3", targets=("proj",)),
        Lora(name="lora", targets=("fc1",)),
    ]
    model = attach(small_aurora().train(), methods, CONTEXT)
    train(model)
    rebuilt = attach(small_aurora(), methods, TuningContext(steps=0, seed=7))
    rebuilt.load_result(model.result())
    assert torch.equal(predict(rebuilt.model), predict(model.model))


HIDE_WEIGHTS = [
    *("boft", "deft", "glora", "hira", "hra", "ln_tuning", "peanut", "shira", "supertuning"),
]


@pytest.mark.parametrize("type", OPTIONS)
def test_sfas_follows_types_that_leave_the_weights_to_it(type: str) -> None:
    methods = (spec(type), Sfas(name="sfas"))
    if type in HIDE_WEIGHTS:
        with pytest.raises(ValueError, match="sfas needs the backbone's weights, which huggingface takes"):
            composed(methods)
        return
    model = attach(small_aurora().train(), methods, CONTEXT)
    loss(model.model, BATCH).backward()
    before = {name: p.detach().clone() for name, p in model.model.backbone_parameters().items()}
    model.adapters[1].step(0, 1e-3)
    after = model.model.backbone_parameters()
    assert any(not torch.equal(value, before[name]) for name, value in after.items())
