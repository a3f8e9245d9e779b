rule baseline:
    input:
        data=regridded("train", "test"),
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
    shell:
        "weatherpeft baseline --spec {params.spec:q} --data {input.data} {params.climatology}"
        " --output {output} 2> {log}"


rule predict:
    input:
        data=regridded("test"),
        statistics=STATISTICS,
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
    shell:
        "{params.launch} weatherpeft predict --spec {params.spec:q} --data {input.data}"
        " --statistics {input.statistics} --run {input.run} {params.pretrained} --output {output} 2> {log}"


rule evaluate:
    input:
        data=regridded("test"),
        predictions=PREDICTIONS,
        climatology=experiment.climatology_path,
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
    shell:
        "weatherpeft evaluate --spec {params.spec:q} --data {input.data} --predictions {input.predictions}"
        " {params.climatology} --output {output} 2> {log}"
