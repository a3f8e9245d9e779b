"""The upstream Aurora behind the ``Backbone`` socket."""

import dataclasses
import io
import logging
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aurora as upstream
import torch
from aurora.normalisation import level_to_str, locations

from weatherpeft.backbones.aurora.checkpoint import check_kind, folded
from weatherpeft.backbones.aurora.parts import AuroraParts
from weatherpeft.fields.variables import RELATED, VARIABLES, FieldSet
from weatherpeft.samples.batch import Batch, Fields

if TYPE_CHECKING:
    from weatherpeft.backbones.aurora import spec as aurora_spec

KINDS = ("surf", "atmos")
"""Upstream's names of surface and upper-air variables."""
_PER_VARIABLE = re.compile(
    r"(encoder\.(surf|atmos)_token_embeds\.weights|decoder\.(surf|atmos)_heads)\.[^.]+"
)
_RESOLUTION = 1e-6
"""Standard deviation, as a share of the mean, up to which a static field does not vary."""
_Moments = tuple[torch.Tensor, torch.Tensor]
_log = logging.getLogger(__name__)


@dataclasses.dataclass
class _Completed(upstream.Batch):
    """A batch in which some upper variables are normalized by statistics that upstream lacks."""

    statistics: dict[str, _Moments] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, batch: upstream.Batch, statistics: dict[str, _Moments]) -> "_Completed":
        return cls(batch.surf_vars, batch.static_vars, batch.atmos_vars, batch.metadata, statistics)

    def type(self, t: Any) -> "_Completed":
        return self.of(super().type(t), self.statistics)

    def normalise(self, surf_stats: dict[str, tuple[float, float]]) -> upstream.Batch:
        device = self.metadata.lat.device
        own = {
            name: (self.atmos_vars[name] - mean.to(device)) / scale.to(device)
            for name, (mean, scale) in self.statistics.items()
        }
        return self._with(own, upstream.Batch.normalise(self._without(), surf_stats))

    def unnormalise(self, surf_stats: dict[str, tuple[float, float]]) -> upstream.Batch:
        device = self.metadata.lat.device
        own = {
            name: self.atmos_vars[name] * scale.to(device) + mean.to(device)
            for name, (mean, scale) in self.statistics.items()
        }
        return self._with(own, upstream.Batch.unnormalise(self._without(), surf_stats))

    def _without(self) -> "_Completed":
        known = {name: field for name, field in self.atmos_vars.items() if name not in self.statistics}
        return _Completed(self.surf_vars, self.static_vars, known, self.metadata)

    def _with(self, own: dict[str, torch.Tensor], known: upstream.Batch) -> upstream.Batch:
        everything = known.atmos_vars | own
        upper = {name: everything[name] for name in self.atmos_vars}
        return upstream.Batch(known.surf_vars, known.static_vars, upper, known.metadata)


class Aurora(upstream.Aurora):
    """Upstream Aurora that loads the part of a checkpoint that its variables need.

    Attributes:
        upper_statistics: mean and standard deviation ``(level, 1, 1)`` of upper variables that upstream does
            not know. Upstream's ``surf_stats`` holds those of surface variables.
        related: for a variable, the one from whose embedding its own starts where a checkpoint lacks it.
    """

    upper_statistics: dict[str, _Moments]
    related: dict[str, str]

    def _pre_norm_hook(self, batch: upstream.Batch) -> upstream.Batch:
        return self._completed(batch)

    def _post_decoder_hook(self, batch: upstream.Batch, pred: upstream.Batch) -> upstream.Batch:
        return self._completed(pred)

    def _completed(self, batch: upstream.Batch) -> upstream.Batch:
        return _Completed.of(batch, self.upper_statistics) if self.upper_statistics else batch

    def _adapt_checkpoint(self, d: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Start embeddings that the checkpoint lacks from those of related variables.

        The paper (arXiv 2509.22020) starts relative humidity from specific humidity in the same way.
        """
        weights: dict[str, torch.Tensor] = super()._adapt_checkpoint(d)
        for kind in KINDS:
            prefix = f"encoder.{kind}_token_embeds.weights."
            for name in getattr(self.encoder, f"{kind}_token_embeds").weights:
                source = prefix + self.related.get(name, name)
                if prefix + name not in weights and source in weights:
                    _log.info("the embedding of %s starts from %s", name, source)
                    weights[prefix + name] = weights[source]
        return weights

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load weights by name.

        Weights of variables that the model lacks are left out. Weights of variables that the checkpoint lacks
        keep their initial values and are logged. All other weights must match.

        Raises:
            ValueError: naming weights that are missing or unknown, or have another shape.
        """
        own = self.state_dict()
        missing = [name for name in own if name not in state_dict]
        unknown = [name for name in state_dict if name not in own]
        wrong = [name for name in (*missing, *unknown) if not _PER_VARIABLE.match(name)]
        wrong += [name for name in own if name in state_dict and own[name].shape != state_dict[name].shape]
        if wrong:
            raise ValueError(
                f"checkpoint does not fit the model: {', '.join(wrong[:5])} ({len(wrong)} in all)"
            )
        if missing:
            _log.warning("not in the checkpoint, starting from random weights: %s", ", ".join(missing))
        return super().load_state_dict(
            {name: state_dict[name] for name in own if name in state_dict}, False, assign
        )


class ResidualAurora(Aurora):
    """Aurora whose decoder predicts the normalized difference to the last input frame."""

    def _post_decoder_hook(self, batch: upstream.Batch, pred: upstream.Batch) -> upstream.Batch:
        surface = {name: field + batch.surf_vars[name][:, -1:] for name, field in pred.surf_vars.items()}
        upper = {name: field + batch.atmos_vars[name][:, -1:] for name, field in pred.atmos_vars.items()}
        return self._completed(dataclasses.replace(pred, surf_vars=surface, atmos_vars=upper))


def _standardized(field: torch.Tensor) -> torch.Tensor:
    """A static field with mean 0 and standard deviation 1; one that does not vary is 0."""
    deviation = field.std()
    varies = deviation > _RESOLUTION * field.mean().abs()
    return torch.where(varies, (field - field.mean()) / deviation, 0.0)


def upstream_name(name: str) -> str:
    """The name of a variable in the upstream package; one of one's own gets one that it does not know.

    >>> upstream_name("2m_temperature"), upstream_name("no2")
    ('2t', 'own_no2')
    """
    return VARIABLES[name].short_name if name in VARIABLES else f"own_{name}"


class AuroraBackbone(AuroraParts):
    """Upstream Aurora, which takes and returns canonical fields and uses ECMWF short names inside.

    Args:
        spec: size of the model.
        fields: variables that the model sees, including placeholders.
        lead_hours: lead time in hours that the model is told.
        kind: class of the model; ``ResidualAurora`` predicts the difference to the last input frame.
        history: number of input frames.
        seed: seed of the initial weights.
    """

    def __init__(
        self,
        spec: "aurora_spec.Aurora",
        fields: FieldSet,
        *,
        lead_hours: int,
        seed: int,
        kind: type[Aurora] = Aurora,
        history: int = 2,
    ) -> None:
        variables = fields.all
        arguments: dict[str, Any] = {
            "surf_vars": tuple(upstream_name(name) for name in variables.surface),
            "static_vars": tuple(upstream_name(name) for name in variables.static),
            "atmos_vars": tuple(upstream_name(name) for name in variables.atmospheric),
            "timestep": timedelta(hours=lead_hours),
            "max_history_size": history,
            "use_lora": False,
            **spec.model_dump(exclude={"name", "lora_mode"}),
        }
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            super().__init__(kind(**arguments, variable_lead_time=True))
        self.spec, self.fields, self._arguments = spec, fields, arguments
        self.model: Aurora
        self.model.upper_statistics = {}
        own = {name: its for name in variables.names if (its := variables.definition(name))}
        defined = {name: its.starts_from for name, its in own.items() if its.starts_from}
        self.model.related = {
            upstream_name(name): upstream_name(other) for name, other in (RELATED | defined).items()
        }
        own_static = (name for name in variables.static if name in variables.define)
        self.model.surf_stats |= {upstream_name(name): (0.0, 1.0) for name in own_static}  # see _predict
        self._lead_hours = lead_hours

    def forward(self, batch: Batch) -> Fields:
        """Predict the fields of one time (see ``interfaces.Backbone``)."""
        for name in (name for names in self._unknown() for name in names):
            if upstream_name(name) not in (*self.model.surf_stats, *self.model.upper_statistics):
                raise ValueError(f"backbone aurora: has no statistics of {name}; give it those of the data")
        prediction = self._predict(batch)
        return Fields(
            {name: prediction.surf_vars[upstream_name(name)][:, 0] for name in batch.inputs.surface},
            {name: prediction.atmos_vars[upstream_name(name)][:, 0] for name in batch.inputs.atmospheric},
        )

    def _predict(self, batch: Batch) -> upstream.Batch:
        """Upstream's prediction.

        Upstream needs longitudes that increase in [0, 360). A region across 0° is therefore shifted to the
        east, so that its first column is at 0°.
        """
        longitude = batch.longitude
        if longitude[0] < 0:
            longitude = longitude - longitude[0]
        leads = batch.lead_hours or (self._lead_hours,) * len(batch.times)
        prediction: upstream.Batch = self.model(
            upstream.Batch(
                surf_vars={upstream_name(name): field for name, field in batch.inputs.surface.items()},
                static_vars={
                    upstream_name(name): _standardized(field) if name in self.fields.all.define else field
                    for name, field in batch.static.items()
                },
                atmos_vars={upstream_name(name): field for name, field in batch.inputs.atmospheric.items()},
                metadata=upstream.Metadata(
                    lat=batch.latitude,
                    lon=longitude,
                    time=batch.times,
                    atmos_levels=batch.levels_hpa,
                ),
            ),
            torch.tensor(leads, dtype=torch.float32),
        )
        return prediction

    def _unknown(self) -> tuple[list[str], list[str]]:
        """Surface and upper variables whose statistics upstream lacks."""
        variables = self.fields.all
        levels = [level_to_str(level) for level in variables.levels_hpa]
        surface = [name for name in variables.surface if upstream_name(name) not in locations]
        upper = [
            name
            for name in variables.atmospheric
            if any(f"{upstream_name(name)}_{level}" not in locations for level in levels)
        ]
        return surface, upper

    def complete_statistics(self, mean: Fields, scale: Fields) -> None:
        """Take statistics for the variables that upstream has none of (see ``interfaces.Backbone``)."""
        surface, upper = self._unknown()
        for name in (name for name in surface if name in mean.surface):
            self.model.surf_stats[upstream_name(name)] = mean.surface[name].item(), scale.surface[name].item()
        for name in (name for name in upper if name in mean.atmospheric):
            self.model.upper_statistics[upstream_name(name)] = mean.atmospheric[name], scale.atmospheric[name]

    @property
    def kept_apart(self) -> str | None:
        """What upstream's model does not do (see ``interfaces.Backbone``)."""
        if isinstance(self.model, ResidualAurora):
            return "it predicts the difference to its last frame (residual), which upstream does not add"
        if upper := self._unknown()[1]:
            return f"upstream has no statistics of {', '.join(upper)} and takes none of upper variables"
        if own := [name for name in self.fields.all.static if name in self.fields.all.define]:
            return f"it standardizes the static field {own[0]}, which upstream does not"
        return None

    def loading(self, path: Path) -> str:
        """Upstream's own model for this one's checkpoint, in Python (see ``interfaces.Backbone``)."""
        own = {upstream_name(name) for name in self._unknown()[0]}
        statistics = {name: values for name, values in self.model.surf_stats.items() if name in own}
        arguments = self._arguments | ({"surf_stats": statistics} if statistics else {})
        read = f"model.load_checkpoint_local({str(path)!r})"
        if "2t" not in self.model.surf_vars:  # upstream then finds no length of the history in the file
            read = f"model.load_state_dict(torch.load({str(path)!r}, weights_only=True))"
        return "\n".join(
            [
                "import datetime",
                "import aurora",
                *(["import torch"] if "torch.load" in read else []),
                "model = aurora.Aurora(",
                *(f"    {name}={value!r}," for name, value in arguments.items()),
                ")",
                read,
            ]
        )

    @property
    def _is_unfilled(self) -> bool:
        return any(parameter.is_meta for parameter in self.parameters())

    def save(self, path: Path, tensors: Mapping[str, torch.Tensor] | None = None) -> None:
        """Write weights in the format that the upstream package's ``load_checkpoint_local`` reads."""
        buffer = io.BytesIO()  # not the file, whose name would be in its bytes
        torch.save(OrderedDict(self.checkpoint() if tensors is None else tensors), buffer)
        path.write_bytes(buffer.getvalue())

    def load(self, path: Path) -> None:
        """Load a checkpoint in the upstream package's format.

        Of a model on the meta device only the shapes are compared.

        Raises:
            ValueError: naming the file and the weights that do not fit.
        """
        # Not load_checkpoint_local, which reads no file without a 2 m temperature.
        try:
            device, lazily = next(self.parameters()).device, self._is_unfilled and zipfile.is_zipfile(path)
            weights = torch.load(path, map_location=device, weights_only=True, mmap=lazily)
            check_kind(weights)
            adapted = folded(self.model._adapt_checkpoint(weights), self.spec.lora_mode)
            self.model.load_state_dict(adapted, assign=self._is_unfilled)
            self._note_pretrained()
        except pickle.UnpicklingError as error:
            raise ValueError(f"{path}: not a checkpoint that torch.save wrote") from error
        except (ValueError, AssertionError, RuntimeError) as error:
            raise ValueError(f"{path}: {error}") from error
        except (
            LookupError,
            TypeError,
            AttributeError,
            EOFError,
        ) as error:  # of what is no dictionary of tensors
            raise ValueError(f"{path}: not the weights of an Aurora ({error!r})") from error
