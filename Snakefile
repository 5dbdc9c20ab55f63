# The benchmark on one screen: a grid of cells, each trained and evaluated, then collected into one table and its reports.
#   snakemake --cores all --config grid=<name in configs/grids or path> [data_root=...] [results=...] [reports=...]
from segloss.runtime import forkserver
from segloss.workflow import Plan

PLAN = Plan.of(config)


include: "workflows/train.smk"
include: "workflows/report.smk"


# The cells stand here beside the reports, so that a deleted cell is trained again even if the table is still there.
rule all:
    default_target: True
    input:
        PLAN.records,
        PLAN.report_files,


onstart:
    if workflow.local_exec:
        forkserver.start()


onsuccess:
    print(PLAN.shown_table())


onerror:
    # Failed cells must not hide the others: the table is made of what is there and says what is not, and why.
    shell(PLAN.partial_report)
    print(PLAN.shown_table())
