# Fetching models: the only step that uses the network, so it runs on the host that Snakemake runs on.


localrules:
    fetch_model,


rule fetch_model:
    input:
        spec=spec_of("fetch-model", "model"),
    output:
        made_by("fetch-model", "{model}"),
    log:
        LAYOUT.results / "logs" / "fetch_model" / "{model}.log",
    benchmark:
        LAYOUT.benchmark("fetch-model", "{model}")
    conda:
        "../../envs/cpu.yaml"
    params:
        directory=str(LAYOUT.model("{model}")),
    message:
        "fetching model {wildcards.model}"
    shell:
        "exec python -m outctl fetch-model {wildcards.model:q} --spec {input.spec:q} --output {params.directory:q} > {log:q} 2>&1"
