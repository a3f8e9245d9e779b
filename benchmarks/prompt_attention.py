"""The prompts of TADP beside the windows, block by block, before training and after it.

    python benchmarks/prompt_attention.py results/prompts tadp_30-seed0 [--samples 8]

The rows come from validation samples of a finished run.

- Keys, values: root mean square over the tokens of the windows, and over the prompts.
- Share %: of the attention, what the prompts get, as the mean over heads and queries. *Uniform %*: what they
  would get if every query attended equally to all that the mask lets it see.
- Output %: root mean square of what the prompts add to the output of the attention, before its projection,
  over that of the whole output.
- Constant %: share of the prompts' mean square output that is the same for all queries. A bias does that too.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from einops import rearrange
from table import machine, save, show
from torch import Tensor

from weatherpeft.artifacts import store
from weatherpeft.peft.tadp.prompting import PromptedWindowAttention
from weatherpeft.samples.batch import Batch, Samples
from weatherpeft.samples.splits import Split
from weatherpeft.training.checkpoint import load_tensors
from weatherpeft.training.model import FinetuneSpec, TunedModelSpec
from weatherpeft.training.tuning import TunedModel, tuned_model


def spec_of(run: Path) -> tuple[TunedModelSpec, Split]:
    """The model of a run and its validation split, also of a run that was chosen among candidates."""
    record = store.read_provenance(run)
    values = record["spec"]
    if "model" not in values:  # of the choose stage: the candidates' trainings
        values = values["candidates"][record["candidate"]]
    spec = FinetuneSpec.parse(values)
    return spec.chosen(record).model, spec.splits.validation


def built(results: Path, spec: TunedModelSpec) -> TunedModel:
    """The model of a run before its first step."""
    statistics = results / spec.task.statistics
    return tuned_model(spec, torch.device("cpu"), results / "pretrained", statistics=statistics)


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
    for path, attention in model.model.attention_modules().items():
        if isinstance(attention, PromptedWindowAttention):

            def note(
                module: PromptedWindowAttention, inputs: Any, options: dict[str, Any], path: str = path
            ) -> None:
                found[path] = measured(module, inputs[0], options["mask"], options["rollout_step"])

            attention.register_forward_pre_hook(note, with_kwargs=True)
    model.model.eval()(batch)
    if not found:
        raise ValueError("found no attention with prompts of TADP")
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="The prompts of TADP beside the windows.")
    parser.add_argument("results", type=Path, help="results/<experiment>, with pretrained weights of its own")
    parser.add_argument("run", help="<run>-seed<seed>, with the method tadp")
    parser.add_argument("--samples", type=int, default=8, help="validation samples")
    parser.add_argument("--output", type=Path, help="also write the rows here, .json or .csv")
    arguments = parser.parse_args()
    run = arguments.results / "runs" / arguments.run
    spec, split = spec_of(run)
    batch = validation_batch(arguments.results, spec, split, arguments.samples)
    model = built(arguments.results, spec)
    tables = {"before": by_block(model, batch)}
    model = built(arguments.results, spec)
    model.load_result(load_tensors(run / "tuned.safetensors"))
    tables["after"] = by_block(model, batch)
    rows = [
        {"block": path.removesuffix(".attn"), "training": when, **table[path]}
        for path in tables["before"]
        for when, table in tables.items()
    ]
    show(f"Prompts of {run}", rows)
    if arguments.output:
        save(arguments.output, machine(["cpu"]), rows)


if __name__ == "__main__":
    main()
