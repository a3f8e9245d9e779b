"""Hyperparameters chosen by validation: without the test period, and followed by the other seeds."""

import shutil
from typing import Any

import pytest

from tests.workflow.workflow import Checkout

TEST_PERIOD = "20030115-20030116"
RANKS = [2, 3]


def candidates(config: dict[str, Any]) -> None:
    config["seeds"] = [0, 1]
    config["runs"] = {
        "full": {"methods": [{"name": "full", "learning_rate": [1e30, 1e-3]}]},
        "lora": {"methods": [{"name": "lora", "rank": RANKS}]},
    }


@pytest.mark.slow
def test_a_choice_is_made_without_the_test_period_and_goes_on_to_the_seeds(copied: Checkout) -> None:
    results = copied.folder / "results/test"
    test_period = [
        *(copied.folder / "data/test").glob(f"*/toy/{TEST_PERIOD}-*"),
        results / "raw" / TEST_PERIOD,
        results / "regridded" / TEST_PERIOD,
        *(results / name for name in ("predictions", "scores", "report")),
    ]
    for folder in test_period:
        shutil.rmtree(folder)
    config = copied.changed_config(candidates)
    copied.snakemake("results/test/runs/lora-seed0", config=config)
    assert not any(folder.exists() for folder in test_period), "nothing of the test period was made"
    record = copied.records()["results/test/runs/lora-seed0"]
    losses = record["validation_loss"]
    assert len(set(losses)) == 2 and record["candidate"] == losses.index(min(losses))
    assert set(record["inputs"]) == {f"candidates/lora-c{number}" for number in range(2)}
    assert not list((results / "candidates").glob("*")), "no longer needed"

    copied.snakemake(config=config)
    records = copied.records()
    assert records["results/test/runs/lora-seed0"] == record
    other = records["results/test/runs/lora-seed1"]
    assert other["candidate"] == record["candidate"] and "runs/lora-seed0" in other["inputs"]
    rank = RANKS[record["candidate"]]
    chosen = other["spec"]["candidates"][record["candidate"]]
    assert chosen["model"]["methods"][0]["rank"] == rank and chosen["model"]["seed"] == 1
    for seed in (0, 1):
        assert (results / f"predictions/lora-seed{seed}/predictions.zarr").is_dir()
    text = (results / "report/scores.txt").read_text()
    table = text[text.index("Candidates of lora") :].splitlines()
    assert table[1].split() == ["lora.rank", "validation", "loss"]
    assert [f"{loss:.5g}" in line for loss, line in zip(losses, table[2:4], strict=True)] == [True] * 2
    assert ["chosen" in line for line in table[2:4]] == [n == record["candidate"] for n in range(2)]
    assert copied.records()["results/test/runs/full-seed0"]["validation_loss"][0] is None
    table = text[text.index("Candidates of full") :].splitlines()
    assert "diverged" in table[2] and "chosen" in table[3]
    assert copied.planned(config) == set()
