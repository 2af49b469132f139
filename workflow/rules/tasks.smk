# Drawing samples: seeded, the same for every model.


rule make_samples:
    input:
        spec=spec_of("make-samples", "case", "split"),
    output:
        samples=LAYOUT.samples("{case}", "{split}"),
        provenance=made_by("make-samples", "{case}", "{split}"),
    log:
        LAYOUT.results / "logs" / "make_samples" / "{case}" / "{split}.log",
    benchmark:
        LAYOUT.benchmark("make-samples", "{case}", "{split}")
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=1000,
        runtime=lambda wildcards, attempt: 10 * attempt,
    message:
        "drawing {wildcards.split} samples of {wildcards.case}"
    shell:
        "exec python -m outctl make-samples {wildcards.case:q} {wildcards.split:q} --spec {input.spec:q} --output {output.samples:q}"
        " > {log:q} 2>&1"


rule make_deviation_samples:
    input:
        spec=lambda wildcards: PLAN.spec_path("make-deviation-samples"),
    output:
        samples=LAYOUT.samples(DEVIATION, "eval"),
        provenance=made_by("make-deviation-samples"),
    log:
        LAYOUT.results / "logs" / "make_deviation_samples.log",
    benchmark:
        LAYOUT.benchmark("make-deviation-samples")
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=1000,
        runtime=lambda wildcards, attempt: 10 * attempt,
    message:
        "drawing samples of base_model_deviation"
    shell:
        "exec python -m outctl make-deviation-samples --spec {input.spec:q} --output {output.samples:q} > {log:q} 2>&1"
