"""The launcher: how ranks end, in its exit status, in the last line of the log, and in failure.json."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from ssar.engine.state import Attempt, Failure, Progress
from ssar.launch import End, Srun, launched_by

Started = Callable[..., subprocess.Popen[str]]

PATIENCE = 200.0
"""Seconds in which also a busy machine does what takes it ten otherwise: ranks import torch."""

RANK = '''
import os, signal, sys, time
from pathlib import Path
from ssar import launch
from ssar.engine.attempts import Claim
from ssar.engine.finished import Finished
from ssar.engine.interrupt import Interrupt, leave
from ssar.engine.life import Life
from ssar.errors import UserError
from ssar.runtime import Runtime

state, devices, act = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]


def together(rank):
    """Exchange numbers until the last rank does what the test asks of it."""
    import torch
    import torch.distributed as dist

    dist.init_process_group("gloo")
    for step in range(10000):
        if step == 20 and rank == devices - 1:
            do()
        dist.all_reduce(torch.ones(3))


def do():
    (state / "acted").touch()
    if act == "mistake":
        raise UserError("the split is empty\\n  - of videos")
    if act == "bug":
        [].pop()
    if act == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if act == "supersede":
        Claim.take(state)
        Claim.given(state)


def rank():
    number = int(os.environ.get("RANK", "0"))
    if act in ("wait", "long"):
        with Interrupt() as interrupt:
            (state / f"ready{number}").touch()
            while not interrupt.received:
                time.sleep(0.01)
            time.sleep(launch.GRACE + 1 if act == "long" else 0.3)  # it takes a while to save
            (state / f"saved{number}").touch()
            leave(interrupt.received, requeue=False)
    if devices > 1:
        together(number)
    do()


starter = launch.launched_by()
try:
    if starter is None:
        kept = Finished(state, state.parent / "out", "this training")
        sys.exit(launch.train(Runtime(devices=devices), state, sys.argv, lambda: kept))
    with launch.rank(starter, state):
        rank()
except UserError as error:
    sys.exit(f"ssar: {error}")
'''


@pytest.fixture
def started(tmp_path: Path, root: Path) -> Started:
    """Start a launcher whose ranks do what is asked; its state is in `state`, its log in `log`."""
    script = tmp_path / "cli.py"
    script.write_text(RANK)

    def start(act: str, devices: int = 1) -> subprocess.Popen[str]:
        environment = os.environ | {"PYTHONPATH": str(root / "workflow"), "OMP_NUM_THREADS": "1"}
        with open(tmp_path / "log", "w") as log:
            words = [sys.executable, script, tmp_path / "state", str(devices), act]
            return subprocess.Popen(words, env=environment, stderr=log, text=True, start_new_session=True)

    return start


def reason(folder: Path) -> str | None:
    failure = Failure.read(folder / "state")
    assert Progress.read(folder / "state") is None
    return failure.reason if failure else None


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize(
    ("act", "why"),
    [
        ("mistake", r"the split is empty\n  - of videos"),
        ("kill", r"(the training process|rank 1) was killed by signal 9 \(SIGKILL\): out of memory\? .*"),
    ],
)
def test_the_reason_of_a_failure_stands_at_the_end(
    act: str, why: str, devices: int, started: Started, tmp_path: Path
) -> None:
    process = started(act, devices)
    assert process.wait(PATIENCE) == 1
    # a collective of gloo would wait for half an hour
    assert time.time() - (tmp_path / "state" / "acted").stat().st_mtime < 60
    told = reason(tmp_path)
    assert told is not None
    assert re.fullmatch(why, told)
    assert (tmp_path / "log").read_text().endswith(f"\nssar: {told}\n")


def test_an_exception_is_told_with_its_traceback(started: Started, tmp_path: Path) -> None:
    assert started("bug").wait(PATIENCE) == 1
    assert (reason(tmp_path) or "").startswith("IndexError: pop from empty list (ssar/launch.py:")
    assert "Traceback" in (tmp_path / "log").read_text()


def test_a_superseded_attempt_leaves_without_a_trace(started: Started, tmp_path: Path) -> None:
    assert started("supersede").wait(PATIENCE) == 1
    newest = Attempt.read(tmp_path / "state")
    assert newest is not None
    assert newest.attempt == 2
    assert Failure.read(tmp_path / "state") is None
    last = (tmp_path / "log").read_text().splitlines()[-1]
    assert last.startswith("ssar: attempt 1 was superseded by attempt 2 (")


def test_success_leaves_no_word(started: Started, tmp_path: Path) -> None:
    assert started("nothing").wait(PATIENCE) == 0
    assert Failure.read(tmp_path / "state") is None
    assert (tmp_path / "log").read_text().count("\n") == 1  # the attempt's beginning


def wait_for(process: subprocess.Popen[str], folder: Path, names: str, count: int = 1) -> None:
    deadline = time.monotonic() + PATIENCE
    while len(list(folder.glob(names))) < count:
        assert process.poll() is None or names == "saved*"
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(("number", "devices"), [(signal.SIGTERM, 1), (signal.SIGTERM, 2), (signal.SIGURG, 2)])
def test_a_signal_to_the_launcher_lets_all_ranks_save(
    number: signal.Signals, devices: int, started: Started, tmp_path: Path
) -> None:
    process = started("wait", devices)
    wait_for(process, tmp_path / "state", "ready*", devices)
    process.send_signal(number)
    assert process.wait(PATIENCE) == 128 + number
    assert len(list((tmp_path / "state").glob("saved*"))) == devices
    assert reason(tmp_path) is None


@pytest.mark.parametrize(("number", "devices"), [(signal.SIGHUP, 1), (signal.SIGINT, 1), (signal.SIGINT, 2)])
def test_what_a_terminal_sends_to_all_lets_ranks_save_for_as_long_as_they_need(
    number: signal.Signals, devices: int, started: Started, tmp_path: Path
) -> None:
    process = started("long", devices)
    wait_for(process, tmp_path / "state", "ready*", devices)
    os.killpg(process.pid, number)
    assert process.wait(PATIENCE) in (128 + number, 128 + signal.SIGTERM)
    assert len(list((tmp_path / "state").glob("saved*"))) == devices
    assert reason(tmp_path) is None


def test_a_signal_before_there_are_ranks_is_not_lost(started: Started, tmp_path: Path) -> None:
    process = started("wait", 2)
    wait_for(process, tmp_path / "state", "attempt.json")
    while not psutil.Process(process.pid).children():
        time.sleep(0.001)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 128 + signal.SIGTERM
    assert reason(tmp_path) is None


@pytest.mark.parametrize("devices", [1, 2])
def test_a_rank_does_not_outlive_its_launcher(devices: int, started: Started, tmp_path: Path) -> None:
    process = started("wait", devices)
    wait_for(process, tmp_path / "state", "ready*", devices)
    process.kill()
    process.wait()
    wait_for(process, tmp_path / "state", "saved*", devices)


@pytest.mark.parametrize(
    ("status", "received", "stopped"),
    [(143, 0, 15), (151, 0, 23), (130, 0, 2), (-15, 0, 15), (-9, 15, 15), (-9, 0, None), (1, 15, None), (-11, 0, None)],
)
def test_what_counts_as_a_request_to_stop(status: int, received: int, stopped: int | None) -> None:
    assert End(status).stopped(received) == stopped


@pytest.mark.parametrize(
    ("line", "status", "who"),
    [
        ("srun: error: n2: task 1: Exited with exit code 1", 1, "1 on n2"),
        ("srun: error: n1: task 0: Killed", -9, "0 on n1"),
        ("srun: error: n1: tasks 0-1: Out Of Memory", -9, "0-1 on n1"),
        ("srun: error: n1: task 0: Segmentation fault (core dumped)", -11, "0 on n1"),
        ("srun: error: n1: task 0: Terminated", -15, "0 on n1"),
    ],
)
def test_what_srun_says_of_the_first_task_that_failed(line: str, status: int, who: str) -> None:
    found = Srun.TOLD.search(line.encode())
    assert found is not None
    assert Srun.told(found) == End(status, who)


def test_a_batch_job_carries_variables_of_slurm_but_nobody_started_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    for name in ("SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_PROCID"):
        monkeypatch.setenv(name, "1")
    assert launched_by() is None
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "by hand")
    assert launched_by() == "torchrun"
    monkeypatch.setenv("SSAR_LAUNCHED", "srun")
    assert launched_by() == "srun"


def test_several_nodes_need_slurm(root: Path, tmp_path: Path) -> None:
    config = {"method": "supervised", "version": 1, "dataset": "any", "data": {}, "labels": {"protocol": "all"}}
    config |= {"optim": {"lr": 0.1, "schedule": "constant"}, "train": {"steps": 1}, "options": {}}
    split = tmp_path / "split.csv"
    split.touch()
    words = ["--config", json.dumps(config), "--split", str(split), "--root", "r", "--model", "m"]
    words += ["--state", str(tmp_path / "state")]
    runtime = ["--runtime", '{"nodes": 2}']
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    command = [sys.executable, root / "workflow" / "cli.py", "train", *words, *runtime]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ssar: runtime.nodes is 2, and several nodes need a SLURM job")
    assert "several nodes" in (reason(tmp_path) or "")


def test_a_full_disk_is_one_clear_line_from_any_verb(root: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, root / "workflow" / "cli.py", "config", "grid"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert re.fullmatch(r"ssar: No space left on device; \d+ MB are free on the disk of .*\n", done.stderr)


def test_a_file_that_may_not_be_read_is_one_clear_line(root: Path) -> None:
    # root may read everything
    program = f"""
import os, runpy, sys; sys.path.insert(0, {str(root / "workflow")!r})
def refuse(path): raise PermissionError(13, "Permission denied", str(path))
os.listdir = refuse
sys.argv = ["cli.py", "status"]
runpy.run_path({str(root / "workflow" / "cli.py")!r}, run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "ssar: results/state: Permission denied\n")


def test_nothing_unpickles(root: Path) -> None:
    """Models and predictions may come from others, and a pickle is a program."""
    for path in (root / "workflow").rglob("*.py"):
        text = path.read_text()
        assert not re.search(r"^\s*(import|from) (pickle|joblib|dill|cloudpickle|shelve|marshal)\b", text, re.M), path
        for call in re.findall(r"torch\.load\((?:[^()]|\([^()]*\))*\)", text):
            assert "weights_only=True" in call, path
        for call in re.findall(r"np\.load\((?:[^()]|\([^()]*\))*\)", text):
            assert "allow_pickle=False" in call, path
        assert "allow_pickle=True" not in text, path
        assert "read_pickle" not in text, path


def test_the_launcher_holds_no_torch(root: Path) -> None:
    """It lives as long as the training, beside it on the node."""
    program = "import sys; import ssar.launch; sys.exit('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(root / "workflow")}
    assert subprocess.run([sys.executable, "-c", program], env=environment, check=False).returncode == 0
