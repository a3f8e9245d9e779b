rule download:
    input:
        SOURCE_FILES,
    output:
        directory(RAW),
    log:
        f"{ROOT}/logs/download-{{period}}.log",
    benchmark:
        f"{ROOT}/benchmarks/download-{{period}}.tsv"
    conda:
        "../../environment.yml"
    params:
        spec=spec("download"),
        code=code("download"),
        work=f"{experiment.data}/work",
    shell:
        "weatherpeft download --spec {params.spec:q} --output {output} --work {params.work} 2> {log}"


rule regrid:
    input:
        raw=RAW,
    output:
        directory(REGRIDDED),
    log:
        f"{ROOT}/logs/regrid-{{period}}.log",
    benchmark:
        f"{ROOT}/benchmarks/regrid-{{period}}.tsv"
    conda:
        "../../environment.yml"
    params:
        spec=spec("regrid"),
        code=code("regrid"),
    shell:
        "weatherpeft regrid --spec {params.spec:q} --raw {input.raw} --output {output} 2> {log}"


rule download_forecasts:
    input:
        FORECAST_FILES,
    output:
        directory(FORECAST_RAW),
    log:
        f"{ROOT}/logs/download_forecasts-{{period}}.log",
    benchmark:
        f"{ROOT}/benchmarks/download_forecasts-{{period}}.tsv"
    conda:
        "../../environment.yml"
    params:
        spec=spec("download_forecasts"),
        code=code("download", "download_forecasts"),
        work=f"{experiment.data}/work",
    shell:
        "weatherpeft download --spec {params.spec:q} --output {output} --work {params.work} 2> {log}"


rule regrid_forecasts:
    input:
        raw=lambda wildcards: experiment.forecast_raw(wildcards.period),
    output:
        directory(REGRIDDED_FORECASTS),
    log:
        f"{ROOT}/logs/regrid_forecasts-{{period}}.log",
    benchmark:
        f"{ROOT}/benchmarks/regrid_forecasts-{{period}}.tsv"
    conda:
        "../../environment.yml"
    params:
        spec=spec("regrid_forecasts"),
        code=code("regrid", "regrid_forecasts"),
    shell:
        "weatherpeft regrid --spec {params.spec:q} --raw {input.raw} --output {output} 2> {log}"


rule moments:
    input:
        data=lambda wildcards: expand(REGRIDDED, period=experiment.moments_periods(wildcards.period)),
    output:
        directory(MOMENTS),
    log:
        f"{ROOT}/logs/moments-{{period}}.log",
    benchmark:
        f"{ROOT}/benchmarks/moments-{{period}}.tsv"
    conda:
        "../../environment.yml"
    params:
        spec=spec("moments"),
        code=code("moments"),
    shell:
        "weatherpeft moments --spec {params.spec:q} --data {input.data} --output {output} 2> {log}"


rule statistics:
    input:
        moments=expand(MOMENTS, period=experiment.periods("train")),
    output:
        directory(STATISTICS),
    log:
        f"{ROOT}/logs/statistics.log",
    benchmark:
        f"{ROOT}/benchmarks/statistics.tsv"
    conda:
        "../../environment.yml"
    params:
        spec=spec("statistics"),
        code=code("statistics"),
    shell:
        "weatherpeft statistics --spec {params.spec:q} --moments {input.moments} --output {output} 2> {log}"


rule series:
    input:
        data=lambda wildcards: expand(REGRIDDED, period=experiment.series_periods(wildcards.period)),
    output:
        directory(SERIES),
    log:
        f"{ROOT}/logs/series-{{period}}.log",
    benchmark:
        f"{ROOT}/benchmarks/series-{{period}}.tsv"
    conda:
        "../../environment.yml"
    params:
        spec=spec("series"),
        code=code("series"),
    shell:
        "weatherpeft series --spec {params.spec:q} --data {input.data} --output {output} 2> {log}"


rule climatology:
    input:
        series=expand(SERIES, period=experiment.periods("train")),
    output:
        directory(CLIMATOLOGY),
    log:
        f"{ROOT}/logs/climatology.log",
    benchmark:
        f"{ROOT}/benchmarks/climatology.tsv"
    conda:
        "../../environment.yml"
    params:
        spec=spec("climatology"),
        code=code("climatology"),
    shell:
        "weatherpeft climatology --spec {params.spec:q} --series {input.series} --output {output} 2> {log}"


rule pack:
    input:
        data=REGRIDDED,
        statistics=STATISTICS,
    output:
        directory(PACKED),
    log:
        f"{ROOT}/logs/pack-{{period}}.log",
    benchmark:
        f"{ROOT}/benchmarks/pack-{{period}}.tsv"
    conda:
        "../../environment.yml"
    params:
        spec=spec("pack"),
        code=code("pack"),
    shell:
        "weatherpeft pack --spec {params.spec:q} --data {input.data} --statistics {input.statistics}"
        " --output {output} 2> {log}"


rule standardization:
    input:
        data=regridded("train"),
        forecasts=forecasts("train"),
    output:
        directory(STANDARDIZATION),
    log:
        f"{ROOT}/logs/standardization.log",
    benchmark:
        f"{ROOT}/benchmarks/standardization.tsv"
    conda:
        "../../environment.yml"
    params:
        spec=spec("standardization"),
        code=code("standardization"),
    shell:
        "weatherpeft standardization --spec {params.spec:q} --data {input.data}"
        " --forecasts {input.forecasts} --output {output} 2> {log}"


rule efi:
    input:
        data=regridded("train", "test"),
        forecasts=forecasts("train", "test"),
    output:
        directory(EFI),
    log:
        f"{ROOT}/logs/efi.log",
    benchmark:
        f"{ROOT}/benchmarks/efi.tsv"
    conda:
        "../../environment.yml"
    params:
        spec=spec("efi"),
        code=code("efi"),
    shell:
        "weatherpeft efi --spec {params.spec:q} --data {input.data}"
        " --forecasts {input.forecasts} --output {output} 2> {log}"
