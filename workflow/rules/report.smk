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
        inputs=inputs,
        benchmarks=paths.benchmarks,
    shell:
        "weatherpeft report --spec {params.spec:q} {params.inputs} --benchmarks {params.benchmarks:q}"
        " --output {output:q} 2> {log:q}"
