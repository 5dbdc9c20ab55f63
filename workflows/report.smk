# From the records to what people read; nothing here trains, so any table can be made again from the records alone.
rule collect:
    input:
        PLAN.records,
    output:
        PLAN.report + "/results.csv",
    log:
        PLAN.report + "/logs/collect.log",
    conda:
        "../environment.yml"
    params:
        grid=PLAN.grid_argument,
        results=lambda wildcards: PLAN.results,
        skipped=PLAN.skipped,
    shell:
        "segloss collect {params.grid} --results {params.results} --output {output} > {log} 2>&1"


rule report:
    input:
        table=PLAN.report + "/results.csv",
    output:
        PLAN.report_files,
    log:
        PLAN.report + "/logs/report.log",
    conda:
        "../environment.yml"
    params:
        grid=PLAN.grid_argument,
        results=lambda wildcards: PLAN.results,
        titles=PLAN.titles,
    shell:
        "segloss report {params.grid} {input.table} --results {params.results} > {log} 2>&1"
