"""Merging layers of settings, and saying of each mistake which file and key it came from."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from ssar.errors import UserError
from ssar.yamlfile import KeyPath, line_of

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Layer:
    """Settings and where they stand: the file, and the path of keys in it that leads to them.

    In a `dotted` layer `optim.lr: 0.1` means `optim: {lr: 0.1}`; elsewhere a dot is part of a name.
    """

    values: Mapping[str, Any]
    file: Path
    at: KeyPath = ()
    dotted: bool = False

    @property
    def tree(self) -> Mapping[str, Any]:
        """The settings as nested mappings."""
        return nested(self.values) if self.dotted else self.values

    def where(self, key: KeyPath) -> str:
        """`file, line N, key a.b.c` for a key of this layer."""
        full = self.at + key
        line = line_of(self.file, full)
        return f"{self.file}{f', line {line}' if line else ''}, key `{'.'.join(full)}`"


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with dotted keys (`optim.lr: 0.1`) as nested ones (`optim: {lr: 0.1}`)."""
    result: dict[str, Any] = {}
    for dotted, value in values.items():
        *parents, last = str(dotted).split(".")
        group = result
        for parent in parents:
            group = group.setdefault(parent, {})
        value = nested(value) if isinstance(value, Mapping) else value
        if isinstance(value, dict) and isinstance(group.get(last), dict):
            merge_into(group[last], value)
        else:
            group[last] = value
    return result


def merge_into(base: dict[str, Any], update: Mapping[str, Any]) -> None:
    """Deep-merge `update` into `base`: groups merge, everything else is replaced."""
    for key, value in update.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            merge_into(base[key], value)
        else:
            base[key] = copy.deepcopy(value)


def merged(layers: Sequence[Layer]) -> dict[str, Any]:
    """One nested mapping; a later layer wins."""
    result: dict[str, Any] = {}
    for layer in layers:
        merge_into(result, layer.tree)
    return result


def _has(values: Any, key: KeyPath) -> bool:
    for part in key:
        if isinstance(values, Mapping) and part in values:
            values = values[part]
        elif isinstance(values, list | tuple) and part.isdigit() and int(part) < len(values):
            values = values[int(part)]
        else:
            return False
    return True


def _spelled(layer: Layer, key: KeyPath) -> KeyPath:
    """The key as the layer spells it: dotted keys stay whole."""
    if not layer.dotted:
        return key
    dotted = ".".join(key)
    for raw in layer.values:
        if dotted == raw or dotted.startswith(f"{raw}."):
            rest = dotted[len(str(raw)) :].strip(".")
            return (str(raw), *(rest.split(".") if rest else ()))
    return key


def locate(layers: Sequence[Layer], key: KeyPath) -> str:
    """Where the value of a key was given last; the last layer that has a parent of it, when none has it."""
    for length in range(len(key), 0, -1):
        for layer in reversed(layers):
            if _has(layer.tree, key[:length]):
                return layer.where(_spelled(layer, key[:length]) + key[length:])
    return f"key `{'.'.join(key)}` (in none of {', '.join(dict.fromkeys(str(layer.file) for layer in layers))})"


def _model_at(model: type[BaseModel], key: KeyPath) -> type[BaseModel] | None:
    """The options model that the keys lead to, through optional and container types."""
    current: type[BaseModel] | None = model
    for part in key:
        if current is None:
            return None
        field = current.model_fields.get(part)
        if field is None:
            # the key of a dict or the index of a tuple: stay with the item type found below
            continue
        kinds = [field.annotation]
        current = None
        while kinds:
            kind = kinds.pop()
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                current = kind
            else:
                kinds.extend(get_args(kind))
    return current


def explain(error: ValidationError, model: type[BaseModel], layers: Sequence[Layer]) -> list[str]:
    """One line for each problem: where it is, what is wrong, and the nearest valid key or value."""
    lines = []
    for problem in error.errors():
        key = tuple(str(part) for part in problem["loc"])
        where = locate(layers, key) if key else ", ".join(dict.fromkeys(str(layer.file) for layer in layers))
        if problem["type"] == "extra_forbidden":
            owner = _model_at(model, key[:-1])
            known = sorted(owner.model_fields) if owner else []
            near = difflib.get_close_matches(key[-1], known, 1)
            hint = f"did you mean `{near[0]}`?" if near else f"valid keys: {', '.join(known)}"
            lines.append(f"{where}: unknown key; {hint}")
        elif problem["type"] == "missing":
            lines.append(f"{where}: this key is required and missing")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            message = message[0].lower() + message[1:]
            given = "" if isinstance(problem["input"], dict) else f" (given: {problem['input']!r})"
            lines.append(f"{where}: {message}{given}")
    return lines


def validate(model: type[M], layers: Sequence[Layer], heading: str) -> M:
    """The validated model of the merged layers. Raises UserError that lists every problem with its place."""
    try:
        return model.model_validate(merged(layers))
    except ValidationError as error:
        raise UserError.of(heading, explain(error, model, layers)) from None
