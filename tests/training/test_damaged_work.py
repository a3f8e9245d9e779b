"""Work folders that a disk has damaged: what is damaged is named, never used, and changes no result."""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.peft.toy_backbone import Toy as FisherToy
from tests.peft.toy_backbone import as_backbone, toy_batch, toy_loss
from tests.training.toy import Killed, Toy, Watch, fit, training
from weatherpeft.artifacts.manifest import file_digests
from weatherpeft.samples.batch import Batch, Samples
from weatherpeft.training.checkpoint import NEWEST, OLDER, read_checkpoint
from weatherpeft.training.fisher import estimate_fisher
from weatherpeft.training.loop import write_kept


def flip_a_bit(path: Path, random: np.random.Generator) -> None:
    content = bytearray(path.read_bytes())
    bit = int(random.integers(8 * len(content)))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


class Training:
    """Eight steps with a checkpoint after each second one, of which the weights after step 3 are the best."""

    def __init__(self, data: tuple[Samples, Samples]) -> None:
        self._data = data
        self.steps: list[int] = []

    def run(self, work: Path, killed_at: int | None = None, every: int = 2, best: float = 1.027) -> bytes:
        """What the training keeps, and its curves."""
        model = Toy()
        self.steps.clear()

        def loss(_: Any, batch: Batch) -> Tensor:
            value = model.loss(_, batch)
            return value if model.training else (model.bias[1] + best).abs()

        def look(step: int, rate: float) -> None:
            if step == killed_at:
                raise Killed
            self.steps.append(step)

        def write(path: Path) -> None:
            assert len(list(work.glob("best-*"))) <= 3, "of two checkpoints and the best since"
            torch.save([model.bias.detach(), model.matrix.detach()], path)

        spec = training(8, keep="best", validate_every=1, validation_samples=1, checkpoint_every=every)
        history = fit(model, self._data, spec, work, Watch(look), loss=loss, keep=write)
        assert int(np.argmin(history.validation_loss)) == (2 if best == 1.027 else 7)
        write_kept(write, spec, work, work / "kept", history)
        return (work / "kept").read_bytes() + repr(history).encode()


BEST_OF_NEWEST, BEST_OF_OLDER = "the best weights of the newest", "the best weights of the older"


@pytest.mark.parametrize(
    ("damaged", "first", "told"),
    [
        ([], 4, 0),
        ([NEWEST], 2, 1),
        ([OLDER], 4, 0),
        ([NEWEST, OLDER], 0, 2),
        ([BEST_OF_NEWEST], 2, 1),
        ([BEST_OF_OLDER], 4, 0),
        ([BEST_OF_NEWEST, OLDER], 0, 2),
        ([NEWEST, OLDER, BEST_OF_NEWEST, BEST_OF_OLDER], 0, 2),
    ],
)
def test_a_training_goes_on_from_what_is_sound(
    damaged: list[str],
    first: int,
    told: int,
    samples: Samples,
    validation: Samples,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    random, toy = np.random.default_rng(7), Training((samples, validation))
    expected = toy.run(tmp_path / "straight")
    for number in range(10):
        work = tmp_path / str(number)
        with pytest.raises(Killed):
            toy.run(work, killed_at=5)
        kept = [read_checkpoint(work / name).content["curves"]["kept"] for name in (NEWEST, OLDER)]
        names = dict(zip((BEST_OF_NEWEST, BEST_OF_OLDER), (f"best-{each}" for each in kept), strict=True))
        files = [work / names.get(name, name) for name in damaged]
        for file in files:
            flip_a_bit(file, random)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert toy.run(work) == expected
        assert toy.steps == list(range(first, 8))
        assert len(caplog.messages) == told
        for message, file in zip(caplog.messages, files, strict=False):
            assert message.startswith(f"{file}: damaged") and "\n" not in message


def test_a_damaged_checkpoint_does_not_take_the_place_of_a_sound_one(
    samples: Samples, validation: Samples, tmp_path: Path
) -> None:
    random, toy = np.random.default_rng(7), Training((samples, validation))
    expected = toy.run(tmp_path / "straight")
    work = tmp_path / "work"
    for killed_at, first in ((5, 0), (5, 2), (5, 2)):
        with pytest.raises(Killed):
            toy.run(work, killed_at)
        assert toy.steps == list(range(first, 5))
        flip_a_bit(work / NEWEST, random)
    assert toy.run(work) == expected and toy.steps[0] == 2
    assert len(list(work.glob("best-*"))) == 1, "others are removed"


def test_best_weights_do_not_pile_up(samples: Samples, validation: Samples, tmp_path: Path) -> None:
    """Each validation finds better ones, and there is no checkpoint until the last step."""
    Training((samples, validation)).run(tmp_path, every=8, best=2.0)
    assert len(list(tmp_path.glob("best-*"))) == 1


class TestFisher:
    """An estimate over five batches, killed after the third or within the fourth."""

    BATCHES = tuple(toy_batch(number, 1 + number % 3) for number in range(5))

    def killed(self, work: Path, within: bool) -> None:
        model = FisherToy()
        model.backbone.requires_grad_(True)

        def batches() -> Iterator[Tensor]:
            yield from self.BATCHES[:3]
            if within:  # in the middle of the next batch, when some sums hold it already
                model.backbone.condition.weight.register_hook(lambda _: (_ for _ in ()).throw(Killed()))
                yield self.BATCHES[3]
            raise Killed

        with pytest.raises(Killed):
            self.estimate(model, batches(), work.with_name("never"), work)

    def estimate(self, model: FisherToy, batches: Iterable[Tensor], output: Path, work: Path) -> int:
        """Number of batches that were computed."""
        computed = []

        def loss(model: Any, batch: Any) -> Tensor:
            computed.append(batch)
            return toy_loss(model, batch)

        estimate_fisher(as_backbone(model), cast(Iterable[Batch], batches), loss, output, work=work)
        return len(computed)

    @pytest.mark.parametrize("within", [False, True])
    @pytest.mark.parametrize(
        ("damaged", "done", "done_within"),
        [
            ([], 3, 3),
            (["sums-0"], 3, 3),
            (["sums-1"], 2, 0),
            (["sums-1.json"], 2, 0),
            (["sums-1", "sums-0"], 0, 0),
            (["sums-1.json", "sums-0"], 0, 0),
            (["sums-1.json", "sums-0.json"], 0, 0),
        ],
    )
    def test_it_goes_on_from_sums_that_are_sound(
        self,
        damaged: list[str],
        done: int,
        done_within: int,
        within: bool,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        random = np.random.default_rng(7)
        assert self.estimate(FisherToy(), self.BATCHES, tmp_path / "straight", tmp_path / "work") == 5
        expected = file_digests(tmp_path / "straight")
        for number in range(5):
            work = tmp_path / f"work-{number}"
            self.killed(work, within)
            (folder,) = work.iterdir()
            files = [folder / name for name in damaged if (folder / name).exists()]
            for file in files:
                flip_a_bit(file, random)
            caplog.clear()
            output = tmp_path / str(number)
            with caplog.at_level(logging.WARNING):
                left = self.estimate(FisherToy(), self.BATCHES, output, work)
            assert 5 - left == (done_within if within else done)
            assert file_digests(output) == expected
            read = [file for file in files if not (file.name == "sums-0" and (within or len(files) == 1))]
            assert len(caplog.messages) == len(read)
            for file in read:
                (told,) = (message for message in caplog.messages if message.startswith(f"{file}: damaged"))
                assert "\n" not in told
