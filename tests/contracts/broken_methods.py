"""Methods that each break one promise, made of sound ones; light, processes import it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from weatherpeft.interfaces import Adapter, Backbone, End, PeftMethod, TuningContext
from weatherpeft.peft import AnyMethod
from weatherpeft.training.distributed import rank

Hook = Callable[..., Any]


@dataclass
class Faulty:
    """An adapter of which some methods are replaced."""

    sound: Any
    instead: dict[str, Hook] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        return self.instead.get(name) or getattr(self.sound, name)


def dense(adapter: Adapter) -> list[nn.Parameter]:
    """The adapter's dense parameters, those of the method itself before the backbone's biases."""
    parameters = adapter.dense_parameters()
    return [parameters[name] for name in sorted(parameters, key=lambda name: name.startswith("backbone."))]


def frozen(model: Any) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if not parameter.requires_grad]


def before_passes(model: Any, hook: Callable[[], None]) -> None:
    """Call a function before every forward pass of a training."""
    model.backbone.register_forward_pre_hook(lambda *_: hook() if model.training else None)


def change_attention(model: Any, change: Callable[[Tensor], Tensor]) -> None:
    """Change what the first block's attention returns."""
    attention = next(iter(model.attention_modules().values()))
    attention.register_forward_hook(lambda module, inputs, output: change(output))


def starts_elsewhere(adapter: Adapter, model: Any) -> Adapter:
    """Its parameters do not start where the method is the identity."""
    with torch.no_grad():
        for parameter in dense(adapter):
            parameter.add_(0.1)
    return adapter


def decays_what_is_frozen(adapter: Adapter, model: Any) -> Adapter:
    """Its step lets the weight decay shrink a tensor that it does not train."""
    target = frozen(model)[0]

    def step(number: int, learning_rate: float) -> None:
        adapter.step(number, learning_rate)
        with torch.no_grad():
            target.mul_(1 - 0.1 * learning_rate)

    return Faulty(adapter, {"step": step})


def writes_to_the_weights(adapter: Adapter, model: Any) -> Adapter:
    """A forward pass in training writes to a frozen weight, as the running mean of a norm would."""
    target = frozen(model)[-1]

    @torch.no_grad()
    def write() -> None:
        target.add_(1e-3)

    before_passes(model, write)
    return adapter


def hides_a_parameter(adapter: Adapter, model: Any) -> Adapter:
    """It trains a parameter by itself that it does not report."""
    found = adapter.dense_parameters()
    name = next(iter(found))

    def step(number: int, learning_rate: float) -> None:
        with torch.no_grad():
            found[name].sub_(learning_rate)  # also where it starts at zero

    rest = {key: value for key, value in found.items() if key != name}
    count = adapter.trainable_backbone() - found[name].numel()
    return Faulty(
        adapter, {"dense_parameters": lambda: rest, "step": step, "trainable_backbone": lambda: count}
    )


def leaves_out_a_tensor(adapter: Adapter, model: Any) -> Adapter:
    """The result lacks its last tensor, and nothing minds when it is loaded."""

    def result() -> dict[str, Tensor]:
        return dict(list(adapter.result().items())[:-1])

    def load(tensors: Mapping[str, Tensor]) -> None:
        adapter.load_result({**adapter.result(), **tensors})

    return Faulty(adapter, {"result": result, "load_result": load})


def rounds_the_result(adapter: Adapter, model: Any) -> Adapter:
    """The result is kept in bfloat16."""

    def result() -> dict[str, Tensor]:
        return {name: tensor.bfloat16().to(tensor.dtype) for name, tensor in adapter.result().items()}

    return Faulty(adapter, {"result": result})


def keeps_the_start(adapter: Adapter, model: Any) -> Adapter:
    """The result is that of before the training."""
    start = adapter.result()
    return Faulty(adapter, {"result": lambda: start})


def counts_one_more(adapter: Adapter, model: Any) -> Adapter:
    return Faulty(adapter, {"trainable_backbone": lambda: adapter.trainable_backbone() + 1})


def counts_tensors_that_stay(adapter: Adapter, model: Any) -> Adapter:
    """It counts everything in its result, also what is drawn once and never trained."""
    count = sum(tensor.numel() for tensor in adapter.result().values())
    return Faulty(adapter, {"trainable_backbone": lambda: count})


def counts_its_own_alone(adapter: Adapter, model: Any) -> Adapter:
    """It forgets the biases of the backbone that it trains too."""
    own = adapter.dense_parameters().items()
    count = sum(value.numel() for name, value in own if not name.startswith("backbone."))
    return Faulty(adapter, {"trainable_backbone": lambda: count})


def multiplies_in_float32(adapter: Adapter, model: Any) -> Adapter:
    """A product outside of autocast takes what comes for float32."""

    def change(output: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return output @ torch.eye(output.shape[-1])

    change_attention(model, change)
    return adapter


def overflows(adapter: Adapter, model: Any) -> Adapter:
    """What is not float32 passes through float16, whose largest number is 65504."""
    large = 1e6
    change_attention(
        model,
        lambda output: output if output.dtype == torch.float32 else (output * large).half().float() / large,
    )
    return adapter


def vanishes(adapter: Adapter, model: Any) -> Adapter:
    """What is not float32 is lost."""
    change_attention(model, lambda output: output if output.dtype == torch.float32 else 0 * output)
    return adapter


def draws_anew(adapter: Adapter, model: Any) -> Adapter:
    """Noise of a generator of its own is another one when a block is computed again."""
    generator = torch.Generator().manual_seed(0)

    def change(output: Tensor) -> Tensor:
        return output * (1 + 0.1 * torch.randn(output.shape[-1], generator=generator, dtype=output.dtype))

    change_attention(model, change)
    return adapter


def counts_calls(adapter: Adapter, model: Any) -> Adapter:
    """A scale that grows with every call grows too when a block is computed again."""
    calls = [0]

    def change(output: Tensor) -> Tensor:
        calls[0] += 1
        return output * (1 + 0.01 * calls[0])

    change_attention(model, change)
    return adapter


def looks_at_the_last_pass(adapter: Adapter, model: Any) -> Adapter:
    """Each pass forgets the gradients of the passes before it."""

    def forget() -> None:
        for parameter in dense(adapter):
            parameter.grad = None

    before_passes(model, forget)
    return adapter


def mixes_samples(adapter: Adapter, model: Any) -> Adapter:
    """It subtracts a mean over the batch."""
    change_attention(model, lambda output: output - output.mean(0, keepdim=True))
    return adapter


def starts_by_rank(adapter: Adapter, model: Any) -> Adapter:
    """Its start is drawn from a generator that each process seeds by its rank."""
    generator = torch.Generator().manual_seed(rank())
    with torch.no_grad():
        for parameter in dense(adapter):
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.add_(noise, alpha=0.01)
    return adapter


def steps_by_its_own_gradient(adapter: Adapter, model: Any) -> Adapter:
    """It updates a parameter from the gradient of its process alone."""
    target = dense(adapter)[0]
    seen: list[Tensor] = []

    def keep(parameter: Tensor) -> None:
        assert parameter.grad is not None
        seen.append(parameter.grad.clone())

    target.register_post_accumulate_grad_hook(keep)

    @torch.no_grad()
    def step(number: int, learning_rate: float) -> None:
        target.sub_(learning_rate * seen[-1].sign())

    return Faulty(adapter, {"step": step})


def scales_by_rank(adapter: Adapter, model: Any) -> Adapter:
    """Its forward pass depends on the process."""
    change_attention(model, lambda output: output * (1 + 0.1 * rank()))
    return adapter


FAULTS: dict[str, Callable[[Adapter, Any], Adapter]] = {
    fault.__name__: fault
    for fault in (
        starts_elsewhere,
        decays_what_is_frozen,
        writes_to_the_weights,
        hides_a_parameter,
        leaves_out_a_tensor,
        rounds_the_result,
        keeps_the_start,
        counts_one_more,
        counts_tensors_that_stay,
        counts_its_own_alone,
        multiplies_in_float32,
        overflows,
        vanishes,
        draws_anew,
        counts_calls,
        looks_at_the_last_pass,
        mixes_samples,
        starts_by_rank,
        steps_by_its_own_gradient,
        scales_by_rank,
    )
}


class Broken(PeftMethod):
    """A method with a fault."""

    name: Literal["broken"] = "broken"
    method: AnyMethod
    fault: str

    @property
    def frozen_ends(self) -> tuple[End, ...]:
        return self.method.frozen_ends

    def attach(self, model: Backbone, context: TuningContext) -> Adapter:
        return FAULTS[self.fault](self.method.attach(model, context), model)
