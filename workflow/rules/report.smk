rule report:
    input:
        data=regridded("test"),
        forecasts=forecasts("test"),
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
        forecasts=optional("forecasts", forecasts("test")),
    shell:
        "weatherpeft report --spec {params.spec:q} --data {input.data} --scores {input.scores}"
        " --predictions {input.predictions} --runs {input.runs} --benchmarks {params.benchmarks}"
        " {params.pretrained} {params.forecasts} --output {output} 2> {log}"
