"""Training. The canonical JSON of a run is the rule's only tracked parameter."""


rule train_student:
    input:
        split=lambda w: TARGETS.split(w.run),
        store=lambda w: TARGETS.store(w.run),
    output:
        model=P.run("{run}", "model.pt"),
        curves=P.run("{run}", "curves.csv"),
        provenance=P.run("{run}", "run.json"),
    log:
        P.log("train_student", "{run}"),
    benchmark:
        P.benchmark("train_student", "{run}")
    conda:
        "../envs/ssar.yaml"
    threads: RES.train.threads
    resources:
        **resources(RES.train),
    params:
        config=lambda w: TARGETS.run(w.run).canon,
        # functions of `input` are not rerun triggers: moving the videos must not retrain
        root=lambda w, input: TARGETS.run_root(w.run),
        state=lambda w, input: P.state(w.run),
        runtime=lambda w, input: RUNTIME,
    message:
        "train {wildcards.run}"
    shell:
        "ssar train --config {params.config:q} --split {input.split:q} --store {input.store:q} "
        "--root {params.root:q} --model {output.model:q} --state {params.state:q} --runtime {params.runtime:q} "
        "--threads {threads} 2> {log:q}"
