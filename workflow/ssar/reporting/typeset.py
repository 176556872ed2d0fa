"""A table's PDF, by whichever TeX engine the machine has."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from ssar.errors import UserError
from ssar.files import atomic

ENGINES = {
    "tectonic": ("tectonic", "--outdir"),
    "pdflatex": ("pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-output-directory"),
}


def typeset(tex: Path, pdf: Path) -> None:
    """Compile a standalone .tex file. Raises UserError without an engine, or with the end of its complaint."""
    engine = next((name for name in ENGINES if shutil.which(name)), None)
    if engine is None:
        raise UserError(
            f"{tex} cannot be typeset: neither {' nor '.join(ENGINES)} is installed; install one (Debian: "
            "texlive-latex-recommended), or run Snakemake with --sdm conda. The .tex, .md and .csv files need none"
        )
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([*ENGINES[engine], folder, str(tex)], capture_output=True, text=True, check=False)
        made = Path(folder) / tex.with_suffix(".pdf").name
        if done.returncode or not made.is_file():
            last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-10:])
            raise UserError(f"{engine} failed on {tex}:\n{last}")
        with atomic(pdf) as temporary:
            shutil.copyfile(made, temporary)
