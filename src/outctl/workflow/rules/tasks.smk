# Drawing samples: seeded, the same for every model.


rule make_samples:
    input:
        spec=spec_of("make-samples"),
        upstream=upstream_of("make-samples"),
    output:
        outputs_of("make-samples"),
    log:
        log_of("make-samples"),
    benchmark:
        benchmark_of("make-samples")
    conda:
        "../envs/cpu.yaml"
    resources:
        mem_mb=1000,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        flags=flags_of("make-samples"),
    message:
        "drawing {wildcards.split} samples of {wildcards.case}"
    shell:
        "exec python -m outctl make-samples {wildcards.case:q} {wildcards.split:q} --spec {input.spec:q} {params.flags:q} > {log:q} 2>&1"


rule make_deviation_samples:
    input:
        spec=spec_of("make-deviation-samples"),
        upstream=upstream_of("make-deviation-samples"),
    output:
        outputs_of("make-deviation-samples"),
    log:
        log_of("make-deviation-samples"),
    benchmark:
        benchmark_of("make-deviation-samples")
    conda:
        "../envs/cpu.yaml"
    resources:
        mem_mb=1000,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        flags=flags_of("make-deviation-samples"),
    message:
        "drawing samples of base_model_deviation"
    shell:
        "exec python -m outctl make-deviation-samples --spec {input.spec:q} {params.flags:q} > {log:q} 2>&1"
