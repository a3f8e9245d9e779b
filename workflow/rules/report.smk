rule report:
    input:
        data=regridded("test"),
        scores=expand(SCORES, forecast=FORECASTS),
        predictions=expand(PREDICTIONS, forecast=FORECASTS),
        runs=expand(RUN, run=experiment.run_labels()),
        pretrained=[PRETRAINED] if experiment.pretraining else [],
    output:
        directory(REPORT),
    log:
        f"{ROOT}/logs/report.log",
    benchmark:
        f"{ROOT}/benchmarks/report.tsv"
    conda:
        "../../environment.yml"
    params:
        spec=spec("report"),
        code=code("report"),
        benchmarks=f"{ROOT}/benchmarks",
        pretrained=optional("pretrained", [PRETRAINED] if experiment.pretraining else []),
    shell:
        "weatherpeft report --spec {params.spec:q} --data {input.data} --scores {input.scores}"
        " --predictions {input.predictions} --runs {input.runs} --benchmarks {params.benchmarks}"
        " {params.pretrained} --output {output} 2> {log}"
