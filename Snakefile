# From raw data to a scored report. Every stage is a subcommand of `weatherpeft`; nothing is computed here.
from snakemake.utils import min_version

min_version("9.0")

if not config:

    configfile: "config/default.yaml"


include: "workflow/rules/common.smk"


rule all:
    input:
        paths.report,
        jobs.climatology_path,


include: "workflow/rules/data.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/report.smk"
