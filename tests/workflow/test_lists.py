"""Published lists under Snakemake: brought by a rule of their own, and no reason to make anything else anew."""

from __future__ import annotations

import csv
from typing import Any

import pytest

from tests.server import serving
from tests.videos import make_folder
from tests.workflow.conftest import SETTING, Workspace, with_values

LISTS = {
    "train": "".join(
        f"{name}/{name}_{i:02d}.avi {label}\n" for label, name in enumerate(("clap", "wave")) for i in range(3)
    ),
    "test": "clap/clap_03.avi\nwave/wave_03.avi\n",
    "two": "Clap/CLAP_01 30 0\nWave/WAVE_02 30 1\n",
    "four": "clap/clap_00 30 1\nclap/clap_01 30 1\nwave/wave_00 30 2\nwave/wave_01 30 2\n",
}


def test_lists_are_fetched_once_and_a_new_protocol_indexes_nothing(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    make_folder(workspace.folder / "videos", classes=["clap", "wave"], per_class=4)
    with serving() as server:
        server.state.files |= {f"/{name}.txt": text.encode() for name, text in LISTS.items()}

        def at(name: str) -> dict[str, str]:
            return {"path": str(workspace.folder / "lists" / f"{name}.txt"), "url": server.url(f"/{name}.txt")}

        def ask(protocol: str, **protocols: dict[str, Any]) -> str:
            mine = {
                "kind": "folder",
                "root": str(workspace.folder / "videos"),
                "train": at("train"),
                "test": at("test"),
            }
            settings = {SETTING: {"dataset": "mine", "labels": protocol}}
            workspace.configure(with_values(settings=settings, datasets={"mine": mine | {"protocols": protocols}}))
            return f"out/splits/mine/{protocol}.d0.csv"

        split = ask("small-1", **{"small-1": {"labelled": at("two")}})
        assert workspace.planned(split) == {"lists_of": 2, "index": 1, "split": 1}
        workspace.run(split)
        assert labelled(workspace, split) == ["clap/clap_01.mp4", "wave/wave_02.mp4"]
        assert len(server.state.log) == 3
        # another protocol brings its list alone, and leaves the index as it is
        protocols = {"small-1": {"labelled": at("two")}, "large-1": {"labelled": at("four")}}
        assert workspace.planned(ask("small-1", **protocols)) == {}
        split = ask("large-1", **protocols)
        assert workspace.planned(split) == {"lists_of": 1, "split": 1}
        workspace.run(split)
        assert len(labelled(workspace, split)) == 4
        assert len(server.state.log) == 4
        # all are here by now
        assert workspace.planned("out/data/mine/lists.json") == {"lists": 1}
        workspace.run("out/data/mine/lists.json")
        assert len(server.state.log) == 4


def labelled(workspace: Workspace, split: str) -> list[str]:
    with (workspace.folder / split).open(newline="") as file:
        return [row["path"] for row in csv.DictReader(file) if row["labelled"] == "1"]
