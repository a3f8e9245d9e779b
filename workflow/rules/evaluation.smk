rule baseline:
    input:
        data=jobs.regridded("train", "test"),
        forecasts=jobs.regridded_forecasts("train", "test"),
        climatology=jobs.climatology_path,
    output:
        directory(f"{paths.root}/predictions/{{baseline}}"),
    log:
        f"{paths.logs}/baseline-{{baseline}}.log",
    benchmark:
        f"{paths.benchmarks}/baseline-{{baseline}}.tsv"
    wildcard_constraints:
        baseline=any_of(experiment.baselines),
    conda:
        "../../environment.yml"
    params:
        spec=spec("baseline"),
        code=code("baseline"),
        climatology=optional("climatology", jobs.climatology_path),
        forecasts=optional("forecasts", jobs.regridded_forecasts("train", "test")),
    shell:
        "weatherpeft baseline --spec {params.spec:q} --data {input.data} {params.climatology} {params.forecasts}"
        " --output {output} 2> {log}"


rule predict:
    input:
        data=jobs.regridded("test"),
        forecasts=jobs.regridded_forecasts("test"),
        statistics=jobs.tuning_statistics,
        run=paths.run,
        pretrained=lambda wildcards: jobs.run_pretrained(wildcards.run),
    output:
        directory(f"{paths.root}/predictions/{{run}}"),
    log:
        f"{paths.logs}/predict-{{run}}.log",
    benchmark:
        f"{paths.benchmarks}/predict-{{run}}.tsv"
    conda:
        "../../environment.yml"
    params:
        spec=spec("predict"),
        code=code("predict"),
        launch=launch,
        pretrained=lambda wildcards: optional("pretrained", jobs.run_pretrained(wildcards.run)),
        forecasts=optional("forecasts", jobs.regridded_forecasts("test")),
    shell:
        "{params.launch} weatherpeft predict --spec {params.spec:q} --data {input.data}"
        " --statistics {input.statistics} --run {input.run} {params.pretrained} {params.forecasts}"
        " --output {output} 2> {log}"


rule evaluate:
    input:
        data=jobs.regridded("test"),
        predictions=paths.predictions,
        climatology=jobs.climatology_path,
        efi=jobs.efi_path,
    output:
        directory(paths.scores),
    log:
        f"{paths.logs}/evaluate-{{forecast}}.log",
    benchmark:
        f"{paths.benchmarks}/evaluate-{{forecast}}.tsv"
    conda:
        "../../environment.yml"
    params:
        spec=spec("evaluate"),
        code=code("evaluate"),
        climatology=optional("climatology", jobs.climatology_path),
        efi=optional("efi", jobs.efi_path),
    shell:
        "weatherpeft evaluate --spec {params.spec:q} --data {input.data} --predictions {input.predictions}"
        " {params.climatology} {params.efi} --output {output} 2> {log}"
