"""Aurora (Bodnar et al. 2025, Nature 641), through the upstream package ``microsoft-aurora``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from weatherpeft.backbones.aurora.windows import splits
from weatherpeft.fields.boxes import nearest, written
from weatherpeft.fields.grid import Grid
from weatherpeft.fields.variables import FieldSet
from weatherpeft.spec import Size, Spec

if TYPE_CHECKING:
    from weatherpeft.backbones.aurora.model import AuroraBackbone
    from weatherpeft.interfaces import Task


LoraMode = Literal["single", "from_second", "all"]
"""Steps of a forecast at which upstream's own LoRA acts, by upstream's names."""
LONGEST_LEAD_HOURS = 24 * 7 * 3
"""Longest lead time that upstream encodes."""


class Aurora(Spec):
    """Size of an Aurora; the defaults are the pretrained 1.3 B configuration."""

    name: Literal["aurora"]
    """Selects this backbone."""
    embed_dim: Size = 512
    """Width of the patch embedding."""
    encoder_depths: tuple[Size, ...] = (6, 10, 8)
    """Number of blocks in each stage of the Swin encoder."""
    encoder_num_heads: tuple[Size, ...] = (8, 16, 32)
    """Number of attention heads in each stage of the Swin encoder."""
    decoder_depths: tuple[Size, ...] = (8, 10, 6)
    """Number of blocks in each stage of the Swin decoder; ``encoder_depths`` in reverse."""
    decoder_num_heads: tuple[Size, ...] = (32, 16, 8)
    """Number of attention heads in each stage of the Swin decoder."""
    num_heads: Size = 16
    """Number of attention heads of the level aggregation in encoder and decoder."""
    window_size: tuple[Size, Size, Size] = (2, 6, 12)
    """Size of the attention window along level, latitude and longitude in tokens."""
    latent_levels: Size = 4
    """Number of latent pressure levels."""
    patch_size: Size = 4
    """Number of rows and columns of a patch."""
    lora_mode: LoraMode = Field(default="single", exclude_if=lambda mode: mode == "single")
    """When a checkpoint that holds upstream's LoRA layers uses them. What its first step uses is folded into
    the weights that a run starts from; with ``from_second``, that is nothing."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.encoder_depths) != len(self.encoder_num_heads) or len(self.decoder_depths) != len(
            self.decoder_num_heads
        ):
            raise ValueError("depths and num_heads must have one entry a stage")
        if len(self.encoder_depths) < 2:
            raise ValueError("encoder_depths: expected two or more stages, found one")
        if self.decoder_depths != self.encoder_depths[::-1]:
            raise ValueError(
                f"decoder_depths must be encoder_depths reversed, found {self.decoder_depths} "
                f"and {self.encoder_depths}"
            )
        self._check_heads()
        self._check_sizes()
        return self

    def _check_sizes(self) -> None:
        """Refuse sizes that upstream refuses when the model first predicts."""
        if self.embed_dim % 4:
            raise ValueError(
                f"embed_dim: {self.embed_dim} is no multiple of 4, as its encoding of positions needs it"
            )
        if self.patch_size < 2:
            raise ValueError("patch_size: expected 2 or more; a patch of one point has no area")
        if self.latent_levels < 2 or self.latent_levels % self.window_size[0]:
            least = max(self.window_size[0], 2)
            raise ValueError(
                f"latent_levels: expected a multiple of the window's {self.window_size[0]} levels (the first "
                f"number of window_size), such as {least}, and 2 or more; found {self.latent_levels}"
            )

    def _check_heads(self) -> None:
        """Refuse heads that cannot share the width of their stage, which doubles from stage to stage."""
        stages = {
            "encoder_num_heads": self.encoder_num_heads,
            "decoder_num_heads": self.decoder_num_heads[::-1],
        }
        for key, numbers in stages.items():
            for stage, heads in enumerate(numbers):
                width = self.embed_dim * 2**stage
                if width % heads:
                    raise ValueError(
                        f"{key}: {heads} heads do not divide the width {width} of their stage "
                        f"(embed_dim {self.embed_dim} x {2**stage})"
                    )
        if self.num_heads > self.embed_dim:
            raise ValueError(f"num_heads: {self.num_heads} heads are more than embed_dim {self.embed_dim}")

    def check(self, grid: Grid, fields: FieldSet, lead_hours: Sequence[int] = ()) -> None:
        """Check that the model can run on a grid with these fields, before any work starts.

        Raises:
            ValueError: naming the grid and the patch size, the kind of field that is missing, or the lead
                time.
        """
        if max(lead_hours, default=0) > LONGEST_LEAD_HOURS:
            raise ValueError(
                f"backbone aurora: encodes lead times up to {LONGEST_LEAD_HOURS} h, found {max(lead_hours)} h"
            )
        rows, columns = grid.shape
        if abs(grid.latitude).max() == 90:
            raise ValueError(
                f"backbone aurora: grid {grid.label} has pole rows; use cell-centered rows"
                f"{self._advice(grid)}"
            )
        if rows % self.patch_size or columns % self.patch_size:
            raise ValueError(
                f"backbone aurora: patch size {self.patch_size} does not divide the grid {grid.label} "
                f"of {rows} x {columns} points{self._advice(grid)}"
            )
        if min(rows, columns) // self.patch_size < self._least_patches:
            raise ValueError(
                f"backbone aurora: grid {grid.label} gives {rows // self.patch_size} x "
                f"{columns // self.patch_size} patches, fewer than its {len(self.encoder_depths)} stages "
                f"need{self._advice(grid)}"
            )
        if self._is_narrow(grid):
            levels, height, width = self.window_size
            small = self.patch_size * height, self.patch_size * width
            large = [count * self._least_patches for count in small]
            grids = f", or at most {small[0]} x {small[1]} points or more than {large[0]} x {large[1]}"
            raise ValueError(
                f"backbone aurora: a window holds all {levels} latent levels, and upstream then cannot split "
                f"the grid {grid.label} of {rows} x {columns} points into windows of {height} x {width} "
                f"patches; expected latent_levels {2 * levels}{grids if height > 1 else ''}"
            )
        variables = fields.all
        for kind, names in (
            ("surface", variables.surface),
            ("atmospheric", variables.atmospheric),
            ("static", variables.static),
        ):
            if not names:
                raise ValueError(f"backbone aurora: needs at least one {kind} variable or placeholder")

    def nearest(self, grid: Grid) -> tuple[Grid | None, Grid | None]:
        """Boxes of whole patches, inside a grid and around it (see ``interfaces.BackboneSpec``)."""
        found = nearest(grid, self.patch_size, self.patch_size * self._least_patches)
        inner, outer = (None if one is None or self._is_narrow(one) else one for one in found)
        return inner, outer

    def _is_narrow(self, grid: Grid) -> bool:
        """Whether upstream fails to split a grid of whole patches into windows, at some stage."""
        rows, columns = (count // self.patch_size for count in grid.shape)
        for _ in self.encoder_depths:
            if not splits((self.latent_levels, rows, columns), self.window_size):
                return True
            rows, columns = -(-rows // 2), -(-columns // 2)
        return False

    @property
    def _least_patches(self) -> int:
        """Least number of patches in each direction, of which every stage but the last merges two."""
        return 2 ** (len(self.encoder_depths) - 1)

    def _advice(self, grid: Grid) -> str:
        """The nearest regions that fit, as the end of a message."""
        found = [f"{written(one)} ({one.shape[0]} x {one.shape[1]})" for one in self.nearest(grid) if one]
        return f"; the nearest regions that fit: {' and '.join(found)}" if found else ""

    def build(self, fields: FieldSet, task: "Task", seed: int) -> "AuroraBackbone":
        """A model with random weights (see ``interfaces.BackboneSpec``)."""
        from weatherpeft.backbones.aurora.ensemble import EnsembleAuroraBackbone
        from weatherpeft.backbones.aurora.model import Aurora, AuroraBackbone, ResidualAurora

        if task.ensemble is not None:
            return EnsembleAuroraBackbone(self, fields, task.ensemble, seed=seed)
        kind = ResidualAurora if task.residual else Aurora
        return AuroraBackbone(self, fields, lead_hours=task.lead_hours, kind=kind, seed=seed)
