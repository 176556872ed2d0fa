"""The published lists: brought here by address, and what is in them, with the traps that hide there."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.server import Server, serving

from ssar.config import DatasetConfig, LabelsConfig, ListFile
from ssar.data.completeness import Completeness
from ssar.data.index import COLUMNS
from ssar.data.lists import Entry, read_list
from ssar.data.matching import one_spelling
from ssar.data.protocols import make_split
from ssar.data.published import bring_lists
from ssar.data.split import Split, read_split
from ssar.errors import UserError
from ssar.grid import data_identity
from ssar.project import CONFIG
from ssar.yamlfile import read_yaml

DATASETS = ("ucf101", "hmdb51", "kinetics400")
TRAIN, TEST = b"Run/a.avi 1\nSit/b.avi 2\n", b"Run/c.avi\nSit/d.avi\n"
HMDB = {
    # of each class: 3 training videos, 2 for testing, 2 that the split does not use
    f"{name}_test_split{fold}.txt": "".join(
        f"{name}_{i}.avi {(1, 1, 1, 2, 2, 0, 0)[(i + fold) % 7]} \n" for i in range(7)
    )
    for name in ("brush_hair", "cartwheel")
    for fold in (1, 2, 3)
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as server:
        server.state.files |= {"/train.txt": TRAIN, "/test.txt": TEST, "/splits.zip": hmdb_archive()}
        yield server


def hmdb_archive() -> bytes:
    """The official lists as they are packed: in a folder, with what macOS adds."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as pack:
        for name, text in HMDB.items():
            pack.writestr(f"testTrainMulti_7030_splits/{name}", text)
        pack.writestr("testTrainMulti_7030_splits/._brush_hair_test_split1.txt", b"\x00\x05\x16\x07")
    return content.getvalue()


def at(server: Server, folder: Path, name: str, **more: Any) -> ListFile:
    return ListFile(path=str(folder / Path(name).stem), url=server.url(f"/{name}"), **more)


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def requests(server: Server) -> int:
    return len(server.state.log)


# --- bringing them here ---------------------------------------------------------------------------


def test_lists_are_fetched_checked_read_and_then_left_alone(server: Server, tmp_path: Path) -> None:
    official = at(server, tmp_path, "splits.zip", sha256=sha(hmdb_archive()), format="hmdb", fold=2)
    own = tmp_path / "own.txt"
    own.write_text("Run/a.avi 1\n")
    config = DatasetConfig(
        kind="folder",
        root="x",
        train=at(server, tmp_path, "train.txt", sha256=sha(TRAIN)),
        test=at(server, tmp_path, "test.txt"),
        protocols={
            "official-2": {"labelled": official, "unlabelled": official, "test": official},  # type: ignore[dict-item]
            "own-1": {"labelled": {"path": str(own)}},  # type: ignore[dict-item]
        },
    )
    for _ in range(2):
        bring_lists(config, tmp_path / "lists.json")
        told = {item["key"]: item for item in json.loads((tmp_path / "lists.json").read_text())["lists"]}
        assert {key: item["videos"] for key, item in told.items()} == {
            "train": 2,
            "test": 2,
            "protocols.official-2.labelled": 6,
            "protocols.official-2.unlabelled": 6,
            "protocols.official-2.test": 4,
            "protocols.own-1.labelled": 1,
        }
        # what a list without a stated checksum was is known afterwards
        assert told["test"]["sha256"] == sha(TEST)
        asked = requests(server)
        server.state.files.clear()  # the second time no server is needed
    assert requests(server) == asked


def test_jobs_may_bring_one_archive_at_the_same_time(server: Server, tmp_path: Path) -> None:
    item = at(server, tmp_path, "splits.zip", sha256=sha(hmdb_archive()), format="hmdb")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: len(read_list(item, "train", (".avi",))), range(4)))
    assert found == [6] * 4
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["splits"]


def test_an_address_may_end_in_a_query(server: Server, tmp_path: Path) -> None:
    """As web sites give them to copy."""
    server.state.files["/splits.zip?download=true"] = hmdb_archive()
    item = ListFile(path=str(tmp_path / "splits"), url=server.url("/splits.zip?download=true"), format="hmdb")
    assert len(read_list(item, "train", (".avi",))) == 6


def test_every_list_that_cannot_be_had_is_told_and_the_others_are_here(server: Server, tmp_path: Path) -> None:
    server.state.files["/page.csv"] = b"The service is not available.\nPlease come back later.\n"
    protocols = {
        "a-1": {"labelled": at(server, tmp_path, "gone.txt")},
        "b-1": {"labelled": at(server, tmp_path, "page.csv", format="kinetics")},
        "c-1": {"labelled": at(server, tmp_path, "train.txt", sha256="0" * 64)},
        "d-1": {"labelled": {"path": str(tmp_path / "not-mine.txt")}},
    }
    config = DatasetConfig(
        kind="folder", root="x", train=at(server, tmp_path, "train.txt"), test=at(server, tmp_path, "test.txt"),
        protocols=protocols,  # type: ignore[arg-type]
    )  # fmt: skip
    with pytest.raises(UserError) as caught:
        bring_lists(config, tmp_path / "lists.json")
    problems = str(caught.value).split("\n  - `")[1:]
    assert [problem.split("`")[0] for problem in problems] == [f"protocols.{name}.labelled" for name in protocols]
    for problem, reason in zip(
        problems, ("404", "line 2: expected the columns", "another version of the list", "no such list"), strict=True
    ):
        assert reason in problem
    assert not (tmp_path / "lists.json").exists()
    assert not (tmp_path / "page").exists()  # or it would be taken for the list next time
    assert (tmp_path / "test").read_bytes() == TEST


def test_a_list_of_the_users_own_is_never_overwritten(server: Server, tmp_path: Path) -> None:
    item = at(server, tmp_path, "train.txt", sha256=sha(TRAIN))
    Path(item.path).write_text("Run/mine.avi 1\n")
    with pytest.raises(UserError, match="move it away to have it fetched again, or set its `sha256`"):
        read_list(item, "train", (".avi",))
    assert Path(item.path).read_text() == "Run/mine.avi 1\n"
    assert not requests(server)


@pytest.mark.parametrize("name", DATASETS)
def test_addresses_in_the_configuration_are_pinned(name: str) -> None:
    config = DatasetConfig.model_validate(read_yaml(CONFIG / "datasets" / f"{name}.yaml"))
    for key, item in config.lists().items():
        assert item.url is not None, key
        # Kinetics' annotations have neither a version nor a published checksum
        assert item.sha256 is not None or "s3.amazonaws.com/kinetics" in item.url, key
        assert re.search(r"/[0-9a-f]{40}/", item.url) or item.format in ("kinetics", "hmdb"), key
        assert item.path.startswith("results/lists/")
    # one file, one place
    places = {(item.path, item.url, item.sha256) for item in config.lists().values()}
    assert len(places) == len({place for place, _, _ in places})


def test_splits_in_one_archive_are_not_the_same_data() -> None:
    config = DatasetConfig.model_validate(read_yaml(CONFIG / "datasets" / "hmdb51.yaml"))
    identities = [data_identity(config, f"official-{fold}").lists for fold in (1, 2, 3)]
    assert len({tuple(sorted(lists.items())) for lists in identities}) == 3
    # its own test list stands for the dataset's
    assert identities[0]["test"] == identities[0]["labelled"] != data_identity(config, "videossl-40").lists["test"]


# --- from lists to splits -------------------------------------------------------------------------


def index_of(folder: Path, config: DatasetConfig) -> Path:
    """The index of a dataset that has every video of its training and test lists."""
    assert config.train is not None
    assert config.test is not None
    rows: list[tuple[object, ...]] = []
    numbers: dict[str, int] = {}
    for split, item in (("train", config.train), ("test", config.test)):
        for video in read_list(item, split, config.extensions):  # type: ignore[arg-type]
            name = video.name or ""
            number = numbers.setdefault(name, len(numbers))
            rows.append((f"{name}/{video.stem}.avi", name, number, "", split, 30, 25, 64, 48, "0"))
    folder.mkdir(parents=True, exist_ok=True)
    for file, header, content in (
        ("index.csv", COLUMNS, rows),
        ("index-excluded.csv", ("path", "class", "reason"), []),
        ("missing.csv", ("entry", "split", "where"), []),
    ):
        with (folder / file).open("w", newline="") as handle:
            csv.writer(handle).writerows([header, *content])
    Completeness("mine", listed=len(rows), missing=0, unusable=0).write(folder / "completeness.json")
    return folder / "index.csv"


def split(index: Path, config: DatasetConfig, protocol: str) -> Split:
    make_split(index, config, LabelsConfig(protocol=protocol), index.with_name("split.csv"))
    return read_split(index.with_name("split.csv"))


def sizes(found: Split) -> tuple[int, int, int]:
    return len(found.labelled), len(found.unlabelled), len(found.test)


def test_hmdb_pool_is_training_and_unused_videos_and_the_official_splits_are_others(tmp_path: Path) -> None:
    """VideoSSL's pool in the shape of HMDB-51: what is not tested, in rawframes lists; the official lists beside it."""
    for name, text in HMDB.items():
        (tmp_path / "official").mkdir(exist_ok=True)
        (tmp_path / "official" / name).write_text(text)
    flags = {
        (name.partition("_test_")[0], line.split()[0][:-4]): line.split()[1]
        for name, text in HMDB.items()
        if "split1" in name
        for line in text.splitlines()
    }
    pool = [f"{name}/{video} 30 {int(name == 'cartwheel')}" for (name, video), flag in flags.items() if flag != "2"]
    test = [f"{name}/{video} 30 {int(name == 'cartwheel')}" for (name, video), flag in flags.items() if flag == "2"]
    for name, lines in {"pool": pool, "test": test, "forty": pool[::3]}.items():
        (tmp_path / f"{name}.txt").write_text("\n".join(lines))
    official = [{"path": str(tmp_path / "official"), "format": "hmdb", "fold": fold} for fold in (1, 2)]
    config = DatasetConfig.model_validate(
        {
            "kind": "folder",
            "root": "x",
            "train": {"path": str(tmp_path / "pool.txt")},
            "test": {"path": str(tmp_path / "test.txt")},
            "protocols": {
                "videossl-40": {"labelled": {"path": str(tmp_path / "forty.txt")}},
                **{
                    f"official-{item['fold']}": {"labelled": item, "unlabelled": item, "test": item}
                    for item in official
                },
            },
        }
    )
    index = index_of(tmp_path, config)
    assert sizes(split(index, config, "all")) == (10, 10, 4)
    assert sizes(split(index, config, "videossl-40")) == (4, 10, 4)
    first, second = (split(index, config, f"official-{fold}") for fold in (1, 2))
    assert sizes(first) == sizes(second) == (6, 6, 4)
    assert first.test == split(index, config, "all").test != second.test
    # the videos that the official split does not use are in no part of it
    assert len(first.table) == 14


# --- what was published ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published(real_videos: Path) -> dict[str, DatasetConfig]:
    """The datasets of the configuration, with lists that are here instead of fetched ones; Kinetics without its csv."""
    lists = real_videos / "lists"
    with (lists / "sources.csv").open(newline="") as file:
        known = {row["url"]: lists / row["file"] for row in csv.DictReader(file)}

    def here(item: dict[str, Any]) -> dict[str, Any]:
        if item["format"] == "hmdb":
            return {"path": str(lists / "hmdb51-official"), "format": "hmdb", "fold": item["fold"]}
        return item | {"path": str(known[item["url"]])}  # the configuration's checksum is checked, too

    found = {}
    for name in DATASETS:
        values = read_yaml(CONFIG / "datasets" / f"{name}.yaml")
        for role in ("train", "test"):
            values[role] = None if values[role]["format"] == "kinetics" else here(values[role])
        values["protocols"] = {
            key: {role: here(item) for role, item in protocol.items()} for key, protocol in values["protocols"].items()
        }
        found[name] = DatasetConfig.model_validate(values)
    return found


def videos(config: DatasetConfig, key: str) -> list[Entry]:
    return read_list(config.lists()[key], "test" if key.endswith("test") else "train", config.extensions)


def names(entries: list[Entry]) -> set[tuple[str | None, str]]:
    return {(entry.name, entry.stem) for entry in entries}


def per_class(entries: list[Entry]) -> tuple[int, int, int]:
    """Classes, and the least and the most videos of one."""
    counts = Counter(entry.name for entry in entries).values()
    return len(counts), min(counts), max(counts)


COUNTS = {
    "ucf101": {
        "train": (9537, 101, 72, 121), "test": (3783, 101, 28, 49),
        "videossl-5": (476, 100, 1, 11), "videossl-10": (953, 101, 1, 21), "videossl-20": (1907, 101, 8, 34),
        "videossl-50": (4768, 101, 29, 64), "svformer-1": (101, 101, 1, 1), "svformer-10": (1010, 101, 10, 10),
        "official-1": (9537, 101, 72, 121), "official-2": (9586, 101, 72, 122), "official-3": (9624, 101, 72, 124),
        "official-1.test": (3783, 101, 28, 49), "official-2.test": (3734, 101, 28, 49),
        "official-3.test": (3696, 101, 28, 48),
    },
    "hmdb51": {
        "train": (5236, 51, 72, 518), "test": (1530, 51, 30, 30),
        **{f"{source}-{percent}": count
           for source in ("videossl", "svformer")
           for percent, count in ((40, (2094, 51, 23, 215)), (50, (2618, 51, 30, 272)), (60, (3141, 51, 38, 298)))},
        **{f"videossl-{percent}-as-released": count
           for percent, count in ((40, (2094, 51, 23, 215)), (50, (2618, 51, 30, 272)), (60, (3141, 51, 38, 298)))},
        **{f"official-{fold}{role}": count
           for fold in (1, 2, 3)
           for role, count in (("", (3570, 51, 70, 70)), (".unlabelled", (3570, 51, 70, 70)),
                               (".test", (1530, 51, 30, 30)))},
    },
    "kinetics400": {
        f"{source}-{percent}": (size, 400, size // 400, size // 400)
        for source in ("videossl", "svformer")
        for percent, size in ((1, 2400), (10, 24000))
    },
}  # fmt: skip


@pytest.mark.parametrize("name", DATASETS)
def test_every_list_of_the_configuration_has_the_published_counts(
    published: dict[str, DatasetConfig], name: str
) -> None:
    config = published[name]
    found = {}
    for key in config.lists():
        entries = videos(config, key)
        found[key.removeprefix("protocols.").removesuffix(".labelled")] = (len(entries), *per_class(entries))
    assert found == COUNTS[name]


def test_every_list_there_is_parses(real_videos: Path) -> None:
    lists = real_videos / "lists"
    with (lists / "sources.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["file"].endswith("classInd.txt"):
                continue
            item = ListFile(path=str(lists / row["file"]), sha256=row["sha256"])
            # a last line without its end is counted by neither `wc` nor the column
            assert len(read_list(item, "train", (".avi",))) in (int(row["lines"]), int(row["lines"]) + 1), row["file"]


def test_the_pool_of_hmdb51(published: dict[str, DatasetConfig], real_videos: Path) -> None:
    """40 % of HMDB-51 is 40 % of 5,236: of the 3,570 official training videos and the 1,666 that are not used."""
    config = published["hmdb51"]
    pool, test = names(videos(config, "train")), names(videos(config, "test"))
    trained, tested = (
        names(videos(config, "protocols.official-1.labelled")),
        names(videos(config, "protocols.official-1.test")),
    )
    unused = {
        (file.name.partition("_test_split")[0], line.split()[0].removesuffix(".avi"))
        for file in (real_videos / "lists" / "hmdb51-official").glob("*_test_split1.txt")
        for line in file.read_text().splitlines()
        if line.split()[1] == "0"
    }
    assert (len(trained), len(unused), len(pool)) == (3570, 1666, 5236)
    assert pool == trained | unused
    assert test == tested
    assert not test & pool
    for percent in (40, 50, 60):
        ours, theirs = (
            names(videos(config, f"protocols.{who}-{percent}.labelled")) for who in ("videossl", "svformer")
        )
        assert ours == theirs < pool


def test_films_of_hmdb51_are_on_both_sides_of_videossls_pool_but_not_of_the_official_split(
    published: dict[str, DatasetConfig],
) -> None:
    config = published["hmdb51"]
    parts = re.compile(r"_[a-z]_[a-z]+_np\d_[a-z]+_[a-z]+_\d+$")

    def films(key: str) -> list[tuple[str, str]]:
        return [(entry.name or "", parts.sub("", entry.stem)) for entry in videos(config, key)]

    tested = films("test")
    counts = {
        key: sum(film in set(tested) for film in films(key))
        for key in ("train", "protocols.videossl-40.labelled", "protocols.official-1.labelled")
    }
    assert list(counts.values()) == [459, 168, 0]
    assert sum(film in set(films("train")) for film in tested) == 646


def test_the_numbers_in_hmdb51s_lists_are_wrong_and_do_not_count(published: dict[str, DatasetConfig]) -> None:
    """Where one class's name begins another's, videos that the official split leaves unused have the other's number."""
    config = published["hmdb51"]
    assert config.train is not None
    official = names(videos(config, "protocols.official-1.labelled"))
    as_printed = config.train.model_copy(update={"numbers": True})
    numbers = {
        entry.name: entry.label for entry in read_list(as_printed, "train", ()) if (entry.name, entry.stem) in official
    }
    wrong = [entry for entry in read_list(as_printed, "train", ()) if entry.label != numbers[entry.name]]
    assert Counter(entry.name for entry in wrong) == {
        "climb": 8, "climb_stairs": 12, "kick": 30, "kick_ball": 28, "sword": 27, "sword_exercise": 27,
    }  # fmt: skip
    assert not names(wrong) & official
    with pytest.raises(UserError, match=r"(?s)several class numbers.*`numbers: false`.*climb_stairs: 6 .* and 5"):
        one_spelling({"train": read_list(as_printed, "train", ())})
    assert {entry.label for entry in videos(config, "protocols.svformer-60.labelled")} == {None}


def test_hmdb51_may_be_trained_on_as_released(published: dict[str, DatasetConfig], tmp_path: Path) -> None:
    """The other class of videos with a wrong number is the one whose name theirs begins, or begins with."""
    config = published["hmdb51"]
    index = index_of(tmp_path, config)
    for percent, wrong in ((40, 54), (50, 73), (60, 65)):
        right = {video.path: video.label for video in split(index, config, f"videossl-{percent}").labelled}
        found = split(index, config, f"videossl-{percent}-as-released")
        swapped = [
            {video.path.split("/")[0], found.classes[video.label]}
            for video in found.labelled
            if video.label != right[video.path]
        ]
        assert len(swapped) == wrong
        assert all(pair in swapped for pair in ({"climb", "climb_stairs"}, {"kick", "kick_ball"}))
        assert all(len(pair) == 2 and len({name.split("_")[0] for name in pair}) == 1 for pair in swapped)


def test_ucf101_percentages_are_other_videos_in_other_papers(published: dict[str, DatasetConfig]) -> None:
    config = published["ucf101"]
    pool, test = videos(config, "train"), videos(config, "test")
    lists = {key: videos(config, f"protocols.{key}.labelled") for key in config.protocols}
    assert {entry.name for entry in pool} - {entry.name for entry in lists["videossl-5"]} == {"CliffDiving"}
    assert len(names(lists["videossl-10"]) & names(lists["svformer-10"])) == 94
    assert len(names(lists["svformer-1"]) & names(lists["svformer-10"])) == 17
    assert not names(pool) & names(test)
    for key, entries in lists.items():
        if not key.startswith("official"):
            assert names(entries) <= names(pool), key
    # the official split 1 is what both publish lists of; the other two are others
    assert names(lists["official-1"]) == names(pool)
    assert names(videos(config, "protocols.official-1.test")) == names(test)
    assert {entry.label for entry in lists["official-1"]} == set(range(1, 102))
    assert {entry.label for entry in pool} == set(range(101))


def test_labelled_and_unlabelled_lists_of_videossl_are_the_training_list(
    published: dict[str, DatasetConfig], real_videos: Path
) -> None:
    pool = names(videos(published["ucf101"], "train"))
    folder = real_videos / "lists" / "videossl" / "ucf101" / "videossl_splits"
    for percent in (5, 10, 20, 50):
        labelled, unlabelled = (
            names(read_list(ListFile(path=str(folder / f"ucf101_train_{percent}_percent_{kind}_split_1_rawframes.txt")),
                            "train", (".avi",)))
            for kind in ("labeled", "unlabeled")
        )  # fmt: skip
        assert not labelled & unlabelled
        assert labelled | unlabelled == pool


def test_kinetics400_percentages_are_other_videos_in_other_papers(published: dict[str, DatasetConfig]) -> None:
    config = published["kinetics400"]
    for percent, common in ((1, 36), (10, 2935)):
        lists = [videos(config, f"protocols.{who}-{percent}.labelled") for who in ("videossl", "svformer")]
        assert len(names(lists[0]) & names(lists[1])) == common
        assert len({entry.stem for entry in lists[0]}) == len(lists[0])


@pytest.mark.parametrize("name", ["ucf101", "hmdb51"])
def test_every_published_protocol_makes_a_split_without_leak(
    published: dict[str, DatasetConfig], tmp_path: Path, name: str
) -> None:
    """In an index with all videos of the lists; a split refuses a list that names a test video."""
    config = published[name]
    index = index_of(tmp_path, config)
    counts = {key: count[0] for key, count in COUNTS[name].items()}
    for protocol in config.protocols:
        found = split(index, config, protocol)
        test = counts.get(f"{protocol}.test", counts["test"])
        pool = counts[protocol] if protocol.startswith("official") else counts["train"]
        assert sizes(found) == (counts[protocol], pool, test), protocol
        assert not {video.path for video in found.labelled + found.unlabelled} & {video.path for video in found.test}
