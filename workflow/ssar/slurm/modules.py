"""Environment modules in the shell of a job."""

from __future__ import annotations

import shlex
from collections.abc import Sequence


def prefix(modules: Sequence[str]) -> str:
    """Shell text that loads modules, for Snakemake's `shell.prefix`; empty for none.

    Only inside SLURM jobs: on the login node the user has loaded what Snakemake runs with. Commands that were found
    before stay in front, or a module's `python` would take the place of the environment's. Modules touch variables that
    are not set, which Snakemake's strict shell forbids.
    """
    if not modules:
        return ""
    names = " ".join(shlex.quote(name) for name in modules)
    initial = "/etc/profile.d/modules.sh /etc/profile.d/lmod.sh /etc/profile.d/z00_lmod.sh"
    return (
        'if [ -n "${{SLURM_JOB_ID:-}}" ]; then ssar_path=$PATH; set +eu; '
        f"if ! command -v module >/dev/null; then for file in {initial}; do "
        'if [ -r "$file" ]; then . "$file"; fi; done; fi; '
        f"module load {names} || exit 1; set -eu; PATH=$ssar_path:$PATH; fi; "
    )
