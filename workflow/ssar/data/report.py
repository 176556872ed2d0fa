"""report.md: what of a dataset is here, counted against its published lists, and what was left out and why."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from ssar.data.layout import Excluded, Why
from ssar.data.verified import Tally, Verified

SHOWN = 50
"""Lines of a section before it refers to a csv."""

TITLES: dict[Why, str] = {
    "broken": "Files that do not decode",
    "conflict": "Files with the same bytes under two classes",
    "duplicate": "Duplicates",
    "second": "Further files of one listed video",
    "unlisted": "Files that no list names",
}


def report(found: Verified) -> str:
    """The text of report.md."""
    sections = [_head(found), _totals(found), _videos(found), _classes(found), _missing(found)]
    sections += [_left_out(title, found.excluded(why)) for why, title in TITLES.items()]
    sections.append(_shorter(found))
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def verdict(found: Verified) -> str:
    """One line: whether every listed video can be used."""
    left = len(found.layout.excluded)
    if found.layout.listed is None:
        return f"**Complete**: no list names its videos; {len(found.usable):,} files can be used, {left:,} cannot."
    total = found.completeness
    if not total.lost:
        return f"**Complete**: all {total.listed:,} listed videos can be used."
    return (
        f"**Incomplete**: {total.lost:,} of {total.listed:,} listed videos cannot be used "
        f"({total.missing:,} missing, {total.unusable:,} unusable)."
    )


# --- sections -------------------------------------------------------------------------------------


def _head(found: Verified) -> list[str]:
    config = found.config
    lines = [f"# {found.name}", "", verdict(found)]
    if found.completeness.lost:
        lines += ["", f"A configuration that trains without them has at least `{found.completeness.admission}`."]
    facts = {"What": config.about, "Videos": f"`{found.root}`", "Licence": config.licence}
    lines += ["", *(f"- {key}: {text}" for key, text in facts.items() if text)]
    return [*lines, "", "```bibtex", config.citation.strip(), "```"] if config.citation else lines


def _totals(found: Verified) -> list[str]:
    """Against the lists, for a dataset that has any."""
    if found.layout.listed is None:
        return []
    rows = [("training", found.tally(split="train")), ("test", found.tally(split="test")), ("both", found.tally())]
    legend = (
        "`unusable`: its files do not decode, or their bytes are also in another class. `duplicate`: the same bytes "
        "are used once, from another file, which takes the labels of both."
    )
    return [*_table(("list", *Tally._fields), ((name, *tally) for name, tally in rows)), "", legend]


def _videos(found: Verified) -> list[str]:
    probes = [found.probes[video.path] for video in found.usable]
    frames = sorted(probe.frames for probe in probes)
    groups = {video.group for video in found.usable if video.group}
    lines = [
        "## Videos that are used",
        "",
        f"- {_count(len(probes), 'video')} of {_count(len(found.numbers), 'class', 'es')}; "
        f"{_count(len(found.layout.excluded), 'file')} left out",
        f"- frames: {sum(frames):,} in all, {frames[0]} to {frames[-1]} per video, median {frames[len(frames) // 2]}",
        f"- sizes: {_most_common(Counter(f'{probe.width}x{probe.height}' for probe in probes))}",
        f"- frames per second: {_most_common(Counter(f'{probe.fps:g}' for probe in probes))}",
        f"- recording groups: {len(groups) or 'none'}",
    ]
    training = sum(video.split == "train" for video in found.usable)
    if found.config.videos is not None and training and training != found.config.videos:
        lines.append(f"- {training:,} training videos, where the dataset's config expects {found.config.videos:,}")
    if barren := found.barren():
        lines.append(f"- classes without a usable video: {', '.join(barren)}")
    return lines


def _classes(found: Verified) -> list[str]:
    used = Counter((video.name, video.split) for video in found.usable)

    def parts(name: str) -> tuple[str, str]:
        return str(used[name, "train"] or ""), str(used[name, "test"] or "")

    numbered = sorted(found.numbers.items(), key=lambda item: item[1])
    if found.layout.listed is None:
        sizes = Counter(video.name for video in found.usable)
        rows = [(str(number), name, sizes[name], *parts(name)) for name, number in numbered]
        return ["## Classes", "", *_table(("label", "class", "videos", "train", "test"), rows)]
    counted = [(str(number), name) for name, number in numbered]
    counted += [("-", name) for name in sorted({video.name for video in found.listed} - set(found.numbers))]
    head = ("label", "class", *Tally._fields, "train", "test")
    return [
        "## Classes",
        "",
        "`train` and `test` are the videos that are used.",
        "",
        *_table(head, ((number, name or "?", *found.tally(name), *parts(name)) for number, name in counted)),
    ]


def _missing(found: Verified) -> list[str]:
    lines = [f"- {video.entry} ({video.split}; {video.where})" for video in found.missing()]
    return _section("Missing videos", len(lines), lines, "; `missing.csv` has all")


def _left_out(title: str, items: Sequence[Excluded]) -> list[str]:
    """Files under their reasons; the commonest reason last, since it may be long."""
    reasons: dict[str, list[str]] = defaultdict(list)
    for item in items:
        reasons[item.reason].append(item.path)
    lines: list[str] = []
    for reason, paths in sorted(reasons.items(), key=lambda pair: (len(pair[1]), pair[0])):
        lines += [f"- {reason}", *(f"  - `{path}`" for path in paths)]
    return _section(title, len(items), lines, "; `index-excluded.csv` has all")


def _shorter(found: Verified) -> list[str]:
    lines = [f"- {path} ({probe.frames} of {probe.stated})" for path, probe in found.shorter()]
    return _section("Fewer frames than the container states; used as far as they decode", len(lines), lines)


def _section(title: str, count: int, lines: Sequence[str], whole: str = "") -> list[str]:
    """Its first lines, and where the others are; nothing for an empty one."""
    if not lines:
        return []
    rest = [f"- ... {len(lines) - SHOWN:,} more lines{whole}"] if len(lines) > SHOWN else []
    return [f"## {title}: {count:,}", "", *lines[:SHOWN], *rest]


# --- text -----------------------------------------------------------------------------------------


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    return [_row(head), _row(["---"] * len(head)), *map(_row, rows)]


def _row(cells: Iterable[object]) -> str:
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|")


def _count(number: int, what: str, plural: str = "s") -> str:
    return f"{number:,} {what}{plural if number != 1 else ''}"


def _most_common(counts: Counter[str]) -> str:
    shown = [f"{value} ({count:,})" for value, count in counts.most_common(5)]
    return ", ".join(shown) + (f" and {len(counts) - 5} others" if len(counts) > 5 else "")
