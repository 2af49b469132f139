# Evaluating: one job a model, variant and case; the baseline is the variant without an adapter.


rule evaluate:
    input:
        spec=spec_of("evaluate"),
        upstream=upstream_of("evaluate"),
    output:
        outputs_of("evaluate"),
    log:
        log_of("evaluate"),
    benchmark:
        benchmark_of("evaluate")
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
        runtime=runtime_of("evaluate"),
    params:
        flags=flags_of("evaluate"),
    message:
        "evaluating {wildcards.model} {wildcards.variant} on {wildcards.case}"
    shell:
        "exec python -m outctl evaluate {wildcards.model:q} {wildcards.variant:q} {wildcards.case:q} --spec {input.spec:q} {params.flags:q} > {log:q} 2>&1"


rule fit_temperature:
    input:
        spec=spec_of("fit-temperature"),
        upstream=upstream_of("fit-temperature"),
    output:
        outputs_of("fit-temperature"),
    log:
        log_of("fit-temperature"),
    benchmark:
        benchmark_of("fit-temperature")
    conda:
        ENVIRONMENT
    threads: SETTINGS.threads
    resources:
        gpu=SETTINGS.gpu,
        gpu_jobs=SETTINGS.gpu,
        gpu_mem_mb=gpu_memory(training=False),
        mem_mb=host_memory(training=False),
        runtime=runtime_of("fit-temperature"),
    params:
        flags=flags_of("fit-temperature"),
    message:
        "fitting the temperature of {wildcards.model}"
    shell:
        "exec python -m outctl fit-temperature {wildcards.model:q} --spec {input.spec:q} {params.flags:q} > {log:q} 2>&1"


rule evaluate_deviation:
    input:
        spec=spec_of("evaluate-deviation"),
        upstream=upstream_of("evaluate-deviation"),
    output:
        outputs_of("evaluate-deviation"),
    log:
        log_of("evaluate-deviation"),
    benchmark:
        benchmark_of("evaluate-deviation")
    conda:
        ENVIRONMENT
    threads: SETTINGS.threads
    resources:
        gpu=SETTINGS.gpu,
        gpu_jobs=SETTINGS.gpu,
        in_turn=1,
        gpu_mem_mb=gpu_memory(training=False),
        mem_mb=host_memory(training=False),
        runtime=runtime_of("evaluate-deviation"),
    params:
        flags=flags_of("evaluate-deviation"),
    message:
        "asking {wildcards.model} {wildcards.variant} to break texts off"
    shell:
        "exec python -m outctl evaluate-deviation {wildcards.model:q} {wildcards.variant:q} --spec {input.spec:q} {params.flags:q} > {log:q} 2>&1"


rule evaluate_retention:
    input:
        spec=spec_of("evaluate-retention"),
        upstream=upstream_of("evaluate-retention"),
    output:
        outputs_of("evaluate-retention"),
    log:
        log_of("evaluate-retention"),
    benchmark:
        benchmark_of("evaluate-retention")
    conda:
        ENVIRONMENT
    threads: SETTINGS.threads
    resources:
        gpu=SETTINGS.gpu,
        gpu_jobs=SETTINGS.gpu,
        in_turn=1,
        gpu_mem_mb=gpu_memory(training=False),
        mem_mb=host_memory(training=False),
        runtime=runtime_of("evaluate-retention"),
    params:
        flags=flags_of("evaluate-retention"),
    message:
        "measuring what {wildcards.variant} changed in {wildcards.model}"
    shell:
        "exec python -m outctl evaluate-retention {wildcards.model:q} {wildcards.variant:q} --spec {input.spec:q} {params.flags:q} > {log:q} 2>&1"


rule evaluate_agreement:
    input:
        spec=spec_of("evaluate-agreement"),
        upstream=upstream_of("evaluate-agreement"),
    output:
        outputs_of("evaluate-agreement"),
    log:
        log_of("evaluate-agreement"),
    benchmark:
        benchmark_of("evaluate-agreement")
    conda:
        ENVIRONMENT
    threads: SETTINGS.threads
    resources:
        gpu=SETTINGS.gpu,
        gpu_jobs=SETTINGS.gpu,
        in_turn=1,
        gpu_mem_mb=gpu_memory(training=False),
        mem_mb=host_memory(training=False),
        runtime=runtime_of("evaluate-agreement"),
    params:
        flags=flags_of("evaluate-agreement"),
    message:
        "sampling answers of {wildcards.model} {wildcards.variant} to {wildcards.case}"
    shell:
        "exec python -m outctl evaluate-agreement {wildcards.model:q} {wildcards.variant:q} {wildcards.case:q} --spec {input.spec:q} {params.flags:q} > {log:q} 2>&1"
