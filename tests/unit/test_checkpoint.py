"""Stopping and resuming: signals, two generations of checkpoints, and what damage and full disks lead to."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from ssar.engine import interrupt as interrupts
from ssar.engine.checkpoint import Checkpoints
from ssar.engine.interrupt import Interrupt, leave
from ssar.engine.state import newest_checkpoint
from ssar.errors import UserError
from ssar.files import sha256


def test_round_trip_and_clear(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "state", "a1")
    assert checkpoints.load() is None
    state = {"step": 3, "weights": {"w": torch.arange(4.0)}, "rows": [{"loss": 0.5}]}
    checkpoints.save(state)
    loaded = checkpoints.load()
    assert loaded is not None
    assert torch.equal(loaded["weights"]["w"], torch.arange(4.0))
    assert loaded["step"] == 3
    assert loaded["rows"] == [{"loss": 0.5}]
    checkpoints.clear()
    assert checkpoints.load() is None
    assert list((tmp_path / "state").iterdir()) == []


def torn(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def flipped(path: Path) -> None:
    """One bit in the middle, which torch itself may read without complaint."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@contextmanager
def full_disk(room: int) -> Iterator[None]:
    """No file of this process may grow beyond that many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_the_name_tells_step_and_checksum_and_two_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "a1")
    for step in (9, 10, 100_000_000):
        checkpoints.save({"step": step})
    assert [path.name.split("-")[1] for path in checkpoints.files()] == ["100000000", "00000010"]
    assert all(path.stem.endswith(sha256(path)[:16]) for path in checkpoints.files())
    assert newest_checkpoint(tmp_path) == 100_000_000


@pytest.mark.parametrize("damage", [torn, flipped])
def test_a_damaged_file_gives_way_to_the_one_before(
    damage: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = Checkpoints(tmp_path, "a1")
    for step in (1, 2, 3):
        checkpoints.save({"step": step, "weights": torch.zeros(1000)})
    newest = checkpoints.files()[0]
    damage(newest)
    again = Checkpoints(tmp_path, "a1")
    loaded = again.load()
    assert loaded is not None
    assert loaded["step"] == 2
    assert f"damaged checkpoint {newest}" in capsys.readouterr().err
    # what is written now replaces the damaged one, not the whole one
    again.save({"step": 3})
    assert newest not in again.files()
    assert [int(path.name[11:19]) for path in again.files()] == [3, 2]


def test_two_damaged_files_are_told_and_never_silently_ignored(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "a1")
    for step in (1, 2):
        checkpoints.save({"step": step, "weights": torch.zeros(1000)})
    for path, damage in zip(checkpoints.files(), (torn, flipped), strict=True):
        damage(path)
    with pytest.raises(UserError, match=r"no checkpoint can be read; delete (.*\n.*00000002-.*\n.*00000001-.*)"):
        Checkpoints(tmp_path, "a1").load()


def test_a_file_that_cannot_be_read_is_not_a_damaged_one(tmp_path: Path) -> None:
    Checkpoints(tmp_path, "a1").save({"step": 1})
    (tmp_path / "checkpoint-00000002-0123456789abcdef.ckpt").mkdir()  # reading it is an OSError
    with pytest.raises(IsADirectoryError):
        Checkpoints(tmp_path, "a1").load()


def test_what_cannot_be_stored_leaves_the_last_one(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "a1")
    checkpoints.save({"step": 1})
    before = list(tmp_path.iterdir())
    with pytest.raises(Exception, match="pickle"):
        checkpoints.save({"step": 2, "unstorable": lambda: None})
    assert checkpoints.load() == {"step": 1}
    assert list(tmp_path.iterdir()) == before


@pytest.mark.parametrize("room", [0, 1000, 300_000])
def test_a_full_disk_is_told_and_leaves_the_last_one(room: int, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "a1")
    checkpoints.save({"step": 1})
    before = list(tmp_path.iterdir())
    words = (
        rf"step 2, which needs [\d.]+ MB, .* {tmp_path}: File too large; .* free .*last whole one is of step 1\. Make"
    )
    with full_disk(room), pytest.raises(UserError, match=words):
        checkpoints.save({"step": 2, "weights": torch.zeros(100_000), "more": torch.zeros(100_000)})
    assert checkpoints.load() == {"step": 1}
    assert list(tmp_path.iterdir()) == before


def test_the_state_of_other_settings_is_refused(tmp_path: Path) -> None:
    Checkpoints(tmp_path, "a1").save({"step": 1})
    with pytest.raises(UserError, match="other settings"):
        Checkpoints(tmp_path, "b2").load()


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A SLURM client on the path that writes down what it is asked; returns the file."""
    asked = tmp_path / "asked"
    client = tmp_path / "bin" / "scontrol"
    client.parent.mkdir()
    client.write_text(f'#!/bin/sh\necho "$@" >> {asked}\n')
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{client.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    return asked


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGURG])
def test_a_signal_is_noted_and_its_handler_given_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Interrupt() as interrupt:
        assert interrupt.received == 0
        signal.raise_signal(number)
        assert interrupt.received == number
    assert signal.getsignal(number) is before


def test_sigusr1_and_what_is_ignored_anyway_are_left_alone() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # by nohup
    try:
        with Interrupt():
            assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_ctrl_c_leaves_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with Interrupt() as interrupt:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)  # the same request, by another way
        monkeypatch.setattr(interrupts, "SAME", 0.0)
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert interrupt.received == signal.SIGTERM


@pytest.mark.parametrize(
    ("number", "speaks", "asked"),
    [(signal.SIGURG, True, "requeue 4711\n"), (signal.SIGURG, False, None), (signal.SIGTERM, True, None)],
)
def test_only_the_warning_before_the_time_limit_requeues_the_job_and_only_once(
    number: signal.Signals, speaks: bool, asked: str | None, scontrol: Path
) -> None:
    with pytest.raises(SystemExit) as caught:
        leave(number, requeue=speaks)
    assert caught.value.code == 128 + number
    assert (scontrol.read_text() if scontrol.exists() else None) == asked


@pytest.mark.parametrize("client", ["none", "one that does not answer", "one that refuses"])
def test_a_job_that_cannot_be_requeued_leaves_all_the_same(
    client: str, scontrol: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(interrupts, "ANSWER", 0.2)
    program = tmp_path / "bin" / "scontrol"
    if client == "none":
        program.unlink()
    else:
        program.write_text("#!/bin/sh\nexec sleep 5\n" if "answer" in client else "#!/bin/sh\necho no >&2; exit 1\n")
    with pytest.raises(SystemExit) as caught:
        leave(signal.SIGURG, requeue=True)
    assert caught.value.code == 128 + signal.SIGURG
    assert "scontrol requeue 4711 failed: " in capsys.readouterr().err
