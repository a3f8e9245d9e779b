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
        inputs=inputs,
        work=paths.work,
        launch=launch,
        time_budget=time_budget,
    shell:
        "{params.launch} weatherpeft pretrain --spec {params.spec:q} {params.inputs} --output {output:q}"
        " --work {params.work:q} {params.time_budget} --checkpoint-minutes 30 2> {log:q}"


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
        "weatherpeft weights --spec {params.spec:q} --output {output:q}" " --work {params.work:q} 2> {log:q}"


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
        inputs=inputs,
        work=paths.work,
        launch=launch,
        time_budget=time_budget,
    shell:
        "{params.launch} weatherpeft fisher --spec {params.spec:q} {params.inputs} --output {output:q}"
        " --work {params.work:q} {params.time_budget} 2> {log:q}"


rule finetune:
    input:
        data=jobs.training_data("train", "validation"),
        forecasts=jobs.regridded_forecasts("train", "validation"),
        statistics=jobs.tuning_statistics,
        pretrained=lambda wildcards: jobs.run_pretrained(wildcards.run),
        fisher=lambda wildcards: jobs.run_fisher(wildcards.run),
        choice=lambda wildcards: jobs.choice(wildcards.run),
    output:
        directory(paths.run),
    log:
        f"{paths.logs}/finetune-{{run}}.log",
    benchmark:
        f"{paths.benchmarks}/finetune-{{run}}.tsv"
    wildcard_constraints:
        run=any_of(set(jobs.run_labels()) - set(jobs.chosen_labels())),
    conda:
        "../../environment.yml"
    params:
        spec=spec("finetune"),
        code=code("finetune"),
        inputs=inputs,
        work=paths.work,
        launch=launch,
        time_budget=time_budget,
    shell:
        "{params.launch} weatherpeft finetune --spec {params.spec:q} {params.inputs} --output {output:q}"
        " --work {params.work:q} {params.time_budget} --checkpoint-minutes 30 2> {log:q}"


use rule finetune as finetune_candidate with:
    input:
        data=jobs.training_data("train", "validation"),
        forecasts=jobs.regridded_forecasts("train", "validation"),
        statistics=jobs.tuning_statistics,
        pretrained=lambda wildcards: jobs.run_pretrained(wildcards.candidate),
        fisher=lambda wildcards: jobs.run_fisher(wildcards.candidate),
    output:
        temp(directory(paths.candidate)),
    log:
        f"{paths.logs}/finetune-{{candidate}}.log",
    benchmark:
        f"{paths.benchmarks}/finetune-{{candidate}}.tsv"
    wildcard_constraints:
        candidate=r"[a-z0-9_]+-c\d+",
    params:
        spec=spec("finetune_candidate"),
        code=code("finetune", "finetune_candidate"),
        inputs=inputs,
        work=paths.work,
        launch=launch,
        time_budget=time_budget,


rule choose:
    input:
        candidates=lambda wildcards: jobs.candidates(wildcards.run),
    output:
        directory(paths.run),
    log:
        f"{paths.logs}/choose-{{run}}.log",
    benchmark:
        f"{paths.benchmarks}/choose-{{run}}.tsv"
    wildcard_constraints:
        run=any_of(jobs.chosen_labels()),
    conda:
        "../../environment.yml"
    params:
        spec=spec("choose"),
        code=code("choose"),
        inputs=inputs,
    shell:
        "weatherpeft choose --spec {params.spec:q} {params.inputs} --output {output:q} 2> {log:q}"
