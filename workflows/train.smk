# A job told to end by SIGTERM lasts until its training has saved its state: without a trap the shell would end at once, and
# a scheduler would kill what is left of the job.
shell.prefix("set -euo pipefail; trap : TERM; ")


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
    # Declared in configs/mmseg; schedulers hold a job to them, and a job that failed may have lacked memory.
    threads: lambda wildcards: PLAN.needs(wildcards.cell)["cpus"]
    resources:
        gpu=lambda wildcards: PLAN.needs(wildcards.cell)["gpus"],
        mem_mb=lambda wildcards, attempt: PLAN.needs(wildcards.cell)["memory_gb"] * 1000 * attempt,
        runtime=lambda wildcards: PLAN.needs(wildcards.cell)["minutes"],
    params:
        settings=lambda wildcards: PLAN.settings(wildcards.cell),
        results=lambda wildcards: PLAN.results,
    shell:
        "segloss train {wildcards.cell} --results {params.results} --threads {threads} > {log} 2>&1 && tail -n 1 {log}"
