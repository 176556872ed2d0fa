"""Whether a cluster is fit for this configuration: pure functions of what the cluster says and of what jobs ask for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ssar.project import JobResources
from ssar.slurm.cluster import Cluster, Node, Partition, seconds
from ssar.slurm.request import Placement
from ssar.slurm.site import Site

Level = Literal["ok", "warning", "problem"]
KEYS = "slurm/site.yaml"
KILL_WAIT = 20
"""Seconds in which a training surely saves its state after SIGTERM."""


class Check(NamedTuple):
    """One line of the doctor's report."""

    level: Level
    subject: str
    text: str
    advice: str = ""


@dataclass(frozen=True)
class Family:
    """The jobs of a family of rules: one line of `resources` with the devices that they have."""

    name: str
    job: JobResources
    place: Placement

    @property
    def cpus(self) -> int:
        """On one node."""
        return self.job.threads * self.place.devices

    @property
    def mem_mb(self) -> int:
        """On one node, at the first attempt."""
        return self.job.mem_mb * self.place.devices

    @property
    def gpus(self) -> int:
        """On one node."""
        return self.job.gpu * self.place.devices

    @property
    def asks(self) -> str:
        """In words."""
        gpus = f", {self.gpus} GPU(s)" if self.gpus else ""
        nodes = f" on each of {self.place.nodes} nodes" if self.place.nodes > 1 else ""
        return f"{self.cpus} CPUs, {self.mem_mb} MB{gpus}{nodes}"


TOOLS = ("sbatch", "squeue", "scontrol", "srun", "scancel", "sinfo")


def tools(found: Mapping[str, bool], site: Site) -> Iterator[Check]:
    """The client's commands: those that are always called, and those that the executor calls about accounts."""
    missing = [name for name in TOOLS if not found.get(name)]
    if missing:
        yield Check(
            "problem", "commands", f"not found: {', '.join(missing)}", "run this on a login node of the cluster"
        )
    else:
        yield Check("ok", "commands", ", ".join(TOOLS))
    if site.account is None and not found.get("sacct"):
        advice = f"name your account, key `account` in {KEYS}"
        yield Check("problem", "sacct", "not found, and Snakemake calls it where no account is named", advice)
    if site.account is not None and not found.get("sacctmgr"):
        advice = "have SLURM's client commands installed in full"
        yield Check("problem", "sacctmgr", "not found, and Snakemake calls it to check the account", advice)


def polling(config: Mapping[str, str], command: str, interval: int, sacct_works: bool) -> Iterator[Check]:
    """Whether Snakemake will see that a job has ended. `interval`: seconds between its questions."""
    age = seconds(config.get("MinJobAge", ""))
    if command == "sacct":
        if sacct_works:
            yield Check("ok", "status of jobs", "sacct answers")
        else:
            yield Check(
                "problem", "status of jobs", "sacct does not answer", "slurm-status-command: squeue in the profile"
            )
    elif age is None:
        yield Check("warning", "status of jobs", "MinJobAge is not told", "see that finished jobs stay in squeue")
    elif age < 3 * interval:
        way = "slurm-status-command: sacct in slurm/config.yaml" if sacct_works else "a smaller interval"
        yield Check(
            "problem",
            "status of jobs",
            f"squeue forgets finished jobs after MinJobAge = {age} s, and Snakemake asks every {interval} s at first",
            f"slurm-init-seconds-before-status-checks: {max(1, age // 3)} in slurm/config.yaml, or {way}",
        )
    else:
        yield Check("ok", "status of jobs", f"squeue, MinJobAge = {age} s")


def signals(config: Mapping[str, str]) -> Iterator[Check]:
    """How much time a job has once it must go, and whether it comes back."""
    wait = seconds(config.get("KillWait", ""))
    if wait is not None and wait < KILL_WAIT:
        yield Check(
            "warning",
            "end of a job",
            f"KillWait = {wait} s between SIGTERM and SIGKILL",
            "a large state may not be saved when a job is preempted: lower `runtime.checkpoint_minutes`",
        )
    else:
        yield Check("ok", "end of a job", f"KillWait = {wait} s")
    if config.get("JobRequeue", "1") == "0":
        text = "JobRequeue = 0; the profile asks for it job by job (slurm-requeue)"
    else:
        text = "jobs may be queued again"
    yield Check("ok", "requeue", text)


def account(config: Mapping[str, str], site: Site, known: Sequence[str]) -> Iterator[Check]:
    """Whether jobs must be charged to an account. `known`: the user's accounts, as the accounting says."""
    there = not config.get("AccountingStorageType", "").endswith("/none")
    enforced = {part.strip() for part in config.get("AccountingStorageEnforce", "none").split(",")}
    must = bool(enforced & {"associations", "limits", "qos", "safe", "all"})
    if site.account is None:
        if there and len(known) > 1:
            text = f"you have {', '.join(known)}, and Snakemake would guess one"
            yield Check("problem" if must else "warning", "account", text, f"name one, key `account` in {KEYS}")
        elif must and not known:
            text = "the cluster asks for one, and none of yours is known"
            yield Check("warning", "account", text, f"name yours, key `account` in {KEYS}")
        else:
            yield Check("ok", "account", "none needed" if not must else f"the cluster's default, {known[0]}")
    elif not there and not known:
        text = f"`{site.account}` is named, and the cluster has no accounting: Snakemake would refuse it"
        yield Check("problem", "account", text, f"leave `account` out of {KEYS}")
    elif known and site.account.lower() not in [name.lower() for name in known]:
        yield Check(
            "problem", "account", f"`{site.account}` is none of yours ({', '.join(known)})", f"`account` in {KEYS}"
        )
    else:
        yield Check("ok", "account", site.account)


def family(cluster: Cluster, site: Site, jobs: Family, retries: int) -> Iterator[Check]:
    """Whether the jobs of a family can run in their partition."""
    key = "cpu_partition" if site.cpu_partition and not jobs.gpus else "partition"
    named = site.partition_of(jobs.gpus > 0) or cluster.default
    subject = f"jobs of `{jobs.name}`"
    if named is None:
        known = ", ".join(cluster.partitions) or "none"
        yield Check("problem", subject, "the cluster has no default partition", f"`{key}` in {KEYS}, one of {known}")
        return
    for name in named.split(","):
        if name not in cluster.partitions:
            known = ", ".join(cluster.partitions)
            yield Check("problem", subject, f"there is no partition `{name}`", f"`{key}` in {KEYS}, one of {known}")
            return
    partitions = [cluster.partitions[name] for name in named.split(",")]
    yield from _limits(partitions, key, site, jobs, subject)
    yield from _nodes(cluster, partitions, site, jobs, retries, subject)


def _limits(partitions: Sequence[Partition], key: str, site: Site, jobs: Family, subject: str) -> Iterator[Check]:
    for partition in partitions:
        if not partition.up:
            yield Check("problem", subject, f"partition {partition.name} is not up", f"another `{key}` in {KEYS}")
        if partition.accounts is not None and site.account is not None and site.account not in partition.accounts:
            text = f"partition {partition.name} is for the accounts {', '.join(partition.accounts)}"
            yield Check("problem", subject, text, f"`account` or `{key}` in {KEYS}")
    longest = max(partition.max_minutes for partition in partitions)
    asked = min(jobs.job.runtime, site.max_minutes or jobs.job.runtime)
    if asked > longest:
        yield Check(
            "problem",
            subject,
            f"ask for {asked} minutes, and the partition's MaxTime is {longest:.0f}",
            f"max_minutes: {longest:.0f} in {KEYS}; a training continues in its next job",
        )
    modes = {partition.preempt for partition in partitions} - {"OFF"}
    if any("CANCEL" in mode for mode in modes):
        text = f"may be preempted, and end then (PreemptMode {', '.join(sorted(modes))})"
        advice = "Snakemake does not see such an end and waits for ever: another partition, or docs/slurm.md"
        yield Check("warning", subject, text, advice)
    elif modes:
        yield Check("ok", subject, f"may be preempted (PreemptMode {', '.join(sorted(modes))}) and continue")


def _nodes(
    cluster: Cluster, partitions: Sequence[Partition], site: Site, jobs: Family, retries: int, subject: str
) -> Iterator[Check]:
    names = ", ".join(partition.name for partition in partitions)
    nodes = list({node.name: node for one in partitions for node in cluster.nodes_of(one.name)}.values())
    if not nodes:
        yield Check("warning", subject, f"the nodes of {names} are not told", "the trial job will tell whether it runs")
        return
    fit = [node for node in nodes if _fits(node, site, jobs)]
    if not fit:
        best = max(nodes, key=lambda node: (node.gpu_of(site.gpu_name), node.mem_mb, node.cpus))
        types = ", ".join(f"{count} x {kind or 'GPU'}" for kind, count in best.gpus.items()) or "no GPU"
        yield Check(
            "problem",
            subject,
            f"ask for {jobs.asks}{_named(site, jobs)}, and no node of {names} has that",
            f"{best.name}, the best: {best.cpus} CPUs, {best.mem_mb} MB, {types}: `resources.{jobs.name}` or {KEYS}",
        )
        return
    usable = [node for node in fit if node.usable]
    if len(usable) < jobs.place.nodes:
        text = f"{len(fit)} nodes of {names} fit, {len(usable)} of them in service; a job needs {jobs.place.nodes}"
        level: Level = "warning" if len(fit) >= jobs.place.nodes else "problem"
        yield Check(level, subject, text, "look at `sinfo`")
    else:
        text = f"ask for {jobs.asks}{_named(site, jobs)}: {len(usable)} node(s) of {names} in service fit"
        yield Check("ok", subject, text)
    largest = max(node.mem_mb for node in fit)
    if site.max_mem_mb is None and jobs.mem_mb * (1 + retries) > largest:
        text = f"ask for more memory at each attempt, {jobs.mem_mb * (1 + retries)} MB at last; nodes have {largest}"
        yield Check("warning", subject, text, f"max_mem_mb: {largest} in {KEYS}")


def _fits(node: Node, site: Site, jobs: Family) -> bool:
    memory = min(jobs.mem_mb, site.max_mem_mb or jobs.mem_mb)
    return (
        node.cpus >= jobs.cpus
        and node.mem_mb >= memory
        and node.gpu_of(site.gpu_name if jobs.gpus else None) >= jobs.gpus
    )


def _named(site: Site, jobs: Family) -> str:
    return f" of type {site.gpu_name}" if site.gpu_name and jobs.gpus else ""
