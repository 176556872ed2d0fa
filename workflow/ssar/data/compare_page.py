"""A comparison of two splits as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ssar.data.compare import Balance, Comparison, Leak
from ssar.data.lists import Entry

SHOWN = 5


def page(found: Comparison) -> str:
    """Aligned plain text: both sides, called A and B, with sizes and balance; then what they share."""
    sides = (found.a, found.b)
    rows = [
        ("", "A", "B"),
        ("labelled videos", *(_count(side.labelled) for side in sides)),
        ("unlabelled videos", *(_count(side.unlabelled) for side in sides)),
        ("test videos", *(_count(side.test) for side in sides)),
        ("classes", *(f"{balance.classes:,}" if balance else "unknown" for balance in found.balance)),
        ("labelled per class", *(_spread(balance) for balance in found.balance)),
        ("classes without a label", *(_without(balance) for balance in found.balance)),
    ]
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    table = [f"{row[0]:{first}}  {row[1]:{second}}  {row[2]}".rstrip() for row in rows]
    facts = list(_facts(found))
    width = max(len(name) for name, _ in facts)
    notes = [f"note: {note}" for note in found.notes]
    titles = [f"{letter}  {side.title}" for letter, side in zip("AB", sides, strict=True)]
    return (
        "\n".join([*titles, "", *table, "", *(f"{name:{width}}  {text}".rstrip() for name, text in facts), *notes])
        + "\n"
    )


def _count(videos: Sequence[Entry] | None) -> str:
    return "unknown" if videos is None else f"{len(videos):,}"


def _spread(balance: Balance | None) -> str:
    if balance is None:
        return "unknown"
    if balance.least == balance.most:
        return f"{balance.least:,} each"
    return f"{balance.least:,} to {balance.most:,}, median {balance.median:g}"


def _without(balance: Balance | None) -> str:
    if balance is None:
        return "unknown"
    more = f" and {len(balance.without) - SHOWN} more" if len(balance.without) > SHOWN else ""
    return ", ".join(balance.without[:SHOWN]) + more or "none"


def _facts(found: Comparison) -> Iterator[tuple[str, str]]:
    shares = " and ".join(
        f"{100 * found.common / len(side.labelled):.1f} % of {letter}"
        for letter, side in zip("AB", (found.a, found.b), strict=True)
    )
    yield "common labelled videos", f"{found.common:,}: {shares}"
    if found.pool is None:
        yield "by chance", "unknown: nothing says that both are drawn from the same videos"
    elif found.chance is None:
        yield "by chance", f"the same: A or B is all of the {found.pool:,} videos"
    else:
        mean, deviation = found.chance
        yield "by chance", f"{mean:,.1f} ± {deviation:.1f}, for independent draws from {found.pool:,} videos"
    yield "nested", _nested(found)
    yield from _labels(found)
    if found.same_test is not None:
        yield "test sets", "the same videos" if found.same_test else "different"
    yield from _leakage(found)
    if found.shared_groups is not None:
        yield "recordings", f"{found.shared_groups:,} recording groups have labelled videos of A and of B"


def _nested(found: Comparison) -> str:
    inner = [found.common == len(side.labelled) for side in (found.a, found.b)]
    if all(inner):
        return "the labelled videos are the same"
    if any(inner):
        return "every labelled video of A is one of B" if inner[0] else "every labelled video of B is one of A"
    return "neither is part of the other"


def _labels(found: Comparison) -> Iterator[tuple[str, str]]:
    labels = found.labels
    if labels.other_class:
        yield "classes", f"{len(labels.other_class):,} of {labels.compared:,} common videos are of other classes:"
        for text in labels.other_class[:SHOWN]:
            yield "", text
    else:
        yield "classes", f"no contradiction among the {labels.compared:,} videos that both name"
    numbering = {
        "the same": "the same",
        "unknown": "unknown: one of both has none",
        "another order": "A and B number the classes in different orders",
        "contradictory": "they contradict each other: one number of A or B is several of the other",
    }
    shift = f"those of B are those of A {labels.numbering.removeprefix('by ')}"
    yield "class numbers", numbering.get(labels.numbering, shift)


def _leakage(found: Comparison) -> Iterator[tuple[str, str]]:
    if all(leak.labelled is None for leak in found.leaks):
        yield "leakage", "unknown: neither A nor B says what its test videos are"
        return
    bad = [(leak, text) for leak in found.leaks if (text := _leaked(leak))]
    if not bad:
        yield "leakage", "none: no training video of A or B is a test video of A or B, as far as their lists are known"
    for number, (leak, text) in enumerate(bad):
        yield "" if number else "leakage", f"{text} of {leak.train} in the test set of {leak.test}"


def _leaked(leak: Leak) -> str:
    counts = (
        (leak.labelled, "labelled videos"),
        (leak.unlabelled, "unlabelled videos"),
        (leak.groups, "recording groups with training videos"),
    )
    return ", ".join(f"{count:,} {what}" for count, what in counts if count)
