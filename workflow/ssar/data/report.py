"""The index report: what is in a dataset, and what was left out and why."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from ssar.data.layout import Layout
from ssar.data.probe import Probe
from ssar.data.table import Candidate


def index_report(
    usable: Sequence[Candidate], layout: Layout, probes: Mapping[str, Probe], numbers: Mapping[str, int]
) -> str:
    """The text of index-report.md."""
    frames = sorted(probes[video.path].frames for video in usable)
    groups = {video.group for video in usable if video.group}
    sizes = Counter(f"{probes[video.path].width}x{probes[video.path].height}" for video in usable)
    rates = Counter(f"{probes[video.path].fps:g}" for video in usable)
    lines = [
        "# Index report",
        "",
        f"- {len(usable)} usable videos of {len(numbers)} classes; {len(layout.excluded)} excluded",
        f"- frames: {sum(frames)} in all, {frames[0]} to {frames[-1]} per video, median {frames[len(frames) // 2]}",
        f"- sizes: {_most_common(sizes)}",
        f"- frames per second: {_most_common(rates)}",
        f"- recording groups: {len(groups) or 'none'}",
        *(f"- {text}" for text in layout.notes),
        "",
        "## Classes",
        "",
        "| label | class | videos | train | test |",
        "| --- | --- | --- | --- | --- |",
    ]
    counts = Counter((video.name, video.split) for video in usable)
    for name, number in sorted(numbers.items(), key=lambda item: item[1]):
        train, test = counts[name, "train"], counts[name, "test"]
        lines.append(f"| {number} | {name} | {train + test + counts[name, '']} | {train or ''} | {test or ''} |")
    return "\n".join([*lines, "", "## Excluded videos", "", *_excluded(layout)]) + "\n"


def _most_common(counts: Counter[str]) -> str:
    shown = [f"{value} ({count})" for value, count in counts.most_common(5)]
    return ", ".join(shown) + (f" and {len(counts) - 5} others" if len(counts) > 5 else "")


def _excluded(layout: Layout) -> list[str]:
    """Every excluded video under its reason; the commonest reason last, since it may be long."""
    if not layout.excluded:
        return ["None."]
    reasons: dict[str, list[str]] = defaultdict(list)
    for item in layout.excluded:
        reasons[item.reason].append(item.path)
    lines = []
    for reason, paths in sorted(reasons.items(), key=lambda item: (len(item[1]), item[0])):
        lines += [f"- {reason}", *(f"  - `{path}`" for path in paths)]
    return lines
