# After SIGTERM a job must keep running until its training has saved a checkpoint: without a trap the shell would end at
# once, and the scheduler would kill the rest of the job.
shell.prefix("set -euo pipefail; trap : TERM; ")


# One job per cell, trained and evaluated in the same process: small cells spend most of their time importing torch.
# A generated data set is made by the job: as an input, a regenerated data set would have every cell trained again.
# Checkpoints are kept in the undeclared folder work/ next to the outputs, so no failure and no retry deletes them.
# predictions.npz, from which reports draw pictures, is undeclared, too: records shared without it are complete.
# The inputs are the records of a student's teachers. Settings are not params: the records alone determine what is
# stale, identically in every checkout, and PLAN.train_input plans stale cells again.
rule train:
    input:
        lambda wildcards: PLAN.train_input(wildcards.cell, workflow.dag),
    output:
        counts=f"{PLAN.results}/{{cell}}/counts.npz",
        record=f"{PLAN.results}/{{cell}}/record.json",
    log:
        f"{PLAN.results}/{{cell}}/train.log",
    wildcard_constraints:
        cell=PLAN.cell_pattern,
    conda:
        "../environment.yml"
    # Declared in configs/mmseg. Schedulers enforce them; each retry requests more memory, in case it ran out.
    threads: lambda wildcards: PLAN.resources(wildcards.cell)["cpus"]
    resources:
        gpu=lambda wildcards: PLAN.resources(wildcards.cell)["gpus"],
        mem_mb=lambda wildcards, attempt: PLAN.resources(wildcards.cell)["memory_gb"] * 1000 * attempt,
        runtime=lambda wildcards: PLAN.resources(wildcards.cell)["minutes"],
        # Not under params, since a change there would cause every finished cell to be trained again.
        weights=lambda wildcards: PLAN.weights_of(wildcards.cell),
    params:
        results=lambda wildcards: PLAN.results,
    shell:
        "segloss train {wildcards.cell:q} --results {params.results:q} --threads {threads} --weights {resources.weights} > {log:q} 2>&1"
