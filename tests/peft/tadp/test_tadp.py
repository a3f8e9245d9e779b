"""Prompts as a key/value prefix against prompts as tokens of every window."""

import copy
import functools
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from aurora.model.swin3d import WindowAttention
from pydantic import ValidationError
from torch import Tensor, nn

from tests.backbones.small_aurora import CONTEXT, loss, small_aurora, small_batch
from tests.peft.tadp.token_form import TokenForm, reference_prompts
from weatherpeft.backbones.aurora.model import AuroraBackbone
from weatherpeft.peft.lora import Lora
from weatherpeft.peft.sfas.per_sample import GradientStream
from weatherpeft.peft.tadp.generator import PromptGenerator
from weatherpeft.peft.tadp.prompting import PromptedWindowAttention
from weatherpeft.peft.tadp.spec import Tadp
from weatherpeft.samples.batch import Fields

TADP = Tadp(name="tadp", prompts=3)
LORA = Lora(name="lora", rank=2)
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def perturb(module: nn.Module, std: float = 0.3) -> None:
    """Move a module away from zeros and ones, where mistakes hide."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator).to(parameter.dtype), alpha=std)


def attentions(model: AuroraBackbone) -> list[PromptedWindowAttention]:
    """Those of a model with prompts."""
    return [cast(PromptedWindowAttention, module) for module in model.attention_modules().values()]


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
    parameters = [parameter for module in modules for parameter in module.parameters()]
    found = torch.autograd.grad((output * weights).sum(), parameters)
    return torch.cat([gradient.flatten() for gradient in found])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("width", [16, 32, 64])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("option", ["plain", "fp16_safe", "aurora_lora"])
@pytest.mark.parametrize("samples", [1, 2])
def test_attention_is_the_token_form(
    dtype: torch.dtype, width: int, masked: bool, option: str, samples: int
) -> None:
    torch.manual_seed(0)
    lora = {"use_lora": True, "lora_mode": "all", "lora_steps": 3} if option == "aurora_lora" else {}
    attention = WindowAttention(width, (2, 2, 3), num_heads=4, **lora)
    attention.use_fp16_safe_attention = option == "fp16_safe"
    perturb(attention, 0.1)
    model = Embedding()
    generator = PromptGenerator(16, 5, 8, prompts=3)
    perturb(generator)
    reference = TokenForm(copy.deepcopy(attention), generator, model.embedding_weights).to(dtype)
    model.to(dtype)
    own = copy.deepcopy(generator)
    prompted = PromptedWindowAttention.prompt(attention.to(dtype), own, model.embedding_weights)
    prompted.qkv._stream = SimpleNamespace(capturing=samples > 1, batch_size=samples)

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


def saved_bytes(attention: nn.Module, x: Tensor, mask: Tensor | None) -> int:
    """Storage that a forward pass keeps for the backward pass, beside parameters and input."""
    found: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = attention(x, mask)
    for known in (x, *attention.parameters()):
        found.pop(known.untyped_storage().data_ptr(), None)
    del output
    return sum(found.values())


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("trained", [False, True])
def test_no_more_is_saved_for_the_backward_pass_than_by_the_token_form(masked: bool, trained: bool) -> None:
    """Windows, heads and prompts of the paper."""
    torch.manual_seed(0)
    attention = WindowAttention(128, (2, 6, 12), num_heads=4).requires_grad_(trained)
    model = Embedding()
    generator = PromptGenerator(16, 5, 8, prompts=30)
    reference = TokenForm(copy.deepcopy(attention), generator, model.embedding_weights)
    prompted = PromptedWindowAttention.prompt(attention, generator, model.embedding_weights)
    x = torch.randn(16, 144, 128, requires_grad=True)
    mask = torch.where(torch.rand(4, 144, 144) < 0.4, -100.0, 0.0) if masked else None
    assert saved_bytes(prompted, x, mask) <= saved_bytes(reference, x, mask)


def embeddings(model: AuroraBackbone) -> list[nn.Parameter]:
    """Patch embeddings of the surface variables."""
    return [p for name, p in model.encoder.named_parameters() if "surf_token_embeds.weights" in name]


@pytest.mark.parametrize("apart", [False, True])
def test_prompts_are_projected_once_a_block(apart: bool) -> None:
    """Or once a sample, where per-sample gradients are asked for."""
    model, batch = small_aurora(), small_batch(3)
    TADP.attach(model, CONTEXT)
    parameters = {name: p for name, p in model.backbone_parameters().items() if "attn.qkv.weight" in name}
    rows: list[int] = []
    for attention in attentions(model):
        attention.qkv.weight.requires_grad_(True)
        attention.qkv.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    if apart:
        with GradientStream(model.backbone, parameters, lambda *_: None):
            loss(model, batch).backward()
    else:
        loss(model, batch).backward()
    prompts = rows[1::2]  # after the tokens
    assert prompts == [3 if apart else 1] * len(model.attention_modules())


@pytest.mark.parametrize(
    ("internal", "external", "absent"),
    [
        (True, True, set()),
        (False, True, {"along_patch", "along_width"}),
        (True, False, {"along_variables"}),
        (False, False, {"along_patch", "along_width", "along_variables"}),
    ],
)
@pytest.mark.parametrize("prompts", [1, 5])
def test_ablations(internal: bool, external: bool, absent: set[str], prompts: int) -> None:
    model, batch = small_aurora(), small_batch()
    Tadp(name="tadp", prompts=prompts, internal=internal, external=external).attach(model, CONTEXT)
    generator = attentions(model)[0].generator
    perturb(generator)
    adapters = {"along_patch", "along_width", "along_variables"}
    assert {name for name, _ in generator.named_children()} & adapters == adapters - absent

    embedding = model.embedding_weights()
    found = generator(embedding)
    assert found.shape == (prompts, 32)
    assert_close(found, reference_prompts(generator, embedding, 32))
    entry = torch.zeros_like(embedding)
    entry[:, 0] = torch.randn(entry[:, 0].shape)
    assert (generator(embedding + entry) - found).abs().max() > 0  # seen, whatever is left out

    loss(model, batch).backward()
    assert all(parameter.grad is not None for parameter in generator.parameters())
    assert all(p.grad is not None for p in embeddings(model))


def test_without_the_external_pattern_variables_do_not_meet_before_the_mix() -> None:
    """A change of one variable reaches the mixing of this variable's entries alone."""
    for external in (True, False):
        generator = PromptGenerator(16, 5, 8, prompts=3, external=external)
        perturb(generator)
        seen: list[Tensor] = []
        generator.norm.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0]))
        embedding = torch.randn(16, 5, 8)
        generator(embedding)
        embedding[:, 2] += 1
        generator(embedding)
        changed = (seen[0] != seen[1]).reshape(16, 5, 8).any(0).any(-1)
        assert changed.tolist() == [external or variable == 2 for variable in range(5)]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("methods", [[TADP], [LORA, TADP], [TADP, LORA]])
def test_model_is_the_token_form(dtype: torch.dtype, methods: list[Tadp | Lora]) -> None:
    """Stages of two widths, shifted windows, other methods' layers; gradients reach the encoder."""
    model = small_aurora(depth=2).to(dtype)
    for method in methods:
        method.attach(model, CONTEXT)
    trained = nn.ModuleList([model.encoder, model.backbone])
    perturb(model.backbone, 0.05)

    reference = copy.deepcopy(model)
    for path, attention in zip(reference.attention_modules(), attentions(reference), strict=True):
        block = reference.backbone.get_submodule(path.removesuffix(".attn"))
        generator = attention.generator
        del attention.generator
        attention.__class__ = WindowAttention
        block.attn = TokenForm(attention, generator, reference.embedding_weights)
    renamed = nn.ModuleList([reference.encoder, reference.backbone]).named_parameters()
    reference_names = {name.replace("attn.attention", "attn"): parameter for name, parameter in renamed}
    assert reference_names.keys() == dict(trained.named_parameters()).keys()

    x = torch.randn(2, 4 * 4 * 8, 32, dtype=dtype, generator=torch.Generator().manual_seed(4))
    arguments = {
        "lead_times": torch.tensor([6.0, 12.0], dtype=dtype),
        "rollout_step": 0,
        "patch_res": (4, 4, 8),
    }
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
            assert parameter.grad is not None
            error = (parameter.grad - other).abs().max()
            assert error <= TOLERANCE[dtype] * largest, name
            if name in embedding:
                assert other.abs().max() > 1e-3 and error <= 1e-4 * other.abs().max(), name
    assert len(embedding) == 5


def predict(
    model: AuroraBackbone, mode: type[torch.no_grad | torch.inference_mode] = torch.no_grad
) -> Tensor:
    with mode():
        return model(small_batch()).channels()


def afresh(model: AuroraBackbone) -> Tensor:
    """A prediction of a model that has never predicted."""
    fresh = small_aurora().eval()
    LORA.attach(fresh, CONTEXT)
    TADP.attach(fresh, CONTEXT)
    fresh.load_state_dict(model.state_dict())
    return predict(fresh)


def embedding(model: AuroraBackbone) -> nn.Parameter:
    return model.encoder.get_parameter("surf_token_embeds.weights.2t")


def generator(model: AuroraBackbone) -> PromptGenerator:
    return attentions(model)[-1].generator


def projection(model: AuroraBackbone) -> nn.Module:
    layer: nn.Module = attentions(model)[-1].qkv
    return layer


@torch.no_grad()
def add(parameter: Tensor) -> None:
    parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5)))


def load(module: nn.Module, **options: bool) -> None:
    """Load other weights into a part of a model."""
    state = {name: value.clone() for name, value in module.state_dict().items()}
    for value in state.values():
        add(value)
    module.load_state_dict(state, **options)


def replace_parameter(model: AuroraBackbone) -> None:
    other = nn.Parameter(embedding(model).detach().clone())
    add(other)
    model.model.encoder.surf_token_embeds.weights["2t"] = other


def replace_generator(model: AuroraBackbone) -> None:
    other = copy.deepcopy(generator(model))
    load(other)
    attentions(model)[-1].generator = other


def step(model: AuroraBackbone) -> None:
    """Of a training in evaluation mode."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    loss(model, small_batch()).backward()
    optimizer.step()


CHANGES: dict[str, Callable[[AuroraBackbone], object]] = {
    "weights are loaded into the model": lambda model: load(model),
    "weights are loaded into the encoder": lambda model: load(model.encoder),
    "weights are loaded into a generator": lambda model: load(generator(model)),
    "weights are loaded into a projection and its LoRA": lambda model: load(projection(model)),
    "weights take the place of a generator's": lambda model: load(generator(model), assign=True),
    "an embedding changes in place": lambda model: add(embedding(model)),
    "an embedding's data changes in place": lambda model: add(embedding(model).data),
    "an embedding's data is replaced": lambda model: setattr(
        embedding(model), "data", 2 * embedding(model).data
    ),
    "an embedding is replaced": replace_parameter,
    "a generator changes in place": lambda model: add(generator(model).mix.weight),
    "a generator's data changes in place": lambda model: add(generator(model).mix.weight.data),
    "a generator is replaced": replace_generator,
    "a projection changes in place": lambda model: add(projection(model).get_parameter("base_layer.weight")),
    "a LoRA layer changes in place": lambda model: add(
        projection(model).get_parameter("lora_B.default.weight")
    ),
    "a step is taken": step,
    "weights are rounded and back": lambda model: model.bfloat16().float(),
}


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("change", CHANGES)
def test_prompts_that_are_kept_are_never_stale(
    change: str, mode: type[torch.no_grad | torch.inference_mode]
) -> None:
    model = small_aurora().eval()  # once: a change of the mode might forget
    LORA.attach(model, CONTEXT)
    TADP.attach(model, CONTEXT)
    before = predict(model, mode)
    CHANGES[change](model)
    after = predict(model, mode)
    assert torch.equal(after, afresh(model))
    assert not torch.equal(after, before)


def test_a_prediction_is_the_training_forward() -> None:
    model, batch = small_aurora(), small_batch()
    TADP.attach(model, CONTEXT)
    expected = model.train()(batch).channels().detach()
    for training in (True, False, False):
        torch.testing.assert_close(predict(model.train(training)), expected, rtol=1e-6, atol=0)


def count_prompts(model: AuroraBackbone) -> list[int]:
    """Grows with every call of a generator."""
    calls: list[int] = []
    for attention in attentions(model):
        attention.generator.register_forward_hook(lambda *_: calls.append(1))
    return calls


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_predictions_make_prompts_once(mode: type[torch.no_grad | torch.inference_mode]) -> None:
    model = small_aurora().eval()
    TADP.attach(model, CONTEXT)
    calls, blocks = count_prompts(model), len(model.attention_modules())
    for _ in range(3):
        predict(model, mode)
    assert len(calls) == blocks
    loss(model, small_batch()).backward()  # a pass with gradients keeps none and uses none
    assert len(calls) == 2 * blocks
    predict(model, mode)
    assert len(calls) == 2 * blocks
    add(embedding(model))
    predict(model, mode)
    assert len(calls) == 3 * blocks


def test_an_attention_by_itself_keeps_nothing() -> None:
    """Only a call of the whole backbone looks for changes."""
    model = small_aurora().eval()
    TADP.attach(model, CONTEXT)
    predict(model)
    calls, attention = count_prompts(model), next(iter(model.attention_modules().values()))
    with torch.no_grad():
        for _ in range(2):
            attention(torch.randn(4, 16, 32))
    assert len(calls) == 2


def test_a_call_that_fails_leaves_nothing_behind() -> None:
    model = small_aurora().eval()
    TADP.attach(model, CONTEXT)
    attention = attentions(model)[0]
    handle = attention.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        predict(model)
    handle.remove()
    calls = count_prompts(model)
    with torch.no_grad():
        attention(torch.randn(4, 16, 32))
    assert calls == [1]


def test_a_deep_copy_reads_its_own_encoder() -> None:
    model, batch = small_aurora(), small_batch()
    TADP.attach(model, CONTEXT)
    with torch.no_grad():
        expected = model.eval()(batch).channels()
        twin = copy.deepcopy(model)
        assert torch.equal(twin(batch).channels(), expected)
        for parameter in twin.encoder.parameters():
            parameter.mul_(1.5)
        for attention in attentions(twin):
            assert cast(Any, attention.embedding_weights).__self__ is twin
        model.train()
        assert torch.equal(model(batch).channels(), expected)

    loss(twin, batch).backward()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(parameter.grad is not None for parameter in embeddings(twin))


def test_weights_get_one_gradient_a_backward_pass() -> None:
    """Sparse tuning consumes gradients in hooks: prompts and tokens must arrive together."""
    model = small_aurora()
    TADP.attach(model, CONTEXT)
    weight = attentions(model)[0].qkv.weight.requires_grad_()
    calls: list[int] = []
    weight.register_post_accumulate_grad_hook(lambda _: calls.append(1))
    loss(model, small_batch()).backward()
    assert calls == [1]


def test_samples_stay_apart_in_the_squared_gradients() -> None:
    """Per-sample squares of one batched backward pass against a backward pass for each sample."""
    model, batch = small_aurora(depth=2), small_batch(2)
    TADP.attach(model, CONTEXT)
    parameters = {name: p for name, p in model.backbone_parameters().items() if "attn.qkv.weight" in name}
    for parameter in parameters.values():
        parameter.requires_grad_(True)

    def squared_error(window: slice) -> Tensor:
        part = {name: field[window] for name, field in batch.inputs.surface.items()}
        upper = {name: field[window] for name, field in batch.inputs.atmospheric.items()}
        sample = replace(batch, inputs=Fields(part, upper), times=batch.times[window])
        return (model(sample).channels() - batch.target.channels()[window]).square().mean()

    expected = {name: torch.zeros(()) for name in parameters}
    for sample in range(2):
        own = torch.autograd.grad(squared_error(slice(sample, sample + 1)), list(parameters.values()))
        expected = {name: expected[name] + g.square() / 2 for name, g in zip(parameters, own, strict=True)}
    found: dict[str, Tensor] = {}

    def consume(name: str, _: Tensor, square: Tensor | None) -> None:
        assert square is not None
        found[name] = square

    with GradientStream(model.backbone, parameters, consume):
        squared_error(slice(None)).backward()
    assert found.keys() == parameters.keys()
    for name, square in found.items():
        torch.testing.assert_close(square, expected[name], rtol=1e-3, atol=1e-5 * float(square.max()))


def test_lower_precision_in_the_backbone() -> None:
    model, batch = small_aurora(depth=2).eval(), small_batch()
    TADP.attach(model, CONTEXT)
    expected = model(batch).channels()
    model.model.autocast_backbone = True  # to bfloat16
    trained = model(batch).channels()
    with torch.no_grad():
        cached = model(batch).channels()
        model.model.autocast_backbone = False
        full = model(batch).channels()  # the cache is one of bfloat16
    scale = expected.std(dim=(0, 2, 3), keepdim=True)
    assert (trained - expected).abs().div(scale).max() < 0.05
    assert not torch.equal(trained, expected)
    assert (cached - trained).abs().div(scale).max() < 0.01
    torch.testing.assert_close(full, expected, rtol=1e-6, atol=0)


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
    with pytest.raises(ValueError, match="tadp: encoder_layers.0.blocks.0.attn is a Prompted"):
        TADP.attach(model, CONTEXT)
