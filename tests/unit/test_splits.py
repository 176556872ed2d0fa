"""Splits: no leak, exact counts, the same whatever the order of the index, groups never between training and test."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ssar.config import DatasetConfig, LabelsConfig, ListFile, ListSplit
from ssar.data.completeness import Completeness
from ssar.data.draws import draw, hold_out, percent_counts, shuffled
from ssar.data.index import COLUMNS
from ssar.data.protocols import make_split
from ssar.data.split import SPLIT_COLUMNS, Video, read_split, training_checksum
from ssar.errors import UserError
from ssar.grid import build, data_identity, is_drawn
from ssar.project import CONFIG

Rows = list[dict[str, str]]


def row(path: str, name: str, label: int, group: str = "", split: str = "") -> dict[str, str]:
    values = (path, name, str(label), group, split, "30", "25", "64", "48", "0")
    return dict(zip(COLUMNS, values, strict=True))


def write_index(folder: Path, rows: Rows, excluded: Rows | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, columns, content in (
        ("index.csv", COLUMNS, rows),
        ("index-excluded.csv", ("path", "class", "reason"), excluded or []),
    ):
        with (folder / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(content)
    Completeness("mine", listed=0, missing=0, unusable=0).write(folder / "completeness.json")
    return folder / "index.csv"


def split(folder: Path, rows: Rows, protocol: str, config: DatasetConfig | None = None, **labels: object):  # type: ignore[no-untyped-def]
    config = config or DatasetConfig(kind="folder", root="unused")
    chosen = LabelsConfig(protocol=protocol, **labels)  # type: ignore[arg-type]
    make_split(write_index(folder, rows), config, chosen, folder / "split.csv")
    return read_split(folder / "split.csv")


def dataset(sizes: list[int], *, groups: int = 0, told: bool = False) -> Rows:
    """Rows of classes a, b, ... of these sizes; recordings span classes; `told` puts the last thirds to the test."""
    rows = []
    for label, size in enumerate(sizes):
        name = chr(ord("a") + label)
        for i in range(size):
            side = ("train", "test")[3 * i >= 2 * size] if told else ""
            rows.append(row(f"{name}/{i:03d}.mp4", name, label, f"g{i % groups}" if groups else "", side))
    return rows


protocols = st.one_of(
    st.just("all"), st.integers(1, 2).map("per-class-{}".format), st.integers(1, 99).map("percent-{}".format)
)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(6, 14), min_size=2, max_size=5),
    groups=st.sampled_from([0, 3, 4, 6]),
    told=st.booleans(),
    protocol=protocols,
    seed=st.integers(0, 5),
    together=st.booleans(),
)
def test_invariants(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[int], groups: int, told: bool, protocol: str, seed: int, together: bool,
) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("split")
    rows = dataset(sizes, groups=groups, told=told)
    options = {"draw": seed, "unlabelled_includes_labelled": together}
    result = split(folder, rows, protocol, **options)
    text = (folder / "split.csv").read_text()
    labelled, unlabelled, test = ({v.path for v in part} for part in (result.labelled, result.unlabelled, result.test))
    # no leak
    assert not test & (labelled | unlabelled)
    assert labelled | unlabelled | test == {r["path"] for r in rows}
    assert (labelled <= unlabelled) if together else not labelled & unlabelled
    # every class is trained, labelled and tested; what the index tells to be a test video is one
    assert len({path[0] for path in labelled}) == len({path[0] for path in test}) == len(sizes)
    if told:
        assert test == {r["path"] for r in rows if r["split"] == "test"}
    elif groups:
        sides = {(r["group"], r["path"] in test) for r in rows}
        assert len(sides) == groups
    # counts
    pool = {
        name: [r["path"] for r in rows if r["class"] == name and r["path"] not in test]
        for name in "abcde"[: len(sizes)]
    }
    kind, _, number = protocol.rpartition("-")
    if protocol == "all":
        assert len(labelled) == sum(map(len, pool.values()))
    elif kind == "per-class":
        assert {sum(path[0] == name for path in labelled) for name in pool} == {int(number)}
    else:
        total = sum(map(len, pool.values()))
        assert len(labelled) == max(len(pool), int(total * int(number) / 100 + 0.5))
    # the same again, and from an index in another order
    shuffled_rows = random.Random(seed).sample(rows, len(rows))
    split(folder, shuffled_rows, protocol, **options)
    assert (folder / "split.csv").read_text() == text


def test_draws_differ_and_smaller_ones_are_part_of_larger_ones(tmp_path: Path) -> None:
    rows = dataset([20, 20])
    paths = {
        (protocol, seed): {v.path for v in split(tmp_path, rows, protocol, draw=seed).labelled}
        for protocol in ("per-class-2", "per-class-5", "percent-50")
        for seed in (0, 1)
    }
    assert paths["per-class-5", 0] != paths["per-class-5", 1]
    assert paths["per-class-2", 0] < paths["per-class-5", 0] < paths["percent-50", 0]
    # the test set is the same in every draw, or their results could not be compared
    tests = {tuple(split(tmp_path, rows, "per-class-5", draw=seed).test) for seed in range(4)}
    assert len(tests) == 1


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=12), percent=st.floats(0.5, 100))
def test_percentages_are_stratified(sizes: list[int], percent: float) -> None:
    pools = {f"c{i}": size for i, size in enumerate(sizes)}
    counts = percent_counts(pools, percent)
    total = max(len(pools), int(sum(sizes) * percent / 100 + 0.5))
    assert sum(counts.values()) == total
    for name, size in pools.items():
        exact = size * percent / 100
        assert 1 <= counts[name] <= size
        # at least one each takes from the others: no class gets more than its share rounded up
        assert counts[name] <= max(1, -(-exact // 1) + 1e-9)
    if all(size * percent / 100 >= 1 for size in sizes):
        assert all(abs(counts[name] - size * percent / 100) < 1 for name, size in pools.items())


def test_shuffling_depends_on_names_only() -> None:
    names = [f"v{i}" for i in range(50)]
    order = shuffled(names, "labels", 0)
    assert order == shuffled(reversed(names), "labels", 0) != shuffled(names, "labels", 1)
    without = [name for name in order if name != "v7"]
    assert shuffled([name for name in names if name != "v7"], "labels", 0) == without
    # fixed for ever: published results name their draws
    assert order[:3] == ["v4", "v6", "v36"]


def test_test_share_is_close_to_what_was_asked_for() -> None:
    videos = [(f"{c}/{g}/{i}", c, f"{c}{g}") for c in "abcd" for g in range(25) for i in range(4 + g % 3)]
    held = hold_out(videos, 20)
    for name in "abcd":
        size = sum(v[1] == name for v in videos)
        assert abs(sum(path[0] == name for path in held) - 0.2 * size) <= 3


def test_what_cannot_be_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)more labels than videos.*b has 4 training videos, 9 are asked for"):
        split(tmp_path, dataset([30, 5]), "per-class-9")
    with pytest.raises(UserError, match=r"(?s)no training video is left.*one group.*- b"):
        split(tmp_path, [*dataset([9]), *[row(f"b/{i}", "b", 1, "one") for i in range(3)]], "all")
    with pytest.raises(UserError, match="marks training videos but no test video"):
        split(tmp_path, [row("a/1", "a", 0, split="train"), row("b/1", "b", 1)], "all")
    with pytest.raises(UserError, match="unknown label protocol `videossl-7`"):
        split(tmp_path, dataset([9, 9]), "videossl-7")
    with pytest.raises(UserError, match="more labels than videos"):
        draw({"a": ["1"]}, {"a": 2}, 0)


def test_published_lists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = dataset([6, 6], told=True)
    (tmp_path / "labelled.txt").write_text("a/000 30 1\na/001 30 1\nb/gone 30 2\n")
    (tmp_path / "unlabelled.txt").write_text("a/002.avi 1\nb/000.avi 2\nb/001.avi 2\n")
    published = ListSplit(
        labelled=ListFile(path=str(tmp_path / "labelled.txt")),
        unlabelled=ListFile(path=str(tmp_path / "unlabelled.txt")),
    )
    config = DatasetConfig(kind="folder", root="x", protocols={"published-1": published})
    with pytest.raises(UserError, match=r"(?s)1 of a list's 3 videos are not in the index.*`path`.*line 3: b/gone"):
        split(tmp_path, rows, "published-1", config)
    # a video that the official lists name and the folder has not is counted
    (tmp_path / "missing.csv").write_text('entry,split,where\nb/Gone,train,"train.txt, line 7"\nb/other,train,x\n')
    assert len(split(tmp_path, rows, "published-1", config).labelled) == 2
    assert "1 of 3 videos are missing here, e.g. b/gone" in capsys.readouterr().err
    # a video that the index excluded is told
    (tmp_path / "missing.csv").unlink()
    write_index(tmp_path, rows, [{"path": "b/gone.mp4", "class": "b", "reason": "empty file"}])
    for together in (True, False):
        labels = LabelsConfig(protocol="published-1", unlabelled_includes_labelled=together)
        make_split(tmp_path / "index.csv", config, labels, tmp_path / "split.csv")
        result = read_split(tmp_path / "split.csv")
        assert [video.path for video in result.labelled] == ["a/000.mp4", "a/001.mp4"]
        assert len(result.unlabelled) == (5 if together else 3)
        assert len(result.test) == 4
    told = capsys.readouterr().err
    assert "b/gone is left out, as the index excludes b/gone.mp4: empty file" in told
    assert "labels no video of 1 class(es): b" in told


def test_a_published_list_may_not_name_test_videos(tmp_path: Path) -> None:
    rows = dataset([6, 6], told=True)
    (tmp_path / "labelled.txt").write_text("a/000 30 0\nb/005 30 1\n")
    lists = ListSplit(labelled=ListFile(path=str(tmp_path / "labelled.txt")))
    config = DatasetConfig(kind="folder", root="x", protocols={"leaky": lists})
    with pytest.raises(UserError, match=r"(?s)1 test videos are among the training videos of `leaky`.*b/005"):
        split(tmp_path, rows, "leaky", config)


def test_a_published_list_may_not_name_other_classes(tmp_path: Path) -> None:
    rows = dataset([6, 6], told=True)
    lists = ListSplit(labelled=ListFile(path=str(tmp_path / "labelled.txt")))
    config = DatasetConfig(kind="folder", root="x", protocols={"mine": lists})
    for lines, problem in (
        ("x/000 30 0\n", r"line 1: x/000 could be a/000.mp4, b/000.mp4"),
        ("a/000 30 0\na/001 30 1\nb/002 30 1\nc/003 30 2\n", r"a: 0 \(.*line 1\) and 1 \(.*line 2\)"),
        ("a/000 30 0\nb/000 30 0\n", "line 2: label 0 is b here and a in"),
    ):
        (tmp_path / "labelled.txt").write_text(lines)
        with pytest.raises(UserError, match=problem):
            split(tmp_path, rows, "mine", config)
    # a flat folder: the index knows the class, and the list says another one
    sides = ("train", "train", "test")
    rows = [
        row(f"flat/{name}{i}.avi", name, label, split=side)
        for label, name in enumerate("ab")
        for i, side in enumerate(sides)
    ]
    (tmp_path / "labelled.txt").write_text("a/a0\na/b1\n")
    with pytest.raises(UserError, match=r"line 2: a/b1 is flat/b1.avi, of the class b"):
        split(tmp_path, rows, "mine", config)


def test_a_protocol_may_have_a_test_list_of_its_own(tmp_path: Path) -> None:
    """Another official split of the same videos; unlabelled are all others, or those of a list."""
    rows = dataset([6, 6], told=True)
    (tmp_path / "train.txt").write_text("a/004.avi 1\na/005.avi 1\nb/000.avi 2\nb/001.avi 2\n")
    (tmp_path / "test.txt").write_text("a/000.avi\nb/002.avi\n")
    train, test = (ListFile(path=str(tmp_path / f"{name}.txt")) for name in ("train", "test"))
    for unlabelled, size in ((None, 10), (train, 4)):
        own = ListSplit(labelled=train, unlabelled=unlabelled, test=test)
        config = DatasetConfig(kind="folder", root="x", protocols={"official-2": own})
        result = split(tmp_path, rows, "official-2", config)
        assert [video.path for video in result.test] == ["a/000.mp4", "b/002.mp4"]
        assert (len(result.labelled), len(result.unlabelled)) == (4, size)
    leaky = ListSplit(labelled=train, test=train)
    with pytest.raises(UserError, match="4 test videos are among the training videos of `leaky`"):
        split(tmp_path, rows, "leaky", DatasetConfig(kind="folder", root="x", protocols={"leaky": leaky}))


def test_a_label_of_a_duplicate_goes_to_the_equal_video_but_never_into_the_test_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of equal videos an index has one; which of them a list names makes no difference."""
    rows = dataset([6, 6], told=True)
    excluded = [
        {"path": f"{path}.mp4", "class": path[0], "reason": f"duplicate of {kept}.mp4"}
        for path, kept in (("a/copy0", "a/000"), ("a/copy5", "a/005"), ("b/copy1", "b/001"))
    ]
    (tmp_path / "labelled.txt").write_text("a/copy0 30 0\na/copy5 30 0\nb/001 30 1\nb/002 30 1\n")
    (tmp_path / "test.txt").write_text("a/003 30 0\nb/copy1 30 1\n")
    labelled, test = (ListFile(path=str(tmp_path / f"{name}.txt")) for name in ("labelled", "test"))
    index = write_index(tmp_path, rows, excluded)

    def made(own: ListSplit) -> tuple[list[str], list[str], list[str]]:
        config = DatasetConfig(kind="folder", root="x", protocols={"mine": own})
        make_split(index, config, LabelsConfig(protocol="mine"), tmp_path / "split.csv")
        found = read_split(tmp_path / "split.csv")
        return tuple([video.path[:-4] for video in part] for part in (found.labelled, found.unlabelled, found.test))  # type: ignore[return-value]

    tested = ["a/004", "a/005", "b/004", "b/005"]
    others = [f"{name}/{i:03d}" for name in "ab" for i in range(4)]
    assert made(ListSplit(labelled=labelled)) == (["a/000", "b/001", "b/002"], others, tested)
    told = capsys.readouterr().err
    assert "a/copy0 has the content of a/000.mp4, which stands for it" in told
    assert "a/copy5 is left out: its duplicate a/005.mp4 is a test video" in told
    # the test list names the duplicate of a video that the training list names
    found = made(ListSplit(labelled=labelled, unlabelled=labelled, test=test))
    assert found == (["a/000", "a/005", "b/002"], ["a/000", "a/005", "b/002"], ["a/003", "b/001"])
    assert "b/001 is left out: a duplicate of it is a test video" in capsys.readouterr().err


def test_a_list_may_be_trained_on_with_its_numbers_right_or_wrong(tmp_path: Path) -> None:
    rows = dataset([6, 6], told=True)
    (tmp_path / "labelled.txt").write_text("a/000 30 7\na/001 30 7\na/002 30 9\nb/000 30 9\nb/001 30 9\nb/002 30 9\n")
    own = {
        name: ListSplit(labelled=ListFile(path=str(tmp_path / "labelled.txt"), numbers=numbers))
        for name, numbers in (("folders", False), ("released", "labels"))
    }
    config = DatasetConfig(kind="folder", root="x", protocols=own)
    by_folder, released = split(tmp_path, rows, "folders", config), split(tmp_path, rows, "released", config)
    assert [video.label for video in by_folder.labelled] == [0, 0, 0, 1, 1, 1]
    assert [video.label for video in released.labelled] == [0, 0, 1, 1, 1, 1]
    assert released.classes == ["a", "b"]
    # videos without a label, and those that are tested, keep their class
    others = [video for video in released.unlabelled if video not in released.labelled]
    assert [(video.path, video.label) for video in others] == [("a/003.mp4", 0), ("b/003.mp4", 1)]
    assert released.test == by_folder.test
    assert data_identity(config, "released") != data_identity(config, "folders")
    (tmp_path / "labelled.txt").write_text("a/000 30 7\na/001 30 9\n")
    with pytest.raises(UserError, match="its numbers do not tell classes apart"):
        split(tmp_path, rows, "released", config)
    with pytest.raises(ValidationError, match="`test`: `numbers: labels` is for the labelled videos"):
        config.model_validate(
            config.model_dump() | {"train": {"path": "x"}, "test": {"path": "x", "numbers": "labels"}}
        )


def test_reading_keeps_names_that_look_like_something_else(tmp_path: Path) -> None:
    rows = [row(f"{name}/{i}.mp4", name, label, "007") for label, name in enumerate(["001", "nan"]) for i in range(2)]
    for number, item in enumerate(rows):
        item["split"] = ("train", "test")[number % 2]
    result = split(tmp_path, rows, "all")
    assert result.classes == ["001", "nan"]
    assert set(result.table["group"]) == {"007"}
    assert tuple(result.table.columns) == SPLIT_COLUMNS
    assert result.labelled[0] == Video("001/0.mp4", 0, 30)
    with pytest.raises(UserError, match="is not a split"):
        read_split(write_index(tmp_path, rows))
    with pytest.raises(UserError, match="no such split"):
        read_split(tmp_path / "none.csv")


def test_another_test_video_is_no_other_training(tmp_path: Path) -> None:
    """A missing video that is found later trains nothing anew unless it is trained on."""
    rows = dataset([6, 6], told=True)
    found = []
    for more in ([], [row("a/100.mp4", "a", 0, split="test")], [row("a/100.mp4", "a", 0, split="train")]):
        split(tmp_path, [*rows, *more], "all")
        found.append(training_checksum(tmp_path / "split.csv"))
    split(tmp_path, rows, "all", unlabelled_includes_labelled=False)
    found.append(training_checksum(tmp_path / "split.csv"))
    split(tmp_path, [item | {"class": item["class"] * 2} for item in rows], "all")
    found.append(training_checksum(tmp_path / "split.csv"))
    assert found[0] == found[1]
    assert len(set(found)) == 4


def test_cmpls_three_draws_are_the_three_seeds() -> None:
    """CMPL averages over three draws of its labels, and all of its variants see the same ones."""
    grid = build([CONFIG / "config.yaml"])
    protocols = set()
    for paper, variant, setting in grid.selected():
        protocol = setting.partition("+")[0].partition(".")[2]
        runs = [run for run in grid.select(paper, variant, setting) if run.config.options.needs_labelled]
        if paper == "cmpl" and runs and is_drawn(protocol):
            labels = [run.config.labels for run in runs]
            assert [(label.protocol, label.draw) for label in labels] == [(protocol, draw) for draw in range(3)], (
                variant
            )
            protocols.add(protocol)
    assert {"per-class-1", "per-class-6", "per-class-10", "per-class-60"} <= protocols


def test_real_lists_give_the_published_counts(real_videos: Path, tmp_path: Path) -> None:
    lists = real_videos / "ucf101-8" / "lists"
    tested = {line.split()[0] for line in (lists / "testlist01.txt").read_text().splitlines()}
    trained = {line.split()[0] for line in (lists / "trainlist01.txt").read_text().splitlines()}
    names = sorted({path.split("/")[0] for path in trained})
    rows = [
        row(path, path.split("/")[0], names.index(path.split("/")[0]), split="test" if path in tested else "train")
        for path in sorted(tested | trained)
    ]
    for name, size in (("videossl_5", 28), ("videossl_20", 152), ("svformer_1", 8), ("svformer_10", 80)):
        files = (ListFile(path=str(lists / f"{name}pct_{kind}_split1.txt")) for kind in ("labeled", "unlabeled"))
        config = DatasetConfig(
            kind="folder", root="x", protocols={"p": ListSplit(labelled=next(files), unlabelled=next(files))}
        )
        result = split(tmp_path, rows, "p", config, unlabelled_includes_labelled=False)
        assert [len(part) for part in (result.labelled, result.unlabelled, result.test)] == [size, 743 - size, 297]
