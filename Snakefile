# The pipeline on one screen: the cells of a grid are trained and evaluated, collected into one table, and reported.
#   snakemake --cores all --config grid=<name in configs/grids or path> [data_root=...] [results=...] [reports=...]
from segloss.workflow import Plan, start_forkserver

PLAN = Plan.from_config(config)


include: "workflows/train.smk"
include: "workflows/report.smk"


# The cells are listed in addition to the reports, so a deleted cell is trained again even if the table still exists.
rule all:
    default_target: True
    input:
        PLAN.records,
        PLAN.report_files,


onstart:
    if workflow.local_exec:
        start_forkserver()


onsuccess:
    PLAN.show_table()


onerror:
    # Failed cells must not hide the others: the table is made from the finished ones and lists the rest with reasons.
    shell(PLAN.partial_report)
    PLAN.show_table()
    print("The same command again trains what is missing or has failed, each cell from its last checkpoint.")
