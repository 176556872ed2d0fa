"""Tables and figures of semi-supervised action recognition. `snakemake -n` shows what would run."""

import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.0")

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT / "workflow"))

from ssar.config import canonical
from ssar.errors import UserError
from ssar.grid import build
from ssar.targets import Targets, resources

DEFAULT = ROOT / "config" / "config.yaml"


configfile: DEFAULT


report: "workflow/report/workflow.rst"


# Snakemake has merged them already; the files tell where a mistake stands, the overlays before the default
OVERLAYS = [Path(file) for file in workflow.configfiles if Path(file) != DEFAULT]
try:
    GRID = build([DEFAULT, *OVERLAYS], config)
except UserError as error:
    sys.exit(f"ssar: {error}")
TARGETS = Targets(GRID)
P = GRID.paths
RES = GRID.project.resources
RUNTIME = canonical(GRID.project.runtime)
PROJECT = GRID.project.model_dump_json()

# `python` is that of the active environment, or of the rule's own with --sdm conda
shell.prefix('ssar() {{ python "{ROOT}/workflow/cli.py" "$@"; }}; ')


include: "rules/data.smk"
include: "rules/train.smk"
include: "rules/evaluate.smk"
include: "rules/report.smk"


localrules:
    all,


rule all:
    default_target: True
    input:
        TARGETS.default(),
