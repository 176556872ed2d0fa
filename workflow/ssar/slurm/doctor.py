"""Whether this cluster is fit, and what to set where it is not: `cli.py slurm doctor`."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ssar.errors import UserError
from ssar.project import ROOT, Project
from ssar.runtime import Runtime
from ssar.slurm import checks
from ssar.slurm.checks import Check, Family
from ssar.slurm.cluster import Cluster
from ssar.slurm.request import Placement
from ssar.slurm.site import Site
from ssar.slurm.trial import run
from ssar.slurm.verdicts import verdicts
from ssar.yamlfile import read_yaml

PROFILE = ROOT / "slurm" / "config.yaml"
MARKS = {"ok": "ok     ", "warning": "warning", "problem": "PROBLEM"}


def doctor(project: Project, site: Site, *, jobs: bool = True, gpus: int | None = None, patience: float = 55.0) -> bool:
    """Print every check as it is made. True when there is no problem.

    `jobs`: whether a trial job is submitted; `gpus`: how many it asks for on each node, None for two where nodes have
    them; `patience`: seconds that it may take, queue included.
    """
    found: list[Check] = []

    def tell(made: Iterable[Check]) -> None:
        for check in made:
            found.append(check)
            print(f"{MARKS[check.level]}  {check.subject}: {check.text}", flush=True)
            if check.advice:
                print(f"{'':9}-> {check.advice}", flush=True)

    there = {name: shutil.which(name) is not None for name in (*checks.TOOLS, "sacct", "sacctmgr")}
    tell(checks.tools(there, site))
    if all(there[name] for name in checks.TOOLS):
        try:
            cluster = _cluster()
        except UserError as error:
            tell([Check("problem", "controller", str(error), "is this a login node of the cluster?")])
        else:
            families = list(_families(project))
            tell(_of_cluster(cluster, site, families))
            if jobs and not any(check.level == "problem" for check in found):
                tell(_tried(cluster, site, project, families[0], gpus, patience))
            elif jobs:
                print("no trial job was submitted: there are problems already", flush=True)
    count = {level: sum(check.level == level for check in found) for level in MARKS}
    print(f"{count['ok']} ok, {count['warning']} warning(s), {count['problem']} problem(s)")
    return not count["problem"]


def _cluster() -> Cluster:
    """Raises UserError where the controller does not answer."""
    texts = [_ask("scontrol", "show", "config")]
    texts += [_ask("scontrol", "--oneliner", "show", what) for what in ("partition", "node")]
    return Cluster.parse(*texts)


def _ask(*command: str) -> str:
    # as the executor does, whose jobs lose the variable
    environment = {name: value for name, value in os.environ.items() if name != "SLURM_CONF"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=15, env=environment, check=False)
    except subprocess.TimeoutExpired:
        raise UserError(f"`{' '.join(command)}` does not answer") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:] or ["no reason told"]
        hint = "; SLURM_CONF is set, and jobs do without it" if "SLURM_CONF" in os.environ else ""
        raise UserError(f"`{' '.join(command)}`: {said[0]}{hint}")
    return done.stdout


def _answer(*command: str) -> str | None:
    """Output of a command; None where it fails."""
    try:
        return _ask(*command)
    except (UserError, OSError):
        return None


def _families(project: Project) -> Iterator[Family]:
    """What jobs ask for; the trainings with the most devices that any of them has."""
    runtime, asked = project.runtime, project.resources
    wishes = [runtime.model_copy(update=wish.model_dump(exclude_none=True)) for wish in project.devices.values()]
    largest = max([runtime, *wishes], key=lambda one: (one.world, one.devices))
    yield Family("train", asked.train, Placement.of(largest, asked.train))
    yield Family("predict", asked.predict, Placement.of(runtime, asked.predict))
    yield Family("data", asked.data, Placement.of(Runtime(), asked.data))


def _of_cluster(cluster: Cluster, site: Site, families: list[Family]) -> Iterator[Check]:
    profile: dict[str, Any] = read_yaml(PROFILE)
    yield Check("ok", "controller", f"SLURM {cluster.config.get('SLURM_VERSION', '?')}")
    yield from checks.polling(
        cluster.config,
        str(profile.get("slurm-status-command", "sacct")),
        int(profile.get("slurm-init-seconds-before-status-checks", 40)),
        _answer("sacct", "-X", "-n", "-o", "JobID,State") is not None,
    )
    yield from checks.signals(cluster.config)
    known = (_answer("sacctmgr", "-n", "-s", "list", "user", getpass.getuser(), "format=account%256") or "").split()
    yield from checks.account(cluster.config, site, sorted(set(known)))
    for family in families:
        yield from checks.family(cluster, site, family, int(profile.get("retries", 0)))


def _tried(
    cluster: Cluster, site: Site, project: Project, train: Family, gpus: int | None, patience: float
) -> Iterator[Check]:
    partition = site.partition_of(train.gpus > 0)
    nodes = min(train.place.nodes, 2)
    most = max((node.gpu_of(site.gpu_name) for node in cluster.nodes_of(partition or cluster.default or "")), default=1)
    if gpus is None:
        gpus = min(most, 2 // nodes) if train.gpus else 0
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        results = Path(project.results)
        outcome = run(site, results, partition=partition, gpus=gpus, nodes=nodes, patience=patience)
    except UserError as error:
        yield Check("problem", "trial job", f"sbatch refuses it: {error}", f"the keys of {checks.KEYS}")
    else:
        yield from verdicts(outcome, gpus, patience)
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(number: int, frame: object) -> None:
    """SIGTERM as an exception, so that the job is cancelled on the way out."""
    raise SystemExit(128 + number)
