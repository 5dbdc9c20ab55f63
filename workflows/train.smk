# One job for one cell: MMEngine trains it and evaluates it in the same process, since importing torch is what small cells cost most.
# It makes the data set first if that is a generated one: as an input, a data set made anew would train every cell again.
# The training's state lives in the undeclared folder work/ beside the outputs, so that no failure and no retry deletes it.
# A student's job waits for its teachers' cells.
rule train:
    input:
        lambda wildcards: PLAN.teachers(wildcards.cell),
    output:
        counts=f"{PLAN.results}/{{cell}}/counts.npz",
        predictions=f"{PLAN.results}/{{cell}}/predictions.npz",
        record=f"{PLAN.results}/{{cell}}/record.json",
    log:
        f"{PLAN.results}/{{cell}}/train.log",
    wildcard_constraints:
        cell=PLAN.cell_pattern,
    conda:
        "../environment.yml"
    threads: 1
    params:
        settings=lambda wildcards: PLAN.settings(wildcards.cell),
        results=lambda wildcards: PLAN.results,
    shell:
        "segloss train {wildcards.cell} --results {params.results} --threads {threads} > {log} 2>&1 && tail -n 1 {log}"
