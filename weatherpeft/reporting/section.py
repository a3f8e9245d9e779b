"""The socket of report sections that only some experiments have."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from weatherpeft.fields.grid import Grid
from weatherpeft.reporting.scores import Channel, Row


class Section(Protocol):
    """A part of the report with scores of its own."""

    @property
    def template(self) -> str:
        """File name of the section's Jinja template in ``sections``; the template uses ``content``."""

    def read(self, path: Path, channels: Sequence[Channel]) -> dict[str, np.ndarray]:
        """Means over times and members of an artifact of the evaluate stage.

        Args:
            path: the artifact.
            channels: fields of the scores.

        Returns:
            Scores by name, ``(channel, ...)`` each; empty if the artifact has none.
        """

    def columns(self, skill: Mapping[str, np.ndarray]) -> Sequence[str]:
        """Names of the scores with one value per channel, for ``scores.csv``.

        Args:
            skill: scores by name, as ``read`` returns them.
        """

    def units(self, score: str, channel: Channel) -> str:
        """SI units of a score.

        Args:
            score: one of the ``columns``.
            channel: field of the score.
        """

    def text(self, rows: Sequence[Row], channels: Sequence[Channel]) -> list[str]:
        """Blocks of aligned plain text; empty if no row has the scores.

        Args:
            rows: methods and baselines.
            channels: fields of the rows' scores.
        """

    def content(self, rows: Sequence[Row], channels: Sequence[Channel], grid: Grid) -> dict[str, Any] | None:
        """Content for the template; None if no row has the scores.

        Args:
            rows: methods and baselines.
            channels: fields of the rows' scores.
            grid: grid of the scores.
        """
