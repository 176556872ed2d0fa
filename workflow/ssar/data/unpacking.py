"""Unpacking all archives of a dataset, several at once; an interrupted call continues with those that are not done."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

from ssar.data.archives import DamagedError, unpack, unpacked_size
from ssar.data.signatures import is_archive
from ssar.errors import UserError
from ssar.files import write_json
from ssar.progress import Meter


@dataclass(frozen=True)
class Download:
    """A downloaded file, as downloads.json lists it."""

    name: str
    """Path below `downloads/`."""
    url: str | None
    """Where it came from; None for a file that lay there already."""
    bytes: int
    sha256: str
    published: bool
    """Whether the checksum is the publisher's, or what the file had when it was downloaded."""
    into: str
    """Folder below `videos/` that it is unpacked into."""


class Unpacked:
    """Which archives have been unpacked into a folder of videos; known there, so that it ends with the folder."""

    def __init__(self, videos: Path) -> None:
        self.folder = videos / ".unpacked"

    def _marker(self, archive: Download) -> Path:
        return self.folder / f"{archive.name}.json"

    def has(self, archive: Download) -> bool:
        """Whether this very archive has been unpacked there."""
        try:
            found = json.loads(self._marker(archive).read_text())
        except (OSError, ValueError):
            return False
        return bool(found == self._identity(archive))

    def add(self, archive: Download) -> None:
        write_json(self._marker(archive), self._identity(archive))

    @staticmethod
    def _identity(archive: Download) -> dict[str, str | int]:
        return {"name": archive.name, "bytes": archive.bytes, "sha256": archive.sha256, "into": archive.into}


def read_downloads(path: Path) -> list[Download]:
    """The files that downloads.json lists."""
    return [Download(**record) for record in json.loads(path.read_text())["files"]]


def write_downloads(path: Path, downloads: Sequence[Download]) -> None:
    write_json(path, {"files": [asdict(item) for item in downloads]})


def unpack_dataset(downloads_json: Path, out_json: Path, jobs: int = 1, keep: bool = True) -> None:
    """Unpack the archives that `fetch_dataset` recorded into `videos/` beside `out_json`, `jobs` at a time.

    Without `keep` each archive is deleted once its files are there. An interrupted call continues with the archives
    that are not done. Raises UserError for archives that are damaged, reach outside their folder, are gone, or need a
    program that is not installed, and where the disk is too small; the others are unpacked first.
    """
    downloads, videos = downloads_json.parent / "downloads", out_json.parent / "videos"
    aside = out_json.parent / "unpacking"
    # a name of its own: the rar program of a call that was killed may still be writing
    staging = aside / secrets.token_hex(4)
    archives = [item for item in read_downloads(downloads_json) if is_archive(item.name)]
    unpacked = Unpacked(videos)
    todo = []
    for item in archives:
        if not unpacked.has(item):
            todo.append(item)
        elif not keep:
            (downloads / item.name).unlink(missing_ok=True)
    gone = [str(downloads / item.name) for item in todo if not (downloads / item.name).exists()]
    if gone:
        raise UserError.of(
            f"archives are gone before they were unpacked; delete {downloads_json} and give the same command again, "
            "which fetches them:",
            gone,
        )
    shutil.rmtree(aside, ignore_errors=True)
    videos.mkdir(parents=True, exist_ok=True)
    _check_space([downloads / item.name for item in todo], videos, 0 if keep else jobs)

    def work(item: Download) -> None:
        archive = downloads / item.name
        try:
            unpack(archive, videos / item.into, staging / item.name)
        except DamagedError as error:
            raise UserError(
                f"{error}; delete {archive} and {downloads_json}, then give the same command again: it is fetched anew"
            ) from None
        unpacked.add(item)
        if not keep:
            archive.unlink()

    problems = list(_all(work, todo, jobs))
    shutil.rmtree(aside, ignore_errors=True)
    if problems:
        raise UserError("\n".join(problems))
    files = sum(path.is_file() for path in videos.rglob("*") if ".unpacked" not in path.parts)
    write_json(out_json, {"archives": [item.name for item in archives], "files": files})


def _all(work: Callable[[Download], None], items: Sequence[Download], jobs: int) -> Iterator[str]:
    """Do the work for every item, also after one has failed; yields what went wrong."""
    with Meter(len(items), "unpack") as meter:
        if jobs == 1 or len(items) == 1:
            for item in items:
                try:
                    work(item)
                except UserError as error:
                    yield str(error)
                meter.advance()
            return
        with ThreadPoolExecutor(jobs) as pool:
            futures = [pool.submit(work, item) for item in items]
            try:
                for future in as_completed(futures):
                    try:
                        future.result()
                    except UserError as error:
                        yield str(error)
                    meter.advance()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _check_space(archives: Sequence[Path], videos: Path, at_once: int) -> None:
    """Refuse to begin what cannot end; `at_once`: archives that are there beside their files, 0 for all."""
    sizes = sorted((unpacked_size(path) for path in archives), reverse=True)
    needed, free = sum(sizes[:at_once] if at_once else sizes), shutil.disk_usage(videos).free
    if needed > free:
        raise UserError(
            f"{videos}: {needed / 1e9:.3f} GB to unpack and {free / 1e9:.3f} GB free; make room, or set the dataset's "
            "`keep_archives: false`, which deletes each archive once it is unpacked"
        )
