# One DAG from a model's name to tables, figures and a report: `snakemake --cores all --resources gpu=1`.
include: "src/outctl/workflow/rules/dag.smk"


rule all:
    default_target: True
    input:
        all_targets(),
