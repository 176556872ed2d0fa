"""Parallel work on videos: order, and that nothing that goes wrong with a video goes unnamed or hangs the run."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
import torch

from ssar.data.arena import Parcel, Receiver, Sender, Slots
from ssar.data.watchdog import Board, Patience, beat
from ssar.data.workers import in_order
from ssar.errors import UserError


class Task(NamedTuple):
    video: str
    number: int


TASKS = [Task(f"class/video{number}.avi", number) for number in range(12)]


def square(task: Task) -> tuple[int, int]:
    time.sleep(0.02 if task.number % 3 == 0 else 0)  # so that workers overtake each other
    return task.number**2, os.getpid()


def stumble(task: Task) -> int:
    """Goes wrong at the sixth video, in the way that its name says."""
    if task.number == 6:
        match Path(task.video).stem:
            case "hangs":
                time.sleep(600)
            case "kills":
                os.kill(os.getpid(), signal.SIGKILL)
            case "fails":
                raise UserError(f"{task.video} is broken")
            case "bug":
                raise RuntimeError("a mistake in the code")
            case "slow":
                for _ in range(12):
                    time.sleep(0.5)
                    beat()
    return task.number


def run(how: str, workers: int, seconds: float = 60.0) -> list[int]:
    tasks = [task._replace(video=f"class/{how}.avi") if task.number == 6 else task for task in TASKS]
    return [result for _, result in in_order(stumble, tasks, workers=workers, seconds=seconds)]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_results_come_in_the_order_of_the_items(workers):
    found = list(in_order(square, iter(TASKS), workers=workers, seconds=60.0))
    assert [task for task, _ in found] == TASKS
    assert [result for _, (result, _) in found] == [task.number**2 for task in TASKS]
    assert len({pid for _, (_, pid) in found} - {os.getpid()}) == workers


@pytest.mark.parametrize("workers", [0, 2])
def test_a_failing_video_is_named(workers):
    with pytest.raises(UserError, match=r"^class/fails.avi is broken$"):
        run("fails", workers)


def test_a_hanging_video_is_named_and_ends_the_run():
    start = time.monotonic()
    with pytest.raises(UserError, match=r"silent for \d+ s while reading class/hangs.avi"):
        run("hangs", workers=2, seconds=5.0)
    assert time.monotonic() - start < 60
    assert not [child for child in multiprocessing.active_children() if "DataLoader" in child.name]


def test_a_dying_process_is_named():
    with pytest.raises(UserError, match=r"died while reading class/kills.avi"):
        run("kills", workers=2)


class BrokenPipe:
    """In the place of torch's loader: its one worker dies at a video, which shows as a broken connection at first."""

    def __init__(self, work: object, *, worker_init_fn: Any, **_: object) -> None:
        (self.board,) = worker_init_fn.args

    def __iter__(self) -> Iterator[object]:
        if (pid := os.fork()) == 0:
            self.board.start(0, "class/kills.avi")
            os._exit(1)
        os.waitpid(pid, 0)
        raise ConnectionResetError("Connection reset by peer")
        yield


def test_a_process_that_dies_while_it_hands_a_result_over_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ssar.data.workers.DataLoader", BrokenPipe)
    with pytest.raises(UserError, match=r"died while reading class/kills.avi: Connection reset"):
        run("well", workers=1)


def test_a_bug_is_not_dressed_up_as_a_broken_video():
    with pytest.raises(RuntimeError, match="a mistake in the code"):
        run("bug", workers=1)


def test_long_work_that_shows_signs_of_life_is_left_alone():
    assert run("slow", workers=1, seconds=5.0) == [task.number for task in TASKS]


def test_a_hang_without_workers_is_named_before_the_process_is_killed(root):
    script = "import test_workers; test_workers.run('hangs', workers=0, seconds=3.0)"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment(root), capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert "while reading class/hangs.avi" in done.stderr


def terminate_all(task: Task) -> int:
    """A scheduler's or terminal's request to stop to every process of the job but the one that trains."""
    if task.number == 4:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            for pid in (os.getpid(), os.getppid()):
                os.kill(pid, number)
    return task.number


def test_workers_outlive_the_signals_that_the_training_answers():
    found = [result for _, result in in_order(terminate_all, TASKS, workers=2, seconds=60.0)]
    assert found == [task.number for task in TASKS]


def report_and_wait(folder: Path) -> None:
    """Consume one result, then write the workers' process ids to `folder` and wait to be killed."""
    results = in_order(square, TASKS, workers=2, seconds=60.0)
    next(results)
    (folder / "pids").write_text(" ".join(str(child.pid) for child in multiprocessing.active_children()))
    (folder / "pids").rename(folder / "ready")
    time.sleep(600)


def test_workers_do_not_outlive_a_killed_process(root, tmp_path):
    script = f"import pathlib, test_workers; test_workers.report_and_wait(pathlib.Path({str(tmp_path)!r}))"
    process = subprocess.Popen([sys.executable, "-c", script], env=environment(root))
    wait_until((tmp_path / "ready").exists)
    workers = [int(pid) for pid in (tmp_path / "ready").read_text().split()]
    assert len(workers) == 2
    process.kill()
    process.wait()
    wait_until(lambda: not any(map(runs, workers)))


def runs(pid: int) -> bool:
    """Whether there is such a process; one that is dead may wait long for a container's first process to notice."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail("waited for a minute in vain")


def environment(root: Path) -> dict[str, str]:
    paths = [str(root / "workflow"), str(Path(__file__).parent)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def test_nothing_is_left_running_when_the_consumer_stops_early():
    results = in_order(square, TASKS, workers=2, seconds=60.0)
    next(results)
    results.close()
    assert not [child for child in multiprocessing.active_children() if "DataLoader" in child.name]


def test_the_board_shows_the_longest_work_first():
    board = Board(3)
    for row in range(3):
        board.enrol(row)
    board.start(2, "a/ü.avi")
    time.sleep(0.01)
    board.start(0, "b" * 2000)
    board.start(1, "c.avi")
    board.finish(1)
    assert [entry.video for entry in board.busy()] == ["a/ü.avi", "b" * 1000]
    assert board.busy()[0].pid == os.getpid()


def test_a_job_that_was_suspended_loses_no_video(monkeypatch: pytest.MonkeyPatch):
    now = 1000.0
    monkeypatch.setattr("ssar.data.watchdog.time.monotonic", lambda: now)

    def wait(seconds: float) -> list[str]:
        """Ask once a second, as the watch does; who was lost at the end."""
        nonlocal now
        for _ in range(int(seconds)):
            now += 1.0
            lost = patience.lost()
        return [entry.video for entry in lost]

    board = Board(2)
    patience = Patience(board, 60.0)
    board.start(0, "a.avi")
    assert wait(50) == []
    now += 600  # nobody ran
    assert wait(50) == []
    board.start(1, "b.avi")
    assert wait(12) == ["a.avi"]
    assert wait(50) == ["a.avi", "b.avi"]


class Pair(NamedTuple):
    first: torch.Tensor | None
    second: torch.Tensor


def tensors(task: Task) -> Pair:
    """Of sizes that grow and shrink, so that slots are outgrown and used again; one is not contiguous."""
    number = task.number
    first = torch.full((number % 5 + 1, 40), number, dtype=torch.uint8) if number % 4 else None
    return Pair(first, torch.arange(6 * (number % 7)).view(2, -1).T + number)


def test_tensors_arrive_as_they_were_and_stay():
    tasks = [Task(f"video{number}.avi", number) for number in range(60)]
    found = [result for _, result in in_order(tensors, tasks, workers=2, seconds=60.0)]
    for task, pair in zip(tasks, found, strict=True):
        wanted = tensors(task)
        assert (pair.first is None) == (wanted.first is None)
        assert pair.first is None or torch.equal(pair.first, wanted.first)
        assert torch.equal(pair.second, wanted.second)
        assert pair.second.dtype == torch.int64


def test_a_full_arena_and_an_empty_tensor_are_no_obstacle():
    slots = Slots(workers=1, count=2)
    sender, receiver = Sender(slots, 0), Receiver(slots, pin_memory=False)
    clips = [torch.full((3, 2), number) for number in range(4)]
    packed = [sender.pack(clip) for clip in clips]
    assert [isinstance(each, Parcel) for each in packed] == [True, True, False, False]
    assert all(torch.equal(receiver.unpack(each), clip) for each, clip in zip(packed, clips, strict=True))
    again = sender.pack(clips[3])
    assert isinstance(again, Parcel)
    assert again.memory is None
    assert torch.equal(receiver.unpack(again), clips[3])
    assert sender.pack(torch.empty(0)).shape == (0,)
