"""The worked example of docs/adding-a-method.md, executed as it is printed."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch
from tiny_methods import tiny_batch, tiny_method, tiny_run, total

import ssar.methods
from ssar.methods import options

PAGE = Path(__file__).resolve().parents[2] / "docs" / "adding-a-method.md"


def blocks() -> dict[str, str]:
    """The page's code by the path in each block's first line."""
    found = re.findall(r"```\w+\n# (\S+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return dict(found)


def test_the_example_is_short() -> None:
    assert sum(len(code.splitlines()) + 1 for code in blocks().values()) < 60


def test_the_example_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = blocks()
    namespace = dict(vars(options))
    exec(code["workflow/ssar/methods/options.py"], namespace)
    (tmp_path / "meanteacher.py").write_text(code["workflow/ssar/methods/meanteacher.py"], encoding="utf-8")
    (tmp_path / "meanteacher.yaml").write_text(code["config/methods/meanteacher.yaml"], encoding="utf-8")
    monkeypatch.setattr(ssar.methods, "__path__", [*ssar.methods.__path__, str(tmp_path)])
    monkeypatch.setattr(ssar.methods, "METHODS", dict(ssar.methods.METHODS))
    exec(
        code["workflow/ssar/methods/__init__.py"], {**vars(ssar.methods), **namespace, "METHODS": ssar.methods.METHODS}
    )

    method = tiny_method(tiny_run("meanteacher", folder=tmp_path))
    del sys.modules["ssar.methods.meanteacher"]
    batch = tiny_batch(method)
    before = [p.clone() for p in method.predictor.parameters()]
    optimiser = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.05)
    losses = []
    for step in range(30):
        loss = total(method, batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        method.after_step(step)
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    assert all(p.grad is None for p in method.predictor.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, method.predictor.parameters(), strict=True))
