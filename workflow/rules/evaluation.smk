rule baseline:
    input:
        data=regridded("train", "test"),
        forecasts=forecasts("train", "test"),
        climatology=experiment.climatology_path,
    output:
        directory(f"{ROOT}/predictions/{{baseline}}"),
    log:
        f"{ROOT}/logs/baseline-{{baseline}}.log",
    benchmark:
        f"{ROOT}/benchmarks/baseline-{{baseline}}.tsv"
    wildcard_constraints:
        baseline="|".join(experiment.baselines) or "none",
    conda:
        "../../environment.yml"
    params:
        spec=spec("baseline"),
        code=code("baseline"),
        climatology=optional("climatology", experiment.climatology_path),
        forecasts=optional("forecasts", forecasts("train", "test")),
    shell:
        "weatherpeft baseline --spec {params.spec:q} --data {input.data} {params.climatology} {params.forecasts}"
        " --output {output} 2> {log}"


rule predict:
    input:
        data=regridded("test"),
        forecasts=forecasts("test"),
        statistics=TUNING_STATISTICS,
        run=RUN,
        pretrained=lambda wildcards: experiment.run_pretrained(wildcards.run),
    output:
        directory(f"{ROOT}/predictions/{{run}}"),
    log:
        f"{ROOT}/logs/predict-{{run}}.log",
    benchmark:
        f"{ROOT}/benchmarks/predict-{{run}}.tsv"
    conda:
        "../../environment.yml"
    params:
        spec=spec("predict"),
        code=code("predict"),
        launch=launch,
        pretrained=lambda wildcards: optional("pretrained", experiment.run_pretrained(wildcards.run)),
        forecasts=optional("forecasts", forecasts("test")),
    shell:
        "{params.launch} weatherpeft predict --spec {params.spec:q} --data {input.data}"
        " --statistics {input.statistics} --run {input.run} {params.pretrained} {params.forecasts}"
        " --output {output} 2> {log}"


rule evaluate:
    input:
        data=regridded("test"),
        predictions=PREDICTIONS,
        climatology=experiment.climatology_path,
        efi=experiment.efi_path,
    output:
        directory(SCORES),
    log:
        f"{ROOT}/logs/evaluate-{{forecast}}.log",
    benchmark:
        f"{ROOT}/benchmarks/evaluate-{{forecast}}.tsv"
    conda:
        "../../environment.yml"
    params:
        spec=spec("evaluate"),
        code=code("evaluate"),
        climatology=optional("climatology", experiment.climatology_path),
        efi=optional("efi", experiment.efi_path),
    shell:
        "weatherpeft evaluate --spec {params.spec:q} --data {input.data} --predictions {input.predictions}"
        " {params.climatology} {params.efi} --output {output} 2> {log}"
