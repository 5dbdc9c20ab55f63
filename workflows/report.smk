# From the records to tables and pictures; nothing here trains, so any table can be made again from the records alone.
localrules:
    collect,
    report,


rule collect:
    input:
        PLAN.records,
    output:
        f"{PLAN.report}/results.csv",
    log:
        f"{PLAN.report}/logs/collect.log",
    conda:
        "../environment.yml"
    params:
        grid=PLAN.grid.argument,
        results=lambda wildcards: PLAN.results,
        skipped=PLAN.skipped,
    shell:
        "segloss collect {params.grid:q} --results {params.results:q} --output {output:q} 2>&1 | tee {log:q}"


rule report:
    input:
        table=f"{PLAN.report}/results.csv",
    output:
        PLAN.report_files,
    log:
        f"{PLAN.report}/logs/report.log",
    conda:
        "../environment.yml"
    params:
        grid=PLAN.grid.argument,
        results=lambda wildcards: PLAN.results,
        titles=PLAN.titles,
    shell:
        "segloss report {params.grid:q} {input.table:q} --results {params.results:q} 2>&1 | tee {log:q}"
