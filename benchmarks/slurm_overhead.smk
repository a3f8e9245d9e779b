# Wall time that a job costs beside its command: five jobs that do nothing, one after the other.
#     snakemake --profile slurm --snakefile benchmarks/slurm_overhead.smk
import time

JOBS = 5
started = time.monotonic()


rule all:
    input:
        f"results/slurm_overhead/{JOBS}",


rule first:
    output:
        "results/slurm_overhead/0",
    localrule: True
    shell:
        "touch {output}"


rule nothing:
    input:
        lambda wildcards: f"results/slurm_overhead/{int(wildcards.number) - 1}",
    output:
        "results/slurm_overhead/{number,[1-9]}",
    shell:
        "touch {output}"


onsuccess:
    print(f"{(time.monotonic() - started) / JOBS:.1f} s a job")
    shell("rm -r results/slurm_overhead")
