# Evaluating: one job a model, variant and case; the baseline is the variant without an adapter.


rule evaluate:
    input:
        spec=spec_of("evaluate", "model", "variant", "case"),
        model=made_by("fetch-model", "{model}"),
        samples=made_by("make-samples", "{case}", "eval"),
        adapter=adapter_of,
    output:
        records=LAYOUT.records("{model}", "{variant}", "{case}"),
        provenance=made_by("evaluate", "{model}", "{variant}", "{case}"),
    log:
        LAYOUT.results / "logs" / "evaluate" / "{model}" / "{variant}" / "{case}.log",
    benchmark:
        LAYOUT.results
        / "benchmarks"
        / "evaluate"
        / "{model}"
        / "{variant}"
        / "{case}.tsv"
    conda:
        ENVIRONMENT
    threads: SETTINGS.threads
    resources:
        gpu=SETTINGS.gpu,
        # What a profile can limit, however it asks for GPUs, and whether or not evaluations share a job.
        gpu_jobs=SETTINGS.gpu,
        in_turn=1,
        gpu_mem_mb=gpu_memory(training=False),
        mem_mb=host_memory(training=False),
        runtime=runtime(lambda wildcards: PLAN.evaluation_tokens(wildcards.case)),
    params:
        model=lambda wildcards, input: Path(input.model).parent,
        samples=str(LAYOUT.samples("{case}", "eval")),
        adapter=adapter_flag,
        checkpoints=LAYOUT.checkpoints(),
    message:
        "evaluating {wildcards.model} {wildcards.variant} on {wildcards.case}"
    shell:
        "exec python -m outctl evaluate {wildcards.model:q} {wildcards.variant:q} {wildcards.case:q} --spec {input.spec:q}"
        " --model-dir {params.model:q} --samples {params.samples:q} {params.adapter:q} --output {output.records:q}"
        " --checkpoints {params.checkpoints:q} > {log:q} 2>&1"
