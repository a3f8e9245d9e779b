"""The prompts of TADP beside the windows, block by block, before training and after it.

    python benchmarks/prompt_attention.py results/prompts tadp_30-seed0 [--samples 8]

Both tables come from validation samples of a finished run. The first one:

- Keys, values: root mean square over the tokens of the windows, and over the prompts.
- Share %: of the attention, what the prompts get, as the mean over heads and queries. *Uniform %*: what they
  would get if every query attended equally to all that the mask lets it see.
- Output %: root mean square of what the prompts add to the output of the attention, before its projection,
  over that of the whole output.
- Constant %: share of the prompts' mean square output that is the same for all queries. A bias does that too.

The second one is the loss of the trained model, and what it becomes without the prompts, with the mean over
each window in place of the attention's output, and without the attention: what prompts could change at all.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from aurora.model.swin3d import WindowAttention
from einops import rearrange
from table import machine, save, show
from torch import Tensor, nn

from weatherpeft.artifacts import store
from weatherpeft.peft.tadp.prompting import PromptedWindowAttention
from weatherpeft.samples.batch import Batch, Samples
from weatherpeft.samples.splits import Split
from weatherpeft.training.checkpoint import load_tensors
from weatherpeft.training.model import FinetuneSpec, TunedModelSpec
from weatherpeft.training.tuning import TunedModel, task_loss, tuned_model

LESS: dict[str, Callable[[Any, Any, Tensor], Tensor]] = {
    "mean of each window": lambda module, inputs, output: output.mean(1, keepdim=True).expand_as(output),
    "without attention": lambda module, inputs, output: torch.zeros_like(output),
}
"""What takes the place of an attention's output, ``(batch·window, token, width)``."""


def spec_of(run: Path) -> tuple[TunedModelSpec, Split]:
    """The model of a run and its validation split, also of a run that was chosen among candidates."""
    record = store.read_provenance(run)
    values = record["spec"]
    if "model" not in values:  # of the choose stage: the candidates' trainings
        values = values["candidates"][record["candidate"]]
    spec = FinetuneSpec.parse(values)
    return spec.chosen(record).model, spec.splits.validation


def built(results: Path, spec: TunedModelSpec, pretrained: Path) -> TunedModel:
    """The model of a run before its first step."""
    statistics = results / spec.task.statistics
    return tuned_model(spec, torch.device("cpu"), pretrained, statistics=statistics)


def validation_batch(results: Path, spec: TunedModelSpec, split: Split, count: int) -> Batch:
    """Samples that are spread evenly over the validation split."""
    data, forecasts = (sorted((results / name).glob("*")) for name in ("regridded", "forecasts"))
    samples = Samples(spec.task.window.frames(spec.fields, data, split, forecasts))
    chosen = np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(int)
    return samples.batch(np.unique(chosen).tolist())


def root_mean_square(values: Tensor) -> float:
    """Over everything."""
    return float(values.square().mean().sqrt())


def measured(
    attention: PromptedWindowAttention, x: Tensor, mask: Tensor | None, rollout_step: int
) -> dict[str, float]:
    """The columns of one attention.

    Args:
        attention: attention with prompts.
        x: tokens, ``(batch·window, token, width)``.
        mask: added to the scores between the tokens, ``(window, token, token)``.
        rollout_step: rollout step of Aurora's own LoRA layers.
    """
    query, key, value = attention.project_tokens(x, rollout_step)
    prompt_key, prompt_value = attention.prefix(rollout_step, x.dtype)
    prompts = prompt_key.shape[1]
    heads = "window token (head channel) -> window head token channel"
    query, keys, values = (
        rearrange(part, heads, head=attention.num_heads)
        for part in (
            query,
            torch.cat([prompt_key.expand(len(x), -1, -1), key], 1),
            torch.cat([prompt_value.expand(len(x), -1, -1), value], 1),
        )
    )
    seen = torch.zeros(len(x), 1, x.shape[1], keys.shape[2])
    if mask is not None:
        seen += functional.pad(mask.repeat(len(x) // len(mask), 1, 1), (prompts, 0))[:, None]
    weights = torch.softmax(query @ keys.mT / query.shape[-1] ** 0.5 + seen, -1)
    own = weights[..., :prompts] @ values[:, :, :prompts]
    return {
        "window keys": root_mean_square(key),
        "prompt keys": root_mean_square(prompt_key),
        "window values": root_mean_square(value),
        "prompt values": root_mean_square(prompt_value),
        "share %": 100 * float(weights[..., :prompts].sum(-1).mean()),
        "uniform %": 100 * float(torch.softmax(seen, -1)[..., :prompts].sum(-1).mean()),
        "output %": 100 * root_mean_square(own) / root_mean_square(weights @ values),
        "constant %": 100 * float(own.mean((0, 2)).square().mean() / own.square().mean()),
    }


@torch.inference_mode()
def by_block(model: TunedModel, batch: Batch) -> dict[str, dict[str, float]]:
    """The columns of every attention with prompts, by its path.

    Raises:
        ValueError: none has prompts of TADP.
    """
    found: dict[str, dict[str, float]] = {}
    hooks = []
    for path, attention in model.model.attention_modules().items():
        if isinstance(attention, PromptedWindowAttention):

            def note(
                module: PromptedWindowAttention, inputs: Any, options: dict[str, Any], path: str = path
            ) -> None:
                found[path] = measured(module, inputs[0], options["mask"], options["rollout_step"])

            hooks.append(attention.register_forward_pre_hook(note, with_kwargs=True))
    model.model.eval()(batch)
    for hook in hooks:
        hook.remove()
    if not found:
        raise ValueError("found no attention with prompts of TADP")
    return found


@torch.inference_mode()
def losses(loss: Callable[[], Tensor], attentions: Sequence[nn.Module]) -> dict[str, float]:
    """The loss of a model and of the same one with less attention. Afterwards it has no prompts."""
    found = {"as trained": float(loss())}
    for name, less in LESS.items():
        hooks = [attention.register_forward_hook(less) for attention in attentions]
        found[name] = float(loss())
        for hook in hooks:
            hook.remove()
    for attention in attentions:
        attention.__class__ = WindowAttention
    return {**found, "without prompts": float(loss())}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="The prompts of TADP beside the windows.")
    parser.add_argument("results", type=Path, help="results/<experiment>")
    parser.add_argument("run", help="<run>-seed<seed>, with the method tadp")
    parser.add_argument("--pretrained", type=Path, help="weights; by default <results>/pretrained")
    parser.add_argument("--samples", type=int, default=8, help="validation samples")
    parser.add_argument("--output", type=Path, help="also write the rows here, .json or .csv")
    arguments = parser.parse_args()
    run = arguments.results / "runs" / arguments.run
    spec, split = spec_of(run)
    batch = validation_batch(arguments.results, spec, split, arguments.samples)
    pretrained = arguments.pretrained or arguments.results / "pretrained"
    model = built(arguments.results, spec, pretrained)
    tables = {"before": by_block(model, batch)}
    model = built(arguments.results, spec, pretrained)
    model.load_result(load_tensors(run / "tuned.safetensors"))
    tables["after"] = by_block(model, batch)
    rows = [
        {"block": path.removesuffix(".attn"), "training": when, **table[path]}
        for path in tables["before"]
        for when, table in tables.items()
    ]
    show(f"Prompts of {run}", rows)
    scale = spec.task.loss_scale(arguments.results / spec.task.statistics, spec.fields.measured)
    loss = task_loss(spec.task, scale, torch.device("cpu"))
    attentions = list(model.model.attention_modules().values())
    found = losses(lambda: loss(model.model, batch), attentions)
    show("Loss of these samples", [{"model": name, "loss": value} for name, value in found.items()], digits=4)
    if arguments.output:
        save(arguments.output, machine(["cpu"]), rows)


if __name__ == "__main__":
    main()
