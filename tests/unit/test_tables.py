"""Tables from made-up metrics files to the three formats, and the paper's declared ones."""

from __future__ import annotations

import csv
import json
import shutil
import statistics
import subprocess
from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ssar.errors import UserError
from ssar.experiments import load_paper
from ssar.project import CONFIG
from ssar.reporting.ablation import write_ablation
from ssar.reporting.disagreements import disagreements
from ssar.reporting.flags import read_flags, sentences
from ssar.reporting.latex import escape
from ssar.reporting.spec import TableSpec, condition_of
from ssar.reporting.table import render

SPEC = {
    "caption": "A table of 100% tests.",
    "source": "Nobody, Table 9",
    "stub": ["Method", "Own"],
    "columns": [
        {"key": "a1", "header": ["A_b", "Top-1"], "setting": "a.all"},
        {"key": "a5", "header": ["A_b", "Top-5"], "setting": "a.all", "metric": "top5"},
        {"key": "b1", "header": ["B", "Top-1"], "setting": "b.all"},
    ],
    "rows": [
        {"key": "old", "header": ["Old & wise (1999)", "no"], "published": [10.0, None, 12.34], "cites": "[7]"},
        {"key": "base", "header": ["Base", "yes"], "variant": "base", "published": [50.0, 60, 70]},
        {"key": "ours", "header": ["Ours", "yes"], "variant": "ours", "published": [62.4, 84.9, 76.1]},
        {"key": "new", "header": ["New", "yes"], "variant": "new", "line_above": True},
    ],
    "notes": ["Made up."],
}


COLUMNS = SPEC["columns"]


@pytest.fixture
def metrics(tmp_path):
    """Writes metrics files and gives their paths; None is a seed that is not there."""

    def write(name, dataset, *values, top5=90.0):
        paths = []
        for seed, value in enumerate(values):
            path = tmp_path / f"{name}.{dataset}.{seed}.json"
            if value is not None:
                config = {"dataset": dataset, "labels": {"protocol": "all", "draw": seed}, "seed": seed}
                path.write_text(
                    json.dumps({"run": f"{name}-{seed}", "config": config, "top1": value, "top5": top5, "views": "1x1"})
                )
            paths.append(str(path))
        return paths

    return write


@pytest.fixture
def table(metrics):
    a = {
        name: metrics(name, "a", *values)
        for name, values in {"base": (50.0, 52.0), "ours": (60.04, 62.0), "new": (None, None)}.items()
    }
    b = {"base": metrics("base", "b", 71.0), "ours": metrics("ours", "b", 40.0, None), "new": metrics("new", "b", 70.0)}
    cells = {f"{name}|{column}": paths for name, paths in a.items() for column in ("a1", "a5")}
    return {
        "spec": SPEC,
        "cells": cells | {f"{name}|b1": paths for name, paths in b.items()},
        "settings": {"a1": "a.all", "a5": "a.all", "b1": "b.all"},
        "note": None,
        "flags": {},
        "remarks": [],
        "views": "10x3-256-logits",
    }


def made(table, folder) -> dict[str, str]:
    render(table, folder / "t")
    return {suffix: (folder / f"t.{suffix}").read_text() for suffix in ("tex", "md", "csv")}


def rows(text: str) -> dict[str, list[str]]:
    lines = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:1] == "|"]
    return {line[0].strip("| "): line[1:] for line in lines}


def test_cells_show_mean_spread_and_published_value(table, tmp_path):
    found = rows(made(table, tmp_path)["md"])
    std = statistics.stdev([60.04, 62.0])
    assert found["Ours"] == ["✓", f"**61.0 ± {std:.1f}** (62.4)", "**90.0 ± 0.0** (84.9)", "40.0 (76.1)"]
    assert found["Base"] == ["✓", "51.0 ± 1.4 (50.0)", "**90.0 ± 0.0** (60.0)", "**71.0** (70.0)"]


def test_a_missing_run_is_never_a_number(table, tmp_path):
    files = made(table, tmp_path)
    assert rows(files["md"])["New"] == ["✓", "n/a", "n/a", "70.0"]
    line = next(
        line for line in csv.DictReader(files["csv"].splitlines()) if (line["row"], line["column"]) == ("new", "a1")
    )
    assert (line["mean"], line["std"], line["n"], line["runs"], line["published"]) == ("", "", "0", "", "")
    assert "n/a: not run." in files["md"]
    assert "Seeds missing: ours, 1 of 2 there." in files["md"]


def test_a_method_that_does_not_exist_is_quoted(table, tmp_path):
    files = made(table, tmp_path)
    found = rows(files["md"])["Old & wise (1999)†"]
    assert found == ["✗", "(10.0)", "-", "(12.34)"]  # with the decimals that it is printed with
    assert "† Quoted from Nobody, Table 9, not trained here; its references: Old & wise [7]." in files["md"]
    assert "**" not in files["md"].split("Old & wise")[1].splitlines()[0]


def test_the_csv_has_a_line_for_every_cell_and_its_runs(table, tmp_path):
    lines = list(csv.DictReader(made(table, tmp_path)["csv"].splitlines()))
    assert len(lines) == 12
    ours = lines[6]
    assert (ours["variant"], ours["setting"], ours["metric"], ours["n"]) == ("ours", "a.all", "top1", "2")
    assert float(ours["mean"]) == pytest.approx(61.02)
    assert ours["runs"] == "ours-0 ours-1"
    assert ours["best"] == "1"


def test_protocol_and_labels_stand_below(table, tmp_path):
    text = made(table, tmp_path)["md"]
    assert "Labels: a all (draw 0, 1), b all (draw 0)" in text.replace("; ", ", ")
    assert "10 clips, 3 crops of 256 × 256 pixels, mean of logits" in text
    assert "over 1 to 2 seeds" in text
    assert "Made up." in text


def test_a_smaller_scale_says_so(table, tmp_path):
    table |= {"settings": {"a1": "toy.percent-10", "a5": "toy.percent-10", "b1": None}, "note": "Small & quick."}
    files = made(table, tmp_path)
    assert "Small & quick." in files["md"]
    assert "Substitutes: toy.percent-10 for a.all." in files["md"]
    assert "do not exist at this scale: b.all" in files["md"]
    assert "**A table of 100% tests.** toy.percent-10 for a.all." in files["md"]
    assert r"\multicolumn{2}{c}{toy.percent-10 for a.all}" in files["tex"]
    assert {line["column"] for line in csv.DictReader(files["csv"].splitlines())} == {"a1", "a5"}
    assert "for a.all, not comparable with the published values." in made(table | {"note": None}, tmp_path)["md"]


def test_a_table_without_any_column_of_this_scale_still_renders(table, tmp_path):
    table["settings"] = dict.fromkeys(("a1", "a5", "b1"))
    files = made(table, tmp_path)
    assert "Ours" in files["tex"]
    assert files["csv"].count("\n") == 1


def test_top5_of_few_classes_is_undefined(table, metrics, tmp_path):
    table["cells"]["ours|a5"] = metrics("ours", "a", 60.0, 62.0, top5=None)
    files = made(table, tmp_path)
    assert rows(files["md"])["Ours"][2] == "undef. (84.9)"
    assert "undef.:" in files["md"]


def test_best_of_each_section(table, tmp_path):
    table["spec"] = SPEC | {"best": "section"}
    assert rows(made(table, tmp_path)["md"])["New"][3] == "70.0"  # alone in its section
    table["spec"] = SPEC | {"best": "none"}
    assert r"\textbf" not in made(table, tmp_path)["tex"]


def test_what_is_printed_as_equal_is_equally_good(table, metrics, tmp_path):
    table["cells"]["base|a1"] = metrics("base", "a", 60.1, 61.9)  # 61.0, as the other's 61.02
    files = made(table, tmp_path)
    assert files["md"].count("**61.0 ± ") == files["tex"].count(r"\textbf{61.0}") == 2
    lines = [line for line in csv.DictReader(files["csv"].splitlines()) if line["column"] == "a1"]
    assert {line["row"]: line["best"] for line in lines} == {"old": "0", "base": "1", "ours": "1", "new": "0"}


def test_videos_that_were_missing_are_told_in_every_format(table, tmp_path):
    for name, counts in {"base": (0, 0), "ours": (2, 1)}.items():
        for path in map(Path, table["cells"][f"{name}|a1"]):
            parts = [{"dataset": "a", "listed": 13320, "missing": counts[0], "unusable": counts[1]}]
            path.write_text(json.dumps(json.loads(path.read_text()) | {"completeness": parts}))
    files = made(table, tmp_path)
    for suffix in ("md", "tex"):
        assert "a: 3 of 13,320 listed videos are missing or unusable." in files[suffix]
    lines = {(line["row"], line["column"]): line for line in csv.DictReader(files["csv"].splitlines())}
    found = [lines[row, "a1"]["missing_videos"] for row in ("old", "base", "ours", "new")]
    assert found == ["", "0", "3", ""]


def test_heads_are_joined_and_everything_is_escaped(table, tmp_path):
    tex = made(table, tmp_path)["tex"]
    assert r"\multicolumn{2}{c}{$A_b$} & B" in tex
    assert r"\cmidrule(lr){3-4}\cmidrule(lr){5-5}" in tex
    assert r"100\% tests" in tex
    assert r"Old \& wise (1999)$^\dagger$ & $\times$" in tex


def test_a_damaged_metrics_file_and_an_unknown_metric_are_told(table, tmp_path):
    path = Path(table["cells"]["ours|a1"][0])
    path.write_text("{")
    with pytest.raises(UserError, match=f"{path.name} is damaged"):
        made(table, tmp_path)
    path.write_text('{"run": "r"}')
    with pytest.raises(UserError, match="has no metric `top1`"):
        made(table, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": [SPEC["rows"][0] | {"published": [1.0]}]}, "1 values for 3 columns"),
        ({"rows": [SPEC["rows"][0] | {"header": ["x"]}]}, "1 stub cells for 2 stub columns"),
        ({"rows": [SPEC["rows"][3] | {"variant": None}]}, "neither a variant nor published values"),
        ({"rows": [SPEC["rows"][0], SPEC["rows"][0]]}, "row `old` is declared twice"),
        ({"columns": [SPEC["columns"][0], {"key": "x", "header": ["X"]}]}, "1 levels of head"),
        ({"titel": "x"}, "Extra inputs are not permitted"),
        (
            {"columns": [*COLUMNS, {"key": "d", "header": ["D", ""], "difference": ["a1", "x"]}]},
            "difference of x, which",
        ),
        (
            {"columns": [*COLUMNS, {"key": "d", "header": ["D", ""], "difference": ["a1", "a5"], "setting": "a.all"}]},
            "own",
        ),
        ({"columns": [SPEC["columns"][0] | {"condition": "blurred"}]}, "row `base`, column `a1`: condition `blurred`"),
        ({"rows": [SPEC["rows"][0] | {"condition": "tg"}]}, "row `old`: a condition without a variant"),
    ],
)
def test_mistakes_in_a_declaration_are_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        TableSpec.model_validate(SPEC | change)


def test_escape():
    assert escape("50% of aa_b & {c} ± 1 × ~^\\$#") == (
        r"50\% of aa\_b \& \{c\} $\pm$ 1 $\times$ \textasciitilde{}\textasciicircum{}\textbackslash{}\$\#"
    )
    assert escape("f_S, L_s^A and conv2_x") == r"$f_S$, $L_s^A$ and conv2\_x"


PDFLATEX = shutil.which("pdflatex")


@pytest.mark.skipif(PDFLATEX is None, reason="pdflatex is not installed")
@pytest.mark.parametrize("wide", [False, True])
def test_the_tex_compiles_by_itself_and_by_input(table, tmp_path, wide):
    if wide:
        columns = [SPEC["columns"][0] | {"key": f"c{i}"} for i in range(8)]
        table["spec"] = SPEC | {"columns": columns, "rows": [row | {"published": [1.0] * 8} for row in SPEC["rows"]]}
        table["cells"] = {f"ours|c{i}": table["cells"]["ours|a1"] for i in range(8)}
    table["note"] = "A_note #1: 50 % of <synthact> | Π-model, α ≥ 0.5 → ≈ µ²…\n\n[1] ~/x^2 \\ {} “für” $3 & more"
    made(table, tmp_path)
    (tmp_path / "paper.tex").write_text(
        r"\documentclass[twocolumn]{article}\usepackage{booktabs,graphicx}\begin{document}"
        r"\input{t} Between. \input{t} After.\end{document}"
    )
    for name in ("t", "paper"):
        command = [PDFLATEX, "-interaction=nonstopmode", "-halt-on-error", f"{name}.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
        assert done.returncode == 0, done.stdout[-2000:]
        assert "Overfull" not in done.stdout
        assert (tmp_path / f"{name}.pdf").stat().st_size > 1000


# --- the paper's own ------------------------------------------------------------------------------

PAPERS = sorted(path.name for path in (CONFIG / "papers").iterdir() if path.is_dir())


@pytest.mark.parametrize("name", PAPERS)
def test_declared_tables_render_before_anything_has_run(name, tmp_path):
    paper = load_paper(name)
    for key, spec in paper.tables.items():
        cells = {f"{row}|{column}": [f"{row}.{column}"] for row, column, _ in spec.cells()}
        settings = {column.key: column.setting for column in spec.columns if column.setting}
        value = {"spec": spec.model_dump(mode="json"), "cells": cells, "settings": settings, "note": None}
        render(value | {"views": paper.views(None), "flags": sentences(name, spec), "remarks": []}, tmp_path / key)
        lines = list(csv.DictReader((tmp_path / f"{key}.csv").open()))
        assert len(lines) == len(spec.rows) * len(spec.columns)
        assert not any(line["mean"] for line in lines)
        assert (tmp_path / f"{key}.tex").read_text().isascii()  # what no engine has to know


PRINTED_TWICE = {
    # Tables 1, 2 and 6 of the paper; a note of Table 6 says so
    "timebalance": {("timebalance", "ucf101.videossl-20", "top1", ""): {83.3, 83.26, 83.15}}
}
"""Values that a paper itself prints differently."""


@pytest.mark.parametrize("name", PAPERS)
def test_a_variant_has_one_published_value_for_each_metric_and_setting(name):
    # the papers repeat their numbers over several tables: a transcription mistake shows as a contradiction
    found: dict[tuple[str | None, ...], set[object]] = {}
    for table in load_paper(name).tables.values():
        for row in table.rows:
            for column, value in zip(table.columns, row.published, strict=False):
                if row.variant and value is not None and column.difference is None:
                    metric = column.metric.replace("{row}", row.key)
                    condition = condition_of(row, column)
                    found.setdefault((row.variant, column.setting, metric, condition), set()).add(value)
    # tables that round to 1 decimal repeat those that print 2
    contradictions = {
        key: values
        for key, values in found.items()
        if len(values) > 1 and not (all(isinstance(v, float) for v in values) and max(values) - min(values) < 0.051)
    }
    assert contradictions == PRINTED_TWICE.get(name, {})


def test_an_ablation_lists_its_seeds_beside_the_published_values(metrics, tmp_path):
    paths = [Path(path) for path in metrics("no-stopgrad", "toy", 50.0, 60.0)]
    write_ablation("ltg", "no-stopgrad", paths, tmp_path / "a.json")
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["top1"] == {"mean": 55.0, "std": pytest.approx(50**0.5), "n": 2}
    assert [seed["run"] for seed in found["seeds"]] == ["no-stopgrad-0", "no-stopgrad-1"]
    assert (found["setting"], found["measured_on"]) == ("ucf101.videossl-20", "toy.all")
    assert {(entry["table"], entry["metric"], entry["value"]) for entry in found["published"]} == {
        ("table3c", "top1", 60.0),
        ("table3c", "top5", 84.4),
    }
    with pytest.raises(UserError, match="unknown variant `no-stopgard`"):
        write_ablation("ltg", "no-stopgard", paths, tmp_path / "a.json")
    with pytest.raises(UserError, match="there are no such metrics"):
        write_ablation("ltg", "no-stopgrad", [tmp_path / "x.json"], tmp_path / "a.json")


# --- conditions and differences -------------------------------------------------------------------

GAP = SPEC | {
    "columns": [
        {"key": "train", "header": ["Training"], "setting": "a.all", "condition": "training", "best": "none"},
        {"key": "test", "header": ["Test"], "setting": "a.all"},
        {"key": "gap", "header": ["Gap"], "difference": ["train", "test"], "best": "lowest"},
    ],
    "rows": [
        {"key": "base", "header": ["Base", ""], "variant": "base", "published": [98.5, 54.1, 44.4]},
        {"key": "teacher", "header": ["Teacher", ""], "variant": "ours", "condition": "tg"},
    ],
}


def test_a_rows_and_a_columns_condition_are_joined_in_one_order():
    found = {(row, column): source.condition for row, column, source in TableSpec.model_validate(GAP).cells()}
    assert found == {
        ("base", "train"): "training",
        ("base", "test"): "",
        ("teacher", "train"): "tg+training",
        ("teacher", "test"): "tg",
    }


def test_a_difference_is_taken_run_by_run(table, metrics, tmp_path):
    cells = {
        "base|train": metrics("x", "a", 90.0, 99.0, 80.0),
        "base|test": metrics("x", "b", 50.0, None, 60.0),  # of the same three runs
        "teacher|train": metrics("y", "a", 90.0, None, None),
        "teacher|test": metrics("y", "b", None, 30.0, None),
    }
    table |= {"spec": GAP, "cells": cells, "settings": {"train": "a.all", "test": "a.all"}}
    files = made(table, tmp_path)
    # 40 and 20; the means' own difference, 89.7 - 55, would count a seed that has no test
    assert rows(files["md"])["Base"][1:] == ["89.7 ± 9.5 (98.5)", "**55.0 ± 7.1** (54.1)", "30.0 ± 14.1 (44.4)"]
    assert rows(files["md"])["Teacher"][1:] == ["90.0", "30.0", "n/a"]
    gap = next(line for line in csv.DictReader(files["csv"].splitlines()) if line["column"] == "gap")
    assert (gap["metric"], gap["n"], gap["runs"]) == ("train - test", "2", "x-0 x-2")
    table["settings"]["train"] = None
    assert "Gap" not in made(table, tmp_path)["md"]


def test_rows_that_a_scale_makes_the_same_runs_are_told(table, tmp_path):
    assert "same runs" not in made(table, tmp_path)["md"]
    cells = {key: table["cells"].get(key.replace("base|", "ours|"), paths) for key, paths in table["cells"].items()}
    told = "The same runs at this scale, where nothing tells them apart: Base yes, Ours yes."
    assert told in made(table | {"cells": cells}, tmp_path)["md"]


def test_the_lowest_of_a_gap_is_bold_and_a_loss_has_a_minus(table, metrics, tmp_path):
    for name, train, test in (("base", 90.0, 50.0), ("teacher", 60.0, 60.04)):
        table["cells"] |= {f"{name}|train": metrics(name, "a", train), f"{name}|test": metrics(name, "b", test)}
    table |= {"spec": GAP, "settings": {}}
    found = rows(made(table, tmp_path)["md"])
    assert (found["Base"][3], found["Teacher"][3]) == ("40.0 (44.4)", "**0.0**")  # not -0.0
    table["cells"] |= {"teacher|train": metrics("teacher", "a", 50.0)}
    assert r"\textbf{$-$10.0}" in made(table, tmp_path)["tex"]


def test_costs_have_their_unit_and_no_spread(table, tmp_path):
    column = {"key": "a1", "header": ["Steps", ""], "setting": "a.all", "unit": 10, "decimals": 2, "spread": False}
    table["spec"] = SPEC | {"columns": [column | {"best": "none"}], "rows": SPEC["rows"][2:]}
    table["spec"]["rows"] = [row | {"published": []} for row in table["spec"]["rows"]]
    files = made(table, tmp_path)
    assert rows(files["md"])["Ours"] == ["✓", "6.10"]
    assert "seeds;" not in files["md"]
    assert float(next(csv.DictReader(files["csv"].splitlines()))["mean"]) == pytest.approx(61.02)


# --- what other papers print, and what cannot be --------------------------------------------------


def test_flags_stand_at_their_heads_and_below(table, tmp_path):
    rows_ = [SPEC["rows"][0] | {"flags": ["x"]}, *SPEC["rows"][1:]]
    table["spec"] = SPEC | {
        "flags": ["t"],
        "rows": rows_,
        "columns": [COLUMNS[0] | {"flags": ["x", "c"]}, *COLUMNS[1:]],
    }
    files = made(table | {"flags": {"t": "No table.", "x": "Twice.", "c": "A column."}}, tmp_path)
    assert "**A table of 100% tests.ᵃ**" in files["md"]
    assert "A_b Top-1ᵇᶜ" in files["md"]
    assert "Old & wise (1999)†ᵇ" in files["md"]
    assert files["md"].rstrip().endswith("- ᵃ No table.\n- ᵇ Twice.\n- ᶜ A column.")
    assert r"Top-1$^\mathrm{b}$$^\mathrm{c}$" in files["tex"]
    table["settings"] |= {"a1": None}
    gone = made(table | {"flags": {"t": "No table.", "x": "Twice.", "c": "A column."}}, tmp_path)["md"]
    assert "A column." not in gone
    assert "ᵇ Twice." in gone
    with pytest.raises(UserError, match="flags without a sentence: t, x"):
        made(table, tmp_path)


@pytest.mark.parametrize("name", PAPERS)
def test_every_flag_of_a_paper_is_explained_and_every_explanation_is_shown(name):
    tables = load_paper(name).tables.values()
    for spec in tables:
        assert list(sentences(name, spec)) == spec.flagged()
    assert {flag for spec in tables for flag in spec.flagged()} == set(read_flags(name))


def test_a_flag_without_a_line_and_a_damaged_line_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr("ssar.reporting.flags.FOLDER", tmp_path)
    spec = TableSpec.model_validate(SPEC | {"flags": ["ghost"]})
    with pytest.raises(UserError, match=r"no such flag .*: ghost; there are: none"):
        sentences("x", spec)
    page = "# X\n\n## Impossible as printed\n\n| id | where | why |\n| --- | --- | --- |\n| ghost | here | Boo. |\n"
    (tmp_path / "x.md").write_text(page)
    assert sentences("x", spec) == {"ghost": "Boo."}
    (tmp_path / "x.md").write_text(page + "| ghost | there | Again. |\n\n## Next\n\n| other | table |\n")
    with pytest.raises(UserError, match=r"with a new id, found: . ghost . there"):
        sentences("x", spec)


LTG = load_paper("ltg")


def paper(name, **values):
    """A paper with one table; `values` are those of UCF-101 at 5 and 10 % by table, or (identity, values)."""
    columns = [{"key": str(share), "header": [f"{share}%"], "setting": f"ucf101.videossl-{share}"} for share in (5, 10)]
    tables = {}
    for key, value in values.items():
        identity, published = value if isinstance(value, tuple) else ("m/net", value)
        row = {"key": "m", "header": [f"M of {name}"], "identity": identity, "published": published}
        tables[key] = TableSpec.model_validate(
            {"caption": "C", "source": f"{name} {key}", "stub": ["S"], "columns": columns, "rows": [row]}
        )
    return replace(LTG, name=name, tables=tables)


def remarks(name, table, *papers):
    return disagreements({paper.name: paper for paper in papers}, name, table)


def test_other_values_elsewhere_are_told_on_both_sides():
    one, two, three = paper("A", t1=[7.7, 10.0]), paper("B", t1=[8.5, 10.0]), paper("C", t1=[8.5, None])
    assert remarks("A", "t1", one, two, three) == ["M of A elsewhere: UCF-101 5% 8.5 in B t1 and C t1."]
    assert remarks("C", "t1", one, two, three) == ["M of C elsewhere: UCF-101 5% 7.7 in A t1."]
    assert remarks("A", "t1", one) == []


def test_another_backbone_and_a_variation_in_the_same_paper_contradict_nothing():
    weights = ("m/net/ImageNet weights", [45.1, None])
    assert remarks("A", "t1", paper("A", t1=[7.7, 1.0], t2=weights), paper("B", t1=("m/deeper", [9.0, 1.0]))) == []
    # where one paper has both, the other's value is one of them
    assert remarks("A", "t1", paper("A", t1=[27.0, 1.0], t2=weights), paper("B", t1=weights)) == []
    found = remarks("B", "t1", paper("A", t1=[27.0, 1.0], t2=weights), paper("B", t1=weights))
    assert found == ["M of B elsewhere: UCF-101 5% 27.0 in A t1."]


@given(st.decimals(0, 100, places=2), st.decimals("0.06", 5, places=2))
def test_rounding_is_no_contradiction_and_everything_else_is(value, apart):
    rounded = float(value.quantize(Decimal("0.1"), ROUND_HALF_UP))
    assert remarks("A", "t1", paper("A", t1=[float(value), None], t2=[rounded, None])) == []
    assert remarks("A", "t1", paper("A", t1=[float(value), None], t2=[float(value + apart), None])) != []


def test_the_papers_own_disagreements_are_found():
    papers = {name: load_paper(name) for name in PAPERS}
    assert disagreements(papers, "ltg", "table2")[0] == (
        "TCL elsewhere: Kinetics-400 1% 11.6 in ACL+MTL Table 1 and TimeBalance Table 1; "
        "Kinetics-400 1% 8.5 in CMPL Table 1."
    )
    assert "TimeBalance elsewhere: UCF-101 20% 83.15 in TimeBalance Table 6." in disagreements(
        papers, "timebalance", "table2"
    )


MIXED = {("timebalance", "table7")}
"""Tables whose quoted rows are of several methods each."""


def test_every_quoted_method_has_an_identity():
    missing = [
        (name, key, row.key)
        for name in PAPERS
        for key, table in load_paper(name).tables.items()
        for row in table.rows
        if row.variant is None and row.identity is None and (name, key) not in MIXED
    ]
    assert missing == []
