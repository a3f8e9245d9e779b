"""The commands of docs/own_data.md, from a folder of files to a report, without an edit."""

import csv
import re
from pathlib import Path

import pytest

from tests.starting.files import BOX, GLOBE, fields, write_grib
from tests.workflow.workflow import ROOT, Checkout

PAGE = (ROOT / "docs/own_data.md").read_text()
COMMANDS = re.findall(r"^    ((?:weatherpeft|snakemake) .*)$", PAGE, re.MULTILINE)
BY_HAND = re.findall(r"^    (.*)$", PAGE[PAGE.index("## By hand") :], re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["globe", "box"])
def test_from_files_to_a_report(kind: str, tmp_path: Path) -> None:
    checkout = Checkout.of_repository(tmp_path / "own")
    raw = checkout.folder / "raw"
    raw.mkdir()
    if kind == "globe":
        fields(*GLOBE, days=3).to_netcdf(raw / "globe.nc")
    else:
        write_grib(fields(*BOX, days=3), raw / "box.grib")
    assert [command.partition(" ")[0] for command in COMMANDS] == ["weatherpeft", "weatherpeft", "snakemake"]
    for command in COMMANDS:
        checkout.run(*command.split(), variables={"XDG_CACHE_HOME": str(tmp_path / "cache")})
    report = checkout.folder / "results/my_experiment/report"
    assert (report / "report.html").stat().st_size > 1000
    with (report / "scores.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    own = {"globe": "oddity", "box": "blh"}[kind]  # which the table of variables lacks
    assert {row["channel"] for row in rows} == {"2t", own, "t500", "t850"}
    runs = {"full-seed0", "lora-seed0", "weatherpeft-seed0"}
    assert {row["run"] for row in rows} == {"interpolation", "regression", *runs}
    if kind == "box":
        assert len(BY_HAND) <= 15
        (checkout.folder / "by_hand.yaml").write_text("\n".join(BY_HAND))
        found = checkout.run("weatherpeft", "check", "by_hand.yaml").stdout
        assert "by_hand.yaml: valid" in found and "samples: 3 train, 3 validation, 3 test" in found
