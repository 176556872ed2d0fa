"""Typesetting: without an engine, with a file that no engine can read, and the tables of a paper in one document."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from ssar.errors import UserError
from ssar.experiments import load_paper
from ssar.reporting import typeset as module
from ssar.reporting.flags import sentences
from ssar.reporting.latex import label
from ssar.reporting.table import render
from ssar.reporting.typeset import ENGINES, typeset, typeset_all

TEX = pytest.mark.skipif(not any(shutil.which(name) for name in ENGINES), reason="no TeX engine is installed")


def test_without_an_engine_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="neither tectonic nor pdflatex is installed"):
        typeset(tmp_path / "a.tex", tmp_path / "a.pdf")


@TEX
def test_a_mistake_is_told_with_the_engines_own_words_and_leaves_no_pdf(tmp_path):
    tex = tmp_path / "a.tex"
    tex.write_text("\\documentclass{article}\\begin{document}\\nonsense\\end{document}")
    with pytest.raises(UserError, match="Undefined control sequence"):
        typeset(tex, tmp_path / "a.pdf")
    assert not (tmp_path / "a.pdf").exists()
    tex.write_text("\\documentclass{article}\\begin{document}x\\end{document}")
    typeset(tex, tmp_path / "a.pdf")
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")


@pytest.fixture
def log(monkeypatch):
    """What the engines said."""
    said = []
    run = subprocess.run

    def spy(*args, **kwargs):
        done = run(*args, **kwargs)
        said.append(done.stdout)
        return done

    monkeypatch.setattr(module.subprocess, "run", spy)
    return said


@TEX
def test_all_tables_of_a_paper_are_one_document_in_their_order(tmp_path, log):
    paper = load_paper("timebalance")  # its Table 1 is the largest
    folder = tmp_path / "a folder with #1 & 50% ~"
    for key, spec in paper.tables.items():
        cells = {f"{row}|{column}": ["nowhere.json"] for row, column, _ in spec.cells()}
        value = {"spec": spec.model_dump(mode="json"), "cells": cells, "settings": {}, "note": None}
        render(
            value | {"views": paper.views(None), "flags": sentences("timebalance", spec), "remarks": []}, folder / key
        )
    pdf = tmp_path / "all.pdf"
    typeset_all([folder / f"{key}.tex" for key in paper.tables], "A 100% test & title", pdf)
    assert pdf.read_bytes().startswith(b"%PDF")
    assert "Overfull" not in log[-1]
    assert "LaTeX Warning" not in log[-1].replace("LaTeX Warning: Label(s) may have changed", "")
    if shutil.which("pdftotext"):
        text = subprocess.run(["pdftotext", "-layout", pdf, "-"], capture_output=True, text=True, check=True).stdout
        places = [text.index(f"TimeBalance Table {number}:") for number in range(1, 8)]
        assert places == sorted(places)
        assert text.lstrip().startswith("A 100% test & title")


def test_all_tables_need_each_of_them(tmp_path):
    with pytest.raises(UserError, match=r"all.pdf needs tables that are not there(.|\n)*x\.tex"):
        typeset_all([tmp_path / "x.tex"], "T", tmp_path / "all.pdf")


def test_a_table_has_the_papers_number_or_its_own_name():
    assert label("ACL+MTL Table 3", "table3") == "ACL+MTL Table 3"
    assert label("CMPL Figure 4a", "figure4a") == "CMPL Figure 4a"
    assert label("LTG Table 1 (RGB) and Table 6 (TG)", "baselines") == "Table baselines"
    assert label("ours", "benchmark") == "Table benchmark"
