"""Tables and figures of semi-supervised action recognition. `snakemake -n` shows what would run."""

import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.0")

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT / "workflow"))

from ssar.config import canonical
from ssar.cost.plan import check
from ssar.errors import UserError
from ssar.grid import build
from ssar.slurm.modules import prefix
from ssar.slurm.relay import relay
from ssar.slurm.request import Requests
from ssar.slurm.site import Site
from ssar.targets import OFFICIAL, Targets

DEFAULT = ROOT / "config" / "config.yaml"


configfile: DEFAULT


report: "workflow/report/workflow.rst"


# Snakemake has merged them already; the files tell where a mistake stands, the overlays before the default
OVERLAYS = [Path(file) for file in workflow.configfiles if Path(file) != DEFAULT]
try:
    GRID = build([DEFAULT, *OVERLAYS], config)
    TARGETS = Targets(GRID)
    check(TARGETS)
    SITE = Site.read()
except UserError as error:
    sys.exit(f"ssar: {error}")
P = GRID.paths
RES = GRID.project.resources
ASK = Requests(TARGETS, SITE)
RUNTIME = canonical(GRID.project.runtime)
PROJECT = GRID.project.model_dump_json()

# so many downloads at once; `--resources downloads=8` and the profile win
if "downloads" not in workflow.global_resources:
    workflow.register_resource("downloads", 4)

# inside a job SLURM may signal no other process than this one
relay()

# `python` is that of the active environment, or of the rule's own with --sdm conda
shell.prefix(prefix(SITE.modules) + 'ssar() {{ python "{ROOT}/workflow/cli.py" "$@"; }}; ')


wildcard_constraints:
    dataset=r"[^/]+",


include: "rules/data.smk"
include: "rules/train.smk"
include: "rules/evaluate.smk"
include: "rules/report.smk"


# seconds each, and thousands of them: a job of its own would wait in a queue for longer than it works
localrules:
    all,
    split,
    metrics,
    ablation,
    architecture,
    table,
    figure,
    typeset,
    typeset_all,
    claims,
    report,
    cost,


rule all:
    default_target: True
    input:
        TARGETS.default(),
