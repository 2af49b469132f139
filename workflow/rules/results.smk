# Gathering results: per model, over all models, as figures, and as one page.


localrules:
    aggregate,
    figures,
    report,


rule aggregate_model:
    input:
        spec=spec_of("aggregate-model", "model"),
        samples=[made_by("make-samples", case, "eval") for case in PLAN.cases],
        records=[
            made_by("evaluate", "{model}", variant, case)
            for variant in PLAN.variants
            for case in PLAN.cases
        ],
        adapters=[made_by("finetune", "{model}", adapter) for adapter in PLAN.recipes],
        temperature=(
            [made_by("fit-temperature", "{model}")]
            if TEMPERATURE in PLAN.variants
            else []
        ),
        others=lambda wildcards: [
            made_by(*job) for job in PLAN.further_evaluations(wildcards.model)
        ],
    output:
        results=LAYOUT.model_results("{model}"),
        provenance=made_by("aggregate-model", "{model}"),
    log:
        LAYOUT.results / "logs" / "aggregate_model" / "{model}.log",
    benchmark:
        LAYOUT.benchmark("aggregate-model", "{model}")
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
        tables=[
            report(
                table,
                category="Tables",
                caption=f"../report/{table.stem}.rst",
                labels={"table": table.stem},
            )
            for table in PLAN.tables()
        ],
    log:
        LAYOUT.results / "logs" / "aggregate.log",
    benchmark:
        LAYOUT.benchmark("aggregate")
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
        figures=[
            report(
                LAYOUT.figure(name),
                category="Figures",
                caption=f"../report/{name}.rst",
                labels={"figure": name},
            )
            for name in PLAN.figures
        ],
        numbers=[LAYOUT.figure_numbers(name) for name in PLAN.figures],
        provenance=made_by("figures"),
    log:
        LAYOUT.results / "logs" / "figures.log",
    benchmark:
        LAYOUT.benchmark("figures")
    conda:
        "../../envs/cpu.yaml"
    params:
        results=LAYOUT.results,
    message:
        "drawing the figures"
    shell:
        "exec python -m outctl figures --spec {input.spec:q} --results-dir {params.results:q} > {log:q} 2>&1"


rule report:
    input:
        spec=PLAN.spec_path("report"),
        shown=[made_by(*job) for job in PLAN.reported()],
    output:
        report=LAYOUT.report(),
        provenance=made_by("report"),
    log:
        LAYOUT.results / "logs" / "report.log",
    benchmark:
        LAYOUT.benchmark("report")
    conda:
        "../../envs/cpu.yaml"
    params:
        results=LAYOUT.results,
        models=LAYOUT.models,
    message:
        "writing the report"
    shell:
        "exec python -m outctl report --spec {input.spec:q} --results-dir {params.results:q} --models-dir {params.models:q} > {log:q} 2>&1"
