r"""A table as LaTeX with booktabs: a float that compiles by itself and by ``\input`` alike."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ssar.reporting.heads import Span, levels
from ssar.reporting.marks import LETTERS
from ssar.reporting.rendered import RenderedTable
from ssar.reporting.values import Shown

# \begin{document} makes \@nodocument \relax, so this tells an \input from a compilation of the file itself
BEFORE = r"""% Compile this file, or \input it into a document that loads booktabs and graphicx.
\expandafter\ifx\csname @nodocument\endcsname\relax
  \def\ssarend{}
\else
  \documentclass{article}
  \usepackage{booktabs,graphicx}
  \usepackage[landscape,margin=1cm]{geometry}
  \pagestyle{empty}
  \newcommand{\ssarlabel}[1]{\expandafter\def\csname fnum@table\endcsname{#1}}
  \def\ssarend{\end{document}}
  \begin{document}
\fi
\providecommand{\checkmark}{\ensuremath{\surd}}
\providecommand{\ssarlabel}[1]{} % a document may define it to number the table as the paper does
"""
AFTER = "\\ssarend\n"

GREEK = ["alpha", "beta", "gamma", "delta", "theta", "mu", "pi", "rho", "sigma", "phi", "Delta", "Pi", "Sigma"]
SPECIAL = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "×": r"$\times$",
    "±": r"$\pm$",
    "✓": r"$\checkmark$",
    "✗": r"$\times$",
    "†": r"$^\dagger$",
    "²": "$^2$",
    "–": "--",
    "−": "$-$",
    "…": r"\dots{}",
    "ε": r"$\varepsilon$",
    "λ": r"$\lambda$",
    "τ": r"$\tau$",
    **{letter: rf"$\{name}$" for letter, name in zip("αβγδθμπρσφΔΠΣ", GREEK, strict=True)},
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≈": r"$\approx$",
    "→": r"$\to$",
    "|": r"\textbar{}",  # a dash in TeX's own encoding
    "<": r"$<$",
    ">": r"$>$",
    **{letter: rf"$^\mathrm{{{plain}}}$" for letter, plain in zip(LETTERS, "abcdefghijklmnop", strict=True)},
}
SYMBOL = re.compile(r"(?<![A-Za-z0-9\\])([A-Za-z])_([A-Za-z])(?:\^([A-Za-z]))?(?![A-Za-z0-9])")
"""A symbol of a paper with its indices: f_S, L_s^A."""
STACKED = 4
"""Above so many columns of values the published value stands below the measured one, to fit the page."""


def escape(text: str) -> str:
    """Text that LaTeX prints as it is, but for symbols with indices, which are set as such."""
    parts, end = [], 0
    for found in SYMBOL.finditer(text):
        letter, below, above = found.groups()
        parts += [_plain(text[end : found.start()]), f"${letter}_{below}{f'^{above}' if above else ''}$"]
        end = found.end()
    return "".join((*parts, _plain(text[end:])))


def _plain(text: str) -> str:
    return "".join(SPECIAL.get(character, character) for character in text)


def latex(table: RenderedTable, name: str) -> str:
    """The float, labelled `tab:<name>`; over both columns of a page where it has many columns."""
    wide = len(table.columns) > STACKED
    stub = len(table.spec.stub)
    lines = [
        rf"\begin{{{_float(wide)}}}[t]",
        r"\centering",
        rf"\ssarlabel{{{escape(label(table.spec.source, name))}}}",
        r"\scriptsize" if wide else r"\footnotesize",
        rf"\setlength{{\tabcolsep}}{{{'3pt' if wide else '6pt'}}}",
        r"\setlength{\belowcaptionskip}{3pt}",
        rf"\caption{{{escape(table.caption)}}}",
        rf"\label{{tab:{name}}}",
        r"\sbox{0}{%",
        rf"\begin{{tabular}}{{{'l' * stub}{'c' * len(table.columns)}}}",
        r"\toprule",
        *_head(table),
        r"\midrule",
    ]
    for row, stubs, shown, best in zip(table.spec.rows, table.stubs, table.shown, table.best, strict=True):
        if row.line_above:
            lines.append(r"\midrule")
        texts = ["--" if text == "-" else escape(text) for text in stubs]
        texts += [_cell(parts, bold, wide) for parts, bold in zip(shown, best, strict=True)]
        lines.append(_line(texts) + (r"\addlinespace[2pt]" if wide else ""))
    notes = r"\par ".join(escape(note) for note in table.notes)
    lines += [
        r"\bottomrule",
        r"\end{tabular}}%",
        r"\ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\usebox{0}}\else\usebox{0}\fi",
        rf"\par\smallskip\begin{{minipage}}{{\linewidth}}\scriptsize\raggedright {notes}\end{{minipage}}",
        rf"\end{{{_float(wide)}}}",
    ]
    return BEFORE + "\n".join(lines) + "\n" + AFTER


def label(source: str, name: str) -> str:
    """What the paper calls the table; the name of one that no paper has."""
    return source if re.fullmatch(r"\S+ (?:Table|Figure) \w+", source) else f"Table {name}"


def _line(cells: Sequence[str]) -> str:
    r"""A line of the table; without its length ``\\`` would take an asterisk or bracket of the next line as its own."""
    return rf"{' & '.join(cells)} \\[0pt]"


def _float(wide: bool) -> str:
    return "table*" if wide else "table"


def _head(table: RenderedTable) -> list[str]:
    """The levels of the head, joined labels underlined; the stub's heads stand in the last one."""
    stub = [escape(text) for text in table.spec.stub]
    spans = levels(table.columns)
    if not spans:
        return [_line(stub)]
    lines = []
    for index, level in enumerate(spans):
        last = index == len(spans) - 1
        cells = (stub if last else [""] * len(stub)) + [_span(span) for span in level]
        lines.append(_line(cells))
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


def _cell(parts: Shown, bold: bool, stacked: bool) -> str:
    measured = "--" if parts.measured == "-" else _value(parts.measured)
    measured = rf"\textbf{{{measured}}}" if bold else measured
    if parts.spread:
        measured += rf"\,$\pm$\,{parts.spread}"
    published = _value(parts.published)
    if stacked and measured and published:
        return rf"\begin{{tabular}}[t]{{@{{}}c@{{}}}}{measured}\\{published}\end{{tabular}}"
    return " ".join(part for part in (measured, published) if part)


def _value(text: str) -> str:
    """The hyphen before a digit is a minus."""
    return escape(re.sub(r"-(?=\d)", "−", text)) if re.match(r"\(?-\d", text) else escape(text)
