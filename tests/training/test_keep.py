"""The weights that a training keeps: the last ones or the best, also if it is killed."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training.toy import Killed, Toy, Watch, fit, training
from weatherpeft.artifacts.manifest import DamagedError
from weatherpeft.samples.batch import Batch, Samples
from weatherpeft.training.loop import write_kept


class TestKeep:
    """Validation losses 5, 2, 3, 2, 4 after steps 1 to 5: the best weights are those after step 2."""

    LOSSES = (5.0, 2.0, 3.0, 2.0, 4.0)

    def fit(
        self,
        data: tuple[Samples, Samples],
        work: Path,
        keep: str,
        *,
        killed_at: int | None = None,
        losses: tuple[float, ...] = LOSSES,
        damage: bool = False,
    ) -> list[Tensor]:
        """Biases after every step. The file ``kept`` in ``work`` is what the training keeps."""
        model = Toy()
        seen: list[Tensor] = []
        checkpoint = work / "checkpoint.pt"
        done = int(torch.load(checkpoint, weights_only=True)["step"]) if checkpoint.exists() else 0

        def loss(_: Any, batch: Batch) -> Tensor:
            value = model.loss(_, batch)
            return value if model.training else value * 0 + losses[done + len(seen) - 1]

        def look(step: int, rate: float) -> None:
            if step + 1 == killed_at:
                raise Killed
            seen.append(model.bias.detach().clone())

        spec = training(5, keep=keep, validate_every=1, validation_samples=1, checkpoint_every=3)

        def write(path: Path) -> None:
            torch.save(model.bias.detach(), path)

        history = fit(model, data, spec, work, Watch(look), loss=loss, keep=write)
        if damage:
            (best,) = work.glob("best-*")
            best.write_bytes(bytes([best.read_bytes()[0] ^ 1]) + best.read_bytes()[1:])
        write_kept(write, spec, work, work / "kept", history)
        return seen

    def test_the_last_or_the_best(self, samples: Samples, validation: Samples, tmp_path: Path) -> None:
        biases = {keep: self.fit((samples, validation), tmp_path / keep, keep) for keep in ("last", "best")}
        assert all(torch.equal(*pair) for pair in zip(*biases.values(), strict=True)), "the same training"
        kept = {keep: torch.load(tmp_path / keep / "kept", weights_only=True) for keep in biases}
        assert torch.equal(kept["last"], biases["last"][4])
        assert torch.equal(kept["best"], biases["best"][1]), "the first of two equal ones"
        assert not torch.equal(kept["best"], kept["last"])
        assert not list((tmp_path / "last").glob("best*"))

    def test_losses_that_are_not_finite_are_passed_over(
        self, samples: Samples, validation: Samples, tmp_path: Path
    ) -> None:
        losses = (math.nan, 3.0, -math.inf, 2.0, math.nan)
        biases = self.fit((samples, validation), tmp_path, "best", losses=losses)
        assert torch.equal(torch.load(tmp_path / "kept", weights_only=True), biases[3])

    @pytest.mark.parametrize("killed_at", [2, 3, 4, 5])
    def test_a_killed_training_keeps_the_same(
        self, samples: Samples, validation: Samples, tmp_path: Path, killed_at: int
    ) -> None:
        """Killed before and after the best validation, and between it and the checkpoint after step 3."""
        data = (samples, validation)
        straight = self.fit(data, tmp_path / "straight", "best")
        with pytest.raises(Killed):
            self.fit(data, tmp_path / "killed", "best", killed_at=killed_at)
        self.fit(data, tmp_path / "killed", "best")
        kept = torch.load(tmp_path / "killed" / "kept", weights_only=True)
        assert torch.equal(kept, straight[1])

    def test_damaged_weights_are_not_kept(
        self, samples: Samples, validation: Samples, tmp_path: Path
    ) -> None:
        with pytest.raises(DamagedError, match=f"{tmp_path}/best-[0-9a-f]+: damaged"):
            self.fit((samples, validation), tmp_path, "best", damage=True)

    def test_without_a_finite_loss_none_is_the_best(
        self, samples: Samples, validation: Samples, tmp_path: Path
    ) -> None:
        with pytest.raises(FloatingPointError, match="no validation had a finite loss"):
            self.fit((samples, validation), tmp_path, "best", losses=(math.nan,) * 5)
