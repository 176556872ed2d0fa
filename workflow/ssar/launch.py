"""Starting the processes of a run and watching them: one for each device. Free of torch.

The command that Snakemake gives becomes a launcher, which starts the same command once for each device ("ranks"): by
itself for one device, by torchrun on one node, by srun on several. It outlives them, so that it can tell how they ended
even where they were killed, and its last line is the reason.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Literal

import psutil

from ssar.engine.attempts import TOKEN, Claim, Superseded
from ssar.engine.finished import Finished
from ssar.engine.interrupt import WATCHED, ask, catch, give_back
from ssar.engine.life import Life
from ssar.engine.state import Failure, Progress
from ssar.errors import UserError
from ssar.runtime import Runtime

Starter = Literal["alone", "torchrun", "srun"]

MARK = "SSAR_LAUNCHED"
"""Environment variable that tells a rank who has started it."""

GRACE = 5
"""Seconds that torchrun gives to ranks whose comrade has died, before it kills them."""

REPEAT = 2.0
"""Seconds after which a signal is passed on once more: a process that has only just started may not have heard it."""

PARENT = "SSAR_PARENT"
"""Environment variable by which a process tells its id to those that it starts."""

PR_SET_PDEATHSIG = 1


def launched_by() -> Starter | None:
    """Who has started this process as one of a run's ranks; None for the command that a user or Snakemake gave."""
    match os.environ.get(MARK):
        case "alone" | "torchrun" | "srun" as starter:
            return starter
        case _:
            return "torchrun" if "TORCHELASTIC_RUN_ID" in os.environ else None


@dataclass(frozen=True)
class End:
    """How the ranks ended: `status` is that of the first to fail, negative where a signal killed it."""

    status: int
    rank: str | None = None
    """Which one that was, where there are several."""

    def stopped(self, received: int) -> int | None:
        """The signal by which the ranks were asked to stop, if that is why they ended."""
        number = -self.status if self.status < 0 else self.status - 128
        if number in WATCHED:
            return number
        # who asks to stop kills what does not
        return received if received and self.status < 0 else None

    def reason(self) -> str:
        """What can be said from outside."""
        who = "the training process" if self.rank is None else f"rank {self.rank}"
        if self.status >= 0:
            return f"{who} ended with exit status {self.status} and gave no reason; the lines above may tell more"
        number = -self.status
        cause = "out of memory?" if number == signal.SIGKILL else "a crash in native code?"
        return f"{who} was killed by signal {number} ({_name(number)}): {cause} The lines above may tell more"


def train(runtime: Runtime, state: Path, words: Sequence[str], finished: Callable[[], Finished]) -> int:
    """Run a training's ranks to their end; returns the exit status.

    `words`: the command line that each of them gets, from the script on. Takes the next attempt at the run; a failure
    that the ranks could not tell is noted in its folder `state`. `finished`: what its outputs are given back from, if
    it has finished before.
    """
    claim = Claim.take(state)
    with Life(claim, speaks=False):
        kept = finished()
        if kept.restore(claim):
            claim.interrupted()  # no sign of life is expected
            return 0
        ranks = start(runtime, words, {TOKEN: claim.attempt.token})
    end = ranks.wait()
    if end.status == 0:
        return 0
    number = end.stopped(ranks.received)
    try:
        claim.check()
    except Superseded as error:
        # whoever asked for this attempt deletes the outputs of one that failed, and they may be the newer one's
        return _last(f"{error}", 0 if kept.there() else 1)
    if number is not None:
        with suppress(Superseded):
            claim.interrupted()
        return 128 + number
    known = Failure.read(state)
    # what a rank that was killed leaves others to complain about is not the reason
    if known is None or end.status < 0:
        claim.fail(end.reason(), known.step if known else _step(state), overrule=True)
        return _last(end.reason(), 1)
    return _last(known.reason, 1) if runtime.world > 1 else 1


def run(runtime: Runtime, words: Sequence[str]) -> int:
    """Run the ranks of anything else to their end; returns the exit status."""
    ranks = start(runtime, words, {})
    end = ranks.wait()
    if end.status == 0:
        return 0
    number = end.stopped(ranks.received)
    if number is not None:
        return 128 + number
    return _last(end.reason(), 1) if end.status < 0 else 1


@contextmanager
def rank(starter: Starter, state: Path) -> Iterator[None]:
    """The life of one of a training's ranks: it does not outlive its launcher, and notes why it fails."""
    stay_with(starter)
    with Life(Claim.given(state), speaks=False):
        yield
    # what there is to save is saved
    for number in WATCHED:
        signal.signal(number, signal.SIG_IGN)


def stay_with(starter: Starter) -> None:
    """Let this rank be asked to stop when its launcher has died; srun sees to that itself."""
    if starter != "srun":
        end_with_parent(signal.SIGTERM)


def end_with_parent(number: int) -> None:
    """Let the kernel send this process a signal when the one that started it has died. On Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
        # it may have died before
        if os.environ.get(PARENT, str(os.getppid())) != str(os.getppid()):
            os.kill(os.getpid(), number)


def start(runtime: Runtime, words: Sequence[str], variables: dict[str, str]) -> Ranks:
    """Start a process for each device. Raises UserError for several nodes outside SLURM."""
    if runtime.nodes > 1:
        if "SLURM_JOB_ID" not in os.environ:
            raise UserError(
                f"runtime.nodes is {runtime.nodes}, and several nodes need a SLURM job: give the target to "
                "`snakemake --profile slurm`, or set runtime.nodes to 1"
            )
        return Srun(runtime, words, variables)
    return Torchrun(runtime, words, variables) if runtime.devices > 1 else Ranks(runtime, words, variables)


class Ranks:
    """A single rank, and the base of several. Requests to stop are passed on: SIGURG as such, the others as SIGTERM."""

    starter: Starter = "alone"

    def __init__(self, runtime: Runtime, words: Sequence[str], variables: dict[str, str]) -> None:
        self.received = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._before = catch(self._note)
        environment = os.environ | {MARK: self.starter, PARENT: str(os.getpid())} | variables
        self.process = self.popen(runtime, list(words), environment)
        self._pass_on()

    def popen(self, runtime: Runtime, words: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        """Start them."""
        return subprocess.Popen([sys.executable, *words], env=environment)

    def send(self, number: int) -> None:
        """Send the ranks a signal. Those that it reached already do not mind."""
        if self.process is not None:
            self.process.send_signal(number)

    def end(self, status: int) -> End:
        """How they ended, from the exit status of the started process."""
        return End(status)

    def wait(self) -> End:
        """Wait until all have ended."""
        assert self.process is not None
        while True:
            try:
                status = self.process.wait(REPEAT)
                break
            except subprocess.TimeoutExpired:
                self._pass_on()
        give_back(self._before)
        return self.end(status)

    def _pass_on(self) -> None:
        # as SIGTERM, since a second SIGINT means more than one that is repeated
        if self.received:
            self.send(signal.SIGURG if self.received == signal.SIGURG else signal.SIGTERM)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received and number == signal.SIGINT:
            self.send(number)
            return
        self.received = self.received or number
        self._pass_on()


class Torchrun(Ranks):
    """Ranks on this node."""

    starter = "torchrun"

    def popen(self, runtime: Runtime, words: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        package = str(Path(__file__).resolve().parents[1])
        program = f"import sys; sys.path.insert(0, {package!r}); from ssar.elastic import main; main()"
        reading, writing = os.pipe()
        self._report = reading
        options = ["--standalone", f"--nproc-per-node={runtime.devices}"]
        environment |= {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(GRACE)}
        command = [sys.executable, "-c", program, str(writing), *options, *words]
        try:
            return subprocess.Popen(command, env=environment, pass_fds=[writing])
        finally:
            os.close(writing)

    def send(self, number: int) -> None:
        # not to torchrun, which would end them after a fixed time
        if self.process is not None:
            with suppress(psutil.NoSuchProcess):
                for rank in psutil.Process(self.process.pid).children():
                    with suppress(psutil.NoSuchProcess):
                        rank.send_signal(number)

    def end(self, status: int) -> End:
        with os.fdopen(self._report) as report:
            text = report.read()
        if not text:
            return End(status)
        first = json.loads(text)
        return End(first["status"], str(first["rank"]))


class Srun(Ranks):
    """Ranks on the nodes of a SLURM job."""

    starter = "srun"

    TOLD = re.compile(rb"srun: error: (\S+): tasks? (\S+): (?:Exited with exit code (\d+)|(.+))")
    """srun's line on a task that failed; the first is the cause, the others were killed for it."""

    def popen(self, runtime: Runtime, words: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        options = [f"--nodes={runtime.nodes}", f"--ntasks={runtime.world}", f"--ntasks-per-node={runtime.devices}"]
        # srun does not take it over from the job, and would bind each rank to one core
        if runtime.threads:
            options.append(f"--cpus-per-task={runtime.threads}")
        # this is the first node of the job, where rank 0 is, too
        environment.setdefault("MASTER_ADDR", os.uname().nodename)
        command = ["srun", *options, "--kill-on-bad-exit=1", "--export=ALL", sys.executable, *words]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
        self._told: re.Match[bytes] | None = None
        assert process.stderr is not None
        self._reader = threading.Thread(target=self._read, args=(process.stderr,), daemon=True)
        self._reader.start()
        return process

    def _read(self, lines: IO[bytes]) -> None:
        for line in lines:
            with suppress(OSError):  # a full disk must not make srun wait for a reader
                sys.stderr.buffer.write(line)
                sys.stderr.buffer.flush()
            self._told = self._told or self.TOLD.search(line)

    def send(self, number: int) -> None:
        # srun itself would kill its tasks on SIGTERM
        ask("scancel", f"--signal={number}", os.environ["SLURM_JOB_ID"])

    def end(self, status: int) -> End:
        self._reader.join()
        return End(status) if self._told is None else self.told(self._told)

    @staticmethod
    def told(line: re.Match[bytes]) -> End:
        """What a line that `TOLD` has found says."""
        node, rank, exited, killed = (part.decode() if part else "" for part in line.groups())
        who = f"{rank} on {node}"
        if exited:
            return End(int(exited), who)
        numbers = {signal.strsignal(number): number for number in signal.valid_signals()}
        # "Killed", "Segmentation fault (core dumped)", "Out Of Memory", which is a SIGKILL
        return End(-int(numbers.get(killed.split(" (")[0].strip(), signal.SIGKILL)), who)


def _step(state: Path) -> int | None:
    progress = Progress.read(state)
    return progress.step if progress else None


def _last(text: str, status: int) -> int:
    """Say the last line of the log."""
    with suppress(OSError):
        print(f"ssar: {text}", file=sys.stderr, flush=True)
    return status


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "real-time signal"
