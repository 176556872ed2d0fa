"""How much each training video resembles itself over time, in the eyes of two pretrained networks (TimeBalance §3.2).

Computed after the self-supervised pretraining and before the fine-tuning (Algorithm 1, line 16), once for all students.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from ssar.augment import Augmenter
from ssar.augment.views import centre
from ssar.config import RunConfig, canonical, parse_run
from ssar.data.clips import ClipDecoder, ClipTask, run_decoder
from ssar.data.sampling import fit
from ssar.data.split import Video, read_split
from ssar.data.workers import in_order
from ssar.engine.devices import launched
from ssar.errors import UserError
from ssar.evaluation.scores import Similarity, write_scores
from ssar.losses.teacher_reweighting import similarity_score, temporal_similarity
from ssar.methods import method_class
from ssar.methods.options import PretrainingOptions
from ssar.models.backbone import Backbone
from ssar.progress import track
from ssar.runtime import Runtime


class Pretrained(NamedTuple):
    """A pretrained network with its projection head, in evaluation mode."""

    config: RunConfig
    options: PretrainingOptions
    backbone: Backbone
    head: nn.Module  # g: pooled features (B, C) to z (B, d)

    def to(self, device: torch.device) -> Pretrained:
        """The same on a device."""
        return self._replace(backbone=self.backbone.to(device), head=self.head.to(device))


def load_pretrained(path: Path) -> Pretrained:
    """A self-supervised run's network before any fine-tuning.

    Raises UserError for a file that is missing, is no model of this program, or has no projection head.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        config = parse_run(content["config"])
        method = method_class(config.method)(config, len(content["classes"]))
        method.load_state_dict(content["method"])
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such model; pretrain the teacher first") from None
    except Exception as error:  # zip, pickle, torch and pydantic each have their own for a foreign file
        raise UserError(f"{path} is no model of ssar ({type(error).__name__}: {error}); train the run again") from error
    if not isinstance(config.options, PretrainingOptions):
        raise UserError(
            f"{path} is a run of the method {config.method}, which has no projections to compare: similarity scores "
            "need teachers that were pretrained on consecutive clips"
        )
    method.eval()
    return Pretrained(config, config.options, method.predictor, cast(nn.Module, method.projection))


def consecutive_indices(num_frames: int, clips: int, config: RunConfig) -> np.ndarray:
    """n clips, one after the other around the middle of the video: (clips, T) int64 in 0 .. num_frames - 1.

    In a video without room for them they overlap evenly, and in one shorter than a clip all are the same one.
    """
    clip = config.clip
    span = clip.frames * clip.stride
    apart = min(span, max(num_frames - span, 0) / (clips - 1))
    starts = (np.arange(clips) * apart).astype(np.int64)
    starts += max(num_frames - span - starts[-1], 0) // 2
    indices = starts[:, None] + np.arange(clip.frames) * clip.stride
    return fit(indices, num_frames, clip.short_videos)


@dataclass(frozen=True)
class ClipMaker:
    """Decodes the consecutive clips of a video. Can be sent to other processes."""

    decoder: ClipDecoder
    frames: int
    size: int
    short_side: int

    def __call__(self, task: ClipTask) -> Tensor:
        """Centre crops uint8 (n, T, 3, size, size) of the clips whose frame numbers `task` has in one row."""
        frames = self.decoder(task).frames
        assert frames is not None
        cut = centre(frames, self.size, self.short_side)
        return cut.reshape(-1, self.frames, *cut.shape[1:])


@torch.inference_mode()
def similarities(teachers: Sequence[Pretrained], clips: Tensor) -> Tensor:
    """Normalised clips (n, 3, T, H, W) of one video to C (Eq. 5), (2, teachers, n, n): of z, and of the features."""
    features = [teacher.backbone.features(clips).float() for teacher in teachers]
    projected = [teacher.head(pooled).float() for teacher, pooled in zip(teachers, features, strict=True)]
    return torch.stack([torch.stack([temporal_similarity(x) for x in group]) for group in (projected, features)])


def write_similarity(models: Sequence[Path], split: Path, video_root: Path, out: Path, runtime: Runtime) -> None:
    """Write the similarities of all training videos of a split, by the invariant and the distinctive teacher.

    `models`: model.pt of the two pretraining runs, in this order. The networks run in fp32 and evaluation mode on
    centre crops without augmentation. Video i is done by device i modulo their number.

    Raises UserError for models that do not serve, no training videos, and, naming it, a video that does not decode.
    """
    if len(models) != 2:
        raise UserError(f"similarity scores are of two teachers (TimeBalance Eq. 6), not of {len(models)}")
    teachers = [load_pretrained(path) for path in models]
    if len({_clips_of(teacher) for teacher in teachers}) > 1:
        raise UserError(
            f"{models[0]} and {models[1]} were pretrained on clips that differ in number, length, size or "
            "normalisation; their similarity matrices cannot be averaged"
        )
    config, count = teachers[0].config, teachers[0].options.clips
    found = read_split(split)
    videos = list({video.path: video for video in (*found.labelled, *found.unlabelled)}.values())
    fabric = launched(config.model_copy(update={"precision": "32-true"}), runtime)
    if len(videos) < fabric.world_size:
        raise UserError(f"`runtime.devices` is {fabric.world_size}; {split} has {len(videos)} training videos")
    teachers = [teacher.to(fabric.device) for teacher in teachers]
    weak = config.augment.weak
    decoder = run_decoder(config, video_root, None, runtime.reader, frozenset({"rgb"}))
    results = in_order(
        ClipMaker(decoder, config.clip.frames, weak.size, weak.short_side),
        islice(_tasks(videos, count, config), fabric.global_rank, None, fabric.world_size),
        workers=runtime.workers,
        seconds=runtime.watchdog_seconds,
    )
    measured = _measured(teachers, Augmenter(config.augment, fabric.device), results)
    if fabric.global_rank == 0:
        measured = track(measured, len(videos[:: fabric.world_size]), "similarity")
    matrices = torch.zeros(len(videos), 2, len(teachers), count, count)
    for number, matrix in measured:
        matrices[number] = matrix.cpu()
    # every device fills its own lines and leaves the others zero, so the sum is the whole
    matrices = torch.as_tensor(fabric.all_reduce(matrices.to(fabric.device), reduce_op="sum")).cpu()
    if fabric.global_rank == 0:
        projection, features = matrices.unbind(dim=1)
        write_scores(
            out,
            Similarity(
                paths=np.array([video.path for video in videos]),
                projection=projection.numpy(),
                features=features.numpy(),
                projection_score=similarity_score(*projection.unbind(dim=1)).numpy(),
                features_score=similarity_score(*features.unbind(dim=1)).numpy(),
                configs=[canonical(teacher.config) for teacher in teachers],
            ),
        )
    fabric.barrier()


def _clips_of(teacher: Pretrained) -> str:
    """Everything that decides what a teacher is shown."""
    config, weak = teacher.config, teacher.config.augment.weak
    normalisation = (config.augment.mean, config.augment.std)
    sizes = (weak.size, weak.short_side, config.data.decode_short_side)
    return repr((teacher.options.clips, config.clip, sizes, normalisation))


def _tasks(videos: Sequence[Video], clips: int, config: RunConfig) -> Iterator[ClipTask]:
    for number, video in enumerate(videos):
        indices = consecutive_indices(video.frames, clips, config).reshape(-1)
        yield ClipTask(video.path, indices, video.label, number)


def _measured(
    teachers: Sequence[Pretrained], augmenter: Augmenter, results: Iterator[tuple[ClipTask, Tensor]]
) -> Iterator[tuple[int, Tensor]]:
    for task, clips in results:
        normalised = augmenter.normalise(clips.to(augmenter.device, non_blocking=True))
        yield task.number, similarities(teachers, normalised)
