"""Resolve requirements.lock from pyproject.toml, then write its versions into the conda environment files.

Versions that the lock file has already are kept while they satisfy pyproject.toml; `--upgrade` takes the newest.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from bootstrap import LOCK, ROOT, call, find_uv

PIN = re.compile(r"^(\s*- )([A-Za-z0-9._-]+)==[^\s;]+(.*)$", re.MULTILINE)


def locked(text: str, python: tuple[int, int]) -> dict[str, str]:
    """Version of every package for one Python; where the lock forks by Python version, the fitting one."""
    versions = {}
    for name, version, marker in re.findall(r"^([A-Za-z0-9._-]+)==(\S+)(?: ; (.*?))?\s*\\?$", text, re.MULTILINE):
        bound = re.search(r"python_full_version (<|>=) '(\d+)\.(\d+)'", marker)
        if bound is None or (python < (int(bound[2]), int(bound[3]))) == (bound[1] == "<"):
            versions[name] = version
    return versions


def pin(file: Path) -> None:
    """Rewrite the `name==version` lines of a conda environment file to the lock file's versions."""
    text = file.read_text()
    python = re.search(r"- python=(\d+)\.(\d+)", text)
    if python is None:
        return
    versions = locked(LOCK.read_text(), (int(python[1]), int(python[2])))
    file.write_text(PIN.sub(lambda line: f"{line[1]}{line[2]}=={versions[line[2]]}{line[3]}", text))


def main() -> None:
    os.environ["UV_CUSTOM_COMPILE_COMMAND"] = "make lock"
    options = ("--universal", "--generate-hashes", "--python-version", "3.11", "--group", "dev")
    call(str(find_uv()), "pip", "compile", "--quiet", *options, *sys.argv[1:], "pyproject.toml", "-o", str(LOCK))
    for file in (ROOT / "envs").glob("*.yaml"):
        pin(file)


if __name__ == "__main__":
    main()
