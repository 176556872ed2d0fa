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
        config=lambda w: TARGETS.synthact_json(w.dataset),
    message:
        "generate {wildcards.dataset}"
    shell:
        "ssar synthact --config {params.config:q} --meta {output.meta:q} --jobs {threads} 2> {log:q}"


# the downloading rules run beside Snakemake, since compute nodes often have no internet; `downloads: jobs` in
# slurm/site.yaml makes them jobs
rule fetch_addresses:
    output:
        P.data("{dataset}", "addresses/{file}.json"),
    log:
        P.log("fetch_addresses", "{dataset}.{file}"),
    localrule: SITE.downloads == "here"
    conda:
        "../envs/ssar.yaml"
    resources:
        **ASK.data(),
        downloads=1,
    params:
        decides=lambda w: TARGETS.files(w.dataset),
        # functions of `input` are not rerun triggers
        config=lambda w, input: TARGETS.files_json(w.dataset),
        archives=lambda w, input: TARGETS.archives(w.dataset),
    message:
        "download the addresses {wildcards.file} of {wildcards.dataset}"
    shell:
        "ssar fetch-addresses --config {params.config:q} --archives {params.archives} --file {wildcards.file:q} "
        "--out {output:q} 2> {log:q}"


# a share of the files that a list names, for datasets with `jobs`
rule fetch_part:
    input:
        P.data("{dataset}", "addresses/{file}.json"),
    output:
        P.data("{dataset}", "fetched/{file}/{part}-of-{jobs}.json"),
    log:
        P.log("fetch_part", "{dataset}.{file}.{part}-of-{jobs}"),
    wildcard_constraints:
        part=r"\d+",
        jobs=r"\d+",
    localrule: SITE.downloads == "here"
    conda:
        "../envs/ssar.yaml"
    resources:
        **ASK.data(),
        downloads=1,
    message:
        "download part {wildcards.part} of {wildcards.jobs} of {wildcards.dataset}, {wildcards.file}"
    shell:
        "ssar fetch-part --addresses {input:q} --part {wildcards.part} --of {wildcards.jobs} --out {output:q} 2> {log:q}"


rule fetch:
    input:
        lambda w: TARGETS.fetched(w.dataset),
    output:
        P.data("{dataset}", "downloads.json"),
    log:
        P.log("fetch", "{dataset}"),
    localrule: SITE.downloads == "here"
    conda:
        "../envs/ssar.yaml"
    resources:
        **ASK.data(),
        downloads=1,
    params:
        decides=lambda w: TARGETS.files(w.dataset),
        config=lambda w, input: TARGETS.files_json(w.dataset),
        archives=lambda w, input: TARGETS.archives(w.dataset),
    message:
        "download {wildcards.dataset}"
    shell:
        "ssar fetch --config {params.config:q} --archives {params.archives} --out {output:q} 2> {log:q}"


# of one protocol, or of the training and test lists: another protocol's list makes nothing anew
rule lists_of:
    output:
        P.data("{dataset}", "lists/{group}.json"),
    log:
        P.log("lists", "{dataset}.{group}"),
    localrule: SITE.downloads == "here"
    conda:
        "../envs/ssar.yaml"
    resources:
        **ASK.data(),
        downloads=1,
    params:
        decides=lambda w: TARGETS.list_files(w.dataset, w.group),
        # functions of `input` are not rerun triggers
        config=lambda w, input: TARGETS.lists_json(w.dataset, w.group),
    message:
        "bring the lists {wildcards.group} of {wildcards.dataset}"
    shell:
        "ssar lists --config {params.config:q} --out {output:q} 2> {log:q}"


# all of a dataset, for somebody who is about to lose the internet
rule lists:
    output:
        P.data("{dataset}", "lists.json"),
    log:
        P.log("lists", "{dataset}"),
    localrule: SITE.downloads == "here"
    conda:
        "../envs/ssar.yaml"
    resources:
        **ASK.data(),
        downloads=1,
    params:
        config=lambda w: TARGETS.lists_json(w.dataset),
    message:
        "bring the published lists of {wildcards.dataset}"
    shell:
        "ssar lists --config {params.config:q} --out {output:q} 2> {log:q}"


rule extract:
    input:
        rules.fetch.output,
    output:
        P.data("{dataset}", "unpacked.json"),
    log:
        P.log("extract", "{dataset}"),
    conda:
        "../envs/ssar.yaml"
    threads: RES.data.threads
    resources:
        **ASK.data(),
    params:
        archives=lambda w, input: TARGETS.archives(w.dataset),
    message:
        "unpack {wildcards.dataset}"
    shell:
        "ssar extract --downloads {input:q} --out {output:q} --jobs {threads} --archives {params.archives} 2> {log:q}"


# a share of the transcoding, for datasets with `transcode_jobs`
rule transcode_part:
    input:
        lambda w: TARGETS.sources(w.dataset),
        lists=lambda w: TARGETS.lists(w.dataset, OFFICIAL),
    output:
        P.data("{dataset}", "transcode/{part}-of-{jobs}.json"),
    log:
        P.log("transcode_part", "{dataset}.{part}-of-{jobs}"),
    wildcard_constraints:
        part=r"\d+",
        jobs=r"\d+",
    conda:
        "../envs/ssar.yaml"
    threads: RES.data.threads
    resources:
        **ASK.data(),
    params:
        decides=lambda w: TARGETS.index_options(w.dataset),
        config=lambda w, input: TARGETS.dataset_json(w.dataset),
        root=lambda w, input: TARGETS.source_root(w.dataset),
        videos=P.data("{dataset}", "transcoded"),
    message:
        "transcode part {wildcards.part} of {wildcards.jobs} of {wildcards.dataset}"
    shell:
        "ssar transcode --config {params.config:q} --root {params.root:q} --videos {params.videos:q} "
        "--part {wildcards.part} --of {wildcards.jobs} --out {output:q} --jobs {threads} 2> {log:q}"


rule transcode:
    input:
        lambda w: TARGETS.sources(w.dataset),
        lists=lambda w: TARGETS.lists(w.dataset, OFFICIAL),
        parts=lambda w: TARGETS.transcode_parts(w.dataset),
    output:
        P.data("{dataset}", "transcoded.json"),
    log:
        P.log("transcode", "{dataset}"),
    conda:
        "../envs/ssar.yaml"
    threads: RES.data.threads
    resources:
        **ASK.data(),
    params:
        decides=lambda w: TARGETS.index_options(w.dataset),
        config=lambda w, input: TARGETS.dataset_json(w.dataset),
        root=lambda w, input: TARGETS.source_root(w.dataset),
        videos=P.data("{dataset}", "transcoded"),
    message:
        "transcode {wildcards.dataset}"
    shell:
        "ssar transcode --config {params.config:q} --root {params.root:q} --videos {params.videos:q} "
        "--out {output:q} --jobs {threads} 2> {log:q}"


# a share of the decoding, for datasets with `index_jobs`
rule index_part:
    input:
        lambda w: TARGETS.generated(w.dataset),
        lists=lambda w: TARGETS.lists(w.dataset, OFFICIAL),
    output:
        P.index_part("{dataset}", "{part}", "{jobs}"),
    log:
        P.log("index_part", "{dataset}.{part}-of-{jobs}"),
    wildcard_constraints:
        part=r"\d+",
        jobs=r"\d+",
    conda:
        "../envs/ssar.yaml"
    threads: RES.data.threads
    resources:
        **ASK.data(),
    params:
        decides=lambda w: TARGETS.index_options(w.dataset),
        # functions of `input` are not rerun triggers
        config=lambda w, input: TARGETS.dataset_json(w.dataset),
        root=lambda w, input: TARGETS.video_root(w.dataset),
    message:
        "decode part {wildcards.part} of {wildcards.jobs} of {wildcards.dataset}"
    shell:
        "ssar index-part --config {params.config:q} --root {params.root:q} --part {wildcards.part} "
        "--of {wildcards.jobs} --out {output:q} --jobs {threads} 2> {log:q}"


rule index:
    input:
        lambda w: TARGETS.generated(w.dataset),
        lists=lambda w: TARGETS.lists(w.dataset, OFFICIAL),
        parts=lambda w: TARGETS.index_parts(w.dataset),
    output:
        index=P.data("{dataset}", "index.csv"),
        excluded=P.data("{dataset}", "index-excluded.csv"),
        missing=P.data("{dataset}", "missing.csv"),
        completeness=P.data("{dataset}", "completeness.json"),
        report=P.data("{dataset}", "report.md"),
    log:
        P.log("index", "{dataset}"),
    conda:
        "../envs/ssar.yaml"
    threads: RES.data.threads
    resources:
        **ASK.data(),
    params:
        decides=lambda w: TARGETS.index_options(w.dataset),
        config=lambda w, input: TARGETS.dataset_json(w.dataset),
        root=lambda w, input: TARGETS.video_root(w.dataset),
    message:
        "decode and index {wildcards.dataset}"
    shell:
        "ssar index --config {params.config:q} --root {params.root:q} --index {output.index:q} "
        "--report {output.report:q} --jobs {threads} 2> {log:q}"


rule split:
    input:
        lists=lambda w: TARGETS.lists(w.dataset, w.protocol),
        index=P.data("{dataset}", "index.csv"),
        excluded=P.data("{dataset}", "index-excluded.csv"),
        missing=P.data("{dataset}", "missing.csv"),
        completeness=P.data("{dataset}", "completeness.json"),
    output:
        P.split("{dataset}", "{protocol}", "{draw}"),
    log:
        P.log("split", "{dataset}.{protocol}.d{draw}"),
    conda:
        "../envs/ssar.yaml"
    params:
        decides=lambda w: TARGETS.split_options(w.dataset, w.protocol),
        config=lambda w, input: TARGETS.dataset_json(w.dataset),
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
        decides=lambda w: TARGETS.store_options(w.dataset),
        config=lambda w, input: TARGETS.dataset_json(w.dataset),
        tg=lambda w: TARGETS.store_json(w.dataset, w.interval, w.sign),
        root=lambda w, input: TARGETS.video_root(w.dataset),
        runtime=lambda w, input: RUNTIME,
    message:
        "temporal gradients of {wildcards.dataset}, n = {wildcards.interval}"
    shell:
        "ssar extract-tg --config {params.config:q} --tg {params.tg:q} --root {params.root:q} "
        "--index {input.index:q} --out {output:q} --runtime {params.runtime:q} --threads {threads} 2> {log:q}"
