"""The videos that a probe reads: a dataset's own where they are indexed, else generated ones of their size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ssar.config import RunConfig, Synthact
from ssar.cost.sizes import dataset_sizes
from ssar.data.split import SPLIT_COLUMNS, Split, Video
from ssar.data.synthact.videos import Job, make
from ssar.data.tg_store import TGStore
from ssar.targets import Targets

SAMPLE = 24
"""Videos of a dataset that are read."""
TOUCHES = 6
"""Videos that a decoder's times are measured on."""


@dataclass(frozen=True)
class Sample:
    """Some videos of a dataset."""

    root: Path
    videos: list[Video]
    store_of: Callable[[RunConfig], TGStore | None]
    classes: int

    def split(self) -> Split:
        """All of them in each stream."""
        rows = [(v.path, v.label % self.classes, f"class {v.label}", "", v.frames, 1, 1, 1) for v in self.videos]
        return Split(pd.DataFrame(rows, columns=list(SPLIT_COLUMNS)))


class Samples:
    """Samples of datasets, made when they are asked for; `notes` say what about them a forecast should tell."""

    def __init__(self, targets: Targets, folder: Path) -> None:
        self.targets, self.folder = targets, folder
        self.notes: list[str] = []
        self.found: dict[str, Sample] = {}

    def of(self, dataset: str) -> Sample:
        """The sample of a dataset; what has to be generated for it lies in the folder."""
        if dataset not in self.found:
            index = Path(self.targets.paths.data(dataset, "index.csv"))
            self.found[dataset] = self._own(dataset, index) if index.exists() else self._generated(dataset)
        return self.found[dataset]

    def _own(self, dataset: str, index: Path) -> Sample:
        table = pd.read_csv(index, dtype={"path": str, "class": str, "split": str}, keep_default_na=False)
        rows = table.sample(min(SAMPLE, len(table)), random_state=0)
        videos = [Video(str(r.path), int(r.label), int(r.frames)) for r in rows.itertuples()]  # type: ignore[arg-type]
        root = Path(self.targets.video_root(dataset))
        return Sample(root, videos, self._store, dataset_sizes(self.targets, dataset).classes)

    def _store(self, config: RunConfig) -> TGStore | None:
        path = self.targets.grid.store(config)
        if path is None:
            return None
        if Path(path).exists():
            return TGStore(path)
        self._note(f"the store {path} does not exist yet: its gradients were computed while decoding, which is slower")
        return None

    def _generated(self, dataset: str) -> Sample:
        sizes = dataset_sizes(self.targets, dataset)
        config = self.targets.dataset(dataset).synthact or Synthact(width=sizes.width, height=sizes.height)
        config = config.model_copy(update={"min_frames": int(sizes.frames), "max_frames": int(sizes.frames)})
        if sizes.frames > 120:  # what lies beyond a clip's span is not read
            config = config.model_copy(update={"min_frames": 120, "max_frames": 120})
        root = self.folder / dataset
        jobs = [Job(config, root, n % config.classes, "train", n // config.classes) for n in range(TOUCHES)]
        videos = [Video(job.path, n, make(job).frames) for n, job in enumerate(jobs)]
        size = f"{sizes.width}x{sizes.height}"
        self._note(f"{dataset} is not indexed yet: decoding was measured on generated videos of {size} pixels")
        return Sample(root, videos, lambda config: None, sizes.classes)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
