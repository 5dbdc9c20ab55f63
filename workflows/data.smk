# Data sets that are generated; the others are there before the first job, or the plan stops and says how to get them.
rule prepare:
    output:
        touch("data/.prepared/{source}"),
    log:
        "data/.prepared/{source}.log",
    conda:
        "../environment.yml"
    shell:
        "segloss prepare {wildcards.source} > {log} 2>&1"
