"""Choices among candidates: hyperparameters, validation losses, and whether a choice is at an edge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NOTE = "Chosen by validation loss; no test score is read. At the edge: a wider list may hold a better one."


@dataclass(frozen=True)
class Choice:
    """The candidates of a run.

    Attributes:
        name: of the run.
        hyperparameters: names of those that the candidates do not share.
        values: of each candidate, in the order of ``hyperparameters``.
        losses: validation loss of each candidate; None where it is not finite.
        chosen: number of the chosen one.
    """

    name: str
    hyperparameters: tuple[str, ...]
    values: tuple[tuple[Any, ...], ...]
    losses: tuple[float | None, ...]
    chosen: int

    @classmethod
    def of(cls, name: str, candidates: Sequence[Mapping[str, Any]], record: Mapping[str, Any]) -> "Choice":
        """A choice from the record of an artifact of the choose stage.

        Raises:
            ValueError: the record is of another number of candidates.
        """
        losses = tuple(record["validation_loss"])
        if len(losses) != len(candidates):
            raise ValueError(f"{name}: expected {len(candidates)} candidates, found {len(losses)}")
        keys = tuple(candidates[0])
        values = tuple(tuple(each[key] for key in keys) for each in candidates)
        return cls(name, keys, values, losses, record["candidate"])

    @property
    def edges(self) -> list[str]:
        """Hyperparameters of which the chosen candidate has the smallest or largest number."""
        found = []
        for place, key in enumerate(self.hyperparameters):
            numbers = [each[place] for each in self.values if type(each[place]) in (int, float)]
            own = self.values[self.chosen][place]
            if own in numbers and own in (min(numbers), max(numbers)):
                found.append(key)
        return found

    def lines(self) -> list[list[str]]:
        """Cells of a line for each candidate: values, validation loss, mark."""
        mark = f"chosen, at the edge of {', '.join(self.edges)}" if self.edges else "chosen"
        return [
            [
                *map(_text, values),
                "diverged" if loss is None else f"{loss:.5g}",
                mark if number == self.chosen else "",
            ]
            for number, (values, loss) in enumerate(zip(self.values, self.losses, strict=True))
        ]

    def text(self) -> str:
        """The candidates as aligned plain text."""
        rows = [[*self.hyperparameters, "validation loss", ""], *self.lines()]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        return "\n".join([f"Candidates of {self.name}. {NOTE}", *lines])


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else "default" if value is None else str(value)
