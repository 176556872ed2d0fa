"""Fixtures and limits of all tests."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# neither chance nor a busy machine decides whether tests pass; `--hypothesis-profile default` looks for new examples
settings.register_profile(
    "same", derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("same")

# two test processes share two cores; set before any test imports numpy or torch, and inherited by what it starts
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

# nohup and `&` of a script ignore these, for whatever is started as well; trainings obey that, and tests send them
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)


@pytest.fixture(autouse=True)
def same_random_numbers() -> None:
    """What a test draws does not depend on the tests that ran before it in the same process."""
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(0)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_videos() -> Path:
    """A folder with real videos (`ucf101-8/`, `clips/`, `lists/`), named by SSAR_REAL_VIDEOS; skips without it."""
    folder = os.environ.get("SSAR_REAL_VIDEOS")
    if not folder:
        pytest.skip("SSAR_REAL_VIDEOS names no folder of real videos")
    path = Path(folder)
    if not path.is_dir():
        pytest.fail(f"SSAR_REAL_VIDEOS names {path}, which is not a folder")
    return path
