"""Every benchmark runs on a tiny model and prints its rows."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.torch import load_file, save_file

from tests import small_data as small
from tests.artifacts.resealing import reseal
from tests.stages.test_training_stages import PERIODS, SPLITS, Project
from weatherpeft.artifacts import store
from weatherpeft.stages.moments import MomentsSpec, moments
from weatherpeft.stages.statistics import StatisticsSpec, statistics

REPOSITORY = Path(__file__).parents[1]
CPU = ("--device", "cpu", "--threads", "1")


def run(script: str, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, REPOSITORY / "benchmarks" / script, *arguments],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.slow
def test_sparse_tuning(tmp_path: Path) -> None:
    output = tmp_path / "table.json"
    labels = ["full AdamW", "LoRA r=8", "SFAS, beta 0", "dense SFAS"]
    few = ["--model", "tiny", "--steps", "2", "--rounds", "1", "--rows", *labels]
    printed = run("sparse_tuning.py", *CPU, *few, "--output", str(output))
    found = json.loads(output.read_text())
    assert found["machine"] in printed
    rows = {row["method"]: row for row in found["rows"]}
    assert list(rows) == labels
    for label, row in rows.items():
        assert label in printed
        assert row["note"] == ""
        assert all(row[key] > 0 for key in ("live MiB", "RSS MiB", "state MiB", "step s", "CPU s"))
    assert rows["full AdamW"]["/full"] == rows["LoRA r=8"]["/LoRA"] == rows["dense SFAS"]["/dense"] == 1
    assert rows["SFAS, beta 0"]["live MiB"] < rows["full AdamW"]["live MiB"] <= rows["dense SFAS"]["live MiB"]
    assert rows["SFAS, beta 0"]["state MiB"] < rows["full AdamW"]["state MiB"]
    assert rows["dense SFAS"]["state MiB"] == pytest.approx(rows["full AdamW"]["state MiB"])


def test_profile_of_a_step() -> None:
    """A function's own time is part of its total, which is part of the step's."""
    printed = run(
        "sparse_tuning.py", *CPU, "--model", "tiny", "--steps", "1", "--profile", "SFAS, beta 0.9"
    ).splitlines()
    start = next(number for number, line in enumerate(printed) if line.startswith("where "))
    times = {tuple(line.split()[:2]): list(map(float, line.split()[-2:])) for line in printed[start + 1 :]}
    whole, _ = times["sparse_tuning", "step"]
    assert all(own <= total <= whole for total, own in times.values())
    assert times["sfas/adapter", "_offer"][0] < times["sfas/adapter", "_consume"][0] < whole


def test_prefix(tmp_path: Path) -> None:
    output = tmp_path / "table.csv"
    few = ["--windows", "2", "--repetitions", "1", "--model-repetitions", "1"]
    printed = run("prefix.py", *CPU, "--model", "tiny", "--grid", "16", "32", *few, "--output", str(output))
    with output.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert rows[0]["machine"] in printed
    assert {row["pass"] for row in rows} == {"inference", "forward + backward"}
    assert len({row["what"] for row in rows}) == 3
    for row in rows:
        assert row["what"] in printed
        assert float(row["prefix s"]) > 0
        assert float(row["prefix saved MiB"]) <= float(row["token saved MiB"])


def test_precision(tmp_path: Path) -> None:
    output = tmp_path / "table.json"
    run("precision.py", *CPU, "--model", "tiny", "--repetitions", "1", "--output", str(output))
    rows = {(row["precision"], row["recompute"]): row for row in json.loads(output.read_text())["rows"]}
    for recompute in ("false", "true"):
        single, half = rows["float32", recompute], rows["bfloat16", recompute]
        assert half["weights MiB"] < 0.6 * single["weights MiB"] and half["kept MiB"] < single["kept MiB"]
    assert rows["float32", "true"]["kept MiB"] < 0.5 * rows["float32", "false"]["kept MiB"]


def test_compare_runs(tmp_path: Path) -> None:
    """Two seeds, four times on two days, two fields; the baseline is 1 everywhere."""
    times = np.array(["2003-01-15T00", "2003-01-15T12", "2003-01-16T00", "2003-01-16T12"], "datetime64[ns]")
    scores = {"baseline": [[1.0, 1.0]] * 4}
    for seed, add in enumerate((0.0, 0.2)):
        scores[f"better-seed{seed}"] = [[value + add, 0.8] for value in (0.5, 0.5, 0.7, 0.7)]
    for name, values in scores.items():
        dataset = xr.Dataset(
            {"rmse": (("time", "channel"), np.array(values))}, {"time": times, "channel": ["t850", "z500"]}
        )
        store.write_dataset(dataset, tmp_path / "results" / "scores" / name / "scores.zarr")
    output = tmp_path / "table.json"
    printed = run(
        "compare_runs.py", str(tmp_path / "results"), "--against", "baseline", "--output", str(output)
    )
    rows = {(row["field"], row["run"]): row for row in json.loads(output.read_text())["rows"]}
    better = rows["t850", "better"]
    assert better["mean"] == pytest.approx(0.7) and better["difference"] == pytest.approx(-0.3)
    assert better["lower"] < -0.4 and better["upper"] > -0.2
    # In the second field nothing varies, so that it is certain.
    certain = rows["z500", "better"]
    assert [certain[key] for key in ("lower", "difference", "upper")] == pytest.approx([-0.2] * 3)
    # The ratios 0.7 and 0.8 have the geometric mean 0.748; two fields, one surely better, blocks of a day.
    words = printed.split()[-9:]
    assert words[:3] == ["better", "2", "-25.2"] and words[5:] == ["2", "1", "0", "1"]


def test_prompt_attention(tmp_path: Path) -> None:
    """Prompts that are zero after training have the biases of the projection as keys and values."""
    data = [small.write_period(tmp_path / "regridded", period, seed=0) for period in PERIODS[:2]]
    moments(
        MomentsSpec(variables=small.VARIABLES, grid=small.FINE, train=SPLITS.train),
        data[:1],
        tmp_path / "moments",
    )
    statistics(StatisticsSpec(variables=small.VARIABLES), [tmp_path / "moments"], tmp_path / "statistics")
    project = Project(tmp_path, data)
    project.pretrain(project.pretrained)
    model = project.model({"name": "tadp", "prompts": 2, "biases": False})
    tuned = project.finetune(tmp_path / "runs/tadp-seed0", model, project.pretrained) / "tuned.safetensors"
    weights = load_file(tuned)
    save_file({name: values * (".mix." not in name) for name, values in weights.items()}, tuned)
    reseal(tuned.parent)

    output = tmp_path / "table.json"
    printed = run(
        "prompt_attention.py", str(tmp_path), "tadp-seed0", "--samples", "1", "--output", str(output)
    )
    pretrained = torch.load(project.pretrained / "pretrained.ckpt", weights_only=True)
    rows = json.loads(output.read_text())["rows"]
    assert len(rows) == 2 * 4
    for before, after in zip(rows[::2], rows[1::2], strict=True):
        assert (before["training"], after["training"]) == ("before", "after")
        assert before["block"] == after["block"] and before["block"] in printed
        _, key, value = pretrained[f"backbone.{after['block']}.attn.qkv.bias"].chunk(3)
        assert after["prompt keys"] == pytest.approx(float(key.square().mean().sqrt()), rel=1e-5)
        assert after["prompt values"] == pytest.approx(float(value.square().mean().sqrt()), rel=1e-5)
        assert before["prompt keys"] != pytest.approx(after["prompt keys"], rel=1e-3)
        assert before["uniform %"] == pytest.approx(100 * 2 / (2 + 2 * 2 * 4))
        assert 0 < after["share %"] < 100 and 0 < after["constant %"] <= 100 + 1e-3
    titles = [
        line.split("  ")[0] for line in printed[printed.index("Loss of these samples") :].splitlines()[2:]
    ]
    assert titles == ["as trained", "mean of each window", "without attention", "without prompts"]


@pytest.mark.slow
def test_data(tmp_path: Path) -> None:
    output = tmp_path / "table.json"
    small = ["--resolution", "5", "--target", "11.25", "--rounds", "1", "--samples", "4", "--long-days", "1"]
    many = ["--days", "8"]  # what a day takes is told apart from what a job takes
    printed = run("data.py", *small, *many, "--output", str(output))
    found = json.loads(output.read_text())
    assert found["machine"] in printed
    steps: dict[str, dict[str, dict[str, float]]] = {}
    for row in found["rows"]:
        assert row["way"] in printed and row["CPU ms"] > 0
        steps.setdefault(row["step"], {})[row["way"]] = row
    decode, regrid, read, whole = steps.values()
    assert decode["cfgrib"]["relative"] == regrid["xarray-regrid"]["relative"] == 1
    assert {"ours", "ecCodes", "headers, checked"} < decode.keys()
    assert regrid["ours"]["memory MiB"] >= 0
    sizes = [row["size"] for row in read.values()]
    assert sizes[0] == pytest.approx(1, rel=0.01) and max(sizes) < 1.01
    assert read["ours, int16 to float32"]["size"] < 0.6
    assert {"one grid", "two grids"} == whole.keys()
    for title in ("All of it", "Memory of the regrid stage"):
        assert title in printed


@pytest.mark.slow
def test_checksums(tmp_path: Path) -> None:
    output = tmp_path / "table.json"
    small = ("--resolution", "22.5", "--samples", "4", "--rounds", "1")
    printed = run("checksums.py", *small, "--output", str(output))
    found = json.loads(output.read_text())
    assert found["machine"] in printed
    assert {(row["read"], row["store"]) for row in found["rows"]} == {
        (read, store) for read in ("chunk", "sample") for store in ("float32", "int16")
    }
    for row in found["rows"]:
        assert row["ratio"] == pytest.approx(row["checked CPU ms"] / row["unchecked CPU ms"])
