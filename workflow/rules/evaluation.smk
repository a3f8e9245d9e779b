rule baseline:
    input:
        data=regridded("train", "test"),
    output:
        directory(f"{ROOT}/predictions/{{baseline}}"),
    wildcard_constraints:
        baseline="|".join(experiment.baselines) or "none",
    params:
        spec=spec("baseline"),
        code=code("baseline"),
    log:
        f"{ROOT}/logs/baseline-{{baseline}}.log",
    benchmark:
        f"{ROOT}/benchmarks/baseline-{{baseline}}.tsv"
    conda:
        "../../environment.yml"
    shell:
        "weatherpeft baseline --spec {params.spec:q} --data {input.data} --output {output} 2> {log}"


rule predict:
    input:
        data=regridded("test"),
        run=RUN,
        pretrained=lambda wildcards: experiment.run_pretrained(wildcards.run),
    output:
        directory(f"{ROOT}/predictions/{{run}}"),
    params:
        spec=spec("predict"),
        code=code("predict"),
        pretrained=lambda wildcards: optional("pretrained", experiment.run_pretrained(wildcards.run)),
    log:
        f"{ROOT}/logs/predict-{{run}}.log",
    benchmark:
        f"{ROOT}/benchmarks/predict-{{run}}.tsv"
    conda:
        "../../environment.yml"
    shell:
        "weatherpeft predict --spec {params.spec:q} --data {input.data} --run {input.run}"
        " {params.pretrained} --output {output} 2> {log}"


rule evaluate:
    input:
        data=regridded("test"),
        predictions=PREDICTIONS,
    output:
        directory(SCORES),
    params:
        spec=spec("evaluate"),
        code=code("evaluate"),
    log:
        f"{ROOT}/logs/evaluate-{{forecast}}.log",
    benchmark:
        f"{ROOT}/benchmarks/evaluate-{{forecast}}.tsv"
    conda:
        "../../environment.yml"
    shell:
        "weatherpeft evaluate --spec {params.spec:q} --data {input.data} --predictions {input.predictions}"
        " --output {output} 2> {log}"
