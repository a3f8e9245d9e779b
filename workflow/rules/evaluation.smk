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
        baseline=any_of(jobs.baseline_labels()),
    conda:
        "../../environment.yml"
    params:
        spec=spec("baseline"),
        code=code("baseline"),
        inputs=inputs,
    shell:
        "weatherpeft baseline --spec {params.spec:q} {params.inputs} --output {output:q} 2> {log:q}"


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
        inputs=inputs,
        launch=launch,
    shell:
        "{params.launch} weatherpeft predict --spec {params.spec:q} {params.inputs}"
        " --output {output:q} 2> {log:q}"


rule predict_pretrained:
    input:
        data=jobs.regridded("test"),
        statistics=jobs.tuning_statistics,
        pretrained=jobs.pretrained(),
    output:
        directory(f"{paths.root}/predictions/pretrained"),
    log:
        f"{paths.logs}/predict-pretrained.log",
    benchmark:
        f"{paths.benchmarks}/predict-pretrained.tsv"
    conda:
        "../../environment.yml"
    params:
        spec=spec("predict_pretrained"),
        code=code("predict", "predict_pretrained"),
        inputs=inputs,
        launch=launch,
    shell:
        "{params.launch} weatherpeft predict --spec {params.spec:q} {params.inputs}"
        " --output {output:q} 2> {log:q}"


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
        inputs=inputs,
    shell:
        "weatherpeft evaluate --spec {params.spec:q} {params.inputs} --output {output:q} 2> {log:q}"
