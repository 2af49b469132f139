# One DAG from a model's name to tables, figures and a report: `snakemake --cores all --resources gpu=1`.
from snakemake.utils import min_version

min_version("9.10")


include: "workflow/rules/common.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/tasks.smk"
include: "workflow/rules/finetune.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/results.smk"


localrules:
    all,


rule all:
    default_target: True
    input:
        all_targets(),


onstart:
    start()


onsuccess:
    finish()


onerror:
    explain_failure()
