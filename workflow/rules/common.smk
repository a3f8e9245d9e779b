# Paths and specs. The specs come from the validated config, the code digests from the source files.
from pydantic import ValidationError
from snakemake.exceptions import WorkflowError
from weatherpeft.cli import error_lines
from weatherpeft.config import Experiment
from weatherpeft.fingerprint import fingerprint, spec_modules

try:
    experiment = Experiment.parse(config)
    SOURCE_FILES = experiment.source_files()
except ValidationError as error:
    raise WorkflowError("the configuration is not valid", *error_lines(error)) from None
except ValueError as error:
    raise WorkflowError(str(error)) from None

ROOT = experiment.root
RAW = f"{experiment.data}/raw/{{period}}"
REGRIDDED = f"{ROOT}/regridded/{{period}}"
STATISTICS = f"{ROOT}/statistics"
PRETRAINED = f"{ROOT}/pretrained"
FISHER = f"{ROOT}/fisher"
RUN = f"{ROOT}/runs/{{run}}"
PREDICTIONS = f"{ROOT}/predictions/{{forecast}}"
SCORES = f"{ROOT}/scores/{{forecast}}"
REPORT = f"{ROOT}/report"
FORECASTS = [*experiment.baselines, *experiment.run_labels()]


wildcard_constraints:
    period=r"\d{8}-\d{8}",
    run=r"[a-z0-9_]+-seed\d+",
    forecast=r"[a-z0-9_]+(-seed\d+)?",


def spec(stage):
    """Params: the spec of a stage's job, as JSON."""
    return lambda wildcards: getattr(experiment, stage)(*wildcards).canonical_json()


def code(stage):
    """Params: a digest of the code that a stage's job runs."""
    return lambda wildcards: fingerprint(
        f"weatherpeft.stages.{stage}", spec_modules(getattr(experiment, stage)(*wildcards))
    )


def regridded(*splits):
    """The regridded periods that these splits need; all of them without an argument."""
    return expand(REGRIDDED, period=experiment.periods(*splits))


def optional(flag, paths):
    """An option of the command line, where there is a path to give it."""
    return " ".join([f"--{flag}", *paths]) if paths else ""
