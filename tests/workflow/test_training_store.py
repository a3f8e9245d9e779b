"""The packed copy of the fields that training may read."""

import pytest

from tests.workflow.workflow import Checkout

PACKED = {"pack 20010115-20010117", "pack 20020115-20020116"}


@pytest.mark.slow
def test_training_reads_a_packed_copy_where_it_is_asked_for(copied: Checkout) -> None:
    config = copied.changed_config(lambda values: values.update(training_store="int16"))
    planned = copied.planned(config)
    runs = {f"finetune {name}-seed0" for name in ("full", "weatherpeft")}
    assert planned >= PACKED | {"pretrain", "fisher"} | runs
    # what does not train reads the exact fields, and the test period is not packed
    assert not {job for job in planned if job.startswith(("regrid", "moments", "statistics", "baseline"))}
    assert {job for job in planned if job.startswith("pack")} == PACKED

    copied.snakemake("--until", "pack", config=config)
    packed = {name: record for name, record in copied.records().items() if "/packed/" in name}
    assert {name.rpartition("/")[2] for name in packed} == {job.split()[1] for job in PACKED}
    for name, record in packed.items():
        period = name.rpartition("/")[2]
        assert set(record["inputs"]) == {f"regridded/{period}", "test/statistics"}
    assert not {job for job in copied.planned(config) if job.startswith("pack")}
