"""The workflow on a real Slurm: the same bytes as on one machine, through kills and on several nodes."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.workflow import slurm
from tests.workflow.killed import KILLED_STEP
from tests.workflow.workflow import Checkout

RUN = "results/test/runs/full_random-seed0"
LOG = "results/test/logs/finetune-full_random-seed0.log"
SITE = {
    "WEATHERPEFT_SLURM_CPU_PARTITION": "cpu",
    "WEATHERPEFT_SLURM_GPU_PARTITION": "gpu",
    "WEATHERPEFT_SLURM_GPU_TYPE": "standin",
}
QUICK = {
    "slurm-init-seconds-before-status-checks": 2,
    "max-status-checks-per-second": 2,
    "latency-wait": 20,
    "jobs": 3,
}
"""A second profile: jobs here take seconds."""
FAILURES = 8
"""Of ``squeue``, one after the other; the plugin asks five times."""


def two_samples_a_step(config: dict[str, Any]) -> None:
    """A single run, without pretrained weights, that two processes can share."""
    config["runs"] = {"full_random": {"methods": [{"name": "full"}], "start": "random"}}
    config["training"]["batch_size"] = 2


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[None]:
    """A running Slurm."""
    if why := slurm.refusal():
        pytest.skip(why)
    with slurm.cluster(tmp_path / "slurm"):
        yield


def snakemake(
    checkout: Checkout, *options: str, commands: Path | None = None, fresh: bool = True, **variables: str
) -> str:
    """Run the workflow to the end of the training with the profile, as a user of the site does."""
    (checkout.folder / "site").mkdir(exist_ok=True)
    (checkout.folder / "site/config.yaml").write_text(yaml.safe_dump(QUICK))
    config = checkout.changed_config(two_samples_a_step)
    profiles = ["--profile", "slurm", "--profile", "site"]
    command = ["snakemake", "--nocolor", *profiles, *options, "--configfile", config, "--", RUN]
    return checkout.run(*command, commands=commands, variables=SITE | variables, fresh=fresh).stdout


def killed_once(folder: Path) -> Path:
    """A folder with a command ``weatherpeft`` whose first finetune is killed.

    Its ``squeue`` fails until it has been asked more often than the plugin asks by default; then it is that
    of ``slurm``.
    """
    folder.mkdir()
    squeue = folder / "squeue"
    failing = f"""#!/bin/sh
echo >> "{folder}/asked"
[ $(wc -l < "{folder}/asked") -gt {FAILURES} ] || {{ echo "slurm_load_jobs error" >&2; exit 1; }}
"""
    squeue.write_text(failing + slurm.SQUEUE)
    squeue.chmod(0o755)
    command = folder / "weatherpeft"
    command.write_text(f"""#!/bin/sh
if [ "$1" = finetune ] && mkdir "{folder}/killed" 2> /dev/null; then
    exec "{sys.executable}" -P "{Path(__file__).with_name("killed.py")}" "$@"
fi
exec "{sys.executable}" -m weatherpeft "$@"
""")
    command.chmod(0o755)
    return folder


def weights(checkout: Checkout) -> Any:
    """What the run has trained, as one vector; AdamW magnifies rounding where a gradient is all but nil."""
    import torch
    from safetensors.torch import load_file

    tensors = load_file(checkout.folder / RUN / "tuned.safetensors")
    return torch.cat([tensors[name].flatten() for name in sorted(tensors)])


@pytest.mark.slow
def test_a_cluster_gives_what_one_machine_gives(cluster: None, tmp_path: Path) -> None:
    here = Checkout.of_repository(tmp_path / "here")
    there = here.copy(tmp_path / "there")
    snakemake(here, "--executor", "local", "--cores", "2", fresh=False)

    kill = killed_once(tmp_path / "commands")
    snakemake(there, commands=kill, KILL="job", KILL_JOB=Path(RUN).name)
    assert f"resuming at step {KILLED_STEP - 1} of 6" in (there.folder / LOG).read_text()
    assert len((kill / "asked").read_text()) > FAILURES
    assert there.records() == here.records()

    first, second = slurm.jobs("rule_finetune_wildcards_full_random-seed0")
    assert [first["JobState"], second["JobState"]] == ["FAILED", "COMPLETED"]
    for job in (first, second):
        assert job["Partition"] == "gpu"
        assert job["TresPerNode"] == "gres:gpu:standin:1"
        assert job["MinMemoryNode"] == "62.50G"
        assert job["TimeLimit"] == "12:00:00"
        assert job["CPUs/Task"] == "8"
    (batch,) = slurm.jobs("rule_regrid_regrid")  # of two periods
    assert (batch["Partition"], batch["CPUs/Task"]) == ("cpu", "2")

    # The same again by two processes, one a node.
    spread = here.copy(tmp_path / "spread")
    shutil.rmtree(spread.folder / RUN)
    snakemake(spread, commands=kill, WEATHERPEFT_SLURM_NODES="2")
    job = slurm.jobs("rule_finetune_wildcards_full_random-seed0")[-1]
    assert job["NodeList"] == "n[1-2]"
    assert job["TresPerNode"] == "gres:gpu:standin:1"
    expected, found = weights(here), weights(spread)
    assert not found.equal(expected), "two processes sum in another order than one: it was one"
    assert (found - expected).norm() <= 1e-5 * expected.norm()
