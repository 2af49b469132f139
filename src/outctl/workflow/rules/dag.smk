# The rules, and what a run does before and after them.
from snakemake.utils import min_version

min_version("9.10")


include: "common.smk"
include: "models.smk"
include: "tasks.smk"
include: "finetune.smk"
include: "evaluation.smk"
include: "results.smk"


localrules:
    all,


onstart:
    start()


onsuccess:
    finish()


onerror:
    explain_failure()
