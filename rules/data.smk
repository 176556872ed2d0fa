"""Videos, their index, label protocols and temporal gradients."""


rule synthact:
    output:
        meta=P.data("{dataset}", "meta.csv"),
    log:
        P.log("synthact", "{dataset}"),
    conda:
        "../envs/ssar.yaml"
    threads: RES.data.threads
    resources:
        **ASK.data(),
    params:
        config=lambda w: TARGETS.dataset_json(w.dataset),
    message:
        "generate {wildcards.dataset}"
    shell:
        "ssar synthact --config {params.config:q} --meta {output.meta:q} --jobs {threads} 2> {log:q}"


rule fetch:
    output:
        P.data("{dataset}", "downloads.json"),
    log:
        P.log("fetch", "{dataset}"),
    conda:
        "../envs/ssar.yaml"
    resources:
        **ASK.data(),
    params:
        config=lambda w: TARGETS.dataset_json(w.dataset),
    message:
        "download {wildcards.dataset}"
    shell:
        "ssar fetch --config {params.config:q} --out {output:q} 2> {log:q}"


rule extract:
    input:
        rules.fetch.output,
    output:
        P.data("{dataset}", "unpacked.json"),
    log:
        P.log("extract", "{dataset}"),
    conda:
        "../envs/ssar.yaml"
    resources:
        **ASK.data(),
    message:
        "unpack {wildcards.dataset}"
    shell:
        "ssar extract --downloads {input:q} --out {output:q} 2> {log:q}"


rule index:
    input:
        lambda w: TARGETS.generated(w.dataset),
    output:
        index=P.data("{dataset}", "index.csv"),
        excluded=P.data("{dataset}", "index-excluded.csv"),
        report=P.data("{dataset}", "index-report.md"),
    log:
        P.log("index", "{dataset}"),
    conda:
        "../envs/ssar.yaml"
    threads: RES.data.threads
    resources:
        **ASK.data(),
    params:
        config=lambda w: TARGETS.dataset_json(w.dataset),
        root=lambda w, input: TARGETS.video_root(w.dataset),
    message:
        "decode and index {wildcards.dataset}"
    shell:
        "ssar index --config {params.config:q} --root {params.root:q} --index {output.index:q} "
        "--report {output.report:q} --jobs {threads} 2> {log:q}"


rule split:
    input:
        index=P.data("{dataset}", "index.csv"),
        excluded=P.data("{dataset}", "index-excluded.csv"),
    output:
        P.split("{dataset}", "{protocol}", "{draw}"),
    log:
        P.log("split", "{dataset}.{protocol}.d{draw}"),
    conda:
        "../envs/ssar.yaml"
    params:
        config=lambda w: TARGETS.dataset_json(w.dataset),
        labels=lambda w: TARGETS.labels_json(w.dataset, w.protocol, w.draw),
    message:
        "split {wildcards.dataset} by {wildcards.protocol}, draw {wildcards.draw}"
    shell:
        "ssar split --config {params.config:q} --labels {params.labels:q} --index {input.index:q} "
        "--out {output:q} 2> {log:q}"


rule extract_tg:
    input:
        index=P.data("{dataset}", "index.csv"),
    output:
        P.store("{dataset}", "{interval}", "{sign}"),
    log:
        P.log("extract_tg", "{dataset}.n{interval}-{sign}"),
    conda:
        "../envs/ssar.yaml"
    threads: RES.data.threads
    resources:
        **ASK.data(),
    params:
        config=lambda w: TARGETS.dataset_json(w.dataset),
        tg=lambda w: TARGETS.store_json(w.dataset, w.interval, w.sign),
        root=lambda w, input: TARGETS.video_root(w.dataset),
        runtime=lambda w, input: RUNTIME,
    message:
        "temporal gradients of {wildcards.dataset}, n = {wildcards.interval}"
    shell:
        "ssar extract-tg --config {params.config:q} --tg {params.tg:q} --root {params.root:q} "
        "--index {input.index:q} --out {output:q} --runtime {params.runtime:q} --threads {threads} 2> {log:q}"
