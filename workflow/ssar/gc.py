"""Cleaning up a results folder: what may go is listed with its size, and removed where that is asked for."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ssar.asked import Asked, neighbours, sharing
from ssar.errors import UserError
from ssar.leftovers import CAREFUL, TITLES, Found, Item, find
from ssar.paths import Paths
from ssar.status import Signs


def collect(overlays: Sequence[str], others: Sequence[Sequence[str]], delete: bool, force: bool) -> None:
    """List what may go with its size; with `delete` remove it.

    `overlays`: of config.yaml; `others`: overlays of further configurations with the same results folder. Raises
    UserError where deleting looks like a mistake and `force` does not say otherwise, and for what could not be removed.
    """
    files = [Path(file) for file in overlays]
    further = [[Path(file) for file in group] for group in others]
    grids = sharing(files, further)
    project = grids[0].project
    found = find(Paths(project.results), Asked.by(grids), time.time())
    strangers = list(neighbours(project, [*files, *(file for group in further for file in group)]))
    print(_page(found, hint=not delete))
    for file in strangers:
        print(f"note: {file} may have runs in {project.results}, too; keep them with --also {file}", file=sys.stderr)
    if not delete:
        return
    if found.lost and not force:
        _refuse(found, project.results, strangers)
    left = list(remove(found.items))
    if left:
        raise UserError.of(f"{len(left)} of {len(found.items)} were not deleted:", left)
    print(f"deleted {len(found.items)}")


def _refuse(found: Found, results: str, strangers: Sequence[Path]) -> None:
    """Raise UserError where finished runs would go that somebody else may want."""
    if strangers:
        named = " ".join(f"--also {file}" for file in strangers)
        raise UserError(
            f"nothing is deleted: {found.lost} finished runs would go, and other configurations may have made them. "
            f"Keep what those ask for ({named}), or say --force"
        )
    if found.lost > found.finished:
        raise UserError(
            f"nothing is deleted: of {found.lost + found.finished} finished runs in {results}, this configuration asks "
            f"for {found.finished}. Is it the one that made them (--configfile, --also)? If so, say --force"
        )


def remove(items: Iterable[Item]) -> Iterator[str]:
    """Remove files and folders; yields what was not removed, with the reason."""
    for item in items:
        try:
            if item.state is not None and Signs.find(item.state).alive(time.time(), CAREFUL):  # since it was listed
                yield f"{item.path}: its run has just started"
                continue
            if item.path.is_dir():
                shutil.rmtree(item.path)
            else:
                item.path.unlink(missing_ok=True)
        except OSError as error:
            yield f"{item.path}: {error.strerror or error}"


# --- text -----------------------------------------------------------------------------------------


def amount(count: int) -> str:
    """Bytes in their largest binary unit, e.g. 1.5 GiB."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


def _page(found: Found, hint: bool) -> str:
    blocks = []
    for kind, title in TITLES.items():
        items = [item for item in found.items if item.kind == kind]
        if items:
            lines = [f"  {amount(item.size):>10}  {item.path}" for item in items]
            blocks.append("\n".join([f"{title}: {len(items)}, {amount(_sum(items))}", *lines]))
    if found.kept:
        blocks.append("\n".join(["kept, though nothing asks for it", *(f"  {line}" for line in found.kept)]))
    total = f"{len(found.items)} in all, {amount(_sum(found.items))}" + ("; --delete removes them" if hint else "")
    blocks.append(total if found.items else "nothing to remove")
    return "\n\n".join(blocks)


def _sum(items: Iterable[Item]) -> int:
    return sum(item.size for item in items)
