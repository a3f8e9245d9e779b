"""The parts of an upstream Aurora that methods work on."""

import aurora as upstream
import torch
from aurora.model.decoder import LinearPatchReconstruction
from torch import nn


class AuroraParts(nn.Module):
    """What methods ask of an upstream Aurora, whoever has built it (see ``interfaces.Backbone``).

    Args:
        model: without any method.
    """

    def __init__(self, model: upstream.Aurora) -> None:
        super().__init__()
        self.model = model
        self._note_pretrained()

    def _note_pretrained(self) -> None:
        """Take what the model has now for the pretrained parameters."""
        self._pretrained = dict(self.model.named_parameters())

    @property
    def encoder(self) -> nn.Module:
        """Patch embedding and level aggregation."""
        return self.model.encoder

    @property
    def decoder(self) -> nn.Module:
        """Level de-aggregation and heads."""
        return self.model.decoder

    @property
    def backbone(self) -> nn.Module:
        """The Swin transformer between them."""
        return self.model.backbone

    def backbone_parameters(self) -> dict[str, nn.Parameter]:
        """The backbone's pretrained parameters, by their names before any method was attached."""
        return {
            name.removeprefix("backbone."): parameter
            for name, parameter in self._pretrained.items()
            if name.startswith("backbone.")
        }

    def checkpoint(self) -> dict[str, torch.Tensor]:
        """All pretrained parameters by upstream's names, without their gradients."""
        return {name: parameter.detach() for name, parameter in self._pretrained.items()}

    @property
    def kept_apart(self) -> str | None:
        """None: it is upstream's own model."""
        return None

    def attention_modules(self) -> dict[str, nn.Module]:
        """The window attention of every block, in the order of the forward pass."""
        return {
            f"{side}.{stage}.blocks.{block}.attn": module.attn
            for side in ("encoder_layers", "decoder_layers")
            for stage, layer in enumerate(getattr(self.backbone, side))
            for block, module in enumerate(layer.blocks)
        }

    def heads(self) -> dict[str, nn.Linear]:
        """The decoder's output layers, surface variables first."""
        modules = self.decoder.named_modules()
        return {path: module for path, module in modules if isinstance(module, LinearPatchReconstruction)}

    @property
    def head_deviation(self) -> float:
        """Upstream's."""
        return 0.02

    def embedding_weights(self) -> torch.Tensor:
        """Patch-embedding weights, ``(width, variable, history·patch·patch)``.

        The variables are in the encoder's alphabetical order, surface and static ones first.
        """
        encoder = self.model.encoder
        embeds = (encoder.surf_token_embeds, encoder.atmos_token_embeds)
        weights = [weight for embed in embeds for weight in embed.weights.values()]
        return torch.cat([weight.flatten(2) for weight in weights], dim=1)
