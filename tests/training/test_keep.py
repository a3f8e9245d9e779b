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
from weatherpeft.training.best import check_best
from weatherpeft.training.checkpoint import NEWEST, read_checkpoint
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

    @pytest.mark.parametrize("keep", ["last", "best"])
    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_a_validation_that_is_not_finite_ends_the_training(
        self, samples: Samples, validation: Samples, tmp_path: Path, value: float, keep: str
    ) -> None:
        """Also a retry, which goes on from the checkpoint before."""
        time = validation.frames.samples[0].time.astype("datetime64[s]").item()
        for _ in range(2):
            with pytest.raises(FloatingPointError) as caught:
                self.fit((samples, validation), tmp_path, keep, losses=(5.0, 2.0, 3.0, value, 1.0))
            assert str(caught.value) == f"validation loss is {value} after step 4, sample times {time}"
            checkpoint = read_checkpoint(tmp_path / NEWEST).content
            assert checkpoint["step"] == 3 and checkpoint["curves"]["validation_loss"] == [5.0, 2.0, 3.0]
            assert not (tmp_path / "kept").exists()
        if keep == "best":
            check_best(tmp_path, checkpoint["curves"]["kept"])

    def test_the_last_step_is_no_exception(
        self, samples: Samples, validation: Samples, tmp_path: Path
    ) -> None:
        with pytest.raises(FloatingPointError, match="^validation loss is nan after step 5, "):
            self.fit((samples, validation), tmp_path, "last", losses=(5.0, 2.0, 3.0, 2.0, math.nan))
        assert not (tmp_path / "kept").exists()

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
