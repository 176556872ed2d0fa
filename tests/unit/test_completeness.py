"""How much of a dataset is here: counted against its lists, refused by a split, told below every table."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.videos import make_folder, moving_frames, write_video

from ssar.config import DatasetConfig, LabelsConfig, ListFile, ListSplit
from ssar.data.completeness import Completeness, completeness_path
from ssar.data.index import build_index
from ssar.data.layout import lay_out
from ssar.data.probe import Probe
from ssar.data.protocols import make_split
from ssar.data.selection import usable_videos
from ssar.data.verified import Verified
from ssar.errors import UserError
from ssar.evaluation.metrics import write_metrics
from ssar.evaluation.predictions import Predictions, write_predictions
from ssar.grid import build
from ssar.project import CONFIG
from ssar.reporting.notes import notes
from ssar.reporting.results import read_cell
from ssar.reporting.spec import TableSpec
from ssar.targets import Targets


def listed(folder: Path, train: list[str], test: list[str], **options: object) -> DatasetConfig:
    """A dataset with lists of `Class/video` and labels in the order of the classes."""
    names = sorted({line.partition("/")[0] for line in train})
    files = {}
    for split, lines in (("train", train), ("test", test)):
        path = folder / f"{split}.txt"
        path.write_text("".join(f"{line}.avi {names.index(line.partition('/')[0])}\n" for line in lines))
        files[split] = ListFile(path=str(path))
    return DatasetConfig(kind="folder", root="unused", **files, **options)  # type: ignore[arg-type]


def index(config: DatasetConfig, root: Path) -> Path:
    """The folder with the index and what lies beside it."""
    out = root.parent / "gym"
    build_index(config, root, out / "index.csv", out / "report.md", jobs=1)
    return out


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def damaged(tmp_path: Path) -> tuple[DatasetConfig, Path]:
    """Lists of 9 videos: two are missing, one does not decode, two are equal in one class, two in different ones."""
    root = tmp_path / "videos"
    make_folder(root, ["jump", "run"], 3)
    (root / "jump" / "jump_02.mp4").unlink()
    (root / "run" / "run_02.mp4").write_bytes(b"broken")
    shutil.copy(root / "run" / "run_00.mp4", root / "run" / "same.mp4")
    shutil.copy(write_video(root / "jump" / "both_1.mp4", moving_frames(5, seed=9)), root / "run" / "both_2.mp4")
    write_video(root / "run" / "extra.mp4", moving_frames(5, seed=8))
    train = ["jump/jump_00", "jump/jump_02", "jump/both_1", "run/run_00", "run/run_02", "run/same", "run/both_2"]
    test = ["jump/jump_01", "run/run_01", "run/gone"]
    return listed(tmp_path, train, test, licence="CC BY", citation="@misc{x}\n"), root


def test_the_report_counts_what_the_lists_name(damaged: tuple[DatasetConfig, Path]) -> None:
    out = index(*damaged)
    text = (out / "report.md").read_text()
    assert "**Incomplete**: 5 of 10 listed videos cannot be used (2 missing, 3 unusable)." in text
    assert "- Licence: CC BY\n" in text
    assert "```bibtex\n@misc{x}\n```" in text
    assert "| training | 7 | 6 | 2 | 1 | 3 | 1 |" in text
    assert "| test | 3 | 2 | 2 | 1 | 0 | 0 |" in text
    # label, class; listed, found, usable, missing, unusable, duplicate; training and test videos that are used
    assert "| 0 | jump | 4 | 3 | 2 | 1 | 1 | 0 | 1 | 1 |" in text
    assert "| 1 | run | 6 | 5 | 2 | 1 | 2 | 1 | 1 | 1 |" in text
    for told in (
        "- run/gone (test; ",
        "not a readable video",
        "duplicate of run/run_00.mp4",
        "conflict",
        "run/extra.mp4",
    ):
        assert told in text
    assert [tuple(row.values())[:2] for row in rows(out / "missing.csv")] == [
        ("jump/jump_02", "train"),
        ("run/gone", "test"),
    ]
    assert rows(out / "missing.csv")[1]["where"].endswith("test.txt, line 3")
    assert Completeness.read(out / "completeness.json") == Completeness("gym", listed=10, missing=2, unusable=3)


def test_a_split_refuses_and_says_what_to_write(damaged: tuple[DatasetConfig, Path]) -> None:
    config, root = damaged
    out, labels = index(config, root), LabelsConfig(protocol="all")
    with pytest.raises(UserError, match=r"2 are missing and 3 unusable, and `allow_missing` admits 0") as caught:
        make_split(out / "index.csv", config, labels, out / "split.csv")
    assert str(out / "report.md") in str(caught.value)
    assert "unpacks them again" not in str(caught.value)
    assert not (out / "split.csv").exists()
    # of what was downloaded
    (out / "unpacked.json").touch()
    again = r"remove \S+unpacked\.json and all of \S+videos: .* unpacks them again\.\nComplete"
    with pytest.raises(UserError, match=again):
        make_split(out / "index.csv", config, labels, out / "split.csv")
    # its last line is yaml that helps, and one less does not
    admitted = yaml.safe_load(str(caught.value).splitlines()[-1])["datasets"]["gym"]
    with pytest.raises(UserError, match="is incomplete"):
        make_split(out / "index.csv", config.model_copy(update={"allow_missing": 4}), labels, out / "split.csv")
    make_split(out / "index.csv", config.model_copy(update=admitted), labels, out / "split.csv")
    assert len(rows(out / "split.csv")) == 4


def test_what_the_dataset_lacks_a_protocol_may_name(damaged: tuple[DatasetConfig, Path], tmp_path: Path) -> None:
    config, root = damaged
    (tmp_path / "few.txt").write_text("jump/jump_02.avi 0\njump/jump_00.avi 0\nrun/run_02.avi 1\nrun/same.avi 1\n")
    few = ListSplit(labelled=ListFile(path=str(tmp_path / "few.txt")))
    config = config.model_copy(update={"allow_missing": 5, "protocols": {"few": few}})
    out = index(config, root)
    make_split(out / "index.csv", config, LabelsConfig(protocol="few"), out / "split.csv")
    # run/same is a duplicate of run/run_00, which takes its label
    labelled = ["jump/jump_00.mp4", "run/run_00.mp4"]
    assert [row["path"] for row in rows(out / "split.csv") if row["labelled"] == "1"] == labelled


def test_nearly_everything_may_be_missing_and_the_report_still_comes(tmp_path: Path) -> None:
    make_folder(tmp_path / "videos", ["run"], 2)
    config = listed(tmp_path, ["jump/a", "run/run_00", "sit/c"], ["jump/b", "run/run_01"])
    out = index(config, tmp_path / "videos")
    assert "classes without a usable video: jump, sit" in (out / "report.md").read_text()
    assert {row["label"] for row in rows(out / "index.csv")} == {"0"}  # labels have no gaps
    # only the number of classes is a matter of the dataset's shape
    with pytest.raises(UserError, match=r"usable videos of 1 classes, .* says 3; without any: jump, sit"):
        index(config.model_copy(update={"classes": 3}), tmp_path / "videos")


def test_a_dataset_without_lists_is_complete(tmp_path: Path) -> None:
    make_folder(tmp_path / "videos", ["jump", "run"], 2)
    (tmp_path / "videos" / "run" / "bad.mp4").write_bytes(b"broken")
    out = index(DatasetConfig(kind="folder", root="unused"), tmp_path / "videos")
    assert "**Complete**: no list names its videos; 4 files can be used, 1 cannot." in (out / "report.md").read_text()
    assert Completeness.read(out / "completeness.json").lost == 0
    assert rows(out / "missing.csv") == []
    make_split(out / "index.csv", DatasetConfig(kind="folder", root="x"), LabelsConfig(protocol="all"), out / "s.csv")


def test_lists_that_contradict_the_folder_or_each_other_are_refused(tmp_path: Path) -> None:
    make_folder(tmp_path / "videos", ["jump", "run"], 2)
    config = listed(tmp_path, ["jump/jump_00", "run/run_00"], ["jump/jump_00"])
    with pytest.raises(UserError, match=r"test\.txt, line 1: jump/jump_00 means jump/jump_00.mp4, as does"):
        index(config, tmp_path / "videos")
    config = listed(tmp_path, ["jump/jump_00", "run/run_00"], ["jump/jump_01"])
    (tmp_path / "test.txt").write_text("sit/x.avi 2\n")
    with pytest.raises(UserError, match=r"(?s)classes of the test list without a video in the training list.*sit"):
        index(config, tmp_path / "videos")


FATES = st.lists(st.sampled_from(["good", "bad", "gone", "twin"]), min_size=2, max_size=8)


@settings(max_examples=30, deadline=None)
@given(train=FATES, test=FATES)
def test_every_listed_video_is_counted_once(
    tmp_path_factory: pytest.TempPathFactory, train: list[str], test: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("listed")
    root = folder / "videos"
    probes, lines = {}, {}
    for split, fates in (("train", train), ("test", test)):
        lines[split] = [f"{'ab'[number % 2]}/{split}{number}" for number in range(len(fates))]
        for line, fate in zip(lines[split], fates, strict=True):
            path = f"{line}.mp4"
            if fate != "gone":
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).touch()
            digest = f"twin of {line[0]}" if fate == "twin" else path
            good = Probe(frames=9, stated=9, fps=25, width=8, height=8, sha1=digest)
            probes[path] = replace(good, problem="broken") if fate == "bad" else good
    config = listed(folder, lines["train"], lines["test"])
    if not any(fate != "gone" for fate in train + test):
        with pytest.raises(UserError, match="no videos in"):
            lay_out(config, root if root.exists() else folder)
        return
    layout = lay_out(config, root)
    usable = usable_videos(layout, probes)
    found = Verified("x", config, root, layout, usable, probes, {"a": 0, "b": 1})
    total = found.tally()
    assert total.listed == len(train + test)
    assert (total.missing, total.unusable) == ((train + test).count("gone"), (train + test).count("bad"))
    assert total.usable == len(usable)
    assert total.usable + total.duplicate + total.missing + total.unusable == total.listed
    assert total.found == total.listed - total.missing
    assert [sum(parts) for parts in zip(found.tally(split="train"), found.tally(split="test"), strict=True)] == [*total]
    assert [sum(parts) for parts in zip(found.tally("a"), found.tally("b"), strict=True)] == [*total]
    assert found.completeness.lost == total.missing + total.unusable
    assert len(list(found.missing())) == total.missing
    # a video that is left out is never also used, and nothing is left out without a word
    assert {item.path for item in layout.excluded}.isdisjoint(video.path for video in usable)
    assert len(layout.excluded) + len(usable) == total.found


# --- where the number goes ------------------------------------------------------------------------

TABLE = {
    "caption": "C", "source": "S", "stub": ["Method"],
    "columns": [{"key": "a", "header": ["A"], "setting": "a.all"}],
    "rows": [{"key": "m", "header": ["M"], "variant": "m"}],
}  # fmt: skip


def footnotes(metrics: list[Path]) -> list[str]:
    spec = TableSpec.model_validate(TABLE)
    return list(notes(spec, spec.columns, [[read_cell(metrics, "top1", None)]], {}, None, "10x3-256-logits"))


def test_metrics_and_tables_tell_what_was_left_out(tmp_path: Path) -> None:
    config = {"dataset": "ucf101", "labels": {"protocol": "all"}, "seed": 0}
    scores, labels = np.eye(2, dtype=np.float32), np.array([0, 1])
    features = np.zeros((2, 3), np.float16)
    found = Predictions(np.array(["a", "b"]), labels, scores, features, ["x", "y"], "1x1", json.dumps(config), "ab")
    write_predictions(tmp_path / "p.npz", found)
    (tmp_path / "run.json").write_text("{}")
    own, other = (completeness_path(tmp_path / name / "index.csv") for name in ("ucf101", "kinetics400"))
    Completeness("ucf101", listed=13320, missing=2, unusable=1).write(own)
    Completeness("kinetics400", listed=266442, missing=5303, unusable=0).write(other)
    write_metrics(tmp_path / "p.npz", "the-run", tmp_path / "run.json", [own, other], tmp_path / "metrics.json")
    parts = json.loads((tmp_path / "metrics.json").read_text())["completeness"]
    assert [part["missing"] for part in parts] == [2, 5303]
    told = footnotes([tmp_path / "metrics.json", tmp_path / "metrics.json"])
    wanted = [
        "ucf101: 3 of 13,320 listed videos are missing or unusable.",
        "kinetics400: 5,303 of 266,442 listed videos are missing or unusable.",
    ]
    assert [note for note in told if "listed videos" in note] == wanted
    # nothing of a complete dataset, and results of before that was counted are read as they are
    Completeness("ucf101", listed=13320, missing=0, unusable=0).write(own)
    write_metrics(tmp_path / "p.npz", "the-run", tmp_path / "run.json", [own], tmp_path / "metrics.json")
    old = json.loads((tmp_path / "metrics.json").read_text())
    del old["completeness"]
    (tmp_path / "old.json").write_text(json.dumps(old))
    assert not [note for note in footnotes([tmp_path / "metrics.json", tmp_path / "old.json"]) if "listed" in note]


def test_a_run_tells_of_both_datasets_that_it_reads(tmp_path: Path) -> None:
    name = "ucf101.all+kinetics400"
    setting = {"dataset": "ucf101", "labels": "all", "unlabelled": "kinetics400"}
    (tmp_path / "mine.yaml").write_text(
        yaml.safe_dump({"paper": "cmpl", "papers": ["cmpl"], "seeds": [0], "settings": {name: setting}})
    )
    targets = Targets(build([CONFIG / "config.yaml", tmp_path / "mine.yaml"]))
    runs = {run.config.method: run.id for run in targets.grid.runs.values()}
    both = [f"results/data/{name}/completeness.json" for name in ("ucf101", "kinetics400")]
    assert targets.completeness(runs["cmpl"]) == both


def test_a_damaged_or_lost_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="index the dataset again"):
        Completeness.read(tmp_path / "completeness.json")
    for content in ("", "[]", '{"dataset": "x", "listed": 1}'):
        (tmp_path / "completeness.json").write_text(content)
        with pytest.raises(UserError, match=r"completeness\.json is damaged"):
            Completeness.read(tmp_path / "completeness.json")
