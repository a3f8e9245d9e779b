"""Small methods against the plain formula of their layers, their counts and their places."""

import copy
import math
from typing import Any, cast

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from tests.backbones.small_aurora import CONTEXT, full_aurora, loss, small_aurora, small_batch
from weatherpeft.interfaces import Adapter, PeftMethod
from weatherpeft.peft import AnyMethod
from weatherpeft.peft.adapters.changes import ChannelMap, ParallelBottleneck, ScaleShift
from weatherpeft.peft.sfas.per_sample import GradientStream
from weatherpeft.training.memory import save_memory

METHODS: TypeAdapter[PeftMethod] = TypeAdapter(AnyMethod)
PLACE = "encoder_layers.1.blocks.0"
WIDTHS = (32, 64, 64, 32)
"""Widths of the small model's blocks."""
NAMES = ["adaptformer", "aprompt", "sct", "ssf", "vpt"]
STARTS_AS_THE_BACKBONE = {"adaptformer", "sct", "ssf"}


def attach(model: Any, name: str, **values: Any) -> Adapter:
    """A method without the backbone's biases."""
    return METHODS.validate_python({"name": name, "biases": False, **values}).attach(model, CONTEXT)


def perturb(adapter: Adapter) -> None:
    """Move what a method trains away from its start."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in adapter.dense_parameters().values():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.3)


def own(adapter: Adapter, name: str, *places: str) -> list[Tensor]:
    """Parameters of a method at places of one block."""
    return [adapter.dense_parameters()[f"{name}.{PLACE}.{place}"] for place in places]


@pytest.mark.parametrize("name", NAMES)
class TestEverySmallMethod:
    def test_the_gradient_reaches_every_parameter(self, name: str) -> None:
        model = small_aurora()
        adapter = attach(model, name)
        perturb(adapter)
        loss(model, small_batch()).backward()
        for key, parameter in adapter.dense_parameters().items():
            assert parameter.grad is not None and parameter.grad.any(), key
        assert not any(p.grad is not None for p in model.backbone_parameters().values())

    def test_biases_are_trained_too_if_asked(self, name: str) -> None:
        bare = attach(small_aurora(), name).dense_parameters()
        assert all(key.startswith(f"{name}.") for key in bare)
        biased = attach(small_aurora(), name, biases=True).dense_parameters()
        others = biased.keys() - bare.keys()
        assert others and all(key.startswith("backbone.") and key.endswith(".bias") for key in others)

    def test_starts_as_a_function_of_the_seed_and_leaves_the_global_generator(self, name: str) -> None:
        torch.manual_seed(5)
        expected = torch.rand(1)
        torch.manual_seed(5)
        one, other = (attach(small_aurora(), name).result() for _ in range(2))
        assert torch.equal(torch.rand(1), expected)
        assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)

    def test_a_deep_copy_uses_its_own_parameters(self, name: str) -> None:
        model, batch = small_aurora().eval(), small_batch()
        adapter = attach(model, name)
        twin = copy.deepcopy(model)
        with torch.no_grad():
            expected = model(batch).channels()
            assert torch.equal(twin(batch).channels(), expected)
            perturb(adapter)
            assert torch.equal(twin(batch).channels(), expected)
            assert not torch.equal(model(batch).channels(), expected)

    def test_recomputed_blocks_have_the_same_gradients(self, name: str) -> None:
        model, batch = small_aurora(), small_batch()
        adapter = attach(model, name)
        perturb(adapter)
        parameters = list(adapter.dense_parameters().values())
        expected = torch.autograd.grad(loss(model, batch), parameters)
        save_memory(model, "float32", recompute=True)
        for found, other in zip(torch.autograd.grad(loss(model, batch), parameters), expected, strict=True):
            torch.testing.assert_close(found, other)

    def test_lower_precision_in_the_backbone(self, name: str) -> None:
        model, batch = small_aurora().eval(), small_batch()
        adapter = attach(model, name)
        expected = model(batch).channels().detach()
        save_memory(model, "bfloat16", recompute=False)
        output = model(batch).channels()
        scale = expected.std(dim=(0, 2, 3), keepdim=True)
        assert ((output - expected).abs() / scale).max() < 0.1
        output.square().sum().backward()
        for parameter in adapter.dense_parameters().values():
            assert parameter.dtype == torch.float32
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all()

    def test_samples_stay_apart_in_the_squared_gradients(self, name: str) -> None:
        """Of pretrained weights, as SFAS needs them: against a backward pass for each sample."""
        model, batch = small_aurora(), small_batch(2)
        perturb(attach(model, name))
        weights = {key: p for key, p in model.backbone_parameters().items() if key.endswith(".weight")}
        for weight in weights.values():
            weight.requires_grad_(True)
        errors = (model(batch).channels() - batch.target.channels()).square().mean(dim=(1, 2, 3))
        alone = [torch.autograd.grad(e, list(weights.values()), retain_graph=True) for e in errors]
        found: dict[str, Tensor | None] = {}

        def consume(key: str, gradient: Tensor, square: Tensor | None) -> None:
            found[key] = square

        with GradientStream(model.backbone, weights, consume):
            (model(batch).channels() - batch.target.channels()).square().mean().backward()
        for key, one, other in zip(weights, *alone, strict=True):
            expected, square = (one.square() + other.square()) / 2, found[key]
            assert square is not None
            torch.testing.assert_close(square, expected, rtol=1e-3, atol=1e-5 * float(expected.max()))

    def test_other_blocks_are_refused(self, name: str) -> None:
        model = small_aurora()
        strange = nn.Module()
        strange.attn = nn.Identity()
        blocks = cast(nn.ModuleList, model.backbone.get_submodule(PLACE.rpartition(".")[0]))
        blocks[0] = strange
        with pytest.raises(ValueError, match=f"{name}: {PLACE}.* is a (Module|Identity), expected Aurora's"):
            attach(model, name)


@pytest.mark.parametrize("name", sorted(STARTS_AS_THE_BACKBONE))
def test_starts_as_the_backbone(name: str) -> None:
    model, batch = small_aurora().eval(), small_batch()
    with torch.no_grad():
        expected = model(batch).channels()
        adapter = attach(model, name)
        assert torch.equal(model(batch).channels(), expected)
        perturb(adapter)
        assert not torch.allclose(model(batch).channels(), expected, rtol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "change", [ScaleShift(8), ParallelBottleneck(8, 2, 0.1), ChannelMap(torch.tensor([1, 5]))]
)
def test_a_changed_output_has_the_type_of_the_output(change: nn.Module, dtype: torch.dtype) -> None:
    """Under autocast, a linear layer returns another type than that of the parameters."""
    output = torch.randn(3, 8).to(dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        changed = change(output, torch.randn(3, 8))
    assert changed.dtype == dtype and torch.equal(changed, output)


@pytest.mark.parametrize(
    ("layer", "width"),
    [("attn.qkv", 192), ("attn.proj", 64), ("mlp.fc1", 256), ("mlp.fc2", 64), ("norm1", 64), ("norm2", 64)],
)
def test_ssf_is_its_formula(layer: str, width: int) -> None:
    model = small_aurora()
    plain = copy.deepcopy(model.backbone.get_submodule(f"{PLACE}.{layer}"))
    adapter = attach(model, "ssf")
    perturb(adapter)
    scale, shift = own(adapter, "ssf", f"{layer}.scale", f"{layer}.shift")
    assert scale.shape == shift.shape == (width,)
    inputs = [torch.randn(3, 5, 256 if layer == "mlp.fc2" else 64)]
    inputs += [torch.randn(3, 32)] if "norm" in layer else []
    expected = plain(*inputs) * scale + shift
    torch.testing.assert_close(model.backbone.get_submodule(f"{PLACE}.{layer}")(*inputs), expected)


def test_ssf_counts() -> None:
    """Scale and shift of 3 + 1 + 4 + 1 widths of linear layers and of two norms a block."""
    assert attach(small_aurora(), "ssf").trainable_backbone() == 22 * sum(WIDTHS)
    widths = 2 * (6 * 512 + 10 * 1024 + 8 * 2048)
    full = attach(full_aurora(11), "ssf", biases=True)
    assert full.trainable_backbone() == 22 * widths + 780_800 == 2_087_424


def test_adaptformer_is_its_formula() -> None:
    model = small_aurora()
    plain = copy.deepcopy(model.backbone.get_submodule(f"{PLACE}.mlp"))
    adapter = attach(model, "adaptformer", bottleneck=5, scale=0.7)
    names = ("down.weight", "down.bias", "up.weight", "up.bias")
    down, down_bias, up, up_bias = own(adapter, "adaptformer", *(f"mlp.{name}" for name in names))
    assert down.any() and not any(start.any() for start in (down_bias, up, up_bias))
    perturb(adapter)
    x = torch.randn(3, 5, 64)
    expected = plain(x) + 0.7 * ((x @ down.T + down_bias).clamp(min=0) @ up.T + up_bias)
    torch.testing.assert_close(model.backbone.get_submodule(f"{PLACE}.mlp")(x), expected)


def test_adaptformer_counts() -> None:
    counted = attach(small_aurora(), "adaptformer", bottleneck=5).trainable_backbone()
    assert counted == sum(2 * 5 * width + 5 + width for width in WIDTHS)
    widths = 2 * (6 * 512 + 10 * 1024 + 8 * 2048)
    full = attach(full_aurora(11), "adaptformer")
    assert full.trainable_backbone() == 2 * 64 * widths + 48 * 64 + widths == 7_664_640


def plain_attention(
    attention: Any,
    x: Tensor,
    mask: Tensor | None,
    prefix: tuple[Tensor, Tensor],
    query_prompt: Tensor | float,
) -> Tensor:
    """Attention of each window in plain algebra.

    Args:
        attention: pretrained attention.
        x: ``(batch·window, token, width)``.
        mask: ``(window, token, token)``.
        prefix: key and value ``(prompt, width)``.
        query_prompt: added to every query.
    """
    windows = []
    for number, window in enumerate(x):
        query, key, value = (window @ attention.qkv.weight.T + attention.qkv.bias).chunk(3, dim=-1)
        query = query + query_prompt
        key, value = (torch.cat([own, part]) for own, part in zip(prefix, (key, value), strict=True))
        heads = []
        for head in torch.arange(attention.dim).chunk(attention.num_heads):
            scores = query[:, head] @ key[:, head].T / math.sqrt(len(head))
            if mask is not None:
                scores[:, len(prefix[0]) :] += mask[number % len(mask)]
            heads.append(scores.softmax(-1) @ value[:, head])
        windows.append(torch.cat(heads, dim=-1) @ attention.proj.weight.T + attention.proj.bias)
    return torch.stack(windows)


def windows(masked: bool) -> tuple[Tensor, Tensor | None]:
    """Two samples of four windows of twelve tokens."""
    generator = torch.Generator().manual_seed(6)
    blocked = torch.rand(4, 12, 12, generator=generator) < 0.4
    x = torch.randn(8, 12, 64, generator=generator)
    return x, torch.where(blocked, -100.0, 0.0) if masked else None


def with_sharp_attention() -> Any:
    """A small model with an attention that tells tokens apart."""
    model = small_aurora()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.backbone.get_submodule(f"{PLACE}.attn").parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("depth", ["shallow", "deep"])
def test_vpt_is_its_formula(masked: bool, depth: str) -> None:
    """Prompts are tokens of every window whose outputs are dropped."""
    model = with_sharp_attention()
    x, mask = windows(masked)
    plain = copy.deepcopy(model.backbone.get_submodule(f"{PLACE}.attn"))
    adapter = attach(model, "vpt", depth=depth, prompts=3)
    perturb(adapter)
    prompted = model.backbone.get_submodule(f"{PLACE}.attn")
    if depth == "shallow":
        assert torch.equal(prompted(x, mask), plain(x, mask))
        return
    (tokens,) = own(adapter, "vpt", "attn.tokens")
    padded = None if mask is None else nn.functional.pad(mask, (3, 0, 3, 0))
    expected = plain(torch.cat([tokens.expand(8, -1, -1), x], dim=1), padded)[:, 3:]
    torch.testing.assert_close(prompted(x, mask), expected)
    _, key, value = (tokens @ plain.qkv.weight.T + plain.qkv.bias).chunk(3, dim=-1)
    torch.testing.assert_close(prompted(x, mask), plain_attention(plain, x, mask, (key, value), 0.0))
    assert (expected - plain(x, mask)).abs().max() > 0.1


def test_vpt_counts_and_start() -> None:
    deep, shallow = (attach(small_aurora(), "vpt", depth=depth, prompts=3) for depth in ("deep", "shallow"))
    assert deep.trainable_backbone() == 3 * sum(WIDTHS)
    assert shallow.dense_parameters().keys() == {"vpt.encoder_layers.0.blocks.0.attn.tokens"}
    widths = 2 * (6 * 512 + 10 * 1024 + 8 * 2048)
    assert attach(full_aurora(11), "vpt").trainable_backbone() == 10 * widths == 593_920
    inputs = 5 * 2 * 4 * 4  # variables, history, patch
    (tokens,) = own(attach(small_aurora(), "vpt", prompts=200), "vpt", "attn.tokens")
    bound = math.sqrt(6 / (inputs + 64))
    assert 0.99 * bound < tokens.abs().max() <= bound


def test_sct_is_its_formula() -> None:
    """Rows of fc2 have norms that rise with another order than the channels'."""
    model = small_aurora()
    block = cast(Any, model.backbone.get_submodule(PLACE))
    order = torch.randperm(64, generator=torch.Generator().manual_seed(8))
    with torch.no_grad():
        block.mlp.fc2.weight /= block.mlp.fc2.weight.norm(dim=1, keepdim=True)
        block.mlp.fc2.weight[order] *= torch.linspace(1, 2, 64)[:, None]
    plain = copy.deepcopy(block)
    adapter = attach(model, "sct", share=5 / 64)
    weight, bias = own(adapter, "sct", "map.weight", "map.bias")
    assert weight.shape == (5, 5) and not weight.any() and not bias.any()
    perturb(adapter)
    x, lead, places = torch.randn(2, 32, 64), torch.randn(2, 32), sorted(order[-5:].tolist())
    expected = plain(x, lead, (2, 2, 8), 0)
    changed = expected.clone()
    changed[..., places] += expected[..., places] @ weight.T + bias
    torch.testing.assert_close(block(x, lead, (2, 2, 8), 0), changed)


def test_sct_counts() -> None:
    counted = attach(small_aurora(), "sct").trainable_backbone()
    assert counted == sum(k * k + k for k in (4, 8, 8, 4))
    assert attach(small_aurora(), "sct", share=1e-6).trainable_backbone() == 4 * 2
    blocks = {64: 12, 128: 20, 256: 16}
    full = attach(full_aurora(11), "sct")
    assert full.trainable_backbone() == sum(n * (k * k + k) for k, n in blocks.items()) == 1_432_832


@pytest.mark.parametrize("masked", [False, True])
def test_aprompt_is_its_formula(masked: bool) -> None:
    model = with_sharp_attention()
    x, mask = windows(masked)
    plain = copy.deepcopy(model.backbone.get_submodule(f"{PLACE}.attn"))
    adapter = attach(model, "aprompt", prompts=3)
    query, key, value = own(adapter, "aprompt", "attn.query", "attn.key", "attn.value")
    assert not query.any() and 0.01 < key.std() < 0.03 and 0.01 < value.std() < 0.03
    perturb(adapter)
    expected = plain_attention(plain, x, mask, (key, value), query)
    torch.testing.assert_close(model.backbone.get_submodule(f"{PLACE}.attn")(x, mask), expected)
    assert (expected - plain(x, mask)).abs().max() > 0.1


def test_aprompt_counts() -> None:
    assert attach(small_aurora(), "aprompt", prompts=3).trainable_backbone() == 7 * sum(WIDTHS)
    widths = 2 * (6 * 512 + 10 * 1024 + 8 * 2048)
    assert attach(full_aurora(11), "aprompt").trainable_backbone() == 21 * widths == 1_247_232
