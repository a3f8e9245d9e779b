"""Every benchmark runs on a tiny model and prints its rows."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
    printed = run(
        "sparse_tuning.py", *CPU, "--model", "tiny", "--steps", "2", "--rounds", "1", "--output", str(output)
    )
    found = json.loads(output.read_text())
    assert found["machine"] in printed
    rows = {row["method"]: row for row in found["rows"]}
    assert {"full AdamW", "LoRA r=8", "SFAS, beta 0", "SFAS, beta 0.9", "dense SFAS"} <= rows.keys()
    for label, row in rows.items():
        assert label in printed
        assert row["note"] == ""
        assert all(row[key] > 0 for key in ("live MiB", "RSS MiB", "state MiB", "step s", "CPU s"))
    assert rows["full AdamW"]["/full"] == rows["LoRA r=8"]["/LoRA"] == rows["dense SFAS"]["/dense"] == 1
    assert rows["SFAS, beta 0"]["live MiB"] < rows["full AdamW"]["live MiB"] <= rows["dense SFAS"]["live MiB"]
    assert rows["SFAS, beta 0"]["state MiB"] < rows["full AdamW"]["state MiB"]
    assert rows["dense SFAS"]["state MiB"] == pytest.approx(rows["full AdamW"]["state MiB"])


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


@pytest.mark.slow
def test_data(tmp_path: Path) -> None:
    output = tmp_path / "table.json"
    small = ["--resolution", "5", "--target", "11.25", "--rounds", "1", "--samples", "4", "--long-days", "1"]
    printed = run("data.py", *small, "--output", str(output))
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
