"""Training. The canonical JSON of a run is the rule's only tracked parameter."""


rule train_student:
    input:
        split=lambda w: TARGETS.split(w.run),
        store=lambda w: TARGETS.store(w.run),
        upstream=lambda w: TARGETS.upstream(w.run),
        unlabelled=lambda w: TARGETS.unlabelled(w.run),
    output:
        model=P.run("{run}", "model.pt"),
        curves=P.run("{run}", "curves.csv"),
        provenance=P.run("{run}", "run.json"),
    log:
        P.log("train_student", "{run}"),
    benchmark:
        P.benchmark("train_student", "{run}")
    wildcard_constraints:
        run=TARGETS.stage("train_student"),
    conda:
        "../envs/ssar.yaml"
    threads: lambda w: ASK.train_threads(w.run)
    resources:
        **ASK.train(),
    params:
        config=lambda w: TARGETS.run(w.run).canon,
        # functions of `input` are not rerun triggers: moving the videos must not retrain
        root=lambda w, input: TARGETS.run_root(w.run),
        state=lambda w, input: P.state(w.run),
        roles=lambda w, input: TARGETS.upstream_roles(w.run),
        elsewhere=lambda w, input: TARGETS.unlabelled_root(w.run),
        runtime=lambda w, input: TARGETS.runtime(w.run),
        threads=lambda w, threads: ASK.threads_of_device(w.run, threads),
    message:
        "train {wildcards.run}"
    shell:
        "ssar train --config {params.config:q} --split {input.split:q} --store {input.store:q} "
        "--root {params.root:q} --upstream {params.roles:q} --unlabelled {input.unlabelled:q} {params.elsewhere:q} "
        "--model {output.model:q} --state {params.state:q} --runtime {params.runtime:q} "
        "--threads {params.threads} 2> {log:q}"


use rule train_student as pretrain_teacher with:
    log:
        P.log("pretrain_teacher", "{run}"),
    benchmark:
        P.benchmark("pretrain_teacher", "{run}")
    wildcard_constraints:
        run=TARGETS.stage("pretrain_teacher"),
    message:
        "pretrain {wildcards.run}"


use rule train_student as finetune_teacher with:
    log:
        P.log("finetune_teacher", "{run}"),
    benchmark:
        P.benchmark("finetune_teacher", "{run}")
    wildcard_constraints:
        run=TARGETS.stage("finetune_teacher"),
    message:
        "fine-tune {wildcards.run}"


rule similarity:
    input:
        models=[P.run("{first}", "model.pt"), P.run("{second}", "model.pt")],
        split=lambda w: TARGETS.split(w.first),
    output:
        P.scores("{first}", "{second}"),
    log:
        P.log("similarity", "{first}+{second}"),
    wildcard_constraints:
        first="[^/+]+",
        second="[^/+]+",
    conda:
        "../envs/ssar.yaml"
    threads: ASK.predict_threads()
    resources:
        **ASK.predict(),
    params:
        root=lambda w, input: TARGETS.run_root(w.first),
        runtime=lambda w, input: RUNTIME,
        threads=lambda w, threads: ASK.predict_threads_of_device(threads),
    message:
        "temporal similarities under {wildcards.first} and {wildcards.second}"
    shell:
        "ssar similarity --models {input.models:q} --split {input.split:q} --root {params.root:q} "
        "--out {output:q} --runtime {params.runtime:q} --threads {params.threads} 2> {log:q}"
