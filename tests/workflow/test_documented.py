"""The commands of the README and of docs/ are commands."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workflow.conftest import ROOT
from tests.workflow.test_plans import snakemake

PAGES = [ROOT / "README.md", ROOT / "results" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
WITHOUT_CORES = {"-n", "--profile", "--unlock", "--report", "--lint", "--sdm"}


def commands(program: str) -> Iterator[tuple[Path, str, list[str]]]:
    """Page, command and its words, of blocks of shell and of code within lines; none with placeholders."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        blocks = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
        for line in (*"\n".join(blocks).replace("\\\n", " ").splitlines(), *inline):
            if line.startswith(f"{program} ") and not re.search(r"[<\[…]|\.\.\.|\b[A-Z]{3,}\b", line.split("#")[0]):
                yield page, line, shlex.split(line.removeprefix(program), comments=True)


def test_targets_are_planned(tmp_path: Path) -> None:
    asked: dict[tuple[str, ...], set[str]] = {}
    for page, command, words in commands("snakemake"):
        files = tuple(word for word in words if word.endswith(".yaml"))
        targets = {word for word in words if word.startswith("results/")}
        if targets:
            assert any(re.match(r"-c\d|--cores", word) or word in WITHOUT_CORES for word in words), (page, command)
        if all((ROOT / file).is_file() for file in files):  # else one of the reader's own
            asked.setdefault(files, set()).update(targets)
    assert len(asked[()]) > 10
    for files, targets in asked.items():
        if targets:
            overlays = ["--configfile", *(str(ROOT / file) for file in files)] if files else []
            snakemake(tmp_path, "-n", *sorted(targets), *overlays)


def test_verbs_and_options_exist(capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("cli", ROOT / "workflow" / "cli.py")
    assert spec is not None
    assert spec.loader is not None
    cli = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cli)
    found = list(commands("python workflow/cli.py"))
    assert len(found) > 15
    for page, command, words in found:
        try:
            cli._parser().parse_args(words)
        except SystemExit:
            pytest.fail(f"{page.name}: {command}\n{capsys.readouterr().err}")


def test_targets_of_make_exist() -> None:
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    found = list(commands("make"))
    assert len(found) > 5
    for page, command, words in found:
        assert {word for word in words if "=" not in word} <= known, (page, command)
