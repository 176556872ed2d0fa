"""Which indexed files make up a dataset: usable, one per list entry, one per content."""

from __future__ import annotations

from collections import defaultdict

from ssar.data.layout import Excluded, Layout
from ssar.data.probe import Probe
from ssar.data.table import Candidate

DUPLICATE = "duplicate of "
"""How the reason begins why a file is left out whose bytes are used from another one; that one's path follows."""


def usable_videos(layout: Layout, probes: dict[str, Probe]) -> list[Candidate]:
    """The videos that are used, sorted by path; the others are added to `layout.excluded`."""
    usable = []
    for video in sorted(layout.candidates, key=lambda video: video.path):
        problem = probes[video.path].problem
        if problem is None:
            usable.append(video)
        else:
            layout.excluded.append(Excluded(video.path, video.name, problem, "broken"))
    usable = _one_per_entry(layout, usable)
    usable = _one_per_content(layout, usable, probes)
    layout.excluded.sort(key=lambda item: item.path)
    return usable


def _one_per_entry(layout: Layout, videos: list[Candidate]) -> list[Candidate]:
    """Of several files for one entry of a list, e.g. a repaired one beside a broken one, the first that is usable."""
    first: dict[tuple[str, str], Candidate] = {}
    for video in videos:
        kept = first.setdefault((video.split, video.entry or video.path), video)
        if kept is not video:
            reason = f"{kept.path} is used for {video.entry}"
            layout.excluded.append(Excluded(video.path, video.name, reason, "second"))
    return list(first.values())


def _one_per_content(layout: Layout, videos: list[Candidate], probes: dict[str, Probe]) -> list[Candidate]:
    """Of equal files one: in the test set if any is, which thus stays complete, else the first.

    Equal files of different classes are all left out: nothing says which class is right.
    """
    same: dict[str, list[Candidate]] = defaultdict(list)
    for video in videos:
        same[probes[video.path].sha1].append(video)
    kept = []
    for copies in same.values():
        first = min(copies, key=lambda video: (video.split != "test", video.path))
        names = sorted({video.name for video in copies})
        if len(names) == 1:
            kept.append(first)
        for video in copies:
            if len(names) > 1:
                others = ", ".join(other.path for other in copies if other is not video)
                reason = f"conflict: the same content has the classes {', '.join(names)} ({others})"
                layout.excluded.append(Excluded(video.path, video.name, reason, "conflict"))
            elif video is not first:
                layout.excluded.append(Excluded(video.path, video.name, f"{DUPLICATE}{first.path}", "duplicate"))
    return sorted(kept, key=lambda video: video.path)
