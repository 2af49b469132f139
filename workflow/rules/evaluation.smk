# Evaluating: one job a model, variant and case; the baseline is the variant without an adapter.


rule evaluate:
    input:
        spec=spec_of("evaluate", "model", "variant", "case"),
        model=made_by("fetch-model", "{model}"),
        samples=made_by("make-samples", "{case}", "eval"),
        asked_with=asked_with,
    output:
        records=LAYOUT.records("{model}", "{variant}", "{case}"),
        provenance=made_by("evaluate", "{model}", "{variant}", "{case}"),
    log:
        LAYOUT.results / "logs" / "evaluate" / "{model}" / "{variant}" / "{case}.log",
    benchmark:
        LAYOUT.benchmark("evaluate", "{model}", "{variant}", "{case}")
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
        asked_with=asked_with_flag,
        checkpoints=LAYOUT.checkpoints(),
    message:
        "evaluating {wildcards.model} {wildcards.variant} on {wildcards.case}"
    shell:
        "exec python -m outctl evaluate {wildcards.model:q} {wildcards.variant:q} {wildcards.case:q} --spec {input.spec:q}"
        " --model-dir {params.model:q} --samples {params.samples:q} {params.asked_with:q} --output {output.records:q}"
        " --checkpoints {params.checkpoints:q} > {log:q} 2>&1"


rule fit_temperature:
    input:
        spec=spec_of("fit-temperature", "model"),
        model=made_by("fetch-model", "{model}"),
        samples=lambda wildcards: made_by(
            "make-samples", PLAN.experiment.temperature_scaling.case, "train"
        ),
    output:
        temperature=LAYOUT.temperature("{model}"),
        provenance=made_by("fit-temperature", "{model}"),
    log:
        LAYOUT.results / "logs" / "fit_temperature" / "{model}.log",
    benchmark:
        LAYOUT.benchmark("fit-temperature", "{model}")
    conda:
        ENVIRONMENT
    threads: SETTINGS.threads
    resources:
        gpu=SETTINGS.gpu,
        gpu_jobs=SETTINGS.gpu,
        gpu_mem_mb=gpu_memory(training=False),
        mem_mb=host_memory(training=False),
        runtime=runtime(lambda wildcards: PLAN.temperature_tokens()),
    params:
        model=lambda wildcards, input: Path(input.model).parent,
        samples=lambda wildcards: LAYOUT.samples(
            PLAN.experiment.temperature_scaling.case, "train"
        ),
        checkpoints=LAYOUT.checkpoints(),
    message:
        "fitting the temperature of {wildcards.model}"
    shell:
        "exec python -m outctl fit-temperature {wildcards.model:q} --spec {input.spec:q} --model-dir {params.model:q}"
        " --samples {params.samples:q} --output {output.temperature:q} --checkpoints {params.checkpoints:q} > {log:q} 2>&1"


rule evaluate_deviation:
    input:
        spec=spec_of("evaluate-deviation", "model", "variant"),
        model=made_by("fetch-model", "{model}"),
        samples=made_by("make-deviation-samples"),
        asked_with=asked_with,
        reference=reference_model,
    output:
        records=LAYOUT.deviation("{model}", "{variant}"),
        provenance=made_by("evaluate-deviation", "{model}", "{variant}"),
    log:
        LAYOUT.results / "logs" / "evaluate_deviation" / "{model}" / "{variant}.log",
    benchmark:
        LAYOUT.benchmark("evaluate-deviation", "{model}", "{variant}")
    conda:
        ENVIRONMENT
    threads: SETTINGS.threads
    resources:
        gpu=SETTINGS.gpu,
        gpu_jobs=SETTINGS.gpu,
        in_turn=1,
        gpu_mem_mb=gpu_memory(training=False),
        mem_mb=host_memory(training=False),
        runtime=runtime(lambda wildcards: PLAN.deviation_tokens()),
    params:
        model=lambda wildcards, input: Path(input.model).parent,
        samples=str(LAYOUT.samples(DEVIATION, "eval")),
        asked_with=asked_with_flag,
        reference=reference_flag,
        checkpoints=LAYOUT.checkpoints(),
    message:
        "asking {wildcards.model} {wildcards.variant} to break texts off"
    shell:
        "exec python -m outctl evaluate-deviation {wildcards.model:q} {wildcards.variant:q} --spec {input.spec:q}"
        " --model-dir {params.model:q} --samples {params.samples:q} {params.asked_with:q} {params.reference:q}"
        " --output {output.records:q} --checkpoints {params.checkpoints:q} > {log:q} 2>&1"


rule evaluate_retention:
    input:
        spec=spec_of("evaluate-retention", "model", "variant"),
        model=made_by("fetch-model", "{model}"),
        asked_with=asked_with,
    output:
        retention=LAYOUT.retention("{model}", "{variant}"),
        provenance=made_by("evaluate-retention", "{model}", "{variant}"),
    log:
        LAYOUT.results / "logs" / "evaluate_retention" / "{model}" / "{variant}.log",
    benchmark:
        LAYOUT.benchmark("evaluate-retention", "{model}", "{variant}")
    conda:
        ENVIRONMENT
    threads: SETTINGS.threads
    resources:
        gpu=SETTINGS.gpu,
        gpu_jobs=SETTINGS.gpu,
        in_turn=1,
        gpu_mem_mb=gpu_memory(training=False),
        mem_mb=host_memory(training=False),
        runtime=runtime(lambda wildcards: PLAN.retention_tokens()),
    params:
        model=lambda wildcards, input: Path(input.model).parent,
        asked_with=asked_with_flag,
        checkpoints=LAYOUT.checkpoints(),
    message:
        "measuring what {wildcards.variant} changed in {wildcards.model}"
    shell:
        "exec python -m outctl evaluate-retention {wildcards.model:q} {wildcards.variant:q} --spec {input.spec:q}"
        " --model-dir {params.model:q} {params.asked_with:q} --output {output.retention:q}"
        " --checkpoints {params.checkpoints:q} > {log:q} 2>&1"


rule evaluate_agreement:
    input:
        spec=spec_of("evaluate-agreement", "model", "variant", "case"),
        model=made_by("fetch-model", "{model}"),
        samples=made_by("make-samples", "{case}", "eval"),
        asked_with=asked_with,
    output:
        records=LAYOUT.agreement("{model}", "{variant}", "{case}"),
        provenance=made_by("evaluate-agreement", "{model}", "{variant}", "{case}"),
    log:
        LAYOUT.results
        / "logs"
        / "evaluate_agreement"
        / "{model}"
        / "{variant}"
        / "{case}.log",
    benchmark:
        LAYOUT.benchmark("evaluate-agreement", "{model}", "{variant}", "{case}")
    conda:
        ENVIRONMENT
    threads: SETTINGS.threads
    resources:
        gpu=SETTINGS.gpu,
        gpu_jobs=SETTINGS.gpu,
        in_turn=1,
        gpu_mem_mb=gpu_memory(training=False),
        mem_mb=host_memory(training=False),
        runtime=runtime(lambda wildcards: PLAN.agreement_tokens(wildcards.case)),
    params:
        model=lambda wildcards, input: Path(input.model).parent,
        samples=str(LAYOUT.samples("{case}", "eval")),
        asked_with=asked_with_flag,
        checkpoints=LAYOUT.checkpoints(),
    message:
        "sampling answers of {wildcards.model} {wildcards.variant} to {wildcards.case}"
    shell:
        "exec python -m outctl evaluate-agreement {wildcards.model:q} {wildcards.variant:q} {wildcards.case:q} --spec {input.spec:q}"
        " --model-dir {params.model:q} --samples {params.samples:q} {params.asked_with:q} --output {output.records:q}"
        " --checkpoints {params.checkpoints:q} > {log:q} 2>&1"
