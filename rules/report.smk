"""Tables and figures: declared as data under config/papers, drawn by generic renderers."""


rule table:
    input:
        lambda w: TARGETS.table_inputs(w.stem),
    output:
        tex=P.table("{stem}", "tex"),
        md=P.table("{stem}", "md"),
        csv=P.table("{stem}", "csv"),
    params:
        table=lambda w: TARGETS.table_json(w.stem),
    log:
        P.log("table", "{stem}"),
    message:
        "table {wildcards.stem}"
    shell:
        "{CLI} table --table {params.table:q} --out {output.tex:q} 2> {log:q}"


rule figure:
    input:
        lambda w: TARGETS.figure_inputs(w.stem),
    output:
        pdf=P.figure("{stem}", "pdf"),
        png=P.figure("{stem}", "png"),
    params:
        figure=lambda w: TARGETS.figure_json(w.stem),
        root=lambda w, input: TARGETS.figure_root(w.stem),
    log:
        P.log("figure", "{stem}"),
    threads: RES.data.threads
    resources:
        **resources(RES.data),
    message:
        "figure {wildcards.stem}"
    shell:
        "{CLI} figure --figure {params.figure:q} --root {params.root:q} --out {output.pdf:q} 2> {log:q}"
