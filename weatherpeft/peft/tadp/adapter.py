"""Prompts put into the attentions of a backbone."""

from torch import nn

from weatherpeft.interfaces import Backbone
from weatherpeft.peft.adapters.dense import seeded
from weatherpeft.peft.adapters.prefix import window_attentions
from weatherpeft.peft.tadp.generator import PromptGenerator
from weatherpeft.peft.tadp.kept_prompts import KeptPrompts
from weatherpeft.peft.tadp.prompting import PromptedWindowAttention
from weatherpeft.peft.tadp.spec import Tadp


def attach_prompts(model: Backbone, spec: Tadp, seed: int) -> dict[str, nn.Parameter]:
    """Prompt every attention of the backbone, each with a generator of its own.

    Args:
        model: model with Aurora's window attentions.
        spec: number of prompts and parts of the generator.
        seed: seed of the initialization.

    Returns:
        The generators' parameters by unique name.

    Raises:
        ValueError: an attention is of another kind than Aurora's.
    """
    modules = window_attentions(model, "tadp")
    width, variables, patch = model.embedding_weights().shape
    parameters: dict[str, nn.Parameter] = {}
    kept = KeptPrompts(model)
    with seeded(seed):
        for path, module in modules.items():
            generator = PromptGenerator(
                width, variables, patch, spec.prompts, internal=spec.internal, external=spec.external
            ).to(next(module.parameters()))
            PromptedWindowAttention.prompt(module, generator, model.embedding_weights, kept)
            parameters |= {f"tadp.{path}.{name}": value for name, value in generator.named_parameters()}
    return parameters
