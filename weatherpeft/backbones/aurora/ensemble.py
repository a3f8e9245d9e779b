"""Aurora that corrects an ensemble, with a mean and a spread for every target."""

import dataclasses
from typing import TYPE_CHECKING, Any

import aurora as upstream
import torch
from aurora.model.decoder import LinearPatchReconstruction, Perceiver3DDecoder
from torch import nn

from weatherpeft.backbones.aurora.model import KINDS, Aurora, AuroraBackbone, upstream_name
from weatherpeft.fields.variables import STD, FieldSet
from weatherpeft.samples.batch import Batch, Fields
from weatherpeft.samples.ensemble import Ensemble

if TYPE_CHECKING:
    from weatherpeft.backbones.aurora import spec as aurora_spec

HEAD_DEVIATION = 1e-3
"""Standard deviation of the heads' initial weights.

It is small, so that a model starts close to the raw ensemble. It is not zero, so that the backbone has
gradients and a Fisher information from the start.
"""
SMALLEST_SPREAD = 1e-3
"""Smallest spread of the ensemble at a grid point, as a share of the last frame's scale there."""
_PARTS = ("mean", "spread")


class _Standardized(upstream.Batch):
    """A batch whose fields are normalized already, except for the static ones."""

    @classmethod
    def of(cls, batch: upstream.Batch) -> "_Standardized":
        return cls(batch.surf_vars, batch.static_vars, batch.atmos_vars, batch.metadata)

    def type(self, t: Any) -> "_Standardized":
        return self.of(super().type(t))

    def normalise(self, surf_stats: dict[str, tuple[float, float]]) -> upstream.Batch:
        static = upstream.Batch({}, self.static_vars, {}, self.metadata).normalise(surf_stats)
        return dataclasses.replace(static, surf_vars=self.surf_vars, atmos_vars=self.atmos_vars)

    def unnormalise(self, surf_stats: dict[str, tuple[float, float]]) -> upstream.Batch:
        return self


class _Decoder(Perceiver3DDecoder):
    """Upstream's decoder with heads whose names differ from those of the input's variables."""

    def forward(
        self,
        x: torch.Tensor,
        batch: upstream.Batch,
        patch_res: tuple[int, int, int],
        lead_times: torch.Tensor,
    ) -> upstream.Batch:
        """Call upstream's forward, which needs only the names of the batch's fields."""
        named = dataclasses.replace(
            batch, surf_vars=dict.fromkeys(self.surf_heads), atmos_vars=dict.fromkeys(self.atmos_heads)
        )
        prediction: upstream.Batch = super().forward(x, named, patch_res, lead_times)
        return prediction

    @classmethod
    def reheaded(cls, decoder: Any, surface: list[str], upper: list[str]) -> None:
        """Replace the heads of a decoder by heads for other variables, in place."""
        size: Any = {"in_features": decoder.embed_dim, "out_features": decoder.patch_size**2}
        decoder.surf_heads, decoder.atmos_heads = (
            nn.ParameterDict(
                {f"{name}_{part}": LinearPatchReconstruction(**size) for name in names for part in _PARTS}
            )
            for names in (surface, upper)
        )
        for heads in (decoder.surf_heads, decoder.atmos_heads):
            for head in heads.values():
                nn.init.normal_(head.weight, std=HEAD_DEVIATION)
                nn.init.zeros_(head.bias)
        decoder.__class__ = cls


class EnsembleAurora(Aurora):
    """Upstream Aurora that does not normalize its fields."""

    def _pre_norm_hook(self, batch: upstream.Batch) -> upstream.Batch:
        return _Standardized.of(batch)

    def _post_decoder_hook(self, batch: upstream.Batch, pred: upstream.Batch) -> upstream.Batch:
        return _Standardized.of(pred)

    def _adapt_checkpoint(self, d: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Keep the initial values of the heads, and share embeddings evenly among the frames.

        If the history has another length than the checkpoint's, every frame gets an equal share of the
        embedding of a constant state.
        """
        heads = {name: value for name, value in self.state_dict().items() if "_heads." in name}
        weights = {**super()._adapt_checkpoint(d), **heads}
        for kind in KINDS:
            prefix = f"encoder.{kind}_token_embeds.weights."
            for name, own in getattr(self.encoder, f"{kind}_token_embeds").weights.items():
                found = weights.get(prefix + name)
                if found is not None and found.shape[2] != own.shape[2]:
                    weights[prefix + name] = found.mean(2, keepdim=True).expand_as(own) * (
                        found.shape[2] / own.shape[2]
                    )
        return weights


class EnsembleAuroraBackbone(AuroraBackbone):
    """Aurora that corrects an ensemble: mean + spread · output, and spread · exp(output).

    Args:
        spec: size of the model.
        fields: variables that the model sees.
        ensemble: frames and targets.
        seed: seed of the initial weights.
    """

    def __init__(
        self, spec: "aurora_spec.Aurora", fields: FieldSet, ensemble: Ensemble, *, seed: int
    ) -> None:
        super().__init__(spec, fields, lead_hours=0, seed=seed, kind=EnsembleAurora, history=ensemble.history)
        self.ensemble = ensemble
        seen, wanted = fields.all, ensemble.variables
        # Upstream decodes at least one variable of either kind.
        heads = [
            [upstream_name(name) for name in names]
            for names in (wanted.surface or seen.surface[:1], wanted.atmospheric or seen.atmospheric[:1])
        ]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            _Decoder.reheaded(self.model.decoder, *heads)
        self._note_pretrained()
        self._levels = [seen.levels_hpa.index(level) for level in wanted.levels_hpa]
        self._partial = {name for name in (*seen.surface, *seen.atmospheric) if seen.row(name).partial}
        own = {name: seen.definition(name) for name in (*seen.surface, *seen.atmospheric)}
        self._logarithms = {
            name: its.transformation.scale for name, its in own.items() if its and its.transformation
        }

    @property
    def kept_apart(self) -> str | None:
        """See ``interfaces.Backbone``."""
        return "it predicts mean and spread of an ensemble, for which upstream has no heads"

    def complete_statistics(self, mean: Fields, scale: Fields) -> None:
        """Take mean and standard deviation of every input frame and grid point.

        Args:
            mean: mean of the measured variables, surface ``(history, latitude, longitude)``, atmospheric
                ``(history, level, latitude, longitude)``.
            scale: standard deviation, with the same shapes.
        """
        for part, fields in (("mean", mean), ("scale", scale)):
            for name, values in (fields.surface | fields.atmospheric).items():
                self.register_buffer(f"{name}_{part}", values, persistent=False)

    @property
    def head_deviation(self) -> float:
        """``HEAD_DEVIATION``."""
        return HEAD_DEVIATION

    def forward(self, batch: Batch) -> Fields:
        """Predict the distribution of every target.

        Args:
            batch: inputs are the forecasts in physical units, also where a variable has a transformation.

        Returns:
            Mean and, as ``<variable>_std``, standard deviation of the targets' variables at the targets'
            levels: surface ``(batch, latitude, longitude)``, upper ``(batch, level, latitude, longitude)``.
        """
        inputs = batch.inputs
        standardized = Fields(
            {name: self._standardized(name, field) for name, field in inputs.surface.items()},
            {name: self._standardized(name, field) for name, field in inputs.atmospheric.items()},
        )
        output = self._predict(dataclasses.replace(batch, inputs=standardized))
        surface: dict[str, torch.Tensor] = {}
        for name in self.ensemble.variables.surface:
            heads = [output.surf_vars[f"{upstream_name(name)}_{part}"][:, 0] for part in _PARTS]
            surface |= self._distribution(name, inputs.surface[name], *heads)
        upper: dict[str, torch.Tensor] = {}
        for name in self.ensemble.variables.atmospheric:
            heads = [output.atmos_vars[f"{upstream_name(name)}_{part}"][:, 0] for part in _PARTS]
            found = self._distribution(name, inputs.atmospheric[name], *heads)
            upper |= {key: field[:, self._levels] for key, field in found.items()}
        return Fields(surface, upper)

    def _standardized(self, name: str, field: torch.Tensor) -> torch.Tensor:
        """Standardized frames ``(batch, history, ...)``; 0 where a variable is not defined.

        Those of a variable with a transformation are transformed before, the spread like the mean.
        """
        if name in self.fields.placeholders:
            return torch.zeros_like(field)
        if scale := self._logarithms.get(name):  # see Log1p
            field = torch.copysign(torch.log1p(field.abs() / scale), field)
        field = (field - self._statistic(name, "mean")) / self._statistic(name, "scale")
        return torch.nan_to_num(field, nan=0.0) if name in self._partial else field

    def _statistic(self, name: str, part: str) -> torch.Tensor:
        if f"{name}_{part}" not in self._buffers:
            raise ValueError(f"backbone aurora: has no statistics of {name}; give it those of the data")
        return self.get_buffer(f"{name}_{part}")

    def _distribution(
        self, name: str, frames: torch.Tensor, mean: torch.Tensor, spread: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Mean and spread from the heads' outputs ``(batch, [level,] latitude, longitude)``."""
        if self.ensemble.frames == "moments":
            own_spread, own_mean = frames[:, 0], frames[:, 1]
        else:
            own_spread, own_mean = torch.std_mean(frames, dim=1)
        smallest = SMALLEST_SPREAD * self._statistic(name, "scale")[-1]
        if scale := self._logarithms.get(name):  # a small step of the logarithm, in the variable's units
            smallest = smallest * (scale + own_mean.abs())
        own_spread = torch.maximum(own_spread, smallest)
        return {name: own_mean + own_spread * mean, f"{name}{STD}": own_spread * torch.exp(spread)}
