r"""A table as LaTeX with booktabs: a float that compiles by itself and by ``\input`` alike."""

from __future__ import annotations

from ssar.reporting.heads import Span, levels
from ssar.reporting.rendered import RenderedTable
from ssar.reporting.results import Cell
from ssar.reporting.values import shown

# \begin{document} makes \@nodocument \relax, so this tells an \input from a compilation of the file itself
BEFORE = r"""% Compile this file, or \input it into a document that loads booktabs and graphicx.
\expandafter\ifx\csname @nodocument\endcsname\relax
  \def\ssarend{}
\else
  \documentclass{article}
  \usepackage{booktabs,graphicx}
  \usepackage[landscape,margin=1cm]{geometry}
  \pagestyle{empty}
  \def\ssarend{\end{document}}
  \begin{document}
\fi
\providecommand{\checkmark}{\ensuremath{\surd}}
"""
AFTER = "\\ssarend\n"

MARKS = {"yes": r"$\checkmark$", "no": r"$\times$", "-": "--"}
SPECIAL = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "×": r"$\times$",
    "±": r"$\pm$",
    "†": r"$^\dagger$",
    "–": "--",
    "<": r"$<$",
    ">": r"$>$",
}
STACKED = 4
"""Above so many columns of values the published value stands below the measured one, to fit the page."""


def escape(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(SPECIAL.get(character, character) for character in text)


def latex(table: RenderedTable, name: str) -> str:
    """The float, labelled `tab:<name>`; over both columns of a page where it has many columns."""
    wide = len(table.columns) > STACKED
    stub = len(table.spec.stub)
    lines = [
        rf"\begin{{{_float(wide)}}}[t]",
        r"\centering",
        r"\scriptsize" if wide else r"\footnotesize",
        rf"\setlength{{\tabcolsep}}{{{'2pt' if wide else '6pt'}}}",
        r"\setlength{\belowcaptionskip}{3pt}",
        rf"\caption{{{escape(table.spec.caption)}}}",
        rf"\label{{tab:{name}}}",
        r"\sbox{0}{%",
        rf"\begin{{tabular}}{{{'l' * stub}{'c' * len(table.columns)}}}",
        r"\toprule",
        *_head(table),
        r"\midrule",
    ]
    for row, cells, best in zip(table.spec.rows, table.cells, table.best, strict=True):
        if row.line_above:
            lines.append(r"\midrule")
        texts = [MARKS.get(text, escape(text)) for text in row.header]
        texts += [_cell(cell, bold, wide) for cell, bold in zip(cells, best, strict=True)]
        lines.append(f"{' & '.join(texts)} \\\\" + ("[2pt]" if wide else ""))
    notes = r"\\ ".join(escape(note) for note in table.notes)
    lines += [
        r"\bottomrule",
        r"\end{tabular}}%",
        r"\ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\usebox{0}}\else\usebox{0}\fi",
        rf"\par\smallskip\begin{{minipage}}{{\linewidth}}\scriptsize\raggedright {notes}\end{{minipage}}",
        rf"\end{{{_float(wide)}}}",
    ]
    return BEFORE + "\n".join(lines) + "\n" + AFTER


def _float(wide: bool) -> str:
    return "table*" if wide else "table"


def _head(table: RenderedTable) -> list[str]:
    """The levels of the head, joined labels underlined; the stub's heads stand in the last one."""
    stub = [escape(text) for text in table.spec.stub]
    spans = levels(table.columns)
    if not spans:
        return [f"{' & '.join(stub)} \\\\"]
    lines = []
    for index, level in enumerate(spans):
        last = index == len(spans) - 1
        cells = (stub if last else [""] * len(stub)) + [_span(span) for span in level]
        lines.append(f"{' & '.join(cells)} \\\\")
        if not last:
            lines.append(_underline(level, len(stub)))
    return [line for line in lines if line]


def _span(span: Span) -> str:
    return escape(span.label) if span.width == 1 else rf"\multicolumn{{{span.width}}}{{c}}{{{escape(span.label)}}}"


def _underline(level: list[Span], stub: int) -> str:
    start, rules = stub + 1, []
    for span in level:
        if span.label:
            rules.append(rf"\cmidrule(lr){{{start}-{start + span.width - 1}}}")
        start += span.width
    return "".join(rules)


def _cell(cell: Cell, bold: bool, stacked: bool) -> str:
    parts = shown(cell)
    measured = escape(parts.measured)
    measured = rf"\textbf{{{measured}}}" if bold else measured
    if parts.spread:
        measured += rf"\,$\pm$\,{parts.spread}"
    published = escape(parts.published)
    if stacked and measured and published:
        return rf"\begin{{tabular}}[t]{{@{{}}c@{{}}}}{measured}\\{published}\end{{tabular}}"
    return " ".join(part for part in (measured, published) if part)
