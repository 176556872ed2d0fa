"""The doctor reads what SLURM prints, of several versions, and says what to set."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest

from ssar.project import JobResources
from ssar.slurm import checks
from ssar.slurm.checks import Check, Family
from ssar.slurm.cluster import Cluster, Node, Partition, gpus, minutes, seconds, settings
from ssar.slurm.request import Placement
from ssar.slurm.site import Site
from ssar.slurm.trial import Outcome, command
from ssar.slurm.verdicts import verdicts

CONFIG_2205 = """Configuration data as of 2026-11-21T21:55:02
AccountingStorageEnforce = none
AccountingStorageType   = accounting_storage/none
JobRequeue              = 1
KillWait                = 30 sec
MinJobAge               = 600 sec
SLURM_VERSION           = 22.05.8
Slurmctld(primary) at vm is UP
"""

PARTITIONS_2205 = (
    "PartitionName=test AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL AllocNodes=ALL Default=YES QoS=N/A "
    "DefaultTime=NONE DisableRootJobs=NO ExclusiveUser=NO GraceTime=0 Hidden=NO MaxNodes=UNLIMITED MaxTime=UNLIMITED "
    "MinNodes=0 LLN=NO MaxCPUsPerNode=UNLIMITED Nodes=n[1-2] PriorityJobFactor=1 PriorityTier=1 RootOnly=NO ReqResv=NO "
    "OverSubscribe=NO OverTimeLimit=NONE PreemptMode=OFF State=UP TotalCPUs=16 TotalNodes=2 "
    "SelectTypeParameters=NONE JobDefaults=(null) DefMemPerNode=UNLIMITED MaxMemPerNode=UNLIMITED "
    "TRES=cpu=16,mem=125G,node=2,billing=16\n"
)

NODES_2205 = (
    "NodeName=n1 Arch=x86_64 CoresPerSocket=1  CPUAlloc=0 CPUEfctv=8 CPUTot=8 CPULoad=0.08 AvailableFeatures=(null) "
    "ActiveFeatures=(null) Gres=gpu:4 NodeAddr=127.0.0.1 NodeHostName=vm Port=45393 Version=22.05.8 "
    "OS=Linux 6.18.44 #1 SMP PREEMPT_DYNAMIC @0  RealMemory=64000 AllocMem=0 FreeMem=23261 Sockets=8 Boards=1 "
    "State=IDLE ThreadsPerCore=1 TmpDisk=0 Weight=1 Owner=N/A MCS_label=N/A Partitions=test  "
    "CfgTRES=cpu=8,mem=62.50G,billing=8 AllocTRES= CapWatts=n/a CurrentWatts=0 AveWatts=0\n"
)

# as 23.11 and 24.05 print them: further keys, types and sockets of GPUs, compound states, a reason with spaces
PARTITIONS_2405 = (
    "PartitionName=gpu AllowGroups=ALL AllowAccounts=vision,ml AllowQos=ALL AllocNodes=ALL Default=NO QoS=gpu "
    "MaxTime=2-00:00:00 MinNodes=0 LLN=NO MaxCPUsPerNode=UNLIMITED MaxCPUsPerSocket=UNLIMITED Nodes=g[01-03] "
    "OverSubscribe=NO OverTimeLimit=NONE PreemptMode=REQUEUE State=UP TotalCPUs=192 TotalNodes=3 ResumeTimeout=GLOBAL\n"
    "PartitionName=spare AllowGroups=ALL AllowAccounts=ALL Default=NO MaxTime=04:00:00 Nodes=g[01-03] "
    "PreemptMode=CANCEL State=UP\n"
    "PartitionName=cpu AllowGroups=ALL DenyAccounts=guests Default=NO MaxTime=60 Nodes=c1 PreemptMode=OFF State=DOWN\n"
)

NODES_2405 = (
    "NodeName=g01 Arch=x86_64 CoresPerSocket=32 CPUAlloc=8 CPUEfctv=62 CPUTot=64 CPULoad=1.00 "
    "AvailableFeatures=a100,ib ActiveFeatures=a100,ib Gres=gpu:a100:4(S:0-1),shard:a100:8(S:0-1) NodeAddr=g01 "
    "Version=24.05.3 OS=Linux 5.14.0 #1 SMP RealMemory=512000 AllocMem=0 MemSpecLimit=12000 State=MIXED+PLANNED "
    "Partitions=gpu,spare CfgTRES=cpu=62,mem=500G,gres/gpu=4\n"
    "NodeName=g02 CPUTot=64 Gres=gpu:nvidia_a100_1g.5gb:7,gpu:v100:2(IDX:0-1) RealMemory=512000 State=IDLE+DRAIN "
    "Partitions=gpu,spare Reason=Bad GPU Xid=79 [root@2026-01-01T00:00:00]\n"
    "NodeName=g03 CPUTot=64 Gres=gpu:a100:8 RealMemory=1024000 State=IDLE+CLOUD+POWERED_DOWN Partitions=gpu,spare\n"
    "NodeName=c1 CPUTot=128 Gres=(null) RealMemory=256000 State=DOWN*+NOT_RESPONDING Partitions=cpu\n"
)

OLD = Cluster.parse(CONFIG_2205, PARTITIONS_2205, NODES_2205)
NEW = Cluster.parse(CONFIG_2205, PARTITIONS_2405, NODES_2405)


def levels(made: object) -> list[str]:
    return [check.level for check in made]  # type: ignore[attr-defined]


def only(made: object, level: str) -> Check:
    (found,) = [check for check in made if check.level == level]  # type: ignore[attr-defined]
    return found


def trainings(gpu: int = 1, mem_mb: int = 48000, runtime: int = 2880, devices: int = 1, nodes: int = 1) -> Family:
    return Family(
        "train", JobResources(threads=8, mem_mb=mem_mb, runtime=runtime, gpu=gpu), Placement(devices, nodes, gpu)
    )


# --- what SLURM prints --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("UNLIMITED", inf),
        ("NONE", inf),
        ("60", 60),
        ("30:30", 30.5),
        ("04:00:00", 240),
        ("2-00:00:00", 2880),
        ("1-12", 2160),
        ("1-12:30", 2190),
    ],
)
def test_time_limits(text: str, value: float) -> None:
    assert minutes(text) == value


def test_numbers_with_units() -> None:
    assert [seconds(text) for text in ("600 sec", "300", "1 min", "2h", "N/A", "3 fortnights")] == [
        600, 300, 60, 7200, None, None,
    ]  # fmt: skip
    assert settings(CONFIG_2205)["SLURM_VERSION"] == "22.05.8"


def test_types_and_counts_of_gpus() -> None:
    assert gpus("(null)") == gpus("") == gpus("shard:8") == {}
    assert gpus("gpu:4") == {"": 4}
    assert gpus("gpu") == {"": 1}
    assert gpus("gpu:a100:4(S:0-1),gpu:v100:2(S:0,1),shard:a100:8") == {"a100": 4, "v100": 2}
    assert gpus("gpu:nvidia_a100_1g.5gb:7") == {"nvidia_a100_1g.5gb": 7}


def test_nodes_and_partitions_of_old_and_new_versions() -> None:
    assert OLD.default == "test"
    assert OLD.nodes == (Node("n1", ("test",), True, 8, 64000, {"": 4}, ()),)
    assert NEW.default is None
    assert [node.usable for node in NEW.nodes] == [True, False, True, False]
    assert (NEW.nodes[0].cpus, NEW.nodes[0].mem_mb, NEW.nodes[0].features) == (62, 500000, ("a100", "ib"))
    assert NEW.partitions["gpu"] == Partition("gpu", False, True, 2880, "REQUEUE", ("vision", "ml"))
    assert not NEW.partitions["cpu"].up


# --- what it means ------------------------------------------------------------------------------------


def test_a_fitting_cluster_has_no_problem() -> None:
    assert levels(checks.family(OLD, Site(max_mem_mb=64000), trainings(), 2)) == ["ok"]
    assert levels(checks.account(OLD.config, Site(), [])) == ["ok"]
    assert levels(checks.polling(OLD.config, "squeue", 20, False)) == ["ok"]
    assert levels(checks.signals(OLD.config)) == ["ok", "ok"]


def test_partitions() -> None:
    missing = only(checks.family(NEW, Site(), trainings(), 0), "problem")
    assert "no default partition" in missing.text
    assert "gpu, spare, cpu" in missing.advice
    wrong = only(checks.family(NEW, Site(partition="gpu,gup"), trainings(), 0), "problem")
    assert "no partition `gup`" in wrong.text
    fine = list(checks.family(NEW, Site(partition="gpu", gpu_name="a100", account="ml"), trainings(), 2))
    assert levels(fine) == ["ok", "ok"]
    assert "may be preempted" in fine[0].text
    foreign = only(checks.family(NEW, Site(partition="gpu", account="guests"), trainings(), 0), "problem")
    assert "vision, ml" in foreign.text
    down = checks.family(NEW, Site(partition="gpu", cpu_partition="cpu"), trainings(gpu=0, runtime=30), 0)
    assert "`cpu_partition`" in only(down, "problem").advice


def test_short_limits_and_preemption_by_cancelling() -> None:
    found = list(checks.family(NEW, Site(partition="spare", gpu_name="a100"), trainings(), 0))
    assert "max_minutes: 240" in only(found, "problem").advice
    assert "waits for ever" in only(found, "warning").advice
    assert "problem" not in levels(checks.family(NEW, Site(partition="spare", max_minutes=240), trainings(), 0))


def test_what_no_node_has() -> None:
    for family, site in (
        (trainings(devices=9), Site(partition="gpu")),
        (trainings(gpu=1), Site(partition="gpu", gpu_name="h100")),
        (trainings(mem_mb=2_000_000), Site(partition="gpu")),
        (trainings(gpu=1), Site(partition="cpu")),
    ):
        problems = [check.text for check in checks.family(NEW, site, family, 0) if check.level == "problem"]
        assert any("no node of" in text for text in problems), (family, site)
    # two nodes fit, one of them is drained
    told = only(checks.family(NEW, Site(partition="gpu", gpu_name="v100"), trainings(), 0), "warning")
    assert "1 nodes of gpu fit, 0 of them in service" in told.text
    assert "problem" in levels(checks.family(OLD, Site(), trainings(devices=4, nodes=2, mem_mb=1000), 0))


def test_memory_that_grows_beyond_the_nodes() -> None:
    warned = only(checks.family(OLD, Site(), trainings(), 2), "warning")
    assert "144000" in warned.text
    assert warned.advice.startswith("max_mem_mb: 64000")


def test_accounts() -> None:
    with_accounting = {"AccountingStorageType": "accounting_storage/slurmdbd"}
    enforcing = with_accounting | {"AccountingStorageEnforce": "associations,limits,qos,safe"}
    assert levels(checks.account(enforcing, Site(), ["a", "b"])) == ["problem"]
    assert levels(checks.account(with_accounting, Site(), ["a", "b"])) == ["warning"]
    assert levels(checks.account(enforcing, Site(), ["a"])) == ["ok"]
    assert levels(checks.account(enforcing, Site(account="B"), ["a", "b"])) == ["ok"]
    assert levels(checks.account(enforcing, Site(account="c"), ["a", "b"])) == ["problem"]
    assert levels(checks.account(OLD.config, Site(account="a"), [])) == ["problem"]


def test_jobs_that_squeue_forgets_too_soon() -> None:
    found = only(checks.polling({"MinJobAge": "30 sec"}, "squeue", 20, False), "problem")
    assert "slurm-init-seconds-before-status-checks: 10" in found.advice
    assert levels(checks.polling({"MinJobAge": "30 sec"}, "sacct", 20, True)) == ["ok"]
    assert levels(checks.polling({}, "sacct", 20, False)) == ["problem"]


def test_missing_commands() -> None:
    there = dict.fromkeys(checks.TOOLS, True)
    assert levels(checks.tools(there | {"sacct": True}, Site())) == ["ok"]
    assert levels(checks.tools(there, Site())) == ["ok", "problem"]
    assert levels(checks.tools({**there, "srun": False, "sacct": True}, Site())) == ["problem"]


def test_short_time_to_save() -> None:
    assert levels(checks.signals({"KillWait": "5 sec", "JobRequeue": "0"})) == ["warning", "ok"]


# --- the trial job --------------------------------------------------------------------------------------

GOOD = Outcome(
    "7",
    "RUNNING",
    report={
        "host": "g01",
        "folders": {"/data/results/.doctor-1": "", "/home/me/ssar/.snakemake/.doctor-1": ""},
        "lock": "held",
        "scontrol": True,
        "torch": {"version": "2.11", "cuda": "12.8", "devices": 2, "name": "A100", "visible": "0,1", "seconds": 4.0},
        "gloo": {"sum": 3.0, "seconds": 0.3},
        "nccl": {"sum": 3.0, "seconds": 2.3},
        "signal": 12.0,
        "done": True,
    },
    seen={"/data/results/.doctor-1": True, "/home/me/ssar/.snakemake/.doctor-1": True},
)


def told(gpus: int = 2, **changes: object) -> list[Check]:
    """Everything but what is well, of the good outcome with changes of what the node wrote."""
    outcome = replace(GOOD, report={**GOOD.report, **changes})
    return [check for check in verdicts(outcome, gpus, 55) if check.level != "ok"]


def test_a_good_node_has_no_problem() -> None:
    assert told() == []
    assert len(list(verdicts(GOOD, 2, 55))) == 9


def test_what_may_be_wrong_with_a_node() -> None:
    gpu = GOOD.report["torch"]
    assert [(check.level, check.subject) for check in told(lock="free")] == [("warning", "locks")]
    assert told(folders={"/data/results/.doctor-1": "No such file or directory"})[0].level == "problem"
    assert told(torch={"error": "ImportError: libcuda", "seconds": 1.0})[0].level == "problem"
    assert told(torch={**gpu, "devices": 0})[0].level == "warning"  # CUDA_VISIBLE_DEVICES, and no CUDA
    assert told(torch={**gpu, "devices": 0, "visible": None})[0].level == "problem"
    assert told(torch={**gpu, "devices": 1})[0].level == "problem"
    assert told(torch={**gpu, "seconds": 90.0})[0].level == "warning"
    assert told(nccl={"error": "DistBackendError: timeout", "seconds": 25.0})[0].subject == "nccl"
    assert told(gloo={"sum": 2.0, "seconds": 0.1})[0].level == "problem"
    assert told(signal=None)[0].subject == "warning signal"
    assert told(scontrol=False)[0].level == "problem"
    unseen = replace(GOOD, seen={})
    assert levels(check for check in verdicts(unseen, 2, 55) if check.level != "ok") == ["problem", "problem"]


def test_a_job_that_did_not_start_or_ended_early() -> None:
    (waiting,) = verdicts(Outcome("7", "PENDING", "Resources"), 1, 55)
    assert waiting.level == "warning"
    assert "(Resources)" in waiting.text
    (ended,) = verdicts(Outcome("7", "FAILED", log="starting\nslurmstepd: error: no such folder\n"), 1, 55)
    assert ended.level == "problem"
    assert "no such folder" in ended.text


def test_the_call_names_what_the_site_names() -> None:
    site = Site(account="me", qos="q", constraint="ib", gpu_name="a100", extra="--exclude=g02 --nice=5")
    call = command(site, Path("/r/.doctor-1"), partition="gpu", gpus=2, nodes=1, wait=30)
    assert {"--partition=gpu", "--account=me", "--qos=q", "--constraint=ib", "--gres=gpu:a100:2", "--nice=5"} <= set(
        call
    )
    plain = command(Site(), Path("/r"), partition=None, gpus=0, nodes=1, wait=30)
    assert not any(option.startswith(("--partition", "--account", "--gres", "--constraint")) for option in plain)


def test_without_slurm_the_doctor_says_so(root: Path) -> None:
    cli = [sys.executable, str(root / "workflow" / "cli.py"), "slurm", "doctor", "--no-jobs"]
    environment = {**os.environ, "PATH": str(Path(sys.executable).parent)}
    done = subprocess.run(cli, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "PROBLEM  commands: not found: sbatch, squeue" in done.stdout
    assert not done.stderr
