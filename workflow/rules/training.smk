rule pretrain:
    input:
        data=jobs.training_data("train", "validation"),
        statistics=paths.statistics,
    output:
        directory(paths.pretrained),
    log:
        f"{paths.logs}/pretrain.log",
    benchmark:
        f"{paths.benchmarks}/pretrain.tsv"
    conda:
        "../../environment.yml"
    params:
        spec=spec("pretrain"),
        code=code("pretrain"),
        work=paths.work,
        launch=launch,
        time_budget=time_budget,
    shell:
        "{params.launch} weatherpeft pretrain --spec {params.spec:q} --data {input.data}"
        " --statistics {input.statistics} --output {output} --work {params.work}"
        " {params.time_budget} --checkpoint-minutes 30 2> {log}"


rule weights:
    output:
        directory(paths.weights),
    log:
        f"{paths.logs}/weights-{{weights}}.log",
    benchmark:
        f"{paths.benchmarks}/weights-{{weights}}.tsv"
    conda:
        "../../environment.yml"
    params:
        spec=spec("weights"),
        code=code("weights"),
        work=paths.download_work,
    shell:
        "weatherpeft weights --spec {params.spec:q} --output {output} --work {params.work} 2> {log}"


rule fisher:
    input:
        data=jobs.training_data("train"),
        forecasts=jobs.regridded_forecasts("train"),
        statistics=jobs.tuning_statistics,
        pretrained=jobs.pretrained(),
    output:
        directory(paths.fisher),
    log:
        f"{paths.logs}/fisher.log",
    benchmark:
        f"{paths.benchmarks}/fisher.tsv"
    conda:
        "../../environment.yml"
    params:
        spec=spec("fisher"),
        code=code("fisher"),
        work=paths.work,
        launch=launch,
        time_budget=time_budget,
        pretrained=optional("pretrained", jobs.pretrained()),
        forecasts=optional("forecasts", jobs.regridded_forecasts("train")),
    shell:
        "{params.launch} weatherpeft fisher --spec {params.spec:q} --data {input.data}"
        " --statistics {input.statistics} {params.pretrained} {params.forecasts} --output {output}"
        " --work {params.work} {params.time_budget} 2> {log}"


rule finetune:
    input:
        data=jobs.training_data("train", "validation"),
        forecasts=jobs.regridded_forecasts("train", "validation"),
        statistics=jobs.tuning_statistics,
        pretrained=lambda wildcards: jobs.run_pretrained(wildcards.run),
        fisher=lambda wildcards: jobs.run_fisher(wildcards.run),
    output:
        directory(paths.run),
    log:
        f"{paths.logs}/finetune-{{run}}.log",
    benchmark:
        f"{paths.benchmarks}/finetune-{{run}}.tsv"
    conda:
        "../../environment.yml"
    params:
        spec=spec("finetune"),
        code=code("finetune"),
        work=paths.work,
        launch=launch,
        time_budget=time_budget,
        pretrained=lambda wildcards: optional("pretrained", jobs.run_pretrained(wildcards.run)),
        fisher=lambda wildcards: optional("fisher", jobs.run_fisher(wildcards.run)),
        forecasts=optional("forecasts", jobs.regridded_forecasts("train", "validation")),
    shell:
        "{params.launch} weatherpeft finetune --spec {params.spec:q} --data {input.data}"
        " --statistics {input.statistics} {params.pretrained} {params.fisher} {params.forecasts} --output {output}"
        " --work {params.work} {params.time_budget} --checkpoint-minutes 30 2> {log}"
