"""What `scontrol show` prints, as data. Pure functions of text: its format differs between SLURM's versions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

_KEY = re.compile(r"(?:^|\s)([A-Z][A-Za-z0-9:/_-]*)=")
_UNUSABLE = frozenset(
    {"DOWN", "DRAIN", "DRAINED", "DRAINING", "FAIL", "FAILING", "ERROR", "INVAL", "NOT_RESPONDING", "UNKNOWN", "FUTURE"}
)


def settings(text: str) -> dict[str, str]:
    """`scontrol show config`: its lines `Key = value`."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {key.strip(): value.strip() for key, sign, value in pairs if sign}


def seconds(value: str) -> int | None:
    """`300 sec`, `300`, `1 min` or `2h`; None for anything else."""
    found = re.match(r"(\d+)\s*([a-zA-Z]*)", value)
    if not found:
        return None
    unit = {"": 1, "s": 1, "m": 60, "h": 3600}.get(found[2][:1].lower())
    return None if unit is None else int(found[1]) * unit


def minutes(value: str) -> float:
    """A time limit, `D-HH:MM:SS` or a part of it, in minutes; infinite for UNLIMITED and the like."""
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", value)
    if not found:
        return inf
    days, *rest = found.groups()
    parts = [int(part) for part in rest if part is not None]
    if days is not None or len(parts) == 3:  # hours first
        hours, minute, second = (*parts, 0, 0)[:3]
        return int(days or 0) * 1440 + hours * 60 + minute + second / 60
    minute, second = (*parts, 0)[:2]
    return minute + second / 60


def gpus(gres: str) -> dict[str, int]:
    """How many GPUs of each type a node's `Gres` names; the type is empty where it has none."""
    found: dict[str, int] = {}
    for item in re.sub(r"\([^)]*\)", "", gres).split(","):
        parts = item.strip().split(":")
        if parts[0] != "gpu":
            continue
        count = int(parts.pop()) if parts[-1].isdigit() else 1
        kind = parts[1] if len(parts) > 1 else ""
        found[kind] = found.get(kind, 0) + count
    return found


def _records(text: str) -> list[dict[str, str]]:
    """`scontrol --oneliner show ...`: one mapping for each line. Values may hold spaces and further `=`."""
    records = []
    for line in text.splitlines():
        parts = _KEY.split(line)
        record = {key: value.strip() for key, value in zip(parts[1::2], parts[2::2], strict=True)}
        if record:
            records.append(record)
    return records


@dataclass(frozen=True)
class Partition:
    """A line of `scontrol --oneliner show partition`."""

    name: str
    default: bool
    up: bool
    max_minutes: float
    preempt: str
    accounts: tuple[str, ...] | None
    """Accounts that may use it; None for all."""

    @classmethod
    def parse(cls, text: str) -> dict[str, Partition]:
        """All partitions by name."""
        found = (cls._of(record) for record in _records(text) if "PartitionName" in record)
        return {partition.name: partition for partition in found}

    @classmethod
    def _of(cls, record: Mapping[str, str]) -> Partition:
        accounts = record.get("AllowAccounts", "ALL")
        return cls(
            name=record["PartitionName"],
            default=record.get("Default") == "YES",
            up=record.get("State", "UP") == "UP",
            max_minutes=minutes(record.get("MaxTime", "UNLIMITED")),
            preempt=record.get("PreemptMode", "OFF"),
            accounts=None if accounts == "ALL" else tuple(accounts.split(",")),
        )


@dataclass(frozen=True)
class Node:
    """A line of `scontrol --oneliner show node`."""

    name: str
    partitions: tuple[str, ...]
    usable: bool
    cpus: int
    mem_mb: int
    gpus: Mapping[str, int]
    features: tuple[str, ...]

    @property
    def gpu_count(self) -> int:
        """GPUs of all types."""
        return sum(self.gpus.values())

    def gpu_of(self, name: str | None) -> int:
        """GPUs of a type, of any if none is named."""
        return self.gpu_count if name is None else self.gpus.get(name, 0)

    @classmethod
    def parse(cls, text: str) -> list[Node]:
        """All nodes."""
        return [cls._of(record) for record in _records(text) if "NodeName" in record]

    @classmethod
    def _of(cls, record: Mapping[str, str]) -> Node:
        state = record.get("State", "UNKNOWN")
        features = record.get("ActiveFeatures", "(null)")
        specialised = int(record.get("MemSpecLimit", "0"))
        return cls(
            name=record["NodeName"],
            partitions=tuple(filter(None, record.get("Partitions", "").split(","))),
            usable="*" not in state and not _UNUSABLE & set(re.split(r"[+*]", state)),
            cpus=int(record.get("CPUEfctv") or record.get("CPUTot") or 0),
            mem_mb=int(record.get("RealMemory", "0")) - specialised,
            gpus=gpus(record.get("Gres", "")),
            features=() if features == "(null)" else tuple(features.split(",")),
        )


@dataclass(frozen=True)
class Cluster:
    """What the controller says of the cluster."""

    config: Mapping[str, str]
    partitions: Mapping[str, Partition]
    nodes: tuple[Node, ...]

    @classmethod
    def parse(cls, config: str, partitions: str, nodes: str) -> Cluster:
        """From the texts of `scontrol show config`, and of `--oneliner show partition` and `node`."""
        return cls(settings(config), Partition.parse(partitions), tuple(Node.parse(nodes)))

    @property
    def default(self) -> str | None:
        """The default partition."""
        return next((name for name, partition in self.partitions.items() if partition.default), None)

    def nodes_of(self, partition: str) -> list[Node]:
        """The nodes of a partition, whatever their state."""
        return [node for node in self.nodes if partition in node.partitions]
