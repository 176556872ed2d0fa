"""The worked example of docs/adding-a-method.md, executed as it is printed."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_methods import tiny_batch, tiny_method, tiny_run, total

import ssar.methods
import ssar.methods.options

PAGE = Path(__file__).resolve().parents[2] / "docs" / "adding-a-method.md"


def blocks() -> dict[str, str]:
    """The page's code by the path in each block's first line."""
    found = re.findall(r"```\w+\n# (\S+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return dict(found)


def test_the_example_is_short() -> None:
    assert sum(len(code.splitlines()) + 1 for code in blocks().values()) < 60


def test_the_example_is_not_in_the_registry() -> None:
    assert "pi_model" not in ssar.methods.METHODS


def test_the_example_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # each block in a file, where the package finds it beside its own
    for path, code in blocks().items():
        file = tmp_path / Path(path).relative_to(Path(path).parts[0])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code, encoding="utf-8")
    for package in (ssar.methods, ssar.methods.options):
        monkeypatch.setattr(
            package, "__path__", [*package.__path__, str(tmp_path / package.__name__.replace(".", "/"))]
        )
    monkeypatch.setattr(ssar.methods, "METHODS", dict(ssar.methods.METHODS))
    exec(blocks()["workflow/ssar/methods/__init__.py"], {**vars(ssar.methods)})

    method = tiny_method(tiny_run("pi_model", folder=tmp_path / "methods"))
    batch = tiny_batch(method)
    assert [method.weights(epoch)["consistency"] for epoch in (48, 1e9)] == [10, 10]
    assert 0 < method.weights(0)["consistency"] < method.weights(24)["consistency"] < 10
    optimiser = torch.optim.SGD(method.parameters(), lr=0.05)
    losses = []
    for step in range(30):
        loss = total(method, batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        method.after_step(step)
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    assert isinstance(method, sys.modules.pop("ssar.methods.pi_model").PiModel)
    del sys.modules["ssar.methods.options.pi_model"]
    first, second = method.views[1:]
    alike = replace(batch, clips={**batch.clips, second: batch.clips[first]})
    assert method.eval().loss(batch)["consistency"] > method.loss(alike)["consistency"] == 0
