rule download:
    input:
        SOURCE_FILES,
    output:
        directory(paths.raw),
    log:
        f"{paths.logs}/download-{{period}}.log",
    benchmark:
        f"{paths.benchmarks}/download-{{period}}.tsv"
    conda:
        "../../environment.yml"
    params:
        spec=spec("download"),
        code=code("download"),
        shared=paths.shared_raw,
        work=paths.download_work,
    shell:
        "weatherpeft download --spec {params.spec:q} --output {output:q}"
        " --shared {params.shared:q} --work {params.work:q} 2> {log:q}"


rule regrid:
    input:
        raw=paths.raw,
    output:
        directory(paths.regridded),
    log:
        f"{paths.logs}/regrid-{{period}}.log",
    benchmark:
        f"{paths.benchmarks}/regrid-{{period}}.tsv"
    conda:
        "../../environment.yml"
    params:
        spec=spec("regrid"),
        code=code("regrid"),
        inputs=inputs,
        shared=paths.shared_regridded,
    shell:
        "weatherpeft regrid --spec {params.spec:q} {params.inputs} --output {output:q}"
        " --shared {params.shared:q} 2> {log:q}"


rule download_forecasts:
    input:
        FORECAST_FILES,
    output:
        directory(paths.raw_forecasts),
    log:
        f"{paths.logs}/download_forecasts-{{period}}.log",
    benchmark:
        f"{paths.benchmarks}/download_forecasts-{{period}}.tsv"
    conda:
        "../../environment.yml"
    params:
        spec=spec("download_forecasts"),
        code=code("download", "download_forecasts"),
        shared=paths.shared_raw,
        work=paths.download_work,
    shell:
        "weatherpeft download --spec {params.spec:q} --output {output:q}"
        " --shared {params.shared:q} --work {params.work:q} 2> {log:q}"


rule regrid_forecasts:
    input:
        raw=lambda wildcards: jobs.raw_forecasts(wildcards.period),
    output:
        directory(paths.regridded_forecasts),
    log:
        f"{paths.logs}/regrid_forecasts-{{period}}.log",
    benchmark:
        f"{paths.benchmarks}/regrid_forecasts-{{period}}.tsv"
    conda:
        "../../environment.yml"
    params:
        spec=spec("regrid_forecasts"),
        code=code("regrid", "regrid_forecasts"),
        inputs=inputs,
        shared=paths.shared_regridded,
    shell:
        "weatherpeft regrid --spec {params.spec:q} {params.inputs} --output {output:q}"
        " --shared {params.shared:q} 2> {log:q}"


rule moments:
    input:
        data=lambda wildcards: jobs.moments_data(wildcards.period),
    output:
        directory(paths.moments),
    log:
        f"{paths.logs}/moments-{{period}}.log",
    benchmark:
        f"{paths.benchmarks}/moments-{{period}}.tsv"
    conda:
        "../../environment.yml"
    params:
        spec=spec("moments"),
        code=code("moments"),
        inputs=inputs,
    shell:
        "weatherpeft moments --spec {params.spec:q} {params.inputs} --output {output:q} 2> {log:q}"


rule statistics:
    input:
        moments=expand(paths.moments, period=jobs.periods("train")),
    output:
        directory(paths.statistics),
    log:
        f"{paths.logs}/statistics.log",
    benchmark:
        f"{paths.benchmarks}/statistics.tsv"
    conda:
        "../../environment.yml"
    params:
        spec=spec("statistics"),
        code=code("statistics"),
        inputs=inputs,
    shell:
        "weatherpeft statistics --spec {params.spec:q} {params.inputs} --output {output:q} 2> {log:q}"


rule series:
    input:
        data=lambda wildcards: jobs.series_data(wildcards.period),
    output:
        directory(paths.series),
    log:
        f"{paths.logs}/series-{{period}}.log",
    benchmark:
        f"{paths.benchmarks}/series-{{period}}.tsv"
    conda:
        "../../environment.yml"
    params:
        spec=spec("series"),
        code=code("series"),
        inputs=inputs,
    shell:
        "weatherpeft series --spec {params.spec:q} {params.inputs} --output {output:q} 2> {log:q}"


rule climatology:
    input:
        series=expand(paths.series, period=jobs.periods("train")),
    output:
        directory(paths.climatology),
    log:
        f"{paths.logs}/climatology.log",
    benchmark:
        f"{paths.benchmarks}/climatology.tsv"
    conda:
        "../../environment.yml"
    params:
        spec=spec("climatology"),
        code=code("climatology"),
        inputs=inputs,
    shell:
        "weatherpeft climatology --spec {params.spec:q} {params.inputs} --output {output:q} 2> {log:q}"


rule pack:
    input:
        data=paths.regridded,
        statistics=paths.statistics,
    output:
        directory(paths.packed),
    log:
        f"{paths.logs}/pack-{{period}}.log",
    benchmark:
        f"{paths.benchmarks}/pack-{{period}}.tsv"
    conda:
        "../../environment.yml"
    params:
        spec=spec("pack"),
        code=code("pack"),
        inputs=inputs,
    shell:
        "weatherpeft pack --spec {params.spec:q} {params.inputs} --output {output:q} 2> {log:q}"


rule standardization:
    input:
        data=jobs.regridded("train"),
        forecasts=jobs.regridded_forecasts("train"),
    output:
        directory(paths.standardization),
    log:
        f"{paths.logs}/standardization.log",
    benchmark:
        f"{paths.benchmarks}/standardization.tsv"
    conda:
        "../../environment.yml"
    params:
        spec=spec("standardization"),
        code=code("standardization"),
        inputs=inputs,
    shell:
        "weatherpeft standardization --spec {params.spec:q} {params.inputs} --output {output:q} 2> {log:q}"


rule efi:
    input:
        data=jobs.regridded("train", "test"),
        forecasts=jobs.regridded_forecasts("train", "test"),
    output:
        directory(paths.efi),
    log:
        f"{paths.logs}/efi.log",
    benchmark:
        f"{paths.benchmarks}/efi.tsv"
    conda:
        "../../environment.yml"
    params:
        spec=spec("efi"),
        code=code("efi"),
        inputs=inputs,
    shell:
        "weatherpeft efi --spec {params.spec:q} {params.inputs} --output {output:q} 2> {log:q}"
