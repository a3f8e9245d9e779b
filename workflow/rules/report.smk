rule report:
    input:
        data=jobs.regridded("test"),
        forecasts=jobs.regridded_forecasts("test"),
        scores=expand(paths.scores, forecast=jobs.forecast_labels()),
        predictions=expand(paths.predictions, forecast=jobs.forecast_labels()),
        runs=expand(paths.run, run=jobs.run_labels()),
        pretrained=jobs.pretraining_path(),
        fisher=jobs.report_fisher(),
    output:
        directory(paths.report),
    log:
        f"{paths.logs}/report.log",
    benchmark:
        f"{paths.benchmarks}/report.tsv"
    conda:
        "../../environment.yml"
    params:
        spec=spec("report"),
        code=code("report"),
        benchmarks=paths.benchmarks,
        pretrained=optional("pretrained", jobs.pretraining_path()),
        forecasts=optional("forecasts", jobs.regridded_forecasts("test")),
        fisher=optional("fisher", jobs.report_fisher()),
    shell:
        "weatherpeft report --spec {params.spec:q} --data {input.data} --scores {input.scores}"
        " --predictions {input.predictions} --runs {input.runs} --benchmarks {params.benchmarks}"
        " {params.pretrained} {params.forecasts} {params.fisher} --output {output} 2> {log}"
