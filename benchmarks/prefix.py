"""Prompts as tokens of every window against prompts as a key/value prefix, forward and backward.

    python benchmarks/prefix.py [--model tiny|small|base] [--device cpu|cuda]

Two places: one attention module with windows as in the 1.3 B model (width 512, 8 heads, 144 tokens), with and
without the shifted windows' mask, and a whole model end to end. Both forms use the same modules with the
same weights, one after the other in each repetition, so that they share what disturbs the machine; the
ratio is that of the least times. All weights ask for gradients, as under SFAS.

- Inference: without gradients, in evaluation mode. The prompts are constants then, and neither form
  computes them again.
- Saved: the storage that the forward pass keeps for the backward pass, beside the parameters and the input.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as functional
from aurora.model.swin3d import WindowAttention
from aurora_models import build, build_batch, devices, loss, options, saved_bytes
from table import machine, save, show
from torch import Tensor, nn

from weatherpeft.interfaces import TuningContext
from weatherpeft.peft.tadp.generator import PromptGenerator
from weatherpeft.peft.tadp.kept_prompts import KeptPrompts, Key
from weatherpeft.peft.tadp.prompting import PromptedWindowAttention
from weatherpeft.peft.tadp.spec import Tadp
from weatherpeft.training.tuning import attach

MIB = 2**20


class TokenForm(PromptedWindowAttention):
    """The definition: prompts before the tokens of every window, whose outputs are dropped."""

    constant: Tensor
    """The prompts at inference."""

    def forward(self, x: Tensor, mask: Tensor | None = None, rollout_step: int = 0) -> Tensor:
        """As ``PromptedWindowAttention.forward``."""
        if torch.is_grad_enabled():
            prompts = self.prompts()
        else:
            if not hasattr(self, "constant"):
                self.constant = self.prompts()
            prompts = self.constant
        tokens = torch.cat([prompts.expand(len(x), -1, -1), x], dim=1)
        if mask is not None:
            mask = functional.pad(mask, (len(prompts), 0, len(prompts), 0))
        return WindowAttention.forward(self, tokens, mask, rollout_step)[:, len(prompts) :]


class Constant(KeptPrompts):
    """Prompts of one attention that nothing changes."""

    def __init__(self) -> None:
        self._prompts = {}

    def get(self, key: Key, make: Callable[[], Tensor]) -> Tensor:
        """See ``KeptPrompts.get``."""
        self._current = not torch.is_grad_enabled()
        return super().get(key, make)


FORMS = {"token": TokenForm, "prefix": PromptedWindowAttention}


class Module:
    """One attention, on windows that are part of a larger computation."""

    def __init__(self, windows: int, prompts: int, masked: bool, device: torch.device) -> None:
        torch.manual_seed(0)
        attention = WindowAttention(512, (2, 6, 12), num_heads=8)
        generator = PromptGenerator(512, 11, 32, prompts)
        self.embedding = nn.Parameter(torch.randn(512, 11, 32, device=device))
        PromptedWindowAttention.prompt(attention, generator, lambda: self.embedding, Constant())
        self.module: nn.Module = attention.to(device)
        self.inputs = torch.randn(windows, 144, 512, device=device, requires_grad=True)
        blocked = torch.rand(windows, 144, 144, device=device) < 0.3
        self.mask = torch.where(blocked, -100.0, 0.0) if masked else None

    def use(self, form: type[PromptedWindowAttention]) -> None:
        """Compute in this form from now on."""
        self.module.__class__ = form

    def forward(self) -> Tensor:
        """To a scalar."""
        output: Tensor = self.module(self.inputs, self.mask)
        return output.sum()

    def known(self) -> list[Tensor]:
        """What is in memory anyway."""
        return [self.inputs, self.embedding]


class Model:
    """A whole Aurora, on one sample."""

    def __init__(self, size: str, grid: tuple[int, int], prompts: int, device: torch.device) -> None:
        self.module = build(size, device)
        attach(self.module, [Tadp(name="tadp", prompts=prompts)], TuningContext(steps=1, seed=0))
        self.module.requires_grad_(True)
        self._batch = build_batch(*grid, device)

    def use(self, form: type[PromptedWindowAttention]) -> None:
        """Compute in this form from now on."""
        for attention in self.module.attention_modules().values():
            attention.__class__ = form

    def forward(self) -> Tensor:
        """The loss."""
        return loss(self.module, self._batch)

    def known(self) -> list[Tensor]:
        """Nothing but the parameters."""
        return []


def inference(subject: Module | Model) -> None:
    """Forward without gradients."""
    with torch.no_grad():
        subject.forward()


def training(subject: Module | Model) -> None:
    """Forward and backward."""
    subject.module.zero_grad()
    subject.forward().backward()


def compare(
    subject: Module | Model, what: str, repetitions: int, device: torch.device
) -> list[dict[str, Any]]:
    """Two lines of the table."""
    wait: Callable[[], object] = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    lines = []
    for label, run in (("inference", inference), ("forward + backward", training)):
        subject.module.train(run is training)
        seconds: dict[str, list[float]] = {form: [] for form in FORMS}
        cpu_seconds: dict[str, list[float]] = {form: [] for form in FORMS}
        for _ in range(repetitions + 1):  # the first to warm up
            for form, kind in FORMS.items():
                subject.use(kind)
                wait()
                begin, cpu_begin = time.perf_counter(), time.process_time()
                run(subject)
                wait()
                seconds[form].append(time.perf_counter() - begin)
                cpu_seconds[form].append(time.process_time() - cpu_begin)
        subject.module.zero_grad()
        saved: dict[str, float] = {}
        for form, kind in FORMS.items():
            subject.use(kind)
            saved[form] = saved_bytes(subject.forward, [*subject.known(), *subject.module.parameters()]) / MIB
        token, prefix = (min(seconds[form][1:]) for form in FORMS)
        token_cpu, prefix_cpu = (min(cpu_seconds[form][1:]) for form in FORMS)
        is_training = run is training
        lines.append(
            {
                "device": device.type,
                "what": what,
                "pass": label,
                "token s": token,
                "prefix s": prefix,
                "faster": token / prefix,
                "faster, CPU": token_cpu / prefix_cpu,
                "token saved MiB": saved["token"] if is_training else 0.0,
                "prefix saved MiB": saved["prefix"] if is_training else 0.0,
            }
        )
    return lines


def main() -> None:
    """Print the table."""
    parser = options(__doc__, grid=(128, 256))
    parser.add_argument("--prompts", type=int, default=30)
    parser.add_argument("--windows", type=int, default=32, help="of the attention module")
    parser.add_argument("--repetitions", type=int, default=20, help="of the attention module")
    parser.add_argument("--model-repetitions", type=int, default=5, help="of the whole model")
    arguments = parser.parse_args()
    chosen = devices(arguments)
    where = machine(chosen)
    print(where)
    lines: list[dict[str, Any]] = []
    for name in chosen:
        device = torch.device(name)
        for masked in (False, True):
            what = f"attention, {'shifted' if masked else 'not shifted'}"
            subject = Module(arguments.windows, arguments.prompts, masked, device)
            lines += compare(subject, what, arguments.repetitions, device)
            del subject
        model = Model(arguments.model, tuple(arguments.grid), arguments.prompts, device)
        rows, columns = arguments.grid
        what = f"Aurora {arguments.model}, {rows} x {columns}"
        lines += compare(model, what, arguments.model_repetitions, device)
        del model
    show(f"Prompts as tokens and as prefix, P = {arguments.prompts}", lines)
    if arguments.output:
        save(arguments.output, where, lines)


if __name__ == "__main__":
    main()
