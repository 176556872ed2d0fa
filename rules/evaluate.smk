"""From weights to predictions, metrics and one file per ablation."""


rule predict:
    input:
        model=P.run("{run}", "model.pt"),
        split=lambda w: TARGETS.split(w.run),
        store=lambda w: TARGETS.test_store(w.run),
    output:
        P.evaluation("{run}", "{views}", "predictions.npz"),
    params:
        root=lambda w, input: TARGETS.run_root(w.run),
        runtime=lambda w, input: RUNTIME,
    log:
        P.log("predict", "{run}.{views}"),
    threads: RES.predict.threads
    resources:
        **resources(RES.predict),
    message:
        "predict with {wildcards.run}, views {wildcards.views}"
    shell:
        "{CLI} predict --model {input.model:q} --split {input.split:q} --store {input.store:q} "
        "--root {params.root:q} --views {wildcards.views:q} --out {output:q} --runtime {params.runtime:q} "
        "--threads {threads} 2> {log:q}"


rule metrics:
    input:
        predictions=P.evaluation("{run}", "{views}", "predictions.npz"),
        provenance=P.run("{run}", "run.json"),
    output:
        P.evaluation("{run}", "{views}", "metrics.json"),
    log:
        P.log("metrics", "{run}.{views}"),
    message:
        "metrics of {wildcards.run}, views {wildcards.views}"
    shell:
        "{CLI} metrics --predictions {input.predictions:q} --run {wildcards.run:q} --provenance {input.provenance:q} "
        "--out {output:q} 2> {log:q}"


rule ablation:
    input:
        lambda w: TARGETS.ablation(w.paper, w.variant),
    output:
        P.ablation("{paper}", "{variant}"),
    log:
        P.log("ablation", "{paper}.{variant}"),
    message:
        "ablation {wildcards.variant} of {wildcards.paper}"
    shell:
        "{CLI} ablation --paper {wildcards.paper:q} --variant {wildcards.variant:q} --metrics {input:q} "
        "--out {output:q} 2> {log:q}"


rule architecture:
    output:
        P.run("{run}", "architecture.json"),
    params:
        config=lambda w: TARGETS.run(w.run).canon,
    log:
        P.log("architecture", "{run}"),
    message:
        "output sizes of the network of {wildcards.run}"
    shell:
        "{CLI} architecture --config {params.config:q} --out {output:q} 2> {log:q}"
