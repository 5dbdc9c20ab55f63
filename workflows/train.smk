# One job for one cell: MMEngine trains it and evaluates it in the same process, since importing torch is what small cells cost most.
# The training's state lives in the undeclared folder work/ beside the outputs, so that no failure and no retry deletes it.
rule train:
    input:
        lambda wildcards: PLAN.data_markers(wildcards.cell),
    output:
        counts=PLAN.results + "/{cell}/counts.npz",
        predictions=PLAN.results + "/{cell}/predictions.npz",
        record=PLAN.results + "/{cell}/record.json",
    params:
        settings=lambda wildcards: PLAN.settings(wildcards.cell),
        results=PLAN.results,
    log:
        PLAN.results + "/{cell}/train.log",
    wildcard_constraints:
        cell=PLAN.cell_pattern,
    conda:
        "../environment.yml"
    threads: 1
    shell:
        "segloss train {wildcards.cell} --results {params.results} --threads {threads} > {log} 2>&1 && tail -n 1 {log}"
