rule baseline:
    input:
        data=regridded("train", "test"),
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
    shell:
        "weatherpeft baseline --spec {params.spec:q} --data {input.data} --output {output} 2> {log}"


rule predict:
    input:
        data=regridded("test"),
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
        "{params.launch} weatherpeft predict --spec {params.spec:q} --data {input.data} --run {input.run}"
        " {params.pretrained} --output {output} 2> {log}"


rule evaluate:
    input:
        data=regridded("test"),
        predictions=PREDICTIONS,
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
    shell:
        "weatherpeft evaluate --spec {params.spec:q} --data {input.data} --predictions {input.predictions}"
        " --output {output} 2> {log}"
