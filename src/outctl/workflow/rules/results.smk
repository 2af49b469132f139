# Gathering results: per model, over all models, as figures, and as one page.

from outctl.stages.aggregate import table_files
from outctl.stages.figures import figure_names


localrules:
    aggregate,
    figures,
    report,


rule aggregate_model:
    input:
        spec=spec_of("aggregate-model"),
        upstream=upstream_of("aggregate-model"),
    output:
        outputs_of("aggregate-model"),
    log:
        log_of("aggregate-model"),
    benchmark:
        benchmark_of("aggregate-model")
    conda:
        "../envs/cpu.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        flags=flags_of("aggregate-model"),
    message:
        "gathering the results of {wildcards.model}"
    shell:
        "exec python -m outctl aggregate-model {wildcards.model:q} --spec {input.spec:q} {params.flags:q} > {log:q} 2>&1"


rule aggregate:
    input:
        spec=spec_of("aggregate"),
        upstream=upstream_of("aggregate"),
    output:
        combined=output_of("aggregate"),
        provenance=provenance_of("aggregate"),
        tables=[
            report(
                table,
                category="Tables",
                caption=f"../report/{table.stem}.rst",
                labels={"table": table.stem},
            )
            for table in table_files(PLAN)
        ],
    log:
        log_of("aggregate"),
    benchmark:
        benchmark_of("aggregate")
    conda:
        "../envs/cpu.yaml"
    params:
        flags=flags_of("aggregate"),
    message:
        "combining the results of all models"
    shell:
        "exec python -m outctl aggregate --spec {input.spec:q} {params.flags:q} > {log:q} 2>&1"


rule figures:
    input:
        spec=spec_of("figures"),
        upstream=upstream_of("figures"),
    output:
        figures=[
            report(
                LAYOUT.figure(name),
                category="Figures",
                caption=f"../report/{name}.rst",
                labels={"figure": name},
            )
            for name in figure_names(PLAN)
        ],
        numbers=[LAYOUT.figure_numbers(name) for name in figure_names(PLAN)],
        provenance=provenance_of("figures"),
    log:
        log_of("figures"),
    benchmark:
        benchmark_of("figures")
    conda:
        "../envs/cpu.yaml"
    params:
        flags=flags_of("figures"),
    message:
        "drawing the figures"
    shell:
        "exec python -m outctl figures --spec {input.spec:q} {params.flags:q} > {log:q} 2>&1"


rule report:
    input:
        spec=spec_of("report"),
        upstream=upstream_of("report"),
    output:
        outputs_of("report"),
    log:
        log_of("report"),
    benchmark:
        benchmark_of("report")
    conda:
        "../envs/cpu.yaml"
    params:
        flags=flags_of("report"),
    message:
        "writing the report"
    shell:
        "exec python -m outctl report --spec {input.spec:q} {params.flags:q} > {log:q} 2>&1"
