"""Stopping and resuming: signals, two generations of checkpoints, and what a foreign or torn file leads to."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch

from ssar.engine.checkpoint import Checkpoints
from ssar.engine.interrupt import Interrupt, leave
from ssar.errors import UserError


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


def test_a_torn_file_gives_way_to_the_one_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoints = Checkpoints(tmp_path, "a1")
    for step in (1, 2, 3):
        checkpoints.save({"step": step, "weights": torch.zeros(1000)})
    content = checkpoints.last.read_bytes()
    checkpoints.last.write_bytes(content[: len(content) // 2])
    loaded = checkpoints.load()
    assert loaded is not None
    assert loaded["step"] == 2
    assert str(checkpoints.last) in capsys.readouterr().err


def test_a_crash_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "a1")
    checkpoints.save({"step": 1})
    checkpoints.last.rename(checkpoints.previous)
    assert checkpoints.load() == {"step": 1}


def test_a_failed_write_keeps_the_last_one(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "a1")
    checkpoints.save({"step": 1})
    with pytest.raises(Exception, match="pickle"):
        checkpoints.save({"step": 2, "unstorable": lambda: None})
    assert checkpoints.load() == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_unreadable_files_are_told_and_never_silently_ignored(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "a1")
    checkpoints.last.write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match=r"no checkpoint can be read.*\n.*last\.ckpt"):
        checkpoints.load()


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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGURG])
def test_a_signal_is_noted_and_its_handler_given_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Interrupt() as interrupt:
        assert interrupt.received == 0
        signal.raise_signal(number)
        assert interrupt.received == number
    assert signal.getsignal(number) is before


def test_sigusr1_is_left_alone() -> None:
    with Interrupt():
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


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
