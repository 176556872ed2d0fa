"""Tables and figures: declared as data under config/papers, drawn by generic renderers."""


rule table:
    input:
        lambda w: TARGETS.table_inputs(w.stem),
    output:
        tex=P.table("{stem}", "tex"),
        md=P.table("{stem}", "md"),
        csv=P.table("{stem}", "csv"),
    log:
        P.log("table", "{stem}"),
    conda:
        "../envs/ssar.yaml"
    params:
        table=lambda w: TARGETS.table_json(w.stem),
    message:
        "table {wildcards.stem}"
    shell:
        "ssar table --table {params.table:q} --out {output.tex:q} 2> {log:q}"


rule figure:
    input:
        lambda w: TARGETS.figure_inputs(w.stem),
    output:
        pdf=P.figure("{stem}", "pdf"),
        png=P.figure("{stem}", "png"),
    log:
        P.log("figure", "{stem}"),
    conda:
        "../envs/ssar.yaml"
    threads: RES.data.threads
    resources:
        **resources(RES.data),
    params:
        figure=lambda w: TARGETS.figure_json(w.stem),
        root=lambda w, input: TARGETS.figure_root(w.stem),
    message:
        "figure {wildcards.stem}"
    shell:
        "ssar figure --figure {params.figure:q} --root {params.root:q} --out {output.pdf:q} 2> {log:q}"


rule typeset:
    input:
        P.table("{stem}", "tex"),
    output:
        P.table("{stem}", "pdf"),
    log:
        P.log("typeset", "{stem}"),
    conda:
        "../envs/latex.yaml"
    message:
        "typeset table {wildcards.stem}"
    shell:
        "ssar typeset --tex {input:q} --pdf {output:q} 2> {log:q}"
