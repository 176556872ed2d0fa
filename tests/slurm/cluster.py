"""A real SLURM cluster on one machine: `python -m tests.slurm.cluster up|down|status`.

munged, slurmctld and one slurmd for each virtual node, from the distribution's packages, without systemd and without
cgroups. It needs root. Everything lies in `STATE`, but for three files in /etc/slurm: that is where SLURM's commands
look, and Snakemake's executor removes SLURM_CONF from the environment. A configuration there that is not ours is left
alone, and then there is no cluster. Waits are short throughout: a node that dies is noticed in some ten seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.slurm import processes
from tests.slurm.processes import wait_for

STATE = Path("/run/ssar-slurm")
LOCK = Path("/run/ssar-slurm.lock")
BY_HAND = "by-hand"
"""Among the users of a cluster: it stays until it is taken down by hand."""
ETC = Path("/etc/slurm")
MARK = "# written by ssar's tests/slurm/cluster.py and removed by it"
PACKAGES = {"slurmctld": "slurmctld", "slurmd": "slurmd", "sbatch": "slurm-client", "munged": "munge"}
"""Executables and the packages that have them."""
PARTITIONS = {"test": ("n1", "n2"), "frail": ("n3", "n4")}
"""Nodes of each partition; the first is the default, the second is for tests that end a node."""
NODES = tuple(node for nodes in PARTITIONS.values() for node in nodes)
CPUS, MEMORY, GPUS = 8, 64_000, 4
"""Declared for each node, whatever the machine has."""
READY = ("idle", "mixed", "allocated")
START = 60.0
"""Seconds that daemons have to come up; they take a few where the machine has nothing else to do."""


class UnavailableError(Exception):
    """There can be no cluster here; the message says what to do about it."""


def slurm_conf(host: str, ports: Sequence[int]) -> str:
    """slurm.conf. `ports`: of slurmctld and of each node's slurmd."""
    nodes = "\n".join(
        f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} "
        f"CPUs={CPUS} RealMemory={MEMORY} Gres=gpu:{GPUS} State=UNKNOWN"
        for name, port in zip(NODES, ports[1:], strict=True)
    )
    partitions = "\n".join(
        f"PartitionName={name} Nodes={','.join(members)} Default={'YES' if number == 0 else 'NO'} MaxTime=INFINITE"
        for number, (name, members) in enumerate(PARTITIONS.items())
    )
    return f"""{MARK}
ClusterName=ssar
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# a job that is queued again may start after this many seconds, not after two minutes
AuthInfo=cred_expire=5,socket={STATE}/munge.socket
CredType=cred/munge
SlurmctldPidFile={STATE}/slurmctld.pid
SlurmdPidFile={STATE}/slurmd.%n.pid
SlurmctldLogFile={STATE}/log/slurmctld.log
SlurmdLogFile={STATE}/log/slurmd.%n.log
StateSaveLocation={STATE}/state
SlurmdSpoolDir={STATE}/spool/%n
# more CPUs and memory than the machine has
SlurmdParameters=config_overrides
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=500
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2,sched_min_interval=0
ReturnToService=2
SlurmdTimeout=10
SlurmctldTimeout=10
KillWait=5
InactiveLimit=0
# Snakemake looks at finished jobs in squeue
MinJobAge=600
JobRequeue=1
Epilog={STATE}/epilog.sh
GresTypes=gpu
{nodes}
{partitions}
"""


def configuration(host: str = "", ports: Sequence[int] = (0,) * (1 + len(NODES))) -> dict[str, str]:
    """The files under /etc/slurm by name."""
    return {
        "slurm.conf": slurm_conf(host, ports),
        # a line without File= is discarded
        "gres.conf": f"{MARK}\nName=gpu File={STATE}/dev/gpu[0-{GPUS - 1}]\n",
        # slurmd looks which cgroups there are, though nothing uses them, and stops where it sees none; not with this
        "cgroup.conf": f"{MARK}\nCgroupPlugin=cgroup/v1\n",
    }


def obstacle() -> str | None:
    """Why there can be no cluster on this machine; None where there can."""
    missing = sorted({package for program, package in PACKAGES.items() if shutil.which(program) is None})
    if missing:
        return (
            f"no SLURM here: install {' '.join(missing)} "
            "(apt-get install --no-install-recommends slurmctld slurmd slurm-client munge)"
        )
    if os.geteuid() != 0:
        return "a SLURM cluster for tests is started by root; this is another user"
    foreign = [path for path in map(ETC.joinpath, configuration()) if path.exists() and MARK not in path.read_text()]
    if foreign:
        return (
            f"this machine has a SLURM configuration of its own, which is not touched: {', '.join(map(str, foreign))}"
        )
    return None


class Cluster:
    """The cluster of this machine; there is at most one."""

    def up(self) -> bool:
        """Start it, unless it runs already. Whether it was started.

        Raises UnavailableError where it cannot be, with the last errors of the daemons' logs.
        """
        if self.running():
            for name in NODES:
                self.revive(name)
            return False
        self.down()
        self._prepare()
        try:
            self._start("munged", "--key-file", f"{STATE}/munge.key", "--socket", f"{STATE}/munge.socket",
                        "--pid-file", f"{STATE}/munged.pid", "--log-file", f"{STATE}/log/munged.log",
                        "--seed-file", f"{STATE}/munged.seed", "--force")  # fmt: skip
            self._start("slurmctld", "-i")
            for name in NODES:
                self._start("slurmd", "-N", name)
            if not wait_for(lambda: self.states() == dict.fromkeys(NODES, "idle"), START):
                raise UnavailableError(f"the nodes are not ready: {self.states()}\n{self.errors()}")
        except UnavailableError:
            self.down(keep_logs=True)
            raise
        return True

    def down(self, keep_logs: bool = False) -> None:
        """End all jobs and daemons of this cluster and remove its files."""
        if not STATE.exists():
            return
        if self.running():
            self._ask("scancel", "--user=root")
            wait_for(lambda: not self.queue(), 10)
        for name in NODES:
            self.kill_node(name, signal.SIGTERM)
        self._end("slurmctld.pid", signal.SIGTERM)
        self._end("munged.pid", signal.SIGTERM)
        for name in configuration():
            path = ETC / name
            if path.exists() and MARK in path.read_text():
                path.unlink()
        if not keep_logs:
            shutil.rmtree(STATE)

    def running(self) -> bool:
        """Whether slurmctld is there."""
        pid = self._pid("slurmctld.pid")
        return pid is not None and (ETC / "slurm.conf").exists()

    def states(self) -> dict[str, str]:
        """The nodes' states: idle, mixed, allocated, down, ...; with a star where a node does not answer."""
        lines = self._ask("sinfo", "--noheader", "--Node", "--format=%N %T").split("\n")
        return {words[0]: words[1] for words in map(str.split, lines) if len(words) == 2}

    def errors(self) -> str:
        """The last errors in the daemons' logs."""
        lines = [
            f"{path.name}: {line}"
            for path in sorted((STATE / "log").glob("*.log"))
            for line in path.read_text(errors="replace").splitlines()
            if "error" in line.lower() or "fatal" in line.lower()
        ]
        return "\n".join(lines[-20:])

    # --- jobs ---------------------------------------------------------------------------------------

    def queue(self, *states: str) -> dict[str, str]:
        """Jobs that wait or run, or those in the given states (`all` for every one), as id: state."""
        chosen = [f"--states={','.join(states)}"] if states else []
        lines = self._ask("squeue", "--noheader", "--format=%i %T", *chosen).splitlines()
        return dict(line.split() for line in lines)

    def jobs(self, *number: str) -> list[dict[str, str]]:
        """What `scontrol show job` says of all jobs, or of one: JobState, Restarts, NodeList, ..."""
        lines = self._ask("scontrol", "--oneliner", "show", "job", *number).splitlines()
        return [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]

    def job(self, number: str) -> dict[str, str]:
        """What is known of a job; nothing where it is unknown."""
        return next(iter(self.jobs(number)), {})

    def tasks(self, number: str, node: str | None = None) -> list[int]:
        """The processes of a job (on one node)."""
        known = {"SLURM_JOB_ID": number} | ({"SLURMD_NODENAME": node} if node else {})
        return list(processes.having(**known))

    def trainings(self, number: str) -> list[int]:
        """The training processes of a job, one for each device."""
        found = [pid for pid in self.tasks(number) if "SSAR_LAUNCHED" in processes.environment(pid)]
        return [pid for pid in found if "cli.py train" in processes.command(pid)]

    def started_by_slurm(self, number: str) -> list[int]:
        """The tasks of a job that SLURM itself has started, without what these have started."""
        return [pid for pid in self.tasks(number) if processes.command(processes.parent(pid)).startswith("slurmstepd")]

    # --- faults -------------------------------------------------------------------------------------

    def requeue(self, number: str) -> None:
        """Queue a running job again, as preemption does. Raises RuntimeError where SLURM refuses."""
        self._command("scontrol", "requeue", number)

    def cancel(self, number: str) -> None:
        """`scancel`. Raises RuntimeError where SLURM refuses."""
        self._command("scancel", number)

    def limit(self, number: str, minutes: int) -> None:
        """Set how many minutes a job has left, or a minute more.

        SLURM looks at the limits, and sends the warnings before them, every 30 seconds.
        """
        clock = self.job(number)["RunTime"].rpartition("-")[2].split(":")
        elapsed = 60 * int(clock[0]) + int(clock[1])
        self._command("scontrol", "update", f"JobId={number}", f"TimeLimit={elapsed + minutes + 1}")

    def kill_training(self, number: str) -> int:
        """SIGKILL to the training processes of a job, as for want of memory. How many there were."""
        return processes.send(signal.SIGKILL, self.trainings(number))

    def kill_node(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """End a node's slurmd and, as a power cut would, all that runs on it."""
        self._end(f"slurmd.{name}.pid", number)
        # those that would tell the controller of the tasks' end go first
        processes.send(signal.SIGKILL, processes.writing(STATE / f"log/slurmd.{name}.log"))
        while processes.send(signal.SIGKILL, processes.having(SLURMD_NODENAME=name)):
            time.sleep(0.05)

    def revive(self, name: str) -> None:
        """Start a node's slurmd where it is not running, and wait until the node takes jobs.

        Raises UnavailableError when it does not.
        """
        if self._pid(f"slurmd.{name}.pid") is None:
            self._start("slurmd", "-N", name)
        if not wait_for(lambda: self.states().get(name) in READY, START):
            raise UnavailableError(f"node {name} is {self.states().get(name)}\n{self.errors()}")

    def revive_controller(self) -> bool:
        """Start slurmctld again where it has died, with the jobs that it knew. Whether it had.

        Version 22.05 has been seen to crash when a job was cancelled whose node had failed and come back.
        """
        if self.running():
            return False
        self._start("slurmctld")
        if not wait_for(self.states, START):
            raise UnavailableError(f"slurmctld does not answer\n{self.errors()}")
        return True

    # --- daemons ------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        host = socket.gethostname().split(".")[0]
        for name in ("state", "spool", "log", "dev", "users"):
            (STATE / name).mkdir(parents=True)
        STATE.chmod(0o755)
        key = STATE / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        for number in range(GPUS):
            _device(STATE / f"dev/gpu{number}")
        shutil.copy(Path(__file__).with_name("epilog.sh"), STATE / "epilog.sh")
        (STATE / "epilog.sh").chmod(0o755)
        ETC.mkdir(exist_ok=True)
        for name, text in configuration(host, _free_ports()).items():
            (ETC / name).write_text(text)

    def _start(self, program: str, *options: str) -> None:
        """Start a daemon, which goes to the background by itself."""
        # daemons hand their environment on: no locale, thread or Python settings of the tests in it
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        log = STATE / "log" / f"{program}.start.log"
        with log.open("ab") as file:
            done = subprocess.run(
                [shutil.which(program) or program, *options], env=environment, stdout=file, stderr=file
            )
        if done.returncode:
            raise UnavailableError(f"{program} ended with status {done.returncode}\n{log.read_text()}\n{self.errors()}")

    def _pid(self, name: str) -> int | None:
        """The process that a pid file names, if it is one of this cluster's daemons and alive."""
        try:
            pid = int((STATE / name).read_text())
        except (OSError, ValueError):
            return None
        daemon = name.split(".")[0]
        return pid if processes.alive(pid) and daemon in processes.command(pid).split(" ")[0] else None

    def _end(self, name: str, number: signal.Signals) -> None:
        pid = self._pid(name)
        if pid is None:
            return
        processes.send(number, [pid])
        if not wait_for(lambda: not processes.alive(pid), 10):
            processes.send(signal.SIGKILL, [pid])

    def _ask(self, *command: str) -> str:
        """What a command of SLURM prints; nothing where the controller does not answer."""
        done = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=False, timeout=60)
        return done.stdout if done.returncode == 0 else ""

    def _command(self, *command: str) -> None:
        done = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=False, timeout=60)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")


def _environment() -> dict[str, str]:
    """Without a choice of another cluster."""
    return {name: value for name, value in os.environ.items() if name != "SLURM_CONF"}


def _device(path: Path) -> None:
    """A character device that stands for a GPU: another /dev/null, or a link to it where none can be made."""
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        path.open("rb").close()
    except OSError:
        path.unlink(missing_ok=True)
        path.symlink_to("/dev/null")


def _free_ports() -> list[int]:
    """Ports that nobody listens on: slurmctld's and one for each node."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(1 + len(NODES))]
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in sockets]


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Starting and stopping go one after the other, whoever does it."""
    with LOCK.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """The cluster, up; the last of the processes that use it takes it down, unless it was started by hand.

    Raises UnavailableError where there can be none.
    """
    if reason := obstacle():
        raise UnavailableError(reason)
    machine = Cluster()
    with _locked():
        machine.up()
        (STATE / "users" / str(os.getpid())).touch()
    try:
        yield machine
    finally:
        with _locked():
            (STATE / "users" / str(os.getpid())).unlink(missing_ok=True)
            users = [path.name for path in (STATE / "users").glob("*")]
            if not any(name == BY_HAND or processes.alive(int(name)) for name in users):
                machine.down()


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("action", choices=("up", "down", "status"), help="up: it stays until down")
    action = parser.parse_args().action
    machine, began = Cluster(), time.monotonic()
    try:
        if reason := obstacle():
            raise UnavailableError(reason)
        if action == "up":
            with _locked():
                started = machine.up()
                (STATE / "users" / BY_HAND).touch()
            print(f"{'started' if started else 'already there'}: {machine.states()}, {time.monotonic() - began:.1f} s")
        elif action == "down":
            with _locked():
                machine.down()
            print(f"down, {time.monotonic() - began:.1f} s")
        else:
            print(machine.states() if machine.running() else "down")
    except UnavailableError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
