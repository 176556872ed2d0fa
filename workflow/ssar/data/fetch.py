"""Bringing a dataset here: its files are downloaded, recorded and unpacked."""

from __future__ import annotations

import json
import shutil
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ssar.config import DatasetConfig, Mirror
from ssar.data.archives import is_archive, unpack
from ssar.data.download import fetch_file
from ssar.errors import UserError
from ssar.files import write_json
from ssar.progress import note, track


def fetch_dataset(dataset: DatasetConfig, out_json: Path) -> None:
    """Download all files of a dataset beside `out_json`, into `downloads/`, and record where each came from.

    Files that are there and pass their checks are kept. Raises UserError when no mirror gives a file.
    """
    folder = out_json.parent / "downloads"
    _check_space(dataset.files, folder)
    write_json(out_json, {"files": [record for mirror in dataset.files for record in _fetch_mirror(mirror, folder)]})


def _fetch_mirror(mirror: Mirror, folder: Path) -> Iterator[dict[str, Any]]:
    """Fetch one file, or every file of a list of addresses; `into` says where an archive is unpacked."""
    path = folder / mirror.name
    url = fetch_file(mirror.urls, path, sha256=mirror.sha256, size=mirror.bytes)
    if not mirror.parts:
        yield _record(path, folder, url, mirror.sha256, "")
        return
    addresses = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    for number, address in enumerate(addresses, start=1):
        name = Path(urllib.parse.unquote(urllib.parse.urlsplit(address).path)).name
        if not name or not address.startswith(("http://", "https://")):
            raise UserError(f"{path}, line {number}: expected the address of a file, found `{address[:100]}`")
        part = folder / path.stem / name
        note(f"{mirror.name}: file {number} of {len(addresses)}")
        into = f"{path.stem}/{name.split('.')[0]}"
        yield _record(part, folder, fetch_file([address], part), None, into)


def _record(path: Path, folder: Path, url: str, checksum: str | None, into: str) -> dict[str, Any]:
    name = path.relative_to(folder).as_posix()
    return {"name": name, "url": url, "bytes": path.stat().st_size, "sha256": checksum, "into": into}


def _check_space(files: Sequence[Mirror], folder: Path) -> None:
    missing = sum(mirror.bytes or 0 for mirror in files if not (folder / mirror.name).exists())
    folder.mkdir(parents=True, exist_ok=True)
    partial = sum(path.stat().st_size for path in folder.glob("*.part"))
    free = shutil.disk_usage(folder).free
    if missing - partial > free:
        raise UserError(f"{folder}: {missing / 1e9:.1f} GB to download and {free / 1e9:.1f} GB free")


def unpack_dataset(downloads_json: Path, out_json: Path) -> None:
    """Unpack the archives that `fetch_dataset` recorded into `videos/` beside `out_json`.

    An interrupted call continues with the first archive that is not done. Raises UserError for an archive that is
    damaged, reaches outside its folder, or needs a program that is not installed.
    """
    downloads, videos = downloads_json.parent / "downloads", out_json.parent / "videos"
    records = [record for record in json.loads(downloads_json.read_text())["files"] if is_archive(record["name"])]
    state = out_json.with_name(".unpacked-so-far.json")
    done = json.loads(state.read_text()) if state.exists() else {}
    for record in track(records, len(records), "unpack"):
        fingerprint = [record["bytes"], record["sha256"]]
        if done.get(record["name"]) != fingerprint:
            unpack(downloads / record["name"], videos / record["into"])
            done[record["name"]] = fingerprint
            write_json(state, done)
    files = sum(path.is_file() for path in videos.rglob("*"))
    write_json(out_json, {"archives": [record["name"] for record in records], "files": files})
    state.unlink(missing_ok=True)
