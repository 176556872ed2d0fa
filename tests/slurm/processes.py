"""Processes of this machine, found by what their environment says."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path


def environment(pid: int) -> dict[str, str]:
    """The environment that a process was started with; nothing where it is gone or not ours to read."""
    try:
        text = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return {}
    return dict(entry.split("=", 1) for entry in text.split("\0") if "=" in entry)


def command(pid: int) -> str:
    """The command line of a process; nothing where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ").strip()
    except OSError:
        return ""


def parent(pid: int) -> int:
    """The process that has started a process; 0 where that is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def having(**variables: str) -> Iterator[int]:
    """The processes whose environment has all these values, this one left out."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            known = environment(int(entry.name))
            if known and all(known.get(name) == value for name, value in variables.items()):
                yield int(entry.name)


def writing(path: Path) -> list[int]:
    """The processes that have a file open."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            files = [os.readlink(link) for link in (entry / "fd").iterdir()]
        except OSError:  # it ended meanwhile
            continue
        if str(path) in files:
            found.append(int(entry.name))
    return found


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and is not waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state != "Z"


def send(number: signal.Signals, pids: Iterable[int]) -> int:
    """Send a signal; how many processes were still there to get it."""
    reached = 0
    for pid in pids:
        try:
            os.kill(pid, number)
            reached += 1
        except ProcessLookupError:
            continue
    return reached


@contextlib.contextmanager
def frozen(pids: Sequence[int]) -> Iterator[None]:
    """A block in which processes stand still; signals wait for its end."""
    send(signal.SIGSTOP, pids)
    try:
        yield
    finally:
        send(signal.SIGCONT, pids)


def warned(pid: int, number: signal.Signals) -> bool:
    """Whether a process that stands still has been sent a signal; also where it has ended since."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
    found = re.search(r"^ShdPnd:\s*([0-9a-f]+)$", text, re.MULTILINE)
    return found is not None and bool(int(found[1], 16) & 1 << (number - 1))


def wait_for(condition: Callable[[], object], seconds: float, every: float = 0.1) -> bool:
    """Whether a condition came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True
