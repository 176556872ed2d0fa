"""What the shell of a rule begins with: patience, and in jobs environment modules."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

PATIENT = "trap : TERM INT HUP; "
"""Lets the shell wait for its command when all processes of a job are asked to stop.

A shell that ends at once takes the Snakemake above it along, and SLURM then kills a training that still saves its
state. With a trap that does nothing the shell waits, and ends with the command's exit status. Commands do not inherit
the trap.
"""


def prefix(modules: Sequence[str]) -> str:
    """Shell text for Snakemake's `shell.prefix` that waits for its command, and loads modules, if any.

    Modules only inside SLURM jobs: on the login node the user has loaded what Snakemake runs with. Commands that were
    found before stay in front, or a module's `python` would take the place of the environment's. Modules touch
    variables that are not set, which Snakemake's strict shell forbids.
    """
    if not modules:
        return PATIENT
    names = " ".join(shlex.quote(name) for name in modules)
    initial = "/etc/profile.d/modules.sh /etc/profile.d/lmod.sh /etc/profile.d/z00_lmod.sh"
    return PATIENT + (
        'if [ -n "${{SLURM_JOB_ID:-}}" ]; then ssar_path=$PATH; set +eu; '
        f"if ! command -v module >/dev/null; then for file in {initial}; do "
        'if [ -r "$file" ]; then . "$file"; fi; done; fi; '
        f"module load {names} || exit 1; set -eu; PATH=$ssar_path:$PATH; fi; "
    )
