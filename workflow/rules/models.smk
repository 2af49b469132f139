# Fetching models: the only step that uses the network, so it runs on the host that Snakemake runs on.


localrules:
    fetch_model,


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
        "../../envs/cpu.yaml"
    params:
        flags=flags_of("fetch-model"),
    message:
        "fetching model {wildcards.model}"
    shell:
        "exec python -m outctl fetch-model {wildcards.model:q} --spec {input.spec:q} {params.flags:q} > {log:q} 2>&1"
