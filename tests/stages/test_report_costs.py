"""What the report says of costs, on the experiment of ``test_report``."""

import json
from pathlib import Path

import pytest
import torch
import xarray as xr

from tests.artifacts.resealing import reseal
from tests.stages.report_experiment import STAGE, Built, Made, spec_of
from weatherpeft.artifacts import store
from weatherpeft.artifacts.costs import COST
from weatherpeft.peft.sfas.fisher_store import write_fisher
from weatherpeft.peft.sfas.gaps import coded
from weatherpeft.reporting.costs import MEMORY, SECONDS, TOUCHED, read_costs
from weatherpeft.training.checkpoint import save_tensors

LAYER = "layers.0.attn.weight"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The experiment, in which the run of LoRA looks like one of SFAS."""
    built = Built(tmp_path_factory.mktemp("costs"), spec_of())
    for path in built.runs:
        if path.name.startswith("lora-"):
            updates = xr.Dataset(
                {"updates": (("parameter", "part"), [[3, 1]]), "entries": ("parameter", [4])},
                coords={"parameter": [LAYER]},
            )
            store.write_dataset(updates, path / "updates.zarr")
            entries = coded(torch.tensor([1, 2]))
            sparse = {f"0.sfas.{LAYER}.gaps": entries, f"0.sfas.{LAYER}.value": torch.zeros(2)}
            save_tensors(sparse, path / "tuned.safetensors")
            reseal(path)
    with store.artifact(built.root / "fisher", Made(note="fisher"), STAGE) as directory:
        write_fisher(directory / "fisher.zarr", [(LAYER, torch.tensor([0.0, 2.0, 1.0, 3.0]))], samples=1)
    return built


@pytest.fixture(scope="module")
def written(built: Built) -> Path:
    """The report without a Fisher store."""
    return built.report(built.root / "report")


def test_sizes_are_in_the_text_and_times_are_not(built: Built, written: Path) -> None:
    text = (written / "scores.txt").read_text()
    table = [line.split() for line in text[text.index("What the methods cost") :].splitlines()[1:]]
    assert ["lora", "120", "240", "480"] in table and ["full", "1,000", "2,000", "4,000"] in table
    costs = read_costs([path for path in built.runs if path.name.startswith("lora-")])
    assert (costs[TOUCHED], costs[SECONDS], costs[MEMORY]) == (240, 0.5, 2.0)


def test_the_digest_does_not_depend_on_seconds_and_memory(
    built: Built, written: Path, tmp_path: Path
) -> None:
    for path in built.runs:
        (path / COST).write_text(json.dumps({"seconds_per_step": 1 + len(path.name), "peak_memory_bytes": 7}))
        reseal(path)
    second = built.report(tmp_path / "second")
    assert (written / "times.html").read_bytes() != (second / "times.html").read_bytes()
    for name in ("scores.txt", "report.html"):
        assert (written / name).read_bytes() == (second / name).read_bytes(), name


def test_the_page_shows_where_updates_went(built: Built, written: Path, tmp_path: Path) -> None:
    pictures = {file.name for file in written.glob("*.png")}
    assert pictures == {"training.png", "cost.png", "scorecard.png", "updates_0.png", "updates_1.png"}
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in written.glob("*.png"))
    page = (written / "report.html").read_text()
    assert "Where the updates went" in page and "with the largest Fisher" not in page
    page = (built.report(tmp_path / "with", fisher=built.root / "fisher") / "report.html").read_text()
    assert "lora: 50 % of the entries that it touched are among as many with the largest Fisher" in page


def test_a_run_without_its_sizes_is_refused(built: Built, tmp_path: Path) -> None:
    with store.artifact(
        tmp_path / "run", Made(note="run"), STAGE, (), {"trainable_backbone": 1}
    ) as directory:
        (directory / COST).write_text("{}")
    with pytest.raises(ValueError, match="run: the record lacks trainable_total, touched_backbone"):
        read_costs([tmp_path / "run"])
