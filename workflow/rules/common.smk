# Paths and specs. The specs come from the validated config, the code digests from the source files.
import shlex
from functools import cache

from pydantic import ValidationError
from snakemake.exceptions import WorkflowError
from weatherpeft.cli import error_lines
from weatherpeft.config import Experiment
from weatherpeft.artifacts.fingerprint import fingerprint, spec_modules

try:
    experiment = Experiment.parse(config)
    SOURCE_FILES = experiment.source_files()
    FORECAST_FILES = experiment.forecast_files()
except ValidationError as error:
    raise WorkflowError("the configuration is not valid", *error_lines(error)) from None
except ValueError as error:
    raise WorkflowError(str(error)) from None

ROOT = experiment.root
RAW = f"{experiment.data}/raw/{{period}}"
REGRIDDED = f"{ROOT}/regridded/{{period}}"
FORECAST_RAW = f"{experiment.data}/forecasts/raw/{{period}}"
REGRIDDED_FORECASTS = f"{ROOT}/forecasts/{{period}}"
PACKED = f"{ROOT}/packed/{{period}}"
MOMENTS = f"{ROOT}/moments/{{period}}"
STATISTICS = f"{ROOT}/statistics"
TUNING_STATISTICS = experiment.tuning_statistics
STANDARDIZATION = f"{ROOT}/standardization"
EFI = f"{ROOT}/efi"
SERIES = f"{ROOT}/series/{{period}}"
CLIMATOLOGY = f"{ROOT}/climatology"
PRETRAINED = f"{ROOT}/pretrained"
WEIGHTS = f"{experiment.data}/weights/{{weights}}"
FISHER = f"{ROOT}/fisher"
RUN = f"{ROOT}/runs/{{run}}"
PREDICTIONS = f"{ROOT}/predictions/{{forecast}}"
SCORES = f"{ROOT}/scores/{{forecast}}"
REPORT = f"{ROOT}/report"
FORECASTS = [*experiment.baselines, *experiment.run_labels()]

code_digest = cache(fingerprint)  # hundreds of jobs run the same code


wildcard_constraints:
    period=r"\d{8}-\d{8}",
    weights=r"[^/]+-[0-9a-f]{12}",
    run=r"[a-z0-9_]+-seed\d+",
    forecast=r"[a-z0-9_]+(-seed\d+)?",


def spec(job):
    """Params: the spec of a job, as JSON."""
    return lambda wildcards: getattr(experiment, job)(*wildcards).canonical_json()


def code(stage, job=None):
    """Params: a digest of the code that a stage's job runs; the job has the stage's name, if not given."""
    return lambda wildcards: code_digest(
        f"weatherpeft.stages.{stage}", spec_modules(getattr(experiment, job or stage)(*wildcards))
    )


def regridded(*splits):
    """The regridded periods that these splits need; all of them without an argument."""
    return expand(REGRIDDED, period=experiment.periods(*splits))


def forecasts(*splits):
    """The periods of regridded forecasts that these splits need, where the task corrects forecasts."""
    return expand(REGRIDDED_FORECASTS, period=experiment.corrected_periods(*splits))


def training_data(*splits):
    """The periods that training on these splits reads, regridded or packed."""
    stored = {"float32": REGRIDDED, "int16": PACKED}[experiment.training_store]
    return expand(stored, period=experiment.periods(*splits))


def optional(flag, paths):
    """An option of the command line, where there is a path to give it."""
    return " ".join([f"--{flag}", *paths]) if paths else ""


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
