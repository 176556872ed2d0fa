"""Bringing the published lists of a dataset here, before a job without internet asks for them."""

from __future__ import annotations

from pathlib import Path

from ssar.config import DatasetConfig, ListFile
from ssar.data.list_files import list_path, local_list
from ssar.data.lists import Role, read_list
from ssar.errors import UserError
from ssar.files import sha256, write_json
from ssar.progress import note


def bring_lists(dataset: DatasetConfig, out_json: Path) -> None:
    """Fetch the lists of a dataset that are not here, read every one, and write what they are to `out_json`.

    An entry of `lists` has key, path, url, sha256 (of a file) and videos. Lists that are here and fit are kept. Raises
    UserError that names every list that cannot be had or read; the others are here then.
    """
    records, problems = [], []
    for key, item in dataset.lists().items():
        try:
            records.append(_bring(key, item, dataset))
        except UserError as error:
            problems.append(f"`{key}`: {error}")
    if problems:
        raise UserError.of(f"{len(problems)} of {len(dataset.lists())} lists are not to be had:", problems)
    write_json(out_json, {"lists": records})


def _bring(key: str, item: ListFile, dataset: DatasetConfig) -> dict[str, object]:
    path = list_path(item)
    fetched = not path.exists()
    local_list(item)
    role: Role = "test" if key.rpartition(".")[2] == "test" else "train"
    try:
        videos = len(read_list(item, role, dataset.extensions))
    except UserError:
        if fetched and path.is_file():
            path.unlink()  # a page instead of a list, where no checksum told; the next call asks for it again
        raise
    note(f"{key}: {videos} videos in {path}")
    checksum = sha256(path) if path.is_file() else None
    return {"key": key, "path": str(path), "url": item.url, "sha256": checksum, "videos": videos}
