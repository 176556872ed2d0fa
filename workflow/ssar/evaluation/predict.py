"""Predicting every test video once, on any number of devices, under a condition if one is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ssar.augment import Augmenter
from ssar.augment.views import crops, scales
from ssar.conditions import CORRUPTIONS
from ssar.config import RunConfig, canonical
from ssar.data.clips import ClipDecoder, ClipTask, run_decoder
from ssar.data.sampling import uniform_indices
from ssar.data.split import Split, Video, read_split
from ssar.data.tg_store import TGStore
from ssar.data.workers import in_order
from ssar.engine.devices import launched
from ssar.engine.weights import load_predictor
from ssar.errors import UserError
from ssar.evaluation.corruptions import corrupt
from ssar.evaluation.predictions import Predictions, write_predictions
from ssar.files import sha256
from ssar.progress import track
from ssar.runtime import Runtime
from ssar.views import Average, Views

CLIPS_AT_ONCE = 32
"""Clips of one forward pass: bounds the memory whatever the views; 30 are LTG's of one video."""


@dataclass(frozen=True)
class ViewMaker:
    """Decodes all views of a test video. Can be sent to other processes."""

    decoder: ClipDecoder
    frames: int
    size: int
    short_side: int
    crops: int
    scales: tuple[float, ...] | None = None  # of centre crops, in the place of those along the longer side

    def __call__(self, task: ClipTask) -> Tensor:
        """Views uint8 (crops * clips, T, 3, size, size) of the clips whose frame numbers `task` has in one row."""
        clip = self.decoder(task)
        frames = next(part for part in clip if part is not None)  # one modality is decoded
        if self.scales is None:
            cut = crops(frames, self.size, self.crops, self.short_side)
        else:
            cut = scales(frames, self.size, self.scales)
        return cut.reshape(-1, self.frames, *cut.shape[2:])


def view_maker(config: RunConfig, decoder: ClipDecoder, views: Views) -> ViewMaker:
    """How a run's test videos are cut. Crops without a size are the training's: its short side, its crop."""
    weak = config.augment.weak
    return ViewMaker(
        decoder,
        frames=config.clip.frames,
        size=views.size or weak.size,
        short_side=views.size or weak.short_side,
        crops=views.crops,
        scales=views.scales,
    )


def video_tasks(config: RunConfig, videos: Sequence[Video], views: Views, lookahead: int) -> list[ClipTask]:
    """One task per video: the frames of its uniform clips. Raises UserError that lists all that are too short.

    A re-sampled clip holds every n-th of its frames until the next one, so that its length stays (CMPL §4.4).
    """
    short = [f"{video.path}: {video.frames} frames" for video in videos if video.frames <= lookahead]
    if short:
        raise UserError.of(f"test videos that end within the {lookahead} frames that the modality looks ahead:", short)
    clip = config.clip
    held = np.arange(clip.frames) // views.condition.stride * views.condition.stride

    def indices(video: Video) -> np.ndarray:
        found = uniform_indices(video.frames, clip.frames, clip.stride, views.clips, lookahead, short=clip.short_videos)
        return found.reshape(views.clips, clip.frames)[:, held].reshape(-1)

    return [ClipTask(video.path, indices(video), video.label, number) for number, video in enumerate(videos)]


@torch.inference_mode()
def predict_views(module: Any, clips: Tensor, average: Average) -> tuple[Tensor, Tensor]:
    """Normalised clips (V, 3, T, H, W) of one video to its scores (K,) and features (C,), means over the views.

    `module` is a method's predictor, with `features` and `head` of it.
    """
    parts = [module.features(part) for part in clips.split(CLIPS_AT_ONCE)]
    features = torch.cat(parts).float()
    logits = module.head(torch.cat(parts)).float()
    scores = logits if average == "logits" else logits.softmax(dim=1)
    return scores.mean(dim=0), features.mean(dim=0)


def predict(
    model_path: Path,
    split_path: Path,
    video_root: Path,
    tg_store: Path | None,
    views: Views,
    out: Path,
    runtime: Runtime,
) -> None:
    """Write predictions.npz of the split's test videos, or of its labelled ones under the condition `training`.

    The network runs in fp32 and evaluation mode, whatever precision trained it, in the modality that its method
    evaluates. Video i is predicted by device i modulo their number. `tg_store` is None where nothing reads one.

    Raises UserError for classes that are not the model's, no test videos, videos too short for a gradient or flow, a
    condition that makes no sense for the network, and, naming it, a video that does not decode or hangs.
    """
    condition = views.condition
    config, classes, module = load_predictor(model_path, condition.network)
    split = read_split(split_path)
    videos = split.labelled if condition.training else split.test
    _check(split, videos, split_path, classes, model_path)
    modality = condition.network or config.options.test_modality
    if condition.change in CORRUPTIONS and modality != "rgb":
        raise UserError(f"{model_path}: `{condition.change}` corrupts colours, and the network sees {modality}")
    store = TGStore(tg_store) if tg_store and modality == "tg" else None
    decoder = run_decoder(config, video_root, store, runtime.reader, frozenset({modality}))
    tasks = video_tasks(config, videos, views, decoder.lookahead)
    fabric = launched(config.model_copy(update={"precision": "32-true"}), runtime)
    if len(tasks) < fabric.world_size:
        raise UserError(f"`runtime.devices` is {fabric.world_size}; {split_path} has {len(tasks)} videos to predict")
    module.to(fabric.device)
    results = in_order(
        view_maker(config, decoder, views),
        tasks[fabric.global_rank :: fabric.world_size],
        workers=runtime.workers,
        seconds=runtime.watchdog_seconds,
    )
    augmenter = Augmenter(config.augment, fabric.device)
    scored = _scored(module, augmenter, results, views)
    if fabric.global_rank == 0:
        scored = track(scored, len(tasks[:: fabric.world_size]), "predict")
    scores, features, seen = _collect(scored, len(tasks))
    # every device fills its own lines and leaves the others zero, so the sum is the whole
    scores, features, seen = (
        torch.as_tensor(fabric.all_reduce(part.to(fabric.device), reduce_op="sum")).cpu()
        for part in (scores, features, seen)
    )
    if not bool((seen == 1).all()):
        raise RuntimeError(f"{int((seen != 1).sum())} videos were not predicted exactly once")
    if fabric.global_rank == 0:
        write_predictions(
            out,
            Predictions(
                paths=np.array([video.path for video in videos]),
                labels=np.array([video.label for video in videos], dtype=np.int64),
                scores=scores.numpy(),
                features=features.half().numpy(),
                classes=classes,
                views=views.slug,
                config=canonical(config),
                model_sha256=sha256(model_path),
            ),
        )
    fabric.barrier()


def _check(split: Split, videos: Sequence[Video], split_path: Path, classes: list[str], model_path: Path) -> None:
    if list(split.classes) != classes:
        raise UserError(f"the {len(split.classes)} classes of {split_path} are not the {len(classes)} of {model_path}")
    if not videos:
        raise UserError(f"{split_path} has no videos to predict")


def _scored(
    module: nn.Module, augmenter: Augmenter, results: Iterator[tuple[ClipTask, Tensor]], views: Views
) -> Iterator[tuple[int, Tensor, Tensor]]:
    change = views.condition.change
    for task, clips in results:
        clips = clips.to(augmenter.device, non_blocking=True)
        if change in CORRUPTIONS:
            clips = corrupt(clips, str(change), task.video, views.clips)
        yield task.number, *predict_views(module, augmenter.normalise(clips), views.average)


def _collect(scored: Iterator[tuple[int, Tensor, Tensor]], total: int) -> tuple[Tensor, Tensor, Tensor]:
    """Scores (total, K), features (total, C) and how often each line was filled (total,)."""
    scores = features = None
    seen = torch.zeros(total)
    for number, score, feature in scored:
        if scores is None or features is None:
            scores, features = torch.zeros(total, len(score)), torch.zeros(total, len(feature))
        scores[number], features[number] = score.cpu(), feature.cpu()
        seen[number] += 1
    assert scores is not None
    assert features is not None
    return scores, features, seen
