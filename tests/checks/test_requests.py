"""What a source does not have is refused before anything is downloaded, by the key that asks for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.experiments import changed, put, values
from weatherpeft.checks.requests import requests
from weatherpeft.cli import main

Change = Callable[[dict[str, Any]], Any]
SPANS = [{"start": "2001-01-15", "end": "2003-01-17"}]
ERA5 = put("source", {"name": "era5_cds", "spans": SPANS})
ARCO = put("source", {"name": "arco_era5", "spans": SPANS})
ENS10 = {"name": "ens10", "folder": "ens10", "spans": [{"start": "1998-01-03", "end": "2018-01-02"}]}


def members(*numbers: int) -> Change:
    def change(config: dict[str, Any]) -> None:
        for split in config["splits"].values():
            split["members"] = list(numbers)

    return change


def lines(*changes: Change, name: str = "test.yaml") -> list[str]:
    return list(requests(changed(*changes, name=name)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([members(0)], "splits.train.members: the toy planet has no ensemble members, found (0,)"),
        ([ARCO, members(1, 2)], "splits.train.members: gs://gcp-public-data-arco-era5/"),
        ([ERA5, members(0, 10)], "splits.train.members: ERA5 has the members 0 to 9, found [10]"),
        (
            [ERA5, put("splits.test.members", [12])],
            "splits.test.members: ERA5 has the members 0 to 9, found [12]",
        ),
        ([ERA5, members(0), put("step_hours", 2)], "step_hours: expected a divisor of 24 and multiple of 3"),
    ],
)
def test_members_that_the_source_lacks(changes: list[Change], message: str) -> None:
    (line,) = lines(*changes)
    assert line.startswith(message)


@pytest.mark.parametrize("changes", [[], [ERA5], [ARCO], [ERA5, members(0, 9)]])
def test_what_the_source_has_passes(changes: list[Change]) -> None:
    assert lines(*changes) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            [put("source.ensemble.members", 5)],
            "forecasts.members: the toy planet's forecasts have 1 to 5, found [6, 7, 8, 9, 10]",
        ),
        (
            [put("forecasts.members", list(range(10)))],
            "forecasts.members: the toy planet's forecasts have 1 to 10, found [0]",
        ),
        (
            [put("forecasts.source", ENS10), put("forecasts.members", list(range(10)))],
            "forecasts.members: ENS-10 has members 1 to 10, found (0, 1",
        ),
        (
            [put("forecasts.variables.accumulated", ["total_precipitation"])],
            "forecasts.variables: forecasts have no hourly sums",
        ),
    ],
)
def test_forecasts_that_the_source_lacks(changes: list[Change], message: str) -> None:
    found = lines(*changes, name="postprocessing_toy.yaml")
    assert found and found[0].startswith(message)
    assert lines(name="postprocessing_toy.yaml") == []


def test_the_line_of_the_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = values()
    members(0)(config)
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    assert main(["check", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    number = int(line.split(":")[3])
    assert "members" in path.read_text().splitlines()[number - 1]
    assert ": splits.train.members: the toy planet has no ensemble members" in line
