"""Downloading a dataset: its files or what stands in for them, lists of addresses in shares, and a record of it all."""

from __future__ import annotations

import json
import shutil
import urllib.parse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ssar.config import DatasetConfig, Mirror, RemoteFile
from ssar.data.download import PATIENCE, Patience, UnavailableError, fetch_file, stated_size
from ssar.data.rar import missing_tool
from ssar.data.signatures import archive_fault, is_archive
from ssar.data.unpacking import Download, Unpacked, write_downloads
from ssar.errors import UserError
from ssar.files import sha256 as sha256_of
from ssar.files import write_json
from ssar.progress import note

HEADS_AT_ONCE = 8


@dataclass(frozen=True)
class Address:
    """A line of a list of addresses."""

    name: str
    """Path below `downloads/`."""
    url: str
    bytes: int | None
    """The size that the server states."""
    into: str


class Downloads:
    """The folder `downloads/` of a dataset, and what is known of each file in it: `<name>.json` beside `<name>`."""

    def __init__(self, data: Path, patience: Patience = PATIENCE) -> None:
        self.folder, self.unpacked, self.patience = data / "downloads", Unpacked(data / "videos"), patience

    def kept(self, file: RemoteFile, into: str) -> Download | None:
        """The record of a file that need not be fetched: it is there and right, or unpacked already."""
        path = self.folder / file.name
        try:
            known = json.loads(self._record(path).read_text())
            record = replace(Download(**known["download"]), into=into)
        except (OSError, ValueError, TypeError, KeyError):
            return self._by_hand(file, into)
        wrong_size = file.bytes is not None and record.bytes != file.bytes
        if record.name != file.name or wrong_size or (file.sha256 is not None and record.sha256 != file.sha256):
            return self._by_hand(file, into)
        if not path.exists():
            return record if self.unpacked.has(record) else None
        status = path.stat()
        if (status.st_size, status.st_mtime_ns) == (record.bytes, known["changed"]):
            return record
        # copied or touched: the same content counts
        if sha256_of(path) == record.sha256:
            return self._write(file, record.url, into, path)
        return self._by_hand(file, into)

    def fetch(self, file: RemoteFile, into: str) -> Download:
        """Download a file. Raises UnavailableError where no address gives it."""
        path = self.folder / file.name

        # before it is there, so that a call that is killed in between does not forget the address
        def record(url: str, part: Path) -> None:
            self._write(file, url, into, part)

        fetch_file(file.urls, path, sha256=file.sha256, size=file.bytes, patience=self.patience, arrived=record)
        kept = self.kept(file, into)
        if kept is None:
            raise UserError(f"{path} was changed or removed while it was downloaded; give the same command again")
        return kept

    def _by_hand(self, file: RemoteFile, into: str) -> Download | None:
        """The record of a file that somebody put there, if it is the right one."""
        path = self.folder / file.name
        if not path.exists() or (file.bytes is not None and path.stat().st_size != file.bytes):
            return None
        right = archive_fault(path, file.name) is None if file.sha256 is None else sha256_of(path) == file.sha256
        return self._write(file, None, into, path) if right else None

    def _write(self, file: RemoteFile, url: str | None, into: str, content: Path) -> Download:
        """Write and return the record of a file with this content."""
        status = content.stat()
        checksum = file.sha256 or sha256_of(content)
        record = Download(file.name, url, status.st_size, checksum, file.sha256 is not None, into)
        known = {"download": asdict(record), "changed": status.st_mtime_ns}
        write_json(self._record(self.folder / file.name), known)
        return record

    @staticmethod
    def _record(path: Path) -> Path:
        return path.with_name(path.name + ".json")


def fetch_dataset(dataset: DatasetConfig, out_json: Path, patience: Patience = PATIENCE, *, keep: bool = True) -> None:
    """Download all files of a dataset beside `out_json`, into `downloads/`, and record where each came from.

    `keep`: whether the archives will stay beside what is unpacked from them, for which there must be room.
    Files that are there and pass their checks are kept, and so are those that were unpacked and deleted.
    Raises UserError when no mirror gives a file, or the disk is too small.
    """
    data = out_json.parent
    downloads = Downloads(data, patience)
    whole = [mirror for mirror in dataset.files if not mirror.parts]
    missing = [mirror for mirror in whole if not any(downloads.kept(file, mirror.into) for file in _choices(mirror))]
    _check_space(missing, downloads.folder, keep)
    records: list[Download] = []
    for mirror in dataset.files:
        if mirror.parts:
            path = addresses_path(data, mirror)
            if not path.exists():
                fetch_addresses(dataset, mirror.name, path, patience, keep=keep)
            records += _fetch_addresses(downloads, _read_addresses(path), mirror.name, path)
        else:
            records.append(_fetch_mirror(downloads, mirror))
    write_downloads(out_json, records)


def fetch_addresses(
    dataset: DatasetConfig, name: str, out_json: Path, patience: Patience = PATIENCE, *, keep: bool = True
) -> None:
    """Download a list of addresses and ask their servers for the sizes, so that too small a disk is told first."""
    mirror = _mirror(dataset, name)
    data = out_json.parent.parent
    folder = data / "downloads"
    path = folder / mirror.name
    fetch_file(mirror.urls, path, sha256=mirror.sha256, size=mirror.bytes, patience=patience)
    addresses = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{path} is no list of addresses; delete it, so that it is fetched again") from None
    for number, line in enumerate(lines, start=1):
        if not (url := line.strip()):
            continue
        file = Path(urllib.parse.unquote(urllib.parse.urlsplit(url).path)).name
        if not file or not url.startswith(("http://", "https://")):
            raise UserError(f"{path}, line {number}: expected the address of a file, found `{url[:100]}`")
        into = "/".join(filter(None, (mirror.into, path.stem, file.split(".")[0])))
        addresses.append(Address(f"{path.stem}/{file}", url, None, into))
    if not addresses:
        raise UserError(f"{path} lists no addresses; delete it, so that it is fetched again")
    if len({address.name for address in addresses}) < len(addresses):
        raise UserError(f"{path} lists files of the same name: which is which cannot be told after the download")
    note(f"{mirror.name}: asking for the sizes of {len(addresses)} files")
    with ThreadPoolExecutor(HEADS_AT_ONCE) as pool:
        sizes = pool.map(stated_size, [address.url for address in addresses])
        addresses = [replace(address, bytes=size or None) for address, size in zip(addresses, sizes, strict=True)]
    missing = [_file(address) for address in addresses if not (folder / f"{address.name}.json").exists()]
    _check_space(missing, folder, keep)
    write_json(out_json, [asdict(address) for address in addresses])


def fetch_part(addresses_json: Path, part: int, jobs: int, out_json: Path, patience: Patience = PATIENCE) -> None:
    """Download the share `part`, from 1 on, of the listed files: every `jobs`-th of them."""
    downloads = Downloads(addresses_json.parent.parent, patience)
    share = _read_addresses(addresses_json)[part - 1 :: jobs]
    records = _fetch_addresses(downloads, share, f"part {part} of {jobs}", addresses_json)
    write_json(out_json, {"files": [record.name for record in records]})


def addresses_path(data: Path, mirror: Mirror) -> Path:
    """Where the addresses and sizes of a list are kept, below the folder of a dataset."""
    return data / "addresses" / f"{mirror.name}.json"


def _fetch_addresses(downloads: Downloads, addresses: Sequence[Address], label: str, listed: Path) -> list[Download]:
    """Fetch the files listed in `listed`; those that fail are told together, after all others are there."""
    records: list[Download] = []
    failures: list[str] = []
    for number, address in enumerate(addresses, start=1):
        file = _file(address)
        record = downloads.kept(file, address.into)
        if record is None:
            note(f"{label}: file {number} of {len(addresses)}")
            try:
                record = downloads.fetch(file, address.into)
            except UnavailableError as error:
                failures += error.failures
                continue
        records.append(record)
    if failures:
        raise UserError.of(
            f"{len(failures)} of {len(addresses)} files cannot be downloaded; give the same command again later, fetch "
            f"them by hand to {downloads.folder / Path(addresses[0].name).parent}, or delete {listed} if it states "
            "sizes that they no longer have:",
            failures,
        )
    return records


def _fetch_mirror(downloads: Downloads, mirror: Mirror) -> Download:
    """One file, or the first that stands in for it."""
    for file in _choices(mirror):
        if (record := downloads.kept(file, mirror.into)) is not None:
            return record
    failures: list[str] = []
    for file in _choices(mirror):
        if file.name.lower().endswith(".rar") and (problem := missing_tool()) is not None:
            failures.append(f"{file.name}: {problem}")
            continue
        try:
            return downloads.fetch(file, mirror.into)
        except UnavailableError as error:
            failures += error.failures
    names = " or ".join(file.name for file in _choices(mirror))
    raise UserError.of(
        f"{mirror.name} cannot be downloaded; if all else fails fetch {names} by hand to {downloads.folder}/:", failures
    )


def _choices(mirror: Mirror) -> tuple[RemoteFile, ...]:
    return (mirror, *mirror.otherwise)


def _mirror(dataset: DatasetConfig, name: str) -> Mirror:
    for mirror in dataset.files:
        if mirror.name == name and mirror.parts:
            return mirror
    raise UserError(f"the dataset has no list of addresses `{name}` among its `files`")


def _file(address: Address) -> RemoteFile:
    # its name has a folder, which is checked where the list is read
    return RemoteFile.model_construct(name=address.name, urls=(address.url,), sha256=None, bytes=address.bytes)


def _read_addresses(path: Path) -> list[Address]:
    return [Address(**item) for item in json.loads(path.read_text())]


def _check_space(files: Sequence[RemoteFile], folder: Path, keep: bool) -> None:
    """Refuse to begin a download that cannot end; what is unpacked is taken for as large as its archive."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = sum(path.stat().st_size for path in folder.rglob("*.part"))
    download = sum(file.bytes or 0 for file in files)
    archives = [file.bytes or 0 for file in files if is_archive(file.name)]
    videos = sum(archives) if keep else max(archives, default=0)
    free = shutil.disk_usage(folder).free
    if download + videos - partial > free:
        raise UserError(
            f"{folder}: {download / 1e9:.1f} GB to download, {videos / 1e9:.1f} GB to unpack, {partial / 1e9:.1f} GB "
            f"are there, and {free / 1e9:.1f} GB are free; make room, or let `results` lie on another disk"
            + (", or set the dataset's `keep_archives: false`" if keep and archives else "")
        )
