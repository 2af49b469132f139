# Training adapters: one job a model and adapter, on a GPU where the experiment asks for one.


rule finetune:
    input:
        spec=spec_of("finetune", "model", "adapter"),
        model=made_by("fetch-model", "{model}"),
        samples=lambda wildcards: [
            made_by("make-samples", case, "train")
            for case in PLAN.training_cases(wildcards.adapter)
        ],
    output:
        config=LAYOUT.adapter("{model}", "{adapter}") / "adapter_config.json",
        weights=LAYOUT.adapter("{model}", "{adapter}") / "adapter_model.safetensors",
        training=LAYOUT.adapter("{model}", "{adapter}") / "training.jsonl",
        provenance=made_by("finetune", "{model}", "{adapter}"),
    log:
        LAYOUT.results / "logs" / "finetune" / "{model}" / "{adapter}.log",
    benchmark:
        LAYOUT.benchmark("finetune", "{model}", "{adapter}")
    conda:
        ENVIRONMENT
    threads: SETTINGS.threads
    resources:
        gpu=SETTINGS.gpu,
        # What a profile can limit, however it asks for GPUs.
        gpu_jobs=SETTINGS.gpu,
        gpu_mem_mb=gpu_memory(training=True),
        mem_mb=host_memory(training=True),
        runtime=runtime(lambda wildcards: PLAN.training_tokens(wildcards.adapter)),
    params:
        model=lambda wildcards, input: Path(input.model).parent,
        samples=lambda wildcards: [
            f"--samples={file}" for file in PLAN.training_files(wildcards.adapter)
        ],
        directory=str(LAYOUT.adapter("{model}", "{adapter}")),
        checkpoints=LAYOUT.checkpoints(),
        # A function of the input: what it gives makes no training stale, which does not depend on who looks on.
        logging=lambda wildcards, input: logging_flags(wildcards),
    message:
        "training {wildcards.adapter} for {wildcards.model}"
    shell:
        "exec python -m outctl finetune {wildcards.model:q} {wildcards.adapter:q} --spec {input.spec:q} --model-dir {params.model:q}"
        " {params.samples:q} --output {params.directory:q} --checkpoints {params.checkpoints:q}"
        " {params.logging:q} > {log:q} 2>&1"
