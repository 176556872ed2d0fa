"""The environments agree with each other, and what must be light stays light."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# where an environment is made: marker variables that decide what the lock file and the requirements say there
PLATFORMS = {
    f"{system}-{machine}-{python}": {
        "sys_platform": system,
        "platform_machine": machine,
        "python_version": python,
        "python_full_version": f"{python}.1",
    }
    for system, machine in (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"))
    for python in ("3.11", "3.12", "3.13")
}
LINUX = PLATFORMS["linux-x86_64-3.11"]
HEAVY = ("torch", "torchvision", "pandas", "matplotlib", "sklearn", "lightning_fabric")


def locked(where: dict[str, str]) -> dict[str, str]:
    """The versions that requirements.lock installs on a platform, by canonical name."""
    versions: dict[str, str] = {}
    for line in re.findall(r"^[A-Za-z0-9].*==.*$", (ROOT / "requirements.lock").read_text(), re.MULTILINE):
        requirement = Requirement(line.rstrip("\\ "))
        if requirement.marker is None or requirement.marker.evaluate(where):
            name = canonicalize_name(requirement.name)
            assert name not in versions, f"{name} is locked twice for one platform"
            versions[name] = str(requirement.specifier).removeprefix("==")
    return versions


def required() -> list[Requirement]:
    return [Requirement(text) for text in PYPROJECT["project"]["dependencies"] + PYPROJECT["dependency-groups"]["dev"]]


@pytest.mark.parametrize("where", PLATFORMS.values(), ids=PLATFORMS)
def test_lock_satisfies_pyproject(where: dict[str, str]) -> None:
    versions = locked(where)
    problems = []
    for requirement in required():
        name = canonicalize_name(requirement.name)
        if requirement.marker is not None and not requirement.marker.evaluate(where):
            if name in versions:
                problems.append(f"{name} is locked where pyproject.toml leaves it out")
        elif name not in versions:
            problems.append(f"{name} is not locked")
        elif versions[name] not in requirement.specifier:
            problems.append(f"{name} {versions[name]} is not {requirement.specifier}")
    assert not problems, f"run `make lock`: {problems}"


def test_every_locked_package_has_hashes() -> None:
    text = (ROOT / "requirements.lock").read_text()
    blocks = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert [block.split()[0] for block in blocks if "--hash=sha256:" not in block] == []


def test_active_environment_is_the_locked_one() -> None:
    """`make test` runs in what it claims to run in."""
    from importlib.metadata import distributions

    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    here = {
        "sys_platform": sys.platform,
        "platform_machine": platform.machine(),
        "python_version": python,
        "python_full_version": platform.python_version(),
    }
    installed = {canonicalize_name(dist.metadata["Name"]): dist.version for dist in distributions()}
    wanted = locked(here)
    assert {name: installed.get(name) for name in wanted} == wanted


def conda(name: str) -> list[str | dict[str, list[str]]]:
    content = yaml.safe_load((ROOT / "envs" / name).read_text())
    assert content["channels"] == ["conda-forge", "nodefaults"]
    return list(content["dependencies"])


@pytest.mark.parametrize("name", ["ssar.yaml", "latex.yaml"])
def test_conda_environments_are_pinned(name: str) -> None:
    unpinned = [line for line in conda(name) if isinstance(line, str) and "=" not in line]
    assert not unpinned


def test_conda_environment_holds_the_locked_versions() -> None:
    (pip,) = (line["pip"] for line in conda("ssar.yaml") if isinstance(line, dict))
    listed = {canonicalize_name(Requirement(line).name): Requirement(line) for line in pip}
    versions = locked(LINUX)
    assert "python=3.11" in conda("ssar.yaml")
    assert {name: str(requirement.specifier) for name, requirement in listed.items()} == {
        name: f"=={versions[name]}" for name in listed
    }


def test_conda_environment_holds_every_requirement_of_the_jobs() -> None:
    """All of pyproject.toml but what plans and submits the jobs."""
    (pip,) = (line["pip"] for line in conda("ssar.yaml") if isinstance(line, dict))
    listed = {canonicalize_name(line.name): line.marker for line in map(Requirement, pip)}
    runtime = [Requirement(text) for text in PYPROJECT["project"]["dependencies"]]
    wanted = {canonicalize_name(line.name): line.marker for line in runtime if not line.name.startswith("snakemake")}
    assert listed == wanted


def test_container_installs_the_lock_file() -> None:
    definition = (ROOT / "envs" / "ssar.def").read_text()
    (python,) = re.findall(r"^From: python:(\d+\.\d+)-", definition, re.MULTILINE)
    assert f"python={python}" in conda("ssar.yaml")
    assert "    requirements.lock /opt/ssar/requirements.lock\n" in definition
    (sync,) = re.findall(r"uv pip sync (.*)$", definition, re.MULTILINE)
    assert "--require-hashes" in sync
    assert sync.endswith(" /opt/ssar/requirements.lock")


def test_versions_agree() -> None:
    import ssar

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PYPROJECT["project"]["version"] == ssar.__version__
    assert f"## {ssar.__version__}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "results" / "README.md", *(ROOT / "docs").glob("*.md")])
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def imported(code: str) -> set[str]:
    """The heavy modules that a piece of code imports, in a fresh interpreter."""
    report = f"\nimport sys; print('heavy:', *[name for name in {HEAVY} if name in sys.modules])"
    command = [sys.executable, "-c", code + report]
    environment = {"PYTHONPATH": str(ROOT / "workflow"), "PATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("heavy:")[2].split())


def test_planning_imports_nothing_heavy() -> None:
    """Snakemake reads the Snakefile again in every job: what it imports must start at once."""
    modules = re.findall(r"^from (ssar\S*) import", (ROOT / "Snakefile").read_text(), re.MULTILINE)
    assert {"ssar.config", "ssar.grid"} <= set(modules)
    assert imported("\n".join(f"import {module}" for module in modules)) == set()


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import contextlib, runpy, sys\nsys.argv = ['cli.py', '--help']\nwith contextlib.suppress(SystemExit):\n"
        f"    runpy.run_path({str(ROOT / 'workflow' / 'cli.py')!r}, run_name='__main__')"
    )
    assert imported(code) == set()
