"""Typesetting: without an engine, and with a file that no engine can read."""

from __future__ import annotations

import shutil

import pytest

from ssar.errors import UserError
from ssar.reporting.typeset import ENGINES, typeset


def test_without_an_engine_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="neither tectonic nor pdflatex is installed"):
        typeset(tmp_path / "a.tex", tmp_path / "a.pdf")


@pytest.mark.skipif(not any(shutil.which(name) for name in ENGINES), reason="no TeX engine is installed")
def test_a_mistake_is_told_with_the_engines_own_words_and_leaves_no_pdf(tmp_path):
    tex = tmp_path / "a.tex"
    tex.write_text("\\documentclass{article}\\begin{document}\\nonsense\\end{document}")
    with pytest.raises(UserError, match="Undefined control sequence"):
        typeset(tex, tmp_path / "a.pdf")
    assert not (tmp_path / "a.pdf").exists()
    tex.write_text("\\documentclass{article}\\begin{document}x\\end{document}")
    typeset(tex, tmp_path / "a.pdf")
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
