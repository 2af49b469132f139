# Training adapters: one job a model and adapter, on a GPU where the experiment asks for one.


rule finetune:
    input:
        spec=spec_of("finetune"),
        upstream=upstream_of("finetune"),
    output:
        outputs_of("finetune"),
    log:
        log_of("finetune"),
    benchmark:
        benchmark_of("finetune")
    # Those from elsewhere lie in the same place.
    wildcard_constraints:
        adapter=one_of(PLAN.recipes),
    conda:
        ENVIRONMENT
    threads: SETTINGS.threads
    resources:
        gpu=SETTINGS.gpu,
        # What a profile can limit, however it asks for GPUs.
        gpu_jobs=SETTINGS.gpu,
        gpu_mem_mb=gpu_memory(training=True),
        mem_mb=host_memory(training=True),
        runtime=runtime_of("finetune"),
    params:
        flags=flags_of("finetune"),
    message:
        "training {wildcards.adapter} for {wildcards.model}"
    shell:
        "exec python -m outctl finetune {wildcards.model:q} {wildcards.adapter:q} --spec {input.spec:q} {params.flags:q} > {log:q} 2>&1"
