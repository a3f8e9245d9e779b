"""Snakemake removes a job's output before the job. What is whole must stay all the same.

Workflows that share data or results meet artifacts that were missing when their own job was planned. So do
jobs of Slurm that a killed Snakemake has left in the queue. And a job that outlives its Snakemake makes an
artifact that the next one takes for unfinished. By itself Snakemake removes all these, and what reads them
fails. Here they stay, and the stage ends at once if it would make the same.
"""

from collections.abc import Iterable
from pathlib import Path

from snakemake.jobs import Job
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

_run_job_pre = RemoteExecutor.run_job_pre


def keep_whole_outputs() -> None:
    """Let this Snakemake remove only outputs that it has planned to replace.

    A job for another machine loses them when it is submitted, not when it starts.
    """
    Job.remove_existing_output = _before_start
    RemoteExecutor.run_job_pre = _before_submission


async def _before_start(job: Job) -> None:
    if not job.dag.workflow.remote_exec:  # on another machine: done before
        await _remove_planned([job])
    for file in job.log:
        await file.remove()


def _before_submission(executor: RemoteExecutor, job: JobExecutorInterface) -> None:
    executor.workflow.async_run(_remove_planned(job.jobs if job.is_group() else [job]))
    _run_job_pre(executor, job)


async def _remove_planned(jobs: Iterable[Job]) -> None:
    for job in jobs:
        stay = set(job.dag.reason(job).missing_output)
        if all(Path(file).is_dir() for file in job.input):  # of other files no record tells the contents
            stay.update(await job.dag.workflow.persistence.incomplete(job))
        for file in job.output:
            if file not in stay and await file.exists():
                await file.remove()
