"""Datasets from the server to their videos: archives shaped like the real ones, and everything that can go wrong."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError
from tests import server as web
from tests.archives import rar, rar5, tarred, zipped
from tests.server import Server, serving
from tests.videos import make_folder, moving_frames, write_video

from ssar.config import DatasetConfig, ListFile, Mirror, RemoteFile, canonical
from ssar.data.archives import DamagedError, unpack
from ssar.data.download import Patience
from ssar.data.fetch import addresses_path, fetch_addresses, fetch_dataset, fetch_part
from ssar.data.index import build_index
from ssar.data.signatures import archive_fault
from ssar.data.unpacking import unpack_dataset
from ssar.errors import UserError

ROOT = Path(__file__).parents[2]
SHORT = Patience(attempts=2, pause=0.01, longest_pause=0.02, longest_wait=0.5, silence=3, window=3, slowest=20_000)


def video(name: str) -> bytes:
    """What stands for a video: bytes that cannot be compressed and are those of this name alone."""
    return random.Random(name).randbytes(3000)


UCF = [f"v_{name}_g0{group}_c01.avi" for name in ("HandstandPushups", "YoYo") for group in (1, 2)]
FLAT = {f"UCF101/{name}": video(name) for name in UCF}
FOLDERS = {f"UCF-101/{name.split('_')[1]}/{name}": video(name) for name in UCF}
HMDB = {f"{name}/{name}_{i}.avi": video(f"{name}{i}") for name in ("brush_hair", "climb_stairs") for i in (1, 2)}


def of_class(name: str) -> dict[str, bytes]:
    return {path: content for path, content in HMDB.items() if path.startswith(f"{name}/")}


def rar_of_rars() -> bytes:
    return rar({f"{name}.rar": rar(of_class(name)) for name in ("brush_hair", "climb_stairs")})


def videos(data: Path) -> dict[str, bytes]:
    """Everything that an index would find below `videos/`."""
    root = data / "videos"
    files = (path for path in root.rglob("*") if path.is_file() and ".unpacked" not in path.parts)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def records(data: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads((data / "downloads.json").read_text())["files"]
    return found


def acquire(config: DatasetConfig, data: Path) -> dict[str, bytes]:
    fetch_dataset(config, data / "downloads.json", SHORT, keep=config.keep_archives)
    unpack_dataset(data / "downloads.json", data / "unpacked.json", keep=config.keep_archives)
    return videos(data)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as server:
        yield server


@pytest.fixture
def no_rar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))


@pytest.fixture(params=["stand-in", "bsdtar", "unar", "unrar"])
def rar_tool(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """One program for rar alone on the PATH; a stand-in that reads what the tests pack is always there."""
    folder = tmp_path / "tools"
    folder.mkdir()
    if request.param == "stand-in":
        script = folder / "unrar"
        script.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m tests.archives "$@"\n')
        script.chmod(0o755)
    else:
        for name in (request.param, *(["lsar"] if request.param == "unar" else [])):
            if (found := shutil.which(name)) is None:
                pytest.skip(f"{name} is not installed")
            (folder / name).write_text(f'#!/bin/sh\nPATH=/bin:/usr/bin exec "{found}" "$@"\n')
            (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return str(request.param)


# --- shapes of the datasets -----------------------------------------------------------------------


def ucf(server: Server) -> DatasetConfig:
    content = server.state.files["/flat.zip"] = zipped(FLAT)
    server.state.files |= {"/folders.zip": zipped(FOLDERS), "/official.rar": rar(FOLDERS)}
    mirror = Mirror(
        name="UCF101_videos.zip",
        urls=(server.url("/flat.zip"),),
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        otherwise=(
            RemoteFile(name="UCF-101.zip", urls=(server.url("/folders.zip"),)),
            RemoteFile(name="UCF101.rar", urls=(server.url("/official.rar"),)),
        ),
    )
    return DatasetConfig(kind="download", files=(mirror,))


def test_the_first_file_is_taken_when_it_can_be_had(server: Server, tmp_path: Path) -> None:
    config = ucf(server)
    assert acquire(config, tmp_path) == FLAT
    (record,) = records(tmp_path)
    assert (record["name"], record["url"]) == ("UCF101_videos.zip", server.url("/flat.zip"))
    assert (record["published"], record["sha256"]) == (True, config.files[0].sha256)
    assert json.loads((tmp_path / "unpacked.json").read_text()) == {"archives": ["UCF101_videos.zip"], "files": 4}
    # again: nothing is asked for, and the record is the same to the byte
    text, requests = (tmp_path / "downloads.json").read_bytes(), len(server.state.log)
    acquire(config, tmp_path)
    assert (tmp_path / "downloads.json").read_bytes() == text
    assert len(server.state.log) == requests


@pytest.mark.parametrize("act", [web.status(404), web.flip(), web.page(), web.shorter(10), web.stall(0)])
def test_another_file_stands_in_for_one_that_cannot_be_had(server: Server, tmp_path: Path, act: web.Act) -> None:
    config = ucf(server)
    server.state.always["/flat.zip"] = act
    assert acquire(config, tmp_path) == FOLDERS
    (record,) = records(tmp_path)
    content = server.state.files["/folders.zip"]
    assert (record["name"], record["published"]) == ("UCF-101.zip", False)
    assert record["sha256"] == hashlib.sha256(content).hexdigest()
    # the first one is back: what is here is kept
    server.state.always.clear()
    assert acquire(config, tmp_path) == FOLDERS


def test_every_file_of_a_dataset_gives_the_same_index(server: Server, tmp_path: Path) -> None:
    """Flat or in class folders, and where the lists write a name otherwise than the files."""
    made = {name: write_video(tmp_path / name, moving_frames(5, seed=i)).read_bytes() for i, name in enumerate(UCF)}
    lines = [f"{path.split('/')[1]}/{path.split('/')[2]}".replace("v_Handstand", "v_HandStand") for path in FOLDERS]
    lists = {"train": [f"{line} {1 + i // 2}" for i, line in enumerate(lines)][::2], "test": lines[1::2]}
    for split in lists:
        (tmp_path / f"{split}.txt").write_text("\n".join(lists[split]))
    listed = {split: ListFile(path=str(tmp_path / f"{split}.txt"), format="ucf") for split in lists}
    found = []
    for layout in (FLAT, FOLDERS):
        server.state.files["/x"] = zipped({path: made[Path(path).name] for path in layout})
        files = (Mirror(name="x.zip", urls=(server.url("/x"),)),)
        config = DatasetConfig(kind="download", files=files, group_pattern=r"(v_[A-Za-z]+_g\d+)_c\d+", **listed)
        data = tmp_path / next(iter(layout)).split("/")[0]
        acquire(config, data)
        build_index(config, data / "videos", data / "index.csv", data / "report.md", 1)
        with open(data / "index.csv", newline="") as file:
            found.append({row.pop("sha1"): row | {"path": ""} for row in csv.DictReader(file)})
    assert found[0] == found[1]
    assert sorted(row["split"] for row in found[0].values()) == ["test", "test", "train", "train"]
    assert {row["class"] for row in found[0].values()} == {"HandstandPushups", "YoYo"}


def test_a_rar_is_not_even_fetched_without_a_program_for_it(server: Server, tmp_path: Path, no_rar: None) -> None:
    config = ucf(server)
    server.state.always |= {"/flat.zip": web.status(404), "/folders.zip": web.status(404)}
    with pytest.raises(UserError) as caught:
        acquire(config, tmp_path)
    text = str(caught.value)
    for words in ("HTTP 404", "UCF101.rar: unpacking a rar needs one of bsdtar, unar, unrar", "libarchive-tools"):
        assert words in text
    assert f"fetch UCF101_videos.zip or UCF-101.zip or UCF101.rar by hand to {tmp_path / 'downloads'}" in text
    assert not server.got("/official.rar")
    assert not (tmp_path / "downloads.json").exists()


def test_the_official_rar_comes_last(server: Server, tmp_path: Path, rar_tool: str) -> None:
    config = ucf(server)
    server.state.always |= {"/flat.zip": web.status(404), "/folders.zip": web.page()}
    assert acquire(config, tmp_path) == FOLDERS
    assert records(tmp_path)[0]["name"] == "UCF101.rar"


@pytest.mark.parametrize("outer", ["rar", "zip"])
def test_a_rar_of_rars(server: Server, tmp_path: Path, rar_tool: str, outer: str) -> None:
    inner = {f"hmdb/{name}.rar": rar(of_class(name)) for name in ("brush_hair", "climb_stairs")}
    server.state.files["/x"] = rar_of_rars() if outer == "rar" else zipped(inner)
    config = DatasetConfig(kind="download", files=(Mirror(name=f"hmdb51_org.{outer}", urls=(server.url("/x"),)),))
    found = acquire(config, tmp_path)
    assert found == (HMDB if outer == "rar" else {f"hmdb/{path}": content for path, content in HMDB.items()})


def test_rars_beside_their_own_content_need_no_program(server: Server, tmp_path: Path, no_rar: None) -> None:
    files = {f"hmdb51_org/{path}": content for path, content in HMDB.items()}
    server.state.files["/x"] = zipped(files | {f"rars/{name}.rar": rar({}) for name in ("brush_hair", "climb_stairs")})
    config = DatasetConfig(kind="download", files=(Mirror(name="hmdb51_org.zip", urls=(server.url("/x"),)),))
    assert acquire(config, tmp_path) == files


def kinetics(server: Server, jobs: int = 3) -> DatasetConfig:
    """Seven archives of training videos, two of test videos, and one that replaces a broken video."""
    lists: dict[str, list[str]] = {"train": [], "val": []}
    for split, count in (("train", 7), ("val", 2)):
        for part in range(count):
            # as in the real ones: flat, one is a plain tar under a wrong name, some addresses have spaces
            name = f"part {part}.tar.gz" if part == 1 else f"part_{part}.tar.gz"
            content = tarred({f"./{split}{part}_000001_000011.mp4": video(f"{split}{part}")}, "w:" if part else "w:gz")
            server.state.files[f"/{split}/{name}"] = content
            lists[split].append(server.url(f"/{split}/{name.replace(' ', '%20')}"))
    server.state.files |= {f"/{split}.txt": "\r\n".join([*urls, ""]).encode() for split, urls in lists.items()}
    server.state.files["/replacement.tgz"] = tarred({"replacement_for_corrupted_k400/train2_000001_000011.mp4": b"new"})
    return DatasetConfig(
        kind="download",
        files=(
            Mirror(name="train.txt", urls=(server.url("/train.txt"),), parts=True, jobs=jobs),
            Mirror(name="val.txt", urls=(server.url("/val.txt"),), parts=True),
            Mirror(name="replacement.tgz", urls=(server.url("/replacement.tgz"),), into="replacement"),
        ),
    )


KINETICS = {
    **{f"train/part_{i}/train{i}_000001_000011.mp4": video(f"train{i}") for i in range(7) if i != 1},
    "train/part 1/train1_000001_000011.mp4": video("train1"),
    "val/part_0/val0_000001_000011.mp4": video("val0"),
    "val/part 1/val1_000001_000011.mp4": video("val1"),
    "replacement/replacement_for_corrupted_k400/train2_000001_000011.mp4": b"new",
}


def fetch_shares(config: DatasetConfig, data: Path) -> None:
    for mirror in config.files:
        if mirror.parts:
            path = addresses_path(data, mirror)
            fetch_addresses(config, mirror.name, path, SHORT)
            for part in range(1, mirror.jobs + 1):
                fetch_part(path, part, mirror.jobs, data / f"{mirror.name}-{part}.json", SHORT)


def test_lists_of_addresses_are_fetched_in_shares(server: Server, tmp_path: Path) -> None:
    config = kinetics(server)
    fetch_shares(config, tmp_path)
    addresses = json.loads(addresses_path(tmp_path, config.files[0]).read_text())
    assert [item["bytes"] for item in addresses] == [
        len(server.state.files[f"/train/part{' ' if i == 1 else '_'}{i}.tar.gz"]) for i in range(7)
    ]
    names = [json.loads((tmp_path / f"train.txt-{part}.json").read_text())["files"] for part in (1, 2, 3)]
    assert [len(share) for share in names] == [3, 2, 2]
    assert sorted(itertools.chain(*names)) == sorted(item["name"] for item in addresses)
    assert acquire(config, tmp_path) == KINETICS
    # each file was asked for once
    got = [request.path for request in server.state.log if request.method == "GET"]
    assert len(got) == len(set(got)) == 2 + 9 + 1
    # the same without shares
    assert acquire(config, tmp_path / "alone") == KINETICS


def test_one_missing_file_of_a_list_costs_that_file_only(server: Server, tmp_path: Path) -> None:
    config = kinetics(server)
    server.state.always["/train/part_4.tar.gz"] = web.status(403)
    with pytest.raises(UserError, match=r"(?s)1 of 7 files cannot be downloaded.*part_4\.tar\.gz: HTTP 403") as caught:
        acquire(config, tmp_path)
    assert str(tmp_path / "downloads" / "train") in str(caught.value)
    server.state.always.clear()
    assert acquire(config, tmp_path) == KINETICS
    assert len(server.got("/train/part_3.tar.gz")) == 1


def test_a_list_that_is_none_is_refused(server: Server, tmp_path: Path) -> None:
    config = kinetics(server)
    for text, words in (
        (b"part_0.tar.gz\n", "line 1: expected the address of a file"),
        (b"\n\n", "lists no addresses"),
        (b"\x89PNG\r\n", "is no list of addresses; delete it"),
        (b"http://a.org/x.tar.gz\nhttp://b.org/x.tar.gz", "files of the same name"),
        (b"<html>gone</html>", "a web page instead of the file"),
    ):
        server.state.files["/train.txt"] = text
        with pytest.raises(UserError, match=words):
            fetch_addresses(config, "train.txt", tmp_path / "addresses" / "train.txt.json", SHORT)
        shutil.rmtree(tmp_path / "downloads")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "../x.zip"}, "should match pattern"),
        ({"jobs": 4}, "need `parts: true`"),
        ({"into": "a/../../b"}, "folder below `videos/`"),
        ({"sha256": "md5:abc"}, "should match pattern"),
        ({"parts": True, "otherwise": [{"name": "y.zip", "urls": ["https://a.org/y"]}]}, "has no `otherwise`"),
        ({"otherwise": [{"name": "x.zip", "urls": ["https://a.org/y"]}]}, r"two of `files` have the name x\.zip"),
    ],
)
def test_mistakes_in_files_are_told(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        DatasetConfig.model_validate(
            {"kind": "download", "files": [{"name": "x.zip", "urls": ["https://a.org/x"]} | changes]}
        )


# --- what is here already -------------------------------------------------------------------------


def test_archives_may_go_once_they_are_unpacked(server: Server, tmp_path: Path) -> None:
    config = kinetics(server).model_copy(update={"keep_archives": False})
    assert acquire(config, tmp_path) == KINETICS
    assert not list((tmp_path / "downloads").rglob("*.*gz"))
    text, requests = (tmp_path / "downloads.json").read_bytes(), len(server.state.log)
    # both rules again, as after a changed configuration: nothing is downloaded, nothing is lost
    (tmp_path / "downloads.json").unlink()
    (tmp_path / "unpacked.json").unlink()
    assert acquire(config, tmp_path) == KINETICS
    assert (tmp_path / "downloads.json").read_bytes() == text
    assert len(server.state.log) == requests
    # without the videos they are needed again
    shutil.rmtree(tmp_path / "videos")
    with pytest.raises(UserError, match="archives are gone before they were unpacked"):
        unpack_dataset(tmp_path / "downloads.json", tmp_path / "unpacked.json")
    assert acquire(config, tmp_path) == KINETICS


def test_a_file_that_was_fetched_by_hand_counts_if_it_is_right(server: Server, tmp_path: Path) -> None:
    config = ucf(server)
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    (downloads / "UCF-101.zip").write_bytes(server.state.files["/folders.zip"])
    assert acquire(config, tmp_path) == FOLDERS
    assert records(tmp_path)[0]["url"] is None
    assert not server.state.log
    # a wrong one does not
    other = tmp_path / "other"
    (other / "downloads").mkdir(parents=True)
    (other / "downloads" / "UCF101_videos.zip").write_bytes(server.state.files["/flat.zip"][:-1] + b"x")
    (other / "downloads" / "UCF-101.zip").write_bytes(server.state.files["/folders.zip"][:-40])
    assert acquire(config, other) == FLAT


def test_a_file_that_changed_after_the_download_is_noticed(server: Server, tmp_path: Path) -> None:
    config = ucf(server)
    server.state.always["/flat.zip"] = web.status(404)
    fetch_dataset(config, tmp_path / "downloads.json", SHORT)
    archive = tmp_path / "downloads" / "UCF-101.zip"
    os.utime(archive)  # copied, but the same
    fetch_dataset(config, tmp_path / "downloads.json", SHORT)
    assert len(server.got("/folders.zip")) == 1
    assert records(tmp_path)[0]["url"] == server.url("/folders.zip")
    # a damaged one is fetched again, another one is as if put there by hand
    content = archive.read_bytes()
    archive.write_bytes(content[:5000] + b"damage" + content[5006:])
    fetch_dataset(config, tmp_path / "downloads.json", SHORT)
    assert len(server.got("/folders.zip")) == 2
    assert acquire(config, tmp_path) == FOLDERS
    archive.write_bytes(zipped({"UCF-101/YoYo/other.avi": b"x"}))
    assert set(acquire(config, tmp_path)) == {*FOLDERS, "UCF-101/YoYo/other.avi"}
    assert records(tmp_path)[0]["url"] is None


def test_too_small_a_disk_is_told_before_anything_is_fetched(server: Server, tmp_path: Path) -> None:
    config = ucf(server)
    huge = config.files[0].model_copy(update={"bytes": 10**15})
    with pytest.raises(UserError, match=r"1000000\.0 GB to download, 1000000\.0 GB to unpack.*keep_archives: false"):
        fetch_dataset(config.model_copy(update={"files": (huge,)}), tmp_path / "downloads.json", SHORT)

    lists = kinetics(server)
    server.state.claims |= {path: 10**14 for path in server.state.files if path.startswith("/train/")}
    requests = len(server.state.log)
    with pytest.raises(UserError, match=r"700000\.0 GB to download"):
        fetch_addresses(lists, "train.txt", tmp_path / "addresses" / "train.txt.json", SHORT)
    assert [request.method for request in server.state.log[requests:]] == ["GET", *["HEAD"] * 7]


# --- archives that are wrong ----------------------------------------------------------------------


def test_nothing_of_a_damaged_archive_counts(server: Server, tmp_path: Path) -> None:
    config = kinetics(server)
    fetch_dataset(config, tmp_path / "downloads.json", SHORT)
    archive = tmp_path / "downloads" / "train" / "part_0.tar.gz"
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)
    with pytest.raises(UserError, match=r"part_0\.tar\.gz cannot be unpacked.*delete .*downloads\.json"):
        unpack_dataset(tmp_path / "downloads.json", tmp_path / "unpacked.json", jobs=3)
    assert not (tmp_path / "unpacked.json").exists()
    assert videos(tmp_path) == {path: video for path, video in KINETICS.items() if "train/part_0" not in path}
    # as the message says
    archive.unlink()
    (tmp_path / "downloads.json").unlink()
    assert acquire(config, tmp_path) == KINETICS
    assert len(server.got("/train/part_0.tar.gz")) == 2
    assert len(server.got("/train/part_2.tar.gz")) == 1


@pytest.mark.parametrize("wrong", [b"\x01", b"damage"])
def test_a_damaged_header_in_a_tar_is_not_its_end(tmp_path: Path, wrong: bytes) -> None:
    content = tarred({f"run/{i}.avi": video(str(i)) for i in range(4)}, "w:")
    place = content.index(b"run/2.avi")
    archive = tmp_path / "a.tar"
    archive.write_bytes(content[:place] + wrong + content[place + len(wrong) :])
    with pytest.raises(DamagedError, match=r"a\.tar cannot be unpacked"):
        unpack(archive, tmp_path / "videos")
    assert "the archive is damaged" in (archive_fault(archive, "a.tar") or "")
    assert not videos(tmp_path)


def spoiled(content: bytes) -> bytes:
    """One wrong bit in the content of a video that is stored as it is."""
    place = content.index(HMDB["climb_stairs/climb_stairs_2.avi"]) + 1500
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize("pack", [rar, rar5])
def test_a_rar_is_compared_with_its_checksums(
    tmp_path: Path, rar_tool: str, pack: Callable[[dict[str, bytes]], bytes]
) -> None:
    if rar_tool == "stand-in" and pack is rar5:
        pytest.skip("the stand-in reads version 4")
    archive = tmp_path / "hmdb.rar"
    archive.write_bytes(pack(HMDB))
    assert unpack(archive, tmp_path / "right" / "videos") == 4
    assert videos(tmp_path / "right") == HMDB
    for content in (spoiled(pack(HMDB)), pack(HMDB)[:-5000]):
        archive.write_bytes(content)
        with pytest.raises(DamagedError, match="cannot be unpacked"):
            unpack(archive, tmp_path / "wrong" / "videos")
    assert not videos(tmp_path / "wrong")


def linked(tmp_path: Path, kind: str, name: str, target: str) -> Path:
    """An archive with a video, a link, and a file whose path leads through the link."""
    if kind == "rar":
        archive = tmp_path / "a.rar"
        archive.write_bytes(rar({"run/a.avi": b"a"}, {name: target}))
        return archive
    if kind == "zip":
        archive = tmp_path / "a.zip"
        with zipfile.ZipFile(archive, "w") as pack:
            pack.writestr("run/a.avi", b"a")
            entry = zipfile.ZipInfo(name)
            entry.create_system, entry.external_attr = 3, 0o120777 << 16
            pack.writestr(entry, target)
        return archive
    archive = tmp_path / "a.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo("run/a.avi")
        member.size = 1
        tar.addfile(member, io.BytesIO(b"a"))
        link = tarfile.TarInfo(name)
        link.type, link.linkname = (tarfile.SYMTYPE if kind == "tar" else tarfile.LNKTYPE), target
        tar.addfile(link)
    return archive


@pytest.mark.parametrize("kind", ["zip", "tar", "hard"])
def test_links_out_of_an_archive_are_refused_and_others_are_files(tmp_path: Path, kind: str) -> None:
    for target in ("/etc/passwd", "../../../etc/passwd"):
        with pytest.raises(UserError, match="outside the folder"):
            unpack(linked(tmp_path, kind, "run/b.avi", target), tmp_path / "videos")
    assert not videos(tmp_path)
    inside = "run/a.avi" if kind == "hard" else "a.avi"
    unpack(linked(tmp_path, kind, "run/b.avi", inside), tmp_path / "videos")
    assert videos(tmp_path) == {"run/a.avi": b"a", "run/b.avi": b"a"}
    assert not any(path.is_symlink() for path in (tmp_path / "videos").rglob("*"))


def test_links_out_of_a_rar_are_refused(tmp_path: Path, rar_tool: str) -> None:
    if rar_tool == "stand-in":
        pytest.skip("the stand-in makes no links")
    with pytest.raises(UserError, match="leads outside the folder"):
        unpack(linked(tmp_path, "rar", "run/b.avi", "/etc/passwd"), tmp_path / "videos")
    unpack(linked(tmp_path, "rar", "run/b.avi", "a.avi"), tmp_path / "videos")
    assert videos(tmp_path) == {"run/a.avi": b"a", "run/b.avi": b"a"}


@pytest.mark.parametrize("name", ["../evil", "/evil", "run/../../evil", "C:/evil", "..\\evil"])
@pytest.mark.parametrize("kind", ["zip", "tar.gz", "rar"])
def test_archives_cannot_write_outside_their_folder(
    tmp_path: Path, name: str, kind: str, request: pytest.FixtureRequest
) -> None:
    if kind == "rar" and not any(map(shutil.which, ("bsdtar", "unar", "unrar"))):
        pytest.skip("no program for rar is installed")
    archive = tmp_path / f"a.{kind}"
    archive.write_bytes({"zip": zipped, "tar.gz": tarred, "rar": rar}[kind]({"run/a.avi": b"a", name: b"x"}))
    with pytest.raises(UserError, match="outside the folder"):
        unpack(archive, tmp_path / "deep" / "videos")
    assert not videos(tmp_path / "deep")
    assert not list(tmp_path.rglob("*evil*"))


def test_devices_are_refused(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as pack:
        device = tarfile.TarInfo("run/a.avi")
        device.type = tarfile.CHRTYPE
        pack.addfile(device)
    with pytest.raises(UserError, match="is a device or a pipe"):
        unpack(archive, tmp_path / "videos")


def test_archives_in_archives_have_an_end(tmp_path: Path) -> None:
    content = b"x"
    for depth in range(6):
        content = zipped({f"{depth}.zip": content})
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(UserError, match="archives in archives in archives"):
        unpack(tmp_path / "a.zip", tmp_path / "videos")


# --- killed, and out of room ----------------------------------------------------------------------


def command(verb: str, data: Path, config: DatasetConfig) -> list[str]:
    cli = [sys.executable, str(ROOT / "workflow" / "cli.py"), verb]
    if verb == "fetch":
        return [*cli, "--config", canonical(config), "--out", str(data / "downloads.json")]
    out = ["--out", str(data / "unpacked.json")]
    return [*cli, "--downloads", str(data / "downloads.json"), *out, "--jobs", "2"]


def killed_when(words: list[str], reached: Callable[[], bool]) -> bool:
    """Run a command and kill -9 it at some point; false if it ended before."""
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True) as process:
        while process.poll() is None and not reached():
            time.sleep(0.0005)
        if process.poll() is not None:
            assert process.returncode == 0, process.stderr and process.stderr.read()
            return False
        os.killpg(process.pid, signal.SIGKILL)
    return True


def test_killed_ten_times_at_random_moments(server: Server, tmp_path: Path) -> None:
    """kill -9 while it downloads and while it unpacks: each next call continues, and the end is the same."""
    rng = random.Random(1)
    whole = {f"run/{i:03d}.avi": rng.randbytes(4000) for i in range(400)}
    parts = [{f"{part}_{i:03d}.mp4": rng.randbytes(4000) for i in range(200)} for part in range(3)]
    archive = zipped(whole)
    server.state.files |= {"/a.zip": archive, "/list": b""}
    server.state.files |= {f"/{i}.tar.gz": tarred(files) for i, files in enumerate(parts)}
    server.state.files["/list"] = "\n".join(server.url(f"/{i}.tar.gz") for i in range(3)).encode()
    for path in list(server.state.files):
        server.state.tags[path] = f'"{path}"'
        server.state.always[path] = web.trickle(2e6)
    config = DatasetConfig(
        kind="download",
        files=(
            Mirror(name="a.zip", urls=(server.url("/a.zip"),), sha256=hashlib.sha256(archive).hexdigest()),
            Mirror(name="list.txt", urls=(server.url("/list"),), parts=True),
        ),
    )
    downloads = tmp_path / "downloads"
    total = sum(map(len, server.state.files.values()))

    def arrived() -> int:
        found = [*downloads.glob("*.zip*"), *downloads.glob("list/*.gz*")]
        return sum(path.stat().st_size for path in found if not path.name.endswith(".json") and path.exists())

    def moved() -> int:
        return sum(len(names) for name in ("unpacking", "videos") for _, _, names in os.walk(tmp_path / name))

    killed = 0
    for share in sorted(rng.uniform(0.02, 0.85) for _ in range(6)):
        killed += killed_when(command("fetch", tmp_path, config), lambda share=share: arrived() > share * total)
        assert not (tmp_path / "downloads.json").exists()
    assert killed == 6
    subprocess.run(command("fetch", tmp_path, config), check=True, capture_output=True)
    wanted = {f"list/{part}/{name}": file for part, files in enumerate(parts) for name, file in files.items()} | whole
    while killed < 10:
        point = moved() + rng.randint(1, 600)
        killed += killed_when(command("extract", tmp_path, config), lambda point=point: moved() >= point)
        if (tmp_path / "unpacked.json").exists():  # it was faster: once more from the beginning
            assert videos(tmp_path) == wanted
            (tmp_path / "unpacked.json").unlink()
            shutil.rmtree(tmp_path / "videos")
    subprocess.run(command("extract", tmp_path, config), check=True, capture_output=True)
    assert videos(tmp_path) == wanted
    assert not (tmp_path / "unpacking").exists()
    assert not list(downloads.rglob("*.part"))
    assert all(record["url"] for record in records(tmp_path))
    # it did continue: a file that was cut was not fetched whole again
    assert sum(span is not None for request in server.state.log if (span := request.span)) >= 4


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "ssar-test", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no right to mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def enlarge(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=16m", str(disk)], check=True)


def test_a_full_disk_while_downloading(server: Server, small_disk: Path) -> None:
    files = {f"run/{i}.avi": video(str(i)) for i in range(600)}
    server.state.files["/x"] = zipped(files)
    server.state.tags["/x"] = '"1"'
    server.state.always["/x"] = web.without_length
    config = DatasetConfig(kind="download", files=(Mirror(name="x.zip", urls=(server.url("/x"),)),))
    with pytest.raises(UserError, match=r"No space left on device after 0\.001 GB, which are kept; make room"):
        acquire(config, small_disk)
    kept = (small_disk / "downloads" / "x.zip.part").stat().st_size
    assert kept > 900_000
    enlarge(small_disk)
    assert acquire(config, small_disk) == files
    assert server.got("/x") == [None, f"bytes={kept}-"]


def test_a_full_disk_while_indexing_is_told_with_the_file(small_disk: Path, tmp_path: Path) -> None:
    make_folder(tmp_path / "videos", ["run", "sit"], 2)
    out = small_disk / "out"
    command = [sys.executable, Path(__file__).parents[2] / "workflow" / "cli.py", "index", "--jobs", "1"]
    command += ["--config", '{"kind": "folder", "root": "x"}', "--root", tmp_path / "videos"]
    command += ["--index", out / "index.csv", "--report", out / "report.md"]

    def told(room: int) -> str:
        filler = small_disk / "filler"
        filler.write_bytes(b"")
        filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - room))
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        assert done.returncode == 1
        return done.stderr.splitlines()[-1]

    assert f"{out / 'index-cache.jsonl'}: No space left on device; 0 MB are free" in told(0)
    # the memory of what was found fits into one page, and the next file does not
    assert f"{out / 'index-excluded.csv'}: No space left on device" in told(4096)
    enlarge(small_disk)
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_full_disk_while_unpacking(server: Server, small_disk: Path) -> None:
    files = {f"run/{i}.avi": bytes(100_000) for i in range(20)}
    server.state.files |= {"/small": tarred({"sit/a.avi": b"a"}), "/large": tarred(files)}
    config = DatasetConfig(
        kind="download",
        files=tuple(Mirror(name=f"{name}.tgz", urls=(server.url(f"/{name}"),)) for name in ("small", "large")),
    )
    with pytest.raises(UserError, match=r"No space left on device while large\.tgz was unpacked; make room"):
        acquire(config, small_disk)
    assert videos(small_disk) == {"sit/a.avi": b"a"}
    enlarge(small_disk)
    assert acquire(config, small_disk) == files | {"sit/a.avi": b"a"}
    # where the archive says how much it needs, nothing begins
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as pack:
        pack.writestr("run/b.avi", bytes(40_000_000))
    server.state.files["/zip"] = buffer.getvalue()
    config = DatasetConfig(kind="download", files=(Mirror(name="a.zip", urls=(server.url("/zip"),)),))
    with pytest.raises(UserError, match=r"0\.040 GB to unpack and 0\.01\d GB free; make room"):
        acquire(config, small_disk)
    assert "run/b.avi" not in videos(small_disk)


def test_deleting_archives_saves_their_room(server: Server, small_disk: Path) -> None:
    files = {name: random.Random(name).randbytes(300_000) for name in ("a", "b")}
    server.state.files |= {f"/{name}": tarred({f"run/{name}.avi": content}) for name, content in files.items()}
    config = DatasetConfig(
        kind="download", files=tuple(Mirror(name=f"{name}.tgz", urls=(server.url(f"/{name}"),)) for name in files)
    )
    with pytest.raises(UserError, match="keep_archives: false"):
        acquire(config, small_disk)
    found = acquire(config.model_copy(update={"keep_archives": False}), small_disk)
    assert found == {f"run/{name}.avi": content for name, content in files.items()}
    assert len(server.state.log) == 2


def test_a_full_disk_while_a_program_unpacks_a_rar(small_disk: Path, tmp_path: Path, rar_tool: str) -> None:
    if rar_tool == "stand-in":
        pytest.skip("how programs tell it")
    files = {f"run/{i}.avi": random.Random(i).randbytes(200_000) for i in range(10)}
    (tmp_path / "a.rar").write_bytes(rar(files))
    with pytest.raises(UserError, match=r"No space left on device while a\.rar was unpacked"):
        unpack(tmp_path / "a.rar", small_disk / "videos")
    assert not videos(small_disk)
