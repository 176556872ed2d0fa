"""Where papers print different values for one method in one setting, and where a paper contradicts itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from ssar.experiments import Paper
from ssar.project import Setting
from ssar.reporting.notes import method_of
from ssar.reporting.spec import Row, TableSpec
from ssar.reporting.values import printed

PER_CLASS = {("ucf101", 1): 1, ("ucf101", 10): 10, ("kinetics400", 6): 1, ("kinetics400", 60): 10}
"""Per cent of the labels, as the papers call so many videos of each class (CMPL §4.1, ACL+MTL §4.1)."""
DATASETS = {"ucf101": "UCF-101", "hmdb51": "HMDB-51", "kinetics400": "Kinetics-400"}


class Place(NamedTuple):
    """A method, a share of labels and a metric: what papers print values for."""

    method: str
    dataset: str
    share: int  # per cent
    metric: str


class Published(NamedTuple):
    """A published value, and where it stands."""

    place: Place
    remark: str  # on the method there, e.g. its image weights
    value: float
    text: str
    paper: str
    setting: str  # the labels exactly
    table: str
    source: str
    name: str  # of the method, as the paper calls it


def disagreements(papers: Mapping[str, Paper], paper: str, table: str) -> list[str]:
    """One sentence for each method of a table that has another value elsewhere, in the papers that are given.

    Values that differ by rounding alone agree. A value for a variation of a method (its remark, e.g. with image
    weights) or for other labels contradicts nothing in the same paper.
    """
    places: dict[Place, list[Published]] = {}
    for value in chain.from_iterable(map(_published, papers.values())):
        places.setdefault(value.place, []).append(value)
    elsewhere: dict[tuple[str, str], list[Published]] = {}
    for place, values in places.items():
        for value in values:
            if (value.paper, value.table) == (paper, table):
                elsewhere.setdefault((value.name, place.method), []).extend(_contradicting(value, values))
    return [f"{name} elsewhere: {_sentence(others)}." for (name, _), others in elsewhere.items() if others]


def _published(paper: Paper) -> Iterator[Published]:
    """The published accuracies of a paper's rows under its protocol."""
    declared = {
        row.variant: row for table in paper.tables.values() for row in table.rows if row.variant and row.identity
    }
    for key, table in paper.tables.items():
        for row in table.rows:
            named = declared.get(row.variant, row) if row.variant and not row.identity else row
            method, remark = _identity(paper, named)
            for place, setting, value in _values(table, row, method):
                text = printed(value, table.printed_decimals)
                name = method_of(named) if named.identity else str(row.variant)
                yield Published(place, remark, value, text, paper.name, setting, key, table.source, name)


def _identity(paper: Paper, row: Row) -> tuple[str, str]:
    """(method/backbone, remark); a row without an identity stands for its variant, one without either for nothing."""
    if row.identity is None:
        return f"{paper.name}:{row.variant}" if row.variant else "", ""
    method, backbone, *remark = row.identity.split("/")
    return f"{method}/{backbone}", "".join(remark)


def _values(table: TableSpec, row: Row, method: str) -> Iterator[tuple[Place, str, float]]:
    for column, value in zip(table.columns, row.published, strict=False):
        if method and isinstance(value, float) and column.setting and not row.condition and not column.condition:
            share = _share(column.setting)
            if share is not None and column.metric in ("top1", "top5"):
                yield Place(method, *share, column.metric), column.setting, value


def _share(setting: str) -> tuple[str, int] | None:
    """(dataset, per cent of the labels) that the papers call a setting; None for all labels."""
    named = Setting.named(setting)
    protocol = re.fullmatch(r"(.*)-(\d+)", named.labels)
    if protocol is None or named.dataset not in DATASETS:
        return None
    kind, number = protocol[1], int(protocol[2])
    share = PER_CLASS.get((named.dataset, number)) if kind == "per-class" else number
    return None if share is None else (named.dataset, share)


def _contradicting(value: Published, others: Sequence[Published]) -> Iterator[Published]:
    own = [other for other in others if other.paper == value.paper]
    for other in others:
        if other.paper == value.paper:
            if (other.remark, other.setting) == (value.remark, value.setting) and not _agree(other, value):
                yield other
        elif not any(_agree(other, known) for known in own):
            yield other


def _agree(one: Published, other: Published) -> bool:
    """Whether both are the same number in the decimals of the coarser one."""
    decimals = min(len(text.partition(".")[2]) for text in (one.text, other.text))
    return abs(one.value - other.value) <= (0.5 * 10.0**-decimals if one.text != other.text else 0) + 1e-9


def _sentence(values: Sequence[Published]) -> str:
    """The values, those of the same places together: `UCF-101 10% 53.0 (ImageNet weights) in ACL+MTL Table 1`."""
    sources: dict[tuple[Place, str, str], list[str]] = {}
    for value in values:
        found = sources.setdefault((value.place, value.text, value.remark), [])
        if value.source not in found:
            found.append(value.source)
    together: dict[tuple[str, str], list[tuple[Place, str]]] = {}
    for (place, text, remark), where in sources.items():
        together.setdefault((" and ".join(where), remark), []).append((place, text))
    return "; ".join(
        f"{_listed(pairs)}{f' ({remark})' if remark else ''} in {where}" for (where, remark), pairs in together.items()
    )


def _listed(pairs: Sequence[tuple[Place, str]]) -> str:
    """`UCF-101 5% 45.1, 20% 57.4, HMDB-51 40% 35.7`: the dataset is named once."""
    texts = []
    for number, (place, text) in enumerate(pairs):
        dataset = f"{DATASETS[place.dataset]} " if not number or pairs[number - 1][0].dataset != place.dataset else ""
        texts.append(f"{dataset}{place.share}%{' Top-5' if place.metric == 'top5' else ''} {text}")
    return ", ".join(texts)
