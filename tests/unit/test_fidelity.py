"""The pages of docs/fidelity against the settings: the keys that they name exist, `as-released` is what they say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from ssar.config import DatasetConfig, run_model
from ssar.methods import METHODS
from ssar.project import CONFIG, ROOT
from ssar.yamlfile import read_yaml

PAGES = {
    "ltg": ["ltg", "fixmatch", "supervised"],
    "cmpl": ["cmpl"],
    "timebalance": ["timebalance", "timebalance_ssl", "finetune", "rotation_ssl"],
    "svformer": ["svformer"],
    "acl-mtl": ["acl_mtl"],
    "baselines": ["pseudo_label", "mean_teacher", "mvpl"],
}
RELEASED = "*R*"


def rows(page: str) -> list[tuple[list[str], bool]]:
    """The keys that each row of the page's tables names, and whether they are marked as part of `as-released`."""
    text = (ROOT / "docs" / "fidelity" / f"{page}.md").read_text(encoding="utf-8")
    cells = [line.split(" | ")[1] for line in text.splitlines() if line.startswith("| ") and line.count(" | ") == 4]
    return [
        (re.findall(r"`([a-z_0-9]+(?:\.[a-z_0-9]+)+|model|augment\.strong)`", cell), RELEASED in cell) for cell in cells
    ]


def released(page: str) -> set[str]:
    """The keys of the page's `as-released` variants."""
    files = [read_yaml(CONFIG / "methods" / f"{method}.yaml") for method in PAGES[page]]
    return {key for file in files for key in file.get("variants", {}).get("as-released", {})}


def exists(model: Any, key: str) -> bool:
    """Whether a settings model has a dotted key."""
    for part in key.split("."):
        kinds = (model, *getattr(model, "__args__", ()))
        model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        if model is None or part not in model.model_fields:
            return False
        model = model.model_fields[part].annotation
    return True


def within(key: str, named: str) -> bool:
    """Whether a row that names a key or a group speaks of this key."""
    return key == named or key.startswith(f"{named}.")


def test_every_method_is_on_a_page():
    assert sorted(method for methods in PAGES.values() for method in methods) == sorted(METHODS)
    assert sorted(PAGES) == sorted(path.stem for path in Path(ROOT / "docs" / "fidelity").glob("*.md"))


@pytest.mark.parametrize("page", PAGES)
def test_named_keys_exist(page):
    models = [*(run_model(method) for method in PAGES[page]), DatasetConfig]
    named = {key for keys, _ in rows(page) for key in keys if not key.endswith(".yaml")}
    assert named
    assert {key for key in named if not any(exists(model, key) for model in models)} == set()


@pytest.mark.parametrize("page", PAGES)
def test_as_released_is_what_the_page_says(page):
    """What the variants set stands in a row, and what a row marks is set."""
    variants = released(page)
    named = [key for keys, _ in rows(page) for key in keys]
    assert {key for key in variants if not any(within(key, name) for name in named)} == set()
    marked = [key for keys, mark in rows(page) if mark for key in keys]
    assert [name for name in marked if not any(within(key, name) for key in variants)] == []
