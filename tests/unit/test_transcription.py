"""The published values of config/papers/<paper>/tables.yaml against a second copy, made from the papers alone.

tests/transcription/<paper>.yaml holds every table in the paper's own layout and says where each value is declared. Both
are read as text, so that 9.0 is not 9.02 and 12.9 is not 12.90. The numbers of the papers' text are checked against the
paper's tables, too, and where a paper contradicts itself the copy says so.
"""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from ssar.project import CONFIG

FOLDER = Path(__file__).parents[1] / "transcription"
NOTHING = ("", "~", "null")
NUMBER = re.compile(r"(-?\d+(?:\.\d+)?)\s*(?:\(([+-]\d+\.\d+)\)|\[\d+\])?")
"""A value; its change in brackets or a citation may follow."""


class Printed(NamedTuple):
    """A table as the paper prints it: the labels and values of its lines, the heads of the values."""

    labels: list[list[str]]
    values: list[list[str]]
    heads: list[str]

    def cell(self, line: int, head: str) -> str:
        return self.values[line - 1][self.heads.index(head)]


class Copy(NamedTuple):
    """tests/transcription/<paper>.yaml."""

    paper: str
    tables: dict[str, Printed]
    text: list[dict[str, Any]]
    ours: dict[str, Any]


def read(path: Path) -> Any:
    """YAML with every value as text."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("|")]


def printed(table: dict[str, str]) -> Printed:
    count = int(table["labels"])
    heads = cells(table["columns"])
    lines = [cells(line) for line in table["rows"].splitlines()]
    assert {len(line) for line in lines} == {len(heads)}, table["title"]
    return Printed([line[:count] for line in lines], [line[count:] for line in lines], heads[count:])


def second_copy(paper: str) -> Copy:
    content = read(FOLDER / f"{paper}.yaml")
    tables = {name: printed(table) for name, table in content["tables"].items()}
    return Copy(paper, tables, content["text"], content["ours"])


def declared_tables(paper: str) -> dict[str, Any]:
    return read(CONFIG / "papers" / paper / "tables.yaml")


@functools.cache
def normal(text: str) -> str:
    """A label without its citation and its typography: venue'21 as (venue 2021), ticks and crosses as yes and no."""
    text = re.sub(r"\s*\[\d+\]\.?", "", text)
    text = re.sub(r"(\w+)'(\d\d)$", r"(\1 20\2)", text).replace("% labels", "").replace("% Labels", "")
    text = {"✓": "yes", "×": "no", "✗": "no", "": "no"}.get(text, text)
    return text if text == "-" else re.sub(r"[\s\-_*,;]", "", text).lower()


def value(text: str) -> str:
    """The number of a cell without what follows it, or its text."""
    match = NUMBER.fullmatch(text)
    return match[1] if match else normal(text)


def change(text: str) -> str | None:
    """The number in brackets behind a cell's number, if there is one."""
    match = NUMBER.fullmatch(text)
    return match[2] if match else None


def published(declared: dict[str, Any]) -> dict[tuple[str, str], str]:
    """The declared values by (row key, column key)."""
    return {
        (row["key"], column["key"]): text
        for row in declared["rows"]
        if "published" in row
        for column, text in zip(declared["columns"], row["published"], strict=True)
        if text not in NOTHING
    }


def differences(copied: Copy, name: str, declared: dict[str, Any] | None) -> list[str]:
    """What one declared table and the paper disagree on, each with its table, row and column."""
    where = f"{copied.paper} {name}"
    ours = copied.ours["tables"].get(name)
    if declared is None or ours is None:
        return [f"{where}: the paper has it, tables.yaml or the key `ours` of its copy has not"]
    left = published(declared)
    problems = []
    for key, text, cell in expected(copied, name, ours):
        found = left.pop(key, None)
        if found is None:
            problems.append(f"{where}, row {key[0]}, column {key[1]}: nothing declared, the paper has {text} ({cell})")
        elif not same(text, found, ours.get("factor")):
            problems.append(f"{where}, row {key[0]}, column {key[1]}: {found} declared, the paper has {text} ({cell})")
    problems += [f"{where}, row {row}, column {column}: {left[row, column]} is not the paper's" for row, column in left]
    return problems + labels(copied, name, ours, declared) + references(copied, name, ours, declared)


def expected(copied: Copy, name: str, ours: dict[str, Any]) -> Iterator[tuple[tuple[str, str], str, str]]:
    """((row key, column key), the paper's text, where it stands there) of every value that must be declared."""
    absent = ours.get("absent", {})
    if name in copied.tables:
        table = copied.tables[name]
        for number, (line, texts) in enumerate(zip(ours["lines"], table.values, strict=True), 1):
            for column, head, text in zip(ours["columns"], table.heads, texts, strict=True):
                if text == "-" or str(number) in absent or f"{number}|{head}" in absent:
                    continue
                stands = f"line {number}, {head}"
                yield (column, line) if "transposed" in ours else (line, column), text, stands
                bracket = change(text)
                if bracket is not None and "brackets" not in absent:
                    key = ours.get("changes", {}).get(line, f"(change of {line})")
                    yield (column, key) if "transposed" in ours else (line, key), bracket, f"{stands}, in brackets"
    for key, (table_name, line, head) in ours.get("elsewhere", {}).items():
        row, _, column = key.partition("|")
        yield (row, column), copied.tables[table_name].cell(int(line), head), f"{table_name}, line {line}, {head}"


def same(text: str, found: str, factor: str | None) -> bool:
    if factor is None:
        return value(text) == value(found)
    return Decimal(value(text)) * Decimal(factor) == Decimal(found)


def labels(copied: Copy, name: str, ours: dict[str, Any], declared: dict[str, Any]) -> list[str]:
    """Rows and columns that are called otherwise than in the paper: the keys in `ours` belong to other lines."""
    if name not in copied.tables:
        return []
    table = copied.tables[name]
    names = copied.ours["names"] | ours.get("names", {})
    rows = {row["key"]: row["header"] for row in declared["rows"]}
    columns = {column["key"]: column["header"] for column in declared["columns"]}
    down, across = (columns, rows) if "transposed" in ours else (rows, columns)
    pairs = [
        (key, label, [" ".join(down.get(key, []))] if "transposed" in ours else down.get(key, []))
        for key, label in zip(ours["lines"], table.labels, strict=True)
        if key not in NOTHING
    ]
    pairs += [
        (key, [head], [" ".join(across.get(key, []))]) for key, head in zip(ours["columns"], table.heads, strict=True)
    ]
    return [
        f"{copied.paper} {name}, {key}: called {found}, in the paper {label}"
        for key, label, found in pairs
        if [normal(names.get(text, text)) for text in label] != [normal(text) for text in found]
    ]


def references(copied: Copy, name: str, ours: dict[str, Any], declared: dict[str, Any]) -> list[str]:
    """Rows whose `cites` is not what the paper prints behind the method's name or the values."""
    if name not in copied.tables or "transposed" in ours:
        return []
    table = copied.tables[name]
    cites = {row["key"]: row["cites"] for row in declared["rows"] if "cites" in row}
    return [
        f"{copied.paper} {name}, {key}: cites {cites[key]}, in the paper {label[0]}, {', '.join(texts)}"
        for key, label, texts in zip(ours["lines"], table.labels, table.values, strict=True)
        if key in cites and cited(cites[key]) != cited(label[0], *texts)
    ]


def cited(*texts: str) -> set[str]:
    return {reference for text in texts for reference in re.findall(r"\[\d+\]", text)}


def computed(copied: Copy, check: dict[str, Any]) -> str:
    """What the paper's tables give for a number of its text, in that number's digits."""
    texts = [value(copied.tables[table].cell(int(line), head)) for table, line, head in check["of"]]
    if check["is"] == "cell":
        return texts[0]
    numbers = [Decimal(text) for text in texts]
    if check["is"] == "greater":
        return "yes" if numbers[0] > numbers[1] else "no"
    if check["is"] == "rounded":
        assert texts[1] == check["value"]
        result = numbers[0]
    else:
        pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
        mean = sum((a - b for a, b in pairs), Decimal()) / len(pairs)
        result = {"difference": mean, "mean of differences": mean, "relative": 100 * mean / numbers[0]}[check["is"]]
    return str(result.quantize(Decimal(check["value"]), ROUND_HALF_UP))


COPIES = {path.stem: second_copy(path.stem) for path in sorted(FOLDER.glob("*.yaml"))}
DECLARED = {paper: declared_tables(paper) for paper in COPIES}
TABLES = [
    pytest.param(paper, name, id=f"{paper}-{name}")
    for paper, copied in COPIES.items()
    for name in dict.fromkeys(
        [*copied.tables, *(name for name, declared in DECLARED[paper].items() if published(declared))]
    )
]


def test_every_paper_with_published_values_has_a_second_copy():
    papers = [path.parent.name for path in (CONFIG / "papers").glob("*/tables.yaml")]
    assert sorted(COPIES) == sorted(paper for paper in papers if any(map(published, declared_tables(paper).values())))


@pytest.mark.parametrize(("paper", "name"), TABLES)
def test_declared_values_are_the_papers(paper, name):
    assert differences(COPIES[paper], name, DECLARED[paper].get(name)) == []


@pytest.mark.parametrize(("paper", "name"), TABLES)
def test_every_altered_value_is_seen(paper, name):
    """Each value in turn is altered and taken away, each dash filled in: always one more problem, and it is named."""
    declared = copy.deepcopy(DECLARED[paper].get(name))
    assert declared is not None, f"{paper} {name} is not declared"
    before = differences(COPIES[paper], name, declared)
    for row in declared["rows"]:
        for index, (column, text) in enumerate(zip(declared["columns"], row.get("published", []), strict=False)):
            for other in ("99.99", "~") if text not in NOTHING else ("99.99",):
                row["published"][index] = other
                new = [line for line in differences(COPIES[paper], name, declared) if line not in before]
                row["published"][index] = text
                assert len(new) == 1
                assert new[0].startswith(f"{paper} {name}, row {row['key']}, column {column['key']}: ")


@pytest.mark.parametrize("wrong", ["9.0", "9.03", "9.020", "9.02.", "~"])
def test_a_value_with_other_digits_is_seen(wrong):
    declared = copy.deepcopy(DECLARED["acl-mtl"]["table1"])
    row = next(row for row in declared["rows"] if row["key"] == "actorcm")
    row["published"][row["published"].index("9.02")] = wrong
    (problem,) = differences(COPIES["acl-mtl"], "table1", declared)
    assert problem.startswith("acl-mtl table1, row actorcm, column k400-1: ")
    assert "the paper has 9.02 (line 7, Kinetics400 1%)" in problem


def test_a_table_and_a_row_that_are_not_declared_are_seen():
    assert differences(COPIES["ltg"], "table1", None) != []
    declared = copy.deepcopy(DECLARED["ltg"]["table1"])
    del declared["rows"][1]
    problems = differences(COPIES["ltg"], "table1", declared)
    assert sum("row alignment" in line and "nothing declared" in line for line in problems) == 10


def test_exchanged_rows_are_seen():
    declared = copy.deepcopy(DECLARED["ltg"]["table3c"])
    first, second = declared["rows"]
    first["header"], second["header"] = second["header"], first["header"]
    assert [line.split(":")[0] for line in differences(COPIES["ltg"], "table3c", declared)] == [
        "ltg table3c, without",
        "ltg table3c, with",
    ]


@pytest.mark.parametrize("paper", COPIES)
def test_numbers_of_the_text_follow_from_the_tables(paper):
    """Except where `table_gives` says that the paper contradicts itself."""
    for sentence in COPIES[paper].text:
        for check in sentence["checks"]:
            assert computed(COPIES[paper], check) == check.get("table_gives", check["value"]), sentence["quote"]
            assert check.get("table_gives") != check["value"], sentence["quote"]
