# Paths and specs. The specs come from the validated config, the code digests from the source files.
import shlex
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError
from weatherpeft.artifacts.fingerprint import Code, spec_modules
from weatherpeft.checks import checked
from weatherpeft.config_errors import RefusedError
from weatherpeft.jobs import Jobs
from weatherpeft.jobs.arguments import argument, options
from weatherpeft.jobs.outputs import keep_whole_outputs

try:
    # Snakemake's own reader takes 1e-3 for a text. What a job is about to do was checked before it started.
    experiment = checked(
        [Path(path) for path in workflow.configfiles],
        workflow.config_settings.config_args,
        work=workflow.is_main_process,
    )
    jobs = Jobs(experiment)
    SOURCE_FILES = jobs.source_files()
    FORECAST_FILES = jobs.forecast_files()
except RefusedError as error:
    raise WorkflowError("the configuration is not valid", *error.lines) from None
except ValueError as error:
    raise WorkflowError(str(error)) from None

keep_whole_outputs()
paths = jobs.paths
code_digest = cache(Code(memory=Path(".snakemake/code.json")).fingerprint)  # same code, many jobs


wildcard_constraints:
    period=r"\d{8}(T\d\d)?-\d{8}(T\d\d)?",
    weights=r"[^/]+-[0-9a-f]{12}",
    run=r"[a-z0-9_]+-seed\d+",
    forecast=r"[a-z0-9_]+(-seed\d+)?",


@cache
def job_spec(job, *labels):
    """The spec of a job."""
    return getattr(jobs, job)(*labels)


def spec(job):
    """Params: the spec of a job, as JSON or as a file that holds it."""
    return lambda wildcards: argument(job_spec(job, *wildcards).canonical_json())


def code(stage, job=None):
    """Params: a digest of the code that a stage's job runs; the job has the stage's name, if not given."""
    return lambda wildcards: code_digest(
        f"weatherpeft.stages.{stage}", spec_modules(job_spec(job or stage, *wildcards))
    )


def inputs(wildcards, input):
    """Params: for each named input the option of that name with its paths; nothing for one without paths."""
    return options(input.items())


def any_of(labels):
    """A wildcard's constraint: one of these labels; where there are none, nothing matches."""
    return "|".join(sorted(labels)) or "none"


def launch(wildcards, resources):
    """Params: what runs a command once for every GPU of a job on all its nodes; nothing for one process."""
    nodes = resources.get("nodes", 1)
    processes = int(resources.get("gres", "gpu:1").rpartition(":")[2])
    if nodes * processes == 1:
        return ""
    return shlex.quote(f"{workflow.basedir}/workflow/scripts/launch") + f" {nodes} {processes}"


def time_budget(wildcards, resources):
    """Params: the time that a job has, less what follows the last step, a validation and a checkpoint."""
    minutes = resources.get("runtime")
    return f"--time-budget-minutes {minutes - min(15, minutes / 10):g}" if minutes else ""
