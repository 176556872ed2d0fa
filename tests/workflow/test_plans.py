"""Dry runs at paper scale, and the linter."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflow.conftest import ROOT, job_counts


def snakemake(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "snakemake",
            "--snakefile",
            str(ROOT / "Snakefile"),
            "--directory",
            str(folder),
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


PAPERS = {
    "ltg": (
        ["1", "2", *(f"3{part}" for part in "abcdefg"), "4", "5", "6"],
        ["1", "3", "4", "5"],
    ),
    "cmpl": (
        [*"123456", "a1", "a2", "a3", "a4"],
        ["1", "2", "4a", "4b", "4c", "5", "6", "7"],
    ),
    "timebalance": ([*"1234567"], ["1", "4", "5"]),
    "acl-mtl": ([*"123456"], ["1", "5-5", "5-10", "6"]),
}
"""Every table and figure with results. LTG 2, CMPL 3, TimeBalance 2, 3, 6, 7 and ACL+MTL 2 to 4 are
drawings of the methods."""


def test_every_table_figure_and_claim_of_the_papers_is_planned(tmp_path: Path):
    text = snakemake(tmp_path, "-n")
    for paper, (tables, figures) in PAPERS.items():
        for name in tables:
            assert f"results/tables/{paper}/table{name}.tex" in text
        for name in figures:
            assert f"results/figures/{paper}/figure{name}.pdf" in text
        assert f"results/claims/{paper}.md" in text
    assert "results/tables/benchmark.tex" in text
    assert "results/report.html" in text
    planned = job_counts(text)
    assert planned["report"] == 1
    assert planned["claims"] == len(PAPERS)


def test_all_tables_of_a_paper_are_one_document(tmp_path: Path):
    planned = job_counts(snakemake(tmp_path, "-n", "results/tables/acl-mtl/all.pdf"))
    assert planned["typeset_all"] == 1
    assert planned["table"] == 6


def test_table2_is_planned_from_download_to_table(tmp_path: Path):
    planned = job_counts(snakemake(tmp_path, "-n", "results/tables/table2.tex"))
    # nine settings, three seeds; LTG and our FixMatch are the rows that train
    assert planned["fetch"] == planned["extract"] == planned["index"] == 3
    assert planned["split"] == 9
    assert planned["extract_tg"] == 2  # Kinetics-400 computes its gradients online
    assert planned["train_student"] == planned["predict"] == planned["metrics"]
    assert planned["train_student"] % 27 == 0
    assert planned["table"] == 1


def test_an_ablation_plans_its_own_jobs_only(tmp_path: Path):
    planned = job_counts(snakemake(tmp_path, "-n", "results/ablations/ltg/no-stopgrad.json"))
    assert planned == {
        "fetch": 1,
        "extract": 1,
        "lists_of": 2,
        "index": 1,
        "split": 1,
        "extract_tg": 1,
        "train_student": 3,
        "predict": 3,
        "metrics": 3,
        "ablation": 1,
    }


def test_the_workflow_is_lint_free(tmp_path: Path):
    assert "Congratulations" in snakemake(tmp_path, "--lint")


@pytest.mark.parametrize(
    ("targets", "datasets", "wanted"),
    [
        (["cmpl/table1", "cmpl/hmdb51"], {"ucf101", "hmdb51", "kinetics400"}, {"train_student"}),
        (
            ["timebalance/table1"],
            {"ucf101", "hmdb51", "kinetics400"},
            {"pretrain_teacher", "similarity", "finetune_teacher", "train_student"},
        ),
        (["acl-mtl/table1"], {"ucf101", "hmdb51", "kinetics400"}, {"train_student"}),
        (["cmpl/tablea1"], {"ucf101", "kinetics400"}, {"train_student"}),
    ],
)
def test_the_other_papers_are_planned_at_their_scale(
    tmp_path: Path, targets: list[str], datasets: set[str], wanted: set[str]
):
    text = snakemake(tmp_path, "-n", *(f"results/tables/{target}.tex" for target in targets))
    planned = job_counts(text)
    assert planned["fetch"] == planned["extract"] == planned["index"] == len(datasets)
    assert set(re.findall(r"results/data/(\w+)/index.csv", text)) == datasets
    stages = ["pretrain_teacher", "similarity", "finetune_teacher", "train_student"]
    assert {stage for stage in stages if stage in planned} == wanted
    assert planned["predict"] == planned["metrics"] <= planned["train_student"] + planned.get("finetune_teacher", 0)
    if "pretrain_teacher" in wanted:
        # jobs are listed in an order in which they could run: teachers before their students
        words = {"pretrain_teacher": "pretrain", "similarity": "temporal similarities"}
        words |= {"finetune_teacher": "fine-tune", "train_student": "train"}
        first = {stage: re.search(rf"^Job \d+: {word} ", text, re.MULTILINE).start() for stage, word in words.items()}
        assert first["pretrain_teacher"] < first["finetune_teacher"] < first["train_student"]
        assert first["pretrain_teacher"] < first["similarity"] < first["train_student"]
