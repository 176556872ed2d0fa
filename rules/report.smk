"""Tables, figures and claims: declared as data under config/papers, drawn by generic renderers; the report on them."""


rule table:
    input:
        lambda w: TARGETS.table_inputs(w.stem),
    output:
        tex=P.table("{stem}", "tex"),
        md=P.table("{stem}", "md"),
        csv=report(
            P.table("{stem}", "csv"),
            caption="../workflow/report/table.rst",
            category="Tables",
            subcategory=lambda w: TARGETS.paper_of(w.stem),
            labels=lambda w: {"table": TARGETS.name_of(w.stem), "format": "csv"},
        ),
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
        png=report(
            P.figure("{stem}", "png"),
            caption="../workflow/report/figure.rst",
            category="Figures",
            subcategory=lambda w: TARGETS.paper_of(w.stem),
            labels=lambda w: {"figure": TARGETS.name_of(w.stem)},
        ),
    log:
        P.log("figure", "{stem}"),
    wildcard_constraints:
        stem=TARGETS.figures_by(heavy=False),
    conda:
        "../envs/ssar.yaml"
    params:
        figure=lambda w: TARGETS.figure_json(w.stem),
        root=lambda w, input: TARGETS.figure_root(w.stem),
    message:
        "figure {wildcards.stem}"
    shell:
        "ssar figure --figure {params.figure:q} --root {params.root:q} --out {output.pdf:q} 2> {log:q}"


# those that open videos, run networks or embed thousands of features are no work for a login node
use rule figure as heavy_figure with:
    log:
        P.log("heavy_figure", "{stem}"),
    wildcard_constraints:
        stem=TARGETS.figures_by(heavy=True),
    threads: RES.data.threads
    resources:
        **ASK.data(),


rule typeset:
    input:
        P.table("{stem}", "tex"),
    output:
        report(
            P.table("{stem}", "pdf"),
            caption="../workflow/report/table.rst",
            category="Tables",
            subcategory=lambda w: TARGETS.paper_of(w.stem),
            labels=lambda w: {"table": TARGETS.name_of(w.stem), "format": "pdf"},
        ),
    log:
        P.log("typeset", "{stem}"),
    conda:
        "../envs/latex.yaml"
    message:
        "typeset table {wildcards.stem}"
    shell:
        "ssar typeset --tex {input:q} --pdf {output:q} 2> {log:q}"


rule typeset_all:
    input:
        lambda w: [P.table(stem, "tex") for stem in TARGETS.table_stems(w.paper)],
    output:
        P.tables("{paper}"),
    log:
        P.log("typeset_all", "{paper}"),
    conda:
        "../envs/latex.yaml"
    params:
        title=lambda w: TARGETS.title(w.paper),
    message:
        "typeset all tables of {wildcards.paper}"
    shell:
        "ssar typeset-all --tex {input:q} --title {params.title:q} --pdf {output:q} 2> {log:q}"


ruleorder: typeset_all > typeset


rule claims:
    input:
        lambda w: TARGETS.claims_inputs(w.paper),
    output:
        md=P.claims("{paper}", "md"),
        csv=report(
            P.claims("{paper}", "csv"),
            caption="../workflow/report/claims.rst",
            category="Claims",
            labels=lambda w: {"paper": w.paper},
        ),
    log:
        P.log("claims", "{paper}"),
    conda:
        "../envs/ssar.yaml"
    params:
        digest=lambda w: TARGETS.claims_digest(w.paper),
        project=lambda w, input: PROJECT,
    message:
        "verdicts on the claims of {wildcards.paper}"
    shell:
        "ssar claims {wildcards.paper:q} --project {params.project:q} --out {output.md:q} 2> {log:q}"


rule report:
    input:
        TARGETS.report_inputs(),
    output:
        report(P.report, caption="../workflow/report/page.rst", category="Page", labels={"page": "everything"}),
    log:
        P.log("report"),
    conda:
        "../envs/ssar.yaml"
    params:
        project=lambda w, input: PROJECT,
    message:
        "the report"
    shell:
        "ssar report --project {params.project:q} --out {output:q} 2> {log:q}"


rule probe:
    output:
        P.probe,
    log:
        P.log("probe"),
    conda:
        "../envs/ssar.yaml"
    threads: RES.train.threads
    resources:
        **ASK.probe(),
    params:
        project=lambda w, input: PROJECT,
        runtime=lambda w, input: RUNTIME,
        seconds=lambda w, input: GRID.project.cost.seconds,
    message:
        "how fast this device is"
    shell:
        "ssar probe --project {params.project:q} --seconds {params.seconds} --out {output:q} "
        "--runtime {params.runtime:q} --threads {threads} 2> {log:q}"


rule cost:
    input:
        [] if GRID.project.cost.throughput else P.probe,
    output:
        page=P.cost,
        # no rule's input: time limits follow it, results do not
        limits=P.limits,
    log:
        P.log("cost"),
    conda:
        "../envs/ssar.yaml"
    params:
        missing=lambda w: TARGETS.missing,
        project=lambda w, input: PROJECT,
    message:
        "what the requested targets cost"
    shell:
        "ssar cost --project {params.project:q} --probe {input:q} --out {output.page:q} --limits {output.limits:q} "
        "2> {log:q}"
