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
    shell:
        "weatherpeft download --spec {params.spec:q} --output {output} 2> {log}"


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


rule statistics:
    input:
        data=regridded("train"),
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
        "weatherpeft statistics --spec {params.spec:q} --data {input.data} --output {output} 2> {log}"
