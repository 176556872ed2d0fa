"""From a server to an index through the real rules: a dataset shaped like Kinetics-400, with real videos."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.archives import tarred
from tests.server import Server, serving
from tests.videos import moving_frames, write_video
from tests.workflow.conftest import SETTING, TINY, Workspace

INDEX = "out/data/mini/index.csv"
CLASSES = ("abseiling", "air drumming")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as server:
        yield server


def clip(folder: Path, name: str, seed: int) -> bytes:
    return write_video(folder / name, moving_frames(6, seed=seed)).read_bytes()


def serve_kinetics(server: Server, folder: Path) -> dict[str, Any]:
    """Four training videos in four archives, one of them broken and replaced, and two test videos; the dataset."""
    addresses: dict[str, list[str]] = {"train": [], "val": []}
    for split, count in (("train", 4), ("val", 2)):
        rows = []
        for number in range(count):
            youtube_id = f"{split}{number}".ljust(11, "x")
            name = f"{youtube_id}_000003_000013.mp4"
            content = clip(folder, name, seed=10 * count + number)
            if (split, number) == ("train", 2):
                server.state.files["/replacement.tgz"] = tarred({f"replacement_for_corrupted_k400/{name}": content})
                content = content[:200]
            path = f"/{split}/part {number}.tar.gz"
            server.state.files[path] = tarred({name: content})
            addresses[split].append(server.url(path.replace(" ", "%20")))
            rows.append([CLASSES[number % 2], youtube_id, 3, 13, split])
        with open(folder / f"{split}.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerows([["label", "youtube_id", "time_start", "time_end", "split"], *rows])
    server.state.files |= {f"/{split}.txt": "\n".join(urls).encode() for split, urls in addresses.items()}
    return {
        "kind": "download",
        "files": [
            {"name": "train.txt", "urls": [server.url("/train.txt")], "parts": True, "jobs": 3},
            {"name": "val.txt", "urls": [server.url("/val.txt")], "parts": True},
            {"name": "replacement.tgz", "urls": [server.url("/replacement.tgz")], "into": "replacement"},
        ],
        "keep_archives": False,
        "classes": 2,
        "videos": 4,
        "tg_source": "online",
        "train": {"path": str(folder / "train.csv"), "format": "kinetics"},
        "test": {"path": str(folder / "val.csv"), "format": "kinetics"},
    }


def test_from_addresses_to_an_index(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    space = Workspace(tmp_path / "space")
    space.folder.mkdir()
    config = TINY | {"datasets": TINY["datasets"] | {"mini": serve_kinetics(server, folder)}}
    config["settings"] = {SETTING: {"dataset": "mini", "labels": "all"}}
    space.configure(config)
    planned = space.planned(INDEX)
    assert {rule: planned[rule] for rule in ("fetch_addresses", "fetch_part", "fetch", "extract", "index")} == {
        "fetch_addresses": 2,
        "fetch_part": 4,
        "fetch": 1,
        "extract": 1,
        "index": 1,
    }
    space.run(INDEX, "--resources", "downloads=1")
    assert server.state.most_at_once == 1
    with open(space.folder / INDEX, newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["split"] for row in rows) == ["test", "test", *["train"] * 4]
    paths = {row["path"] for row in rows}
    assert "train/part 3/train3xxxxx_000003_000013.mp4" in paths
    assert "replacement/replacement_for_corrupted_k400/train2xxxxx_000003_000013.mp4" in paths
    data = space.folder / "out/data/mini"
    assert len(json.loads((data / "downloads.json").read_text())["files"]) == 7
    assert not list((data / "downloads").rglob("*.*gz"))
    # everything is there; a new licence makes nothing anew, a list of addresses that is gone nothing but itself
    assert "Nothing to be done" in space.run(INDEX)
    config["datasets"]["mini"] |= {"licence": "CC BY 4.0", "keep_archives": True}
    space.configure(config)
    requests = len(server.state.log)
    space.run(INDEX)
    assert len(server.state.log) == requests
