"""Reading yaml so that every mistake can be told with its file, key and line."""

from __future__ import annotations

import copy
import re
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import yaml

from ssar.errors import UserError

KeyPath = tuple[str, ...]


# libyaml's parser reads the papers' files some ten times as fast; wheels of PyYAML have it, builds of one's own may not
_Parser: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Parser):  # type: ignore[misc, valid-type]
    """Safe loading, repaired: `1e-4` is a number, `00123` and `48:00:00` are none, a key given twice is an error."""


_INT = "tag:yaml.org,2002:int"
_Loader.yaml_implicit_resolvers = {
    key: [rule for rule in rules if rule[0] != _INT] for key, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
# YAML 1.1 would make 83 of an account 00123, and 172800 of a time 48:00:00
_Loader.add_implicit_resolver(_INT, re.compile(r"^[-+]?(0|[1-9][0-9_]*)$"), list("-+0123456789"))
# YAML 1.1 as PyYAML reads it wants a dot and a sign in the exponent, and takes 1e-4 for a string
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: dict[Any, int] = {}
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        key = loader.construct_object(key_node)
        line = key_node.start_mark.line + 1
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {key!r} is given twice, on lines {seen[key]} and {line}", key_node.start_mark
            )
        seen[key] = line
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a yaml file. Raises UserError with file and line when it cannot be read."""
    try:
        return copy.deepcopy(_parsed(path, path.read_bytes()))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None


@lru_cache(maxsize=256)
def _parsed(path: Path, text: bytes) -> dict[str, Any]:
    """Each content once: a method's yaml is a layer of every run, and every Snakemake job builds all of them."""
    try:
        content = yaml.load(text, Loader=_Loader)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{path}{line}: {error.problem}") from None
    except yaml.reader.ReaderError:
        raise UserError(f"{path}: this is no UTF-8 text") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a mapping of keys to values, found a {type(content).__name__}")
    return content


@cache
def _lines(path: Path) -> dict[KeyPath, int]:
    """Line number of every key in a file, nested keys by their path."""
    lines: dict[KeyPath, int] = {}

    def visit(node: yaml.Node | None, prefix: KeyPath) -> None:
        if isinstance(node, yaml.MappingNode):
            for key_node, value_node in node.value:
                key = (*prefix, str(key_node.value))
                lines[key] = key_node.start_mark.line + 1
                visit(value_node, key)
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                lines[(*prefix, str(index))] = item.start_mark.line + 1
                visit(item, (*prefix, str(index)))

    visit(yaml.compose(path.read_text(encoding="utf-8"), Loader=_Loader), ())
    return lines


def line_of(path: Path, key: KeyPath) -> int | None:
    """Line on which a key stands, or the nearest parent that the file has; None for a file without it."""
    if not path.is_file():
        return None
    lines = _lines(path)
    while key:
        if key in lines:
            return lines[key]
        key = key[:-1]
    return None
