rule pretrain:
    input:
        data=training_data("train", "validation"),
        statistics=STATISTICS,
    output:
        directory(PRETRAINED),
    log:
        f"{ROOT}/logs/pretrain.log",
    benchmark:
        f"{ROOT}/benchmarks/pretrain.tsv"
    conda:
        "../../environment.yml"
    params:
        spec=spec("pretrain"),
        code=code("pretrain"),
        work=f"{ROOT}/work",
        launch=launch,
        time_budget=time_budget,
    shell:
        "{params.launch} weatherpeft pretrain --spec {params.spec:q} --data {input.data}"
        " --statistics {input.statistics} --output {output} --work {params.work}"
        " {params.time_budget} --checkpoint-minutes 30 2> {log}"


rule weights:
    output:
        directory(WEIGHTS),
    log:
        f"{ROOT}/logs/weights-{{weights}}.log",
    benchmark:
        f"{ROOT}/benchmarks/weights-{{weights}}.tsv"
    conda:
        "../../environment.yml"
    params:
        spec=spec("weights"),
        code=code("weights"),
        work=f"{experiment.data}/work",
    shell:
        "weatherpeft weights --spec {params.spec:q} --output {output} --work {params.work} 2> {log}"


rule fisher:
    input:
        data=training_data("train"),
        forecasts=forecasts("train"),
        statistics=TUNING_STATISTICS,
        pretrained=experiment.pretrained(),
    output:
        directory(FISHER),
    log:
        f"{ROOT}/logs/fisher.log",
    benchmark:
        f"{ROOT}/benchmarks/fisher.tsv"
    conda:
        "../../environment.yml"
    params:
        spec=spec("fisher"),
        code=code("fisher"),
        work=f"{ROOT}/work",
        launch=launch,
        time_budget=time_budget,
        pretrained=optional("pretrained", experiment.pretrained()),
        forecasts=optional("forecasts", forecasts("train")),
    shell:
        "{params.launch} weatherpeft fisher --spec {params.spec:q} --data {input.data}"
        " --statistics {input.statistics} {params.pretrained} {params.forecasts} --output {output}"
        " --work {params.work} {params.time_budget} 2> {log}"


rule finetune:
    input:
        data=training_data("train", "validation"),
        forecasts=forecasts("train", "validation"),
        statistics=TUNING_STATISTICS,
        pretrained=lambda wildcards: experiment.run_pretrained(wildcards.run),
        fisher=lambda wildcards: experiment.run_fisher(wildcards.run),
    output:
        directory(RUN),
    log:
        f"{ROOT}/logs/finetune-{{run}}.log",
    benchmark:
        f"{ROOT}/benchmarks/finetune-{{run}}.tsv"
    conda:
        "../../environment.yml"
    params:
        spec=spec("finetune"),
        code=code("finetune"),
        work=f"{ROOT}/work",
        launch=launch,
        time_budget=time_budget,
        pretrained=lambda wildcards: optional("pretrained", experiment.run_pretrained(wildcards.run)),
        fisher=lambda wildcards: optional("fisher", experiment.run_fisher(wildcards.run)),
        forecasts=optional("forecasts", forecasts("train", "validation")),
    shell:
        "{params.launch} weatherpeft finetune --spec {params.spec:q} --data {input.data}"
        " --statistics {input.statistics} {params.pretrained} {params.fisher} {params.forecasts} --output {output}"
        " --work {params.work} {params.time_budget} --checkpoint-minutes 30 2> {log}"
