# Gathering results: per model, over all models, and as figures.


localrules:
    aggregate,
    figures,


rule aggregate_model:
    input:
        spec=spec_of("aggregate-model", "model"),
        samples=[made_by("make-samples", case, "eval") for case in PLAN.cases],
        records=[
            made_by("evaluate", "{model}", variant, case)
            for variant in PLAN.variants
            for case in PLAN.cases
        ],
    output:
        results=LAYOUT.model_results("{model}"),
        provenance=made_by("aggregate-model", "{model}"),
    log:
        LAYOUT.results / "logs" / "aggregate_model" / "{model}.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        results=LAYOUT.results,
    message:
        "gathering the results of {wildcards.model}"
    shell:
        "exec python -m outctl aggregate-model {wildcards.model:q} --spec {input.spec:q} --results-dir {params.results:q} > {log:q} 2>&1"


rule aggregate:
    input:
        spec=PLAN.spec_path("aggregate"),
        results=[made_by("aggregate-model", model) for model in PLAN.models],
    output:
        combined=LAYOUT.combined(),
        provenance=made_by("aggregate"),
        results=report(
            LAYOUT.results_table(),
            category="Tables",
            caption="../report/results.rst",
            labels={"table": "models"},
        ),
        cases=report(
            LAYOUT.case_table(),
            category="Tables",
            caption="../report/cases.rst",
            labels={"table": "cases"},
        ),
    log:
        LAYOUT.results / "logs" / "aggregate.log",
    conda:
        "../../envs/cpu.yaml"
    params:
        results=LAYOUT.results,
    message:
        "combining the results of all models"
    shell:
        "exec python -m outctl aggregate --spec {input.spec:q} --results-dir {params.results:q} > {log:q} 2>&1"


rule figures:
    input:
        spec=PLAN.spec_path("figures"),
        results=[made_by("aggregate-model", model) for model in PLAN.models],
    output:
        calibration=report(
            LAYOUT.figure("calibration"),
            category="Figures",
            caption="../report/calibration.rst",
            labels={"figure": "calibration"},
        ),
        tvd=report(
            LAYOUT.figure("tvd"),
            category="Figures",
            caption="../report/tvd.rst",
            labels={"figure": "tvd"},
        ),
        provenance=made_by("figures"),
    log:
        LAYOUT.results / "logs" / "figures.log",
    conda:
        "../../envs/cpu.yaml"
    params:
        results=LAYOUT.results,
    message:
        "drawing the figures"
    shell:
        "exec python -m outctl figures --spec {input.spec:q} --results-dir {params.results:q} > {log:q} 2>&1"
