"""Combinations of settings that cannot work, found before the first job."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ssar.config import DatasetConfig, RunConfig

PER_CLASS = re.compile(r"per-class-(\d+)")
PERCENT = re.compile(r"percent-(\d+(?:\.\d+)?)")


def class_sizes(dataset: DatasetConfig) -> dict[str, int] | None:
    """Training videos of each class as far as they are known without decoding: None before a download."""
    if dataset.synthact is not None:
        return {f"class {i}": dataset.synthact.train_per_class for i in range(dataset.synthact.classes)}
    if dataset.kind == "folder" and dataset.root and not dataset.csv and dataset.train is None:
        root = Path(os.path.expandvars(dataset.root)).expanduser()
        if not root.is_dir():
            return None
        endings = tuple(dataset.extensions)
        sizes = {
            folder.name: sum(1 for file in folder.iterdir() if file.name.lower().endswith(endings))
            for folder in sorted(root.iterdir())
            if folder.is_dir()
        }
        return {name: size for name, size in sizes.items() if size}
    return None


def protocol_problems(name: str, dataset: DatasetConfig, protocol: str) -> Iterator[str]:
    """What is wrong with asking a dataset for a label protocol."""
    per_class, percent = PER_CLASS.fullmatch(protocol), PERCENT.fullmatch(protocol)
    if per_class:
        wanted = int(per_class[1])
        if wanted < 1:
            yield f"labels `{protocol}` of {name}: at least one labelled video per class is needed"
        for label, size in (class_sizes(dataset) or {}).items():
            if wanted > size:
                yield f"labels `{protocol}` of {name}: more labels than videos, {label} has {size}"
                break
    elif percent:
        if not 0 < float(percent[1]) <= 100:
            yield f"labels `{protocol}` of {name}: a percentage lies above 0 and at most at 100"
    elif protocol != "all" and protocol not in dataset.protocols:
        known = ["all", "per-class-N", "percent-P", *sorted(dataset.protocols)]
        yield f"labels `{protocol}`: {name} has no such protocol; it has {', '.join(known)}"


def run_problems(run: RunConfig, dataset: DatasetConfig) -> Iterator[str]:
    """Why a run that is valid option by option cannot work as a whole."""
    options = run.options
    yield from protocol_problems(run.dataset, dataset, run.labels.protocol)
    if "tg" in options.modalities and dataset.tg_source == "none":
        yield (
            f"method `{run.method}` reads temporal gradients and {run.dataset} offers none "
            f"(`tg_source: none`); set it to store or online, or choose an RGB method"
        )
    stages = len(run.model.temporal_strides)
    for block in options.aligned_blocks:
        if not 1 <= block <= stages:
            yield f"key `options.blocks`: block {block} cannot be aligned, the backbone has blocks 1 to {stages}"
    if len(set(options.aligned_blocks)) < len(options.aligned_blocks):
        yield f"key `options.blocks`: {list(options.aligned_blocks)} names a block twice"
    if options.needs_unlabelled and run.labels.protocol == "all" and not run.labels.unlabelled_includes_labelled:
        yield f"method `{run.method}` needs unlabelled videos and labels `all` without the labelled ones leaves none"
    if run.augment.unlabelled is not None and run.augment.unlabelled.size != run.augment.weak.size:
        yield (
            f"key `augment.unlabelled.size`: {run.augment.unlabelled.size} is not `augment.weak.size` "
            f"({run.augment.weak.size}); labelled and unlabelled clips may pass the network together"
        )
    if run.model.pool2 and run.clip.frames < 2:
        yield "key `model.pool2`: halving time needs clips of at least 2 frames (`clip.frames`)"
    if run.model.arch == "timesformer":
        yield from _transformer_problems(run)
    if run.unlabelled is not None:
        other = run.unlabelled.dataset
        if "tg" in options.modalities and run.data.tg_source == "store":
            yield f"the gradient store of {run.dataset} has no videos of {other}: set `tg_source: online`"
    if run.augment.weak.area[0] > run.augment.weak.area[1] or run.augment.weak.ratio[0] > run.augment.weak.ratio[1]:
        yield "keys `augment.weak.area` and `augment.weak.ratio` are ranges: the lower end comes first"
    if dataset.synthact is not None and "tg" in options.modalities:
        shortest = dataset.synthact.min_frames
        if run.tg.interval >= shortest:
            yield f"key `tg.interval`: {run.tg.interval} is not below the shortest video ({shortest} frames)"


def _transformer_problems(run: RunConfig) -> Iterator[str]:
    vit, size = run.model.vit, run.augment.weak.size
    for key, value in (("model.vit.size", vit.size), ("augment.weak.size", size)):
        if value % vit.patch:
            yield f"key `{key}`: {value} is no multiple of `model.vit.patch` ({vit.patch})"
    if vit.dim % vit.heads:
        yield f"key `model.vit.dim`: {vit.dim} is no multiple of `model.vit.heads` ({vit.heads})"


def role_problems(run: RunConfig, needs: Mapping[str, str]) -> Iterator[str]:
    """Parts that a run's method wants others to play and nobody does, or that it does not know."""
    wanted = {role for role in run.options.roles if role != "scores"}
    for role in sorted(wanted):
        if role not in needs:
            yield f"method `{run.method}` needs another run as `{role}`: name a variant under `needs`"
    for role in sorted(needs.keys() - wanted - {"init"}):
        known = ", ".join(sorted(wanted | {"init"}))
        yield f"key `needs.{role}`: method `{run.method}` has no such part; it has {known}"
