"""Two experiments with the same data through Snakemake, the second with one more variable."""

from typing import Any

import pytest

from tests.workflow.workflow import Checkout


def more(config: dict[str, Any]) -> None:
    config["name"] = "more"
    config["variables"]["atmospheric"].append("specific_humidity")


@pytest.mark.slow
def test_a_second_experiment_brings_what_it_lacks_and_disturbs_no_other(copied: Checkout) -> None:
    before = copied.records()
    config = copied.changed_config(more)
    copied.snakemake("--until", "regrid", config=config)
    now = copied.records()
    assert {name: record for name, record in now.items() if name in before} == before
    added = [record for name, record in now.items() if name.startswith("data/") and name not in before]
    assert len(added) == 3 + 3 * 2, "raw data and two grids of three periods"
    for record in added:
        variables = record["spec"]["request"]["variables"]
        assert variables["atmospheric"] == ["specific_humidity"]
        assert not variables["surface"] and not variables["static"]
    assert copied.planned() == set(), "nothing of the first experiment is made again"
    assert not {job for job in copied.planned(config) if job.split()[0] in ("download", "regrid")}
