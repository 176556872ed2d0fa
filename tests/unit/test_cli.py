"""What the command line says to a mistake: one line that names it, status 1, and never a traceback."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from ssar.project import CONFIG

Cli = Callable[..., str]


@pytest.fixture
def cli(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Give a command that must be refused, in an empty folder; returns what it says."""
    spec = importlib.util.spec_from_file_location("cli", root / "workflow" / "cli.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["cli.py", *words])
        with pytest.raises(SystemExit) as caught:
            module.main()
        assert "Traceback" not in capsys.readouterr().err
        assert isinstance(caught.value.code, str)  # which ends with status 1
        return caught.value.code

    return run


FOLDER = '{"kind": "folder", "root": "/nowhere"}'
INDEX = ("index", "--root", "r", "--index", "i.csv", "--report", "r.md", "--config")
PREDICT = ("predict", "--model", "m", "--split", "s", "--root", "r", "--views", "1x1-logits", "--out", "p.npz")
TRAIN = ("train", "--split", "s", "--root", "r", "--model", "m/model.pt", "--state", "state", "--config")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((*INDEX, "mine.yaml"), "--config: this is no JSON"),
        ((*INDEX, "[]"), "--config: expected a JSON object"),
        ((*INDEX, '{"kind": "foldr"}'), "key `kind`: input should be 'synthact', 'folder' or 'download'"),
        (("split", "--config", FOLDER, "--labels", "all", "--index", "i", "--out", "o"), "--labels: this is no JSON"),
        ((*PREDICT, "--runtime", '{"device": 1}'), "key `device`: unknown key; did you mean `devices`?"),
        ((*TRAIN, "mine.yaml"), "--config: this is no JSON"),
        (("claims", "nope", "--out", "c.md"), "unknown paper `nope`; known: ltg, cmpl"),
        (("status", "--project", "x"), "--project: this is no JSON"),
        (("status", "--configfile", str(CONFIG)), ": Is a directory"),
        (("extract", "--downloads", "no.json", "--out", "o"), "No such file or directory: 'no.json'"),
    ],
)
def test_mistakes_are_told_in_words(cli: Cli, words: tuple[str, ...], told: str) -> None:
    assert told in cli(*words)


def test_what_is_no_configuration_is_no_failed_attempt(cli: Cli, tmp_path: Path) -> None:
    cli(*TRAIN, "x")
    assert not (tmp_path / "state").exists()


def test_a_folder_that_takes_no_files_is_named(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    assert re.search("results/.*schema", cli("config", "schema", "--out", "results/schema"))


def test_targets_of_a_configuration_are_checked_all_at_once(cli: Cli, tmp_path: Path) -> None:
    right = ["tables/ltg/all.pdf", "tables/table2.md", "claims/ltg.md", "report.html", "data/ucf101/index.csv"]
    wrong = ["tables/ltg/table99.tex", "figures/nobody/figure1.pdf", "claims/x.md", "results/tables/table1.tex"]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"targets": right + wrong}))
    lines = cli("config", "check", "--configfile", "mine.yaml").splitlines()[1:]
    assert len(lines) == len(wrong)
    assert all(f"target `{name}`" in line for name, line in zip(wrong, lines, strict=True))
