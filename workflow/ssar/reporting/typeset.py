"""The PDF of a table, or of all tables of a paper, by whichever TeX engine the machine has."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ssar.errors import UserError
from ssar.files import atomic
from ssar.reporting.latex import escape

ENGINES = {
    "tectonic": ("tectonic", "--outdir"),
    "pdflatex": ("pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-output-directory"),
}

# Floats become boxes in the text, so that the tables keep their order; one that is taller than a page may break below
# the table itself. \ssarlabel names them as the paper does.
ALL = r"""\documentclass{{article}}
\usepackage{{booktabs,graphicx}}
\usepackage[a4paper,landscape,margin=1.5cm,includehead]{{geometry}}
\makeatletter
\newcommand{{\ssarlabel}}[1]{{\def\fnum@table{{#1}}}}
\newsavebox{{\ssarbox}}
\newcommand{{\ssarbegin}}{{\par\setbox\ssarbox\vbox\bgroup\@parboxrestore\def\@captype{{table}}}}
\newcommand{{\ssarclose}}{{\par\egroup
  \ifdim\dimexpr\ht\ssarbox+\dp\ssarbox>\textheight\unvbox\ssarbox\else\noindent\box\ssarbox\fi\par\bigskip}}
\renewenvironment{{table}}[1][]{{\ssarbegin}}{{\ssarclose}}
\renewenvironment{{table*}}[1][]{{\ssarbegin}}{{\ssarclose}}
\makeatother
\raggedbottom
\pagestyle{{myheadings}}
\markright{{{title}}}
\begin{{document}}
{inputs}
\end{{document}}
"""


def typeset(tex: Path, pdf: Path) -> None:
    """Compile a standalone .tex file. Raises UserError without an engine, or with the end of its complaint."""
    _compile(tex, pdf)


def typeset_all(tex_files: Sequence[Path], title: str, pdf: Path) -> None:
    """Compile the .tex files of several tables into one document with a title, in the given order.

    Raises UserError without an engine, for a table that is not there, or with the end of the engine's complaint.
    """
    if missing := [str(tex) for tex in tex_files if not tex.is_file()]:
        raise UserError.of(f"{pdf} needs tables that are not there; make them first:", missing)
    with tempfile.TemporaryDirectory() as folder:
        # TeX reads neither every character of a path nor, as a rule, files from anywhere
        names = [f"table{number}" for number in range(len(tex_files))]
        for name, tex in zip(names, tex_files, strict=True):
            shutil.copyfile(tex, Path(folder) / f"{name}.tex")
        inputs = "\n".join(rf"\input{{{name}}}" for name in names)
        document = Path(folder) / "all.tex"
        document.write_text(ALL.format(title=escape(title), inputs=inputs), encoding="utf-8")
        _compile(document, pdf)


def _compile(tex: Path, pdf: Path) -> None:
    engine = next((name for name in ENGINES if shutil.which(name)), None)
    if engine is None:
        raise UserError(
            f"{tex} cannot be typeset: neither {' nor '.join(ENGINES)} is installed; install one (Debian: "
            "texlive-latex-recommended), or run Snakemake with --sdm conda. The .tex, .md and .csv files need none"
        )
    with tempfile.TemporaryDirectory() as folder:
        command = [*ENGINES[engine], folder, tex.name]
        done = subprocess.run(command, cwd=tex.parent, capture_output=True, text=True, errors="replace", check=False)
        made = Path(folder) / tex.with_suffix(".pdf").name
        if done.returncode or not made.is_file():
            last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-10:])
            raise UserError(f"{engine} failed on {tex}:\n{last}")
        with atomic(pdf) as temporary:
            shutil.copyfile(made, temporary)
