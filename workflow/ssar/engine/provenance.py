"""run.json: what a run was made of, so that every number in a table leads back to it."""

from __future__ import annotations

import importlib.metadata
import platform
import resource
import subprocess
import sys
from pathlib import Path

import torch

PACKAGES = ("torch", "torchvision", "lightning-fabric", "numpy", "decord", "av", "torchcodec")


def versions() -> dict[str, str]:
    """Python and the installed packages that a result can depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_commit() -> dict[str, str | bool] | None:
    """Commit of the package's source and whether it had changes; None outside of a git checkout."""
    folder = Path(__file__).parents[1]

    def git(*words: str) -> str | None:
        try:
            answer = subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return None
        return answer.stdout.strip() if answer.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    return None if commit is None else {"commit": commit, "dirty": bool(git("status", "--porcelain", "--", "."))}


def device_name(device: torch.device) -> str:
    """The marketing name of the GPU or CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    if device.type == "cpu" and cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def peak_memory(device: torch.device) -> dict[str, int]:
    """Largest memory in bytes so far: resident in this process, and allocated on its GPU."""
    # ru_maxrss counts in KiB on Linux and in bytes on macOS
    unit = 1 if sys.platform == "darwin" else 1024
    peak = {"host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    if device.type == "cuda":
        peak["gpu"] = torch.cuda.max_memory_allocated(device)
    return peak
