"""From weights to predictions, metrics and one file per ablation."""


rule predict:
    input:
        model=P.run("{run}", "model.pt"),
        split=lambda w: TARGETS.split(w.run),
        store=lambda w: TARGETS.test_store(w.run, w.views),
    output:
        P.evaluation("{run}", "{views}", "predictions.npz"),
    log:
        P.log("predict", "{run}.{views}"),
    conda:
        "../envs/ssar.yaml"
    threads: ASK.predict_threads()
    resources:
        **ASK.predict(),
    params:
        root=lambda w, input: TARGETS.run_root(w.run),
        runtime=lambda w, input: RUNTIME,
        threads=lambda w, threads: ASK.predict_threads_of_device(threads),
    message:
        "predict with {wildcards.run}, views {wildcards.views}"
    shell:
        "ssar predict --model {input.model:q} --split {input.split:q} --store {input.store:q} "
        "--root {params.root:q} --views {wildcards.views:q} --out {output:q} --runtime {params.runtime:q} "
        "--threads {params.threads} 2> {log:q}"


rule metrics:
    input:
        predictions=P.evaluation("{run}", "{views}", "predictions.npz"),
        provenance=P.run("{run}", "run.json"),
        completeness=lambda w: TARGETS.completeness(w.run),
    output:
        P.evaluation("{run}", "{views}", "metrics.json"),
    log:
        P.log("metrics", "{run}.{views}"),
    conda:
        "../envs/ssar.yaml"
    message:
        "metrics of {wildcards.run}, views {wildcards.views}"
    shell:
        "ssar metrics --predictions {input.predictions:q} --run {wildcards.run:q} --provenance {input.provenance:q} "
        "--completeness {input.completeness:q} --out {output:q} 2> {log:q}"


rule ablation:
    input:
        lambda w: TARGETS.ablation(w.paper, w.variant),
    output:
        P.ablation("{paper}", "{variant}"),
    log:
        P.log("ablation", "{paper}.{variant}"),
    conda:
        "../envs/ssar.yaml"
    message:
        "ablation {wildcards.variant} of {wildcards.paper}"
    shell:
        "ssar ablation --paper {wildcards.paper:q} --variant {wildcards.variant:q} --metrics {input:q} "
        "--out {output:q} 2> {log:q}"


rule architecture:
    output:
        P.run("{run}", "architecture.json"),
    log:
        P.log("architecture", "{run}"),
    conda:
        "../envs/ssar.yaml"
    params:
        config=lambda w: TARGETS.run(w.run).canon,
    message:
        "output sizes of the network of {wildcards.run}"
    shell:
        "ssar architecture --config {params.config:q} --out {output:q} 2> {log:q}"
