"""Prompts as a key/value prefix against prompts as tokens of every window."""

import copy
import functools
import math

import pytest
import torch
import torch.nn.functional as F
from aurora.model.swin3d import Swin3DTransformerBackbone, WindowAttention
from pydantic import ValidationError
from torch import Tensor, nn

from tests.peft.small_aurora import CONTEXT, loss, small_aurora, small_batch
from weatherpeft.peft.lora import Lora
from weatherpeft.peft.prompting import PromptedWindowAttention, PromptGenerator
from weatherpeft.peft.tadp import Tadp

TADP = Tadp(name="tadp", prompts=3)
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def perturb(module: nn.Module, std: float = 0.3) -> None:
    """Move a module away from zeros and ones, where mistakes hide."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += std * torch.randn(parameter.shape, generator=generator).to(parameter.dtype)


def reference_prompts(generator: PromptGenerator, embedding: Tensor, width: int) -> Tensor:
    """The paper's five steps and the stretch in plain algebra, ``(prompt, width)``."""

    def norm(x: Tensor, layer: nn.LayerNorm) -> Tensor:
        centered = x - x.mean(-1, keepdim=True)
        scale = (centered.square().mean(-1, keepdim=True) + layer.eps).sqrt()
        return centered / scale * layer.weight + layer.bias

    def adapter(x: Tensor, module: nn.Module) -> Tensor:
        h = norm(x, module.norm)
        hidden = h @ module.down.weight.T + module.down.bias
        hidden = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
        return h + hidden @ module.up.weight.T + module.up.bias

    d, v, s = embedding.shape
    x = adapter(embedding, generator.along_patch)  # (D, V, S)
    x = adapter(x.permute(2, 0, 1), generator.along_variables)  # (S, D, V)
    x = adapter(x.permute(2, 0, 1), generator.along_width)  # (V, S, D)
    x = norm(x.reshape(v * s, d), generator.along_width.norm)
    x = torch.softmax(x @ x.T / math.sqrt(d), dim=-1) @ x
    x = norm(x.T, generator.norm) @ generator.mix.weight.T + generator.mix.bias  # (D, P)
    columns = []
    for column in range(width):  # centers of the cells are aligned, borders are held
        position = min(max((column + 0.5) * d / width - 0.5, 0), d - 1)
        left = min(int(position), d - 2)
        columns.append(x[left] * (left + 1 - position) + x[left + 1] * (position - left))
    return torch.stack(columns, dim=-1)


class TokenForm(nn.Module):
    """The definition: prompts stand before the tokens of every window, their outputs are dropped."""

    def __init__(self, attention: nn.Module, generator: PromptGenerator, model: nn.Module) -> None:
        super().__init__()
        self.attention, self.generator = attention, generator
        self.embedding_weights = model.embedding_weights

    def forward(self, x: Tensor, mask: Tensor | None = None, rollout_step: int = 0) -> Tensor:
        prompts = reference_prompts(self.generator, self.embedding_weights(), self.attention.dim)
        tokens = torch.cat([prompts.expand(len(x), -1, -1), x], dim=1)
        if mask is not None:
            mask = F.pad(mask, (len(prompts), 0, len(prompts), 0))
        return self.attention(tokens, mask, rollout_step)[:, len(prompts) :]


class Embedding(nn.Module):
    """The part of a backbone that an attention needs."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(16, 5, 8))

    def embedding_weights(self) -> Tensor:
        return self.weight


def assert_close(found: Tensor, expected: Tensor) -> None:
    tolerance = TOLERANCE[found.dtype]
    largest = float(expected.detach().abs().max())
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * largest)


def gradients(output: Tensor, *modules: nn.Module) -> Tensor:
    """Of all parameters in one vector: some biases have a gradient of zero, found as rounding noise."""
    weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).reshape(output.shape)
    parameters = [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]
    return torch.cat([gradient.flatten() for gradient in torch.autograd.grad((output * weights).sum(), parameters)])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("width", [16, 32, 64])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("option", ["plain", "fp16_safe", "aurora_lora"])
def test_attention_is_the_token_form(dtype: torch.dtype, width: int, masked: bool, option: str) -> None:
    torch.manual_seed(0)
    lora = {"use_lora": True, "lora_mode": "all", "lora_steps": 3} if option == "aurora_lora" else {}
    attention = WindowAttention(width, (2, 2, 3), num_heads=4, **lora)
    attention.use_fp16_safe_attention = option == "fp16_safe"
    perturb(attention, 0.1)
    model = Embedding()
    generator = PromptGenerator(16, 5, 8, prompts=3)
    perturb(generator)
    reference = TokenForm(copy.deepcopy(attention), generator, model).to(dtype)
    model.to(dtype)
    prompted = PromptedWindowAttention.prompt(attention.to(dtype), copy.deepcopy(generator), model.embedding_weights)

    x = torch.randn(2 * 4, 12, width, dtype=dtype)  # 2 samples of 4 windows
    mask = torch.where(torch.rand(4, 12, 12) < 0.4, -100.0, 0.0).to(dtype) if masked else None
    found, expected = prompted(x, mask, rollout_step=1), reference(x, mask, rollout_step=1)
    assert_close(found, expected)

    with torch.no_grad():
        assert (expected - reference.attention(x, mask, rollout_step=1)).abs().max() > 1e-2  # prompts matter
    inner = reference.attention
    assert_close(
        gradients(found, prompted.qkv, prompted.proj, prompted.generator, model),
        gradients(expected, inner.qkv, inner.proj, reference.generator, model),
    )


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("methods", [[TADP], [Lora(name="lora", rank=2), TADP], [TADP, Lora(name="lora", rank=2)]])
def test_model_is_the_token_form(dtype: torch.dtype, methods: list[Tadp | Lora]) -> None:
    """Stages of two widths, shifted windows, other methods' layers; gradients reach the encoder."""
    model = small_aurora(depth=2).to(dtype)
    for method in methods:
        method.attach(model, CONTEXT)
    trained = nn.ModuleList([model.encoder, model.backbone])
    perturb(model.backbone, 0.05)

    reference = copy.deepcopy(model)
    for path, attention in reference.attention_modules().items():
        block = reference.backbone.get_submodule(path.removesuffix(".attn"))
        generator = attention.generator
        attention.__class__ = WindowAttention
        block.attn = TokenForm(attention, generator, reference)
    reference_names = {
        name.replace("attn.attention.generator", "attn.generator").replace("attn.attention", "attn"): parameter
        for name, parameter in nn.ModuleList([reference.encoder, reference.backbone]).named_parameters()
    }

    x = torch.randn(1, 4 * 4 * 8, 32, dtype=dtype, generator=torch.Generator().manual_seed(4))
    arguments = {"lead_times": torch.tensor([6.0], dtype=dtype), "rollout_step": 0, "patch_res": (4, 4, 8)}
    found, expected = model.backbone(x, **arguments), reference.backbone(x, **arguments)
    assert_close(found, expected)

    for output in (found, expected):
        output.square().sum().backward()
    embedding = [name for name in reference_names if "token_embeds.weights" in name]
    largest = max(float(p.grad.abs().max()) for p in reference_names.values() if p.grad is not None)
    for name, parameter in trained.named_parameters():
        other = reference_names[name].grad
        assert (parameter.grad is None) == (other is None), name
        if other is not None:
            error = (parameter.grad - other).abs().max()
            assert error <= TOLERANCE[dtype] * largest, name
            if name in embedding:
                assert other.abs().max() > 1e-3 and error <= 1e-4 * other.abs().max(), name
    assert len(embedding) == 5


def test_cached_inference_is_the_training_forward_and_never_stale() -> None:
    model, batch = small_aurora(), small_batch()
    adapter = TADP.attach(model, CONTEXT)
    attention = next(iter(model.attention_modules().values()))

    def predict() -> Tensor:
        with torch.no_grad():
            return model(batch).channels()

    expected = model.train()(batch).channels().detach()
    model.eval()
    torch.testing.assert_close(predict(), expected, rtol=1e-6, atol=0)
    assert attention._prefixes
    first = predict()
    assert torch.equal(predict(), first)

    loss(model, batch).backward()  # training in evaluation mode
    with torch.no_grad():
        for parameter in model.encoder.surf_token_embeds.parameters():
            parameter += 0.5
    assert not torch.equal(predict(), first)

    before = predict()
    adapter.load_result({name: tensor + 0.1 for name, tensor in adapter.result().items()})
    after = predict()
    assert not torch.equal(after, before)
    torch.testing.assert_close(model.train()(batch).channels().detach(), after, rtol=1e-6, atol=0)
    model.eval()
    predict()
    model.double()
    assert not attention._prefixes


def test_cached_inference_calls_no_generator() -> None:
    model, batch = small_aurora().eval(), small_batch()
    TADP.attach(model, CONTEXT)
    calls: list[int] = []
    for attention in model.attention_modules().values():
        attention.generator.register_forward_hook(lambda *_: calls.append(1))
    with torch.inference_mode():
        for _ in range(3):
            model(batch)
    assert len(calls) == len(model.attention_modules())


def test_a_deep_copy_reads_its_own_encoder() -> None:
    model, batch = small_aurora(), small_batch()
    TADP.attach(model, CONTEXT)
    with torch.no_grad():
        expected = model.eval()(batch).channels()
        twin = copy.deepcopy(model)
        assert torch.equal(twin(batch).channels(), expected)
        for parameter in twin.encoder.parameters():
            parameter.mul_(1.5)
        for attention in twin.attention_modules().values():
            assert attention.embedding_weights.__self__ is twin
        twin.train(), model.train()
        assert torch.equal(model(batch).channels(), expected)

    loss(twin, batch).backward()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(parameter.grad is not None for parameter in twin.encoder.surf_token_embeds.weights.values())


def test_weights_get_one_gradient_a_backward_pass() -> None:
    """Sparse tuning consumes gradients in hooks: prompts and tokens must arrive together."""
    model = small_aurora()
    TADP.attach(model, CONTEXT)
    weight = next(iter(model.attention_modules().values())).qkv.weight.requires_grad_()
    calls: list[int] = []
    weight.register_post_accumulate_grad_hook(lambda _: calls.append(1))
    loss(model, small_batch()).backward()
    assert calls == [1]


def test_activation_checkpointing_changes_nothing() -> None:
    model, batch = small_aurora(), small_batch()
    adapter = TADP.attach(model, CONTEXT)
    grads = []
    for checkpointed in (False, True):
        for block in [m for m in model.backbone.modules() if type(m).__name__ == "Swin3DTransformerBlock"]:
            if checkpointed:
                block.forward = functools.partial(
                    torch.utils.checkpoint.checkpoint, type(block).forward, block, use_reentrant=False
                )
        model.zero_grad()
        loss(model, batch).backward()
        grads.append([parameter.grad for parameter in adapter.dense_parameters().values()])
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)


def test_starts_as_a_function_of_the_seed_and_leaves_the_global_generator() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, other = (TADP.attach(small_aurora(), CONTEXT).result() for _ in range(2))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_bottleneck_starts_as_its_norm() -> None:
    generator = PromptGenerator(16, 5, 8, prompts=3)
    x = torch.randn(4, 16)
    assert torch.equal(generator.along_width(x), generator.along_width.norm(x))


def test_no_prompts_is_an_error() -> None:
    with pytest.raises(ValidationError, match="prompts"):
        Tadp(name="tadp", prompts=0)


def test_a_second_attach_is_an_error() -> None:
    model = small_aurora()
    TADP.attach(model, CONTEXT)
    with pytest.raises(TypeError, match="encoder_layers.0.blocks.0.attn"):
        TADP.attach(model, CONTEXT)


class FullAurora:
    """Aurora's full configuration as shapes only."""

    def __init__(self, variables: int) -> None:
        with torch.device("meta"):
            self.backbone = Swin3DTransformerBackbone(
                embed_dim=512,
                window_size=(2, 6, 12),
                encoder_depths=(6, 10, 8),
                encoder_num_heads=(8, 16, 32),
                decoder_depths=(8, 10, 6),
                decoder_num_heads=(32, 16, 8),
            ).requires_grad_(False)
        self.variables = variables

    def backbone_parameters(self) -> dict[str, nn.Parameter]:
        return dict(self.backbone.named_parameters())

    def attention_modules(self) -> dict[str, nn.Module]:
        return {path: m for path, m in self.backbone.named_modules() if isinstance(m, WindowAttention)}

    def embedding_weights(self) -> Tensor:
        return torch.empty(512, self.variables, 2 * 4 * 4, device="meta")


@pytest.mark.parametrize(
    ("variables", "prompts", "published"), [(11, 30, 1_439_712), (21, 5, 1_140_192), (13, 20, 1_340_400)]
)
def test_parameter_counts_are_the_published(
    variables: int, prompts: int, published: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "linspace", functools.partial(torch.linspace, device="cpu"))
    model = FullAurora(variables)
    assert sum(parameter.numel() for parameter in model.backbone.parameters()) == 1_239_943_168
    assert len(model.attention_modules()) == 48
    d, v, s, h = 512, variables, 32, variables // 2
    block = (2 * 16 * d + 16 + d) + 2 * d + (2 * 8 * s + 8 + s) + 2 * s + (2 * v * h + h + v) + 2 * v
    block += 2 * s * v + (s * v * prompts + prompts)
    adapter = Tadp(name="tadp", prompts=prompts).attach(model, CONTEXT)
    assert 48 * block == published
    assert adapter.trainable_backbone() == published + 780_800
