# Fetching models and adapters: the only steps that use the network, so they run on the host that Snakemake runs on.


localrules:
    fetch_model,
    fetch_adapter,


rule fetch_model:
    input:
        spec=spec_of("fetch-model"),
        upstream=upstream_of("fetch-model"),
    output:
        outputs_of("fetch-model"),
    log:
        log_of("fetch-model"),
    benchmark:
        benchmark_of("fetch-model")
    conda:
        "../envs/cpu.yaml"
    params:
        flags=flags_of("fetch-model"),
    message:
        "fetching model {wildcards.model}"
    shell:
        "exec python -m outctl fetch-model {wildcards.model:q} --spec {input.spec:q} {params.flags:q} > {log:q} 2>&1"


rule fetch_adapter:
    input:
        spec=spec_of("fetch-adapter"),
        upstream=upstream_of("fetch-adapter"),
    output:
        outputs_of("fetch-adapter"),
    log:
        log_of("fetch-adapter"),
    benchmark:
        benchmark_of("fetch-adapter")
    # Trained ones lie in the same place.
    wildcard_constraints:
        adapter=one_of(PLAN.existing),
    conda:
        "../envs/cpu.yaml"
    params:
        flags=flags_of("fetch-adapter"),
    message:
        "fetching adapter {wildcards.adapter} for {wildcards.model}"
    shell:
        "exec python -m outctl fetch-adapter {wildcards.model:q} {wildcards.adapter:q} --spec {input.spec:q} {params.flags:q}"
        " > {log:q} 2>&1"
