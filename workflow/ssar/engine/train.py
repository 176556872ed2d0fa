"""Training one run: from a split and its videos to model.pt, curves.csv and run.json."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ssar import __version__
from ssar.augment import Augmenter, make_batch
from ssar.augment.augmenter import MODALITIES
from ssar.augment.views import centre
from ssar.config import Modality, RunConfig, canonical, digest
from ssar.data.loader import RawBatch, precise_bn_batches, training_batches
from ssar.data.reader import backend_name
from ssar.data.split import Split, read_split
from ssar.data.tg_store import TGStore
from ssar.engine import provenance
from ssar.engine.averaging import precise_bn
from ssar.engine.checkpoint import Checkpoints
from ssar.engine.devices import launched
from ssar.engine.interrupt import Interrupt, leave
from ssar.engine.logs import Curves
from ssar.engine.loop import Loop
from ssar.engine.numerics import settle
from ssar.engine.plan import Plan, plan
from ssar.engine.record import Recorder
from ssar.engine.weights import save_model
from ssar.files import sha256, write_json
from ssar.methods import method_class
from ssar.methods.base import Batch, Method
from ssar.progress import note, track
from ssar.runtime import Runtime

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Raw = Mapping[str, RawBatch | None]


class Feed:
    """The training data of one process: decoded by the loader, augmented on the device."""

    def __init__(
        self,
        config: RunConfig,
        split: Split,
        root: Path,
        store: TGStore | None,
        runtime: Runtime,
        fabric: Fabric,
        unlabelled_root: Path | None = None,
    ) -> None:
        self.config, self.split, self.root, self.store, self.runtime = config, split, root, store, runtime
        self.unlabelled_root = unlabelled_root
        self.devices, self.rank = fabric.world_size, fabric.global_rank
        self.pin = fabric.device.type == "cuda"
        self.augmenter = Augmenter(config.augment, fabric.device, config.seed)

    def raw(self, start: int, plan: Plan) -> Iterator[Raw]:
        """The micro-batches from a step on."""
        return training_batches(
            self.config,
            self.split,
            self.root,
            self.store,
            self.runtime,
            steps=range(start, plan.steps),
            accumulation=plan.accumulation,
            devices=self.devices,
            rank=self.rank,
            pin_memory=self.pin,
            unlabelled_root=self.unlabelled_root,
        )

    def prepare(self, method: Method, raw: Raw, epoch: float) -> tuple[Batch, list[str]]:
        """The batch on the device and the paths of its videos."""
        paths = [self.paths[name][i] for name, batch in raw.items() if batch is not None for i in batch.video.tolist()]
        return make_batch(self.augmenter, raw, method.views, epoch), paths

    @cached_property
    def paths(self) -> dict[str, list[str]]:
        """The videos of each stream, in the order that a batch's `video` points into."""
        lists = {"labelled": self.split.labelled, "unlabelled": self.split.unlabelled}
        return {name: [video.path for video in videos] for name, videos in lists.items()}

    def precise_bn_clips(self, modality: Modality, interrupt: Interrupt, requeue: bool) -> Iterator[Tensor]:
        """Batches of training videos as a network sees test videos in its modality: centre crop, no augmentation."""
        count, weak = self.config.train.precise_bn, self.config.augment.weak
        batches = precise_bn_batches(
            self.config,
            self.split,
            self.root,
            self.store,
            self.runtime,
            modality=modality,
            count=count,
            devices=self.devices,
            rank=self.rank,
            pin_memory=self.pin,
        )
        for raw in track(batches, count, "precise batch normalisation") if self.rank == 0 else batches:
            if interrupt.received:
                leave(interrupt.received, requeue)
            videos = getattr(raw, MODALITIES[modality])
            assert videos is not None
            clips = [centre(video.to(self.augmenter.device), weak.size, weak.short_side) for video in videos]
            yield self.augmenter.normalise(torch.stack(clips))


def train(
    config: RunConfig,
    split_path: str | Path,
    video_root: str | Path,
    tg_store: str | Path | None,
    out_dir: str | Path,
    state_dir: str | Path,
    runtime: Runtime,
    upstream: Mapping[str, Path] | None = None,
    unlabelled: tuple[Path, Path] | None = None,
) -> None:
    """Train one run and write ``model.pt``, ``curves.csv`` and ``run.json`` to `out_dir`.

    `tg_store`: manifest of the temporal gradients; None where they are computed at decoding or not needed. `upstream`:
    the files that other runs made for this one, by role. `unlabelled`: split and video folder of the dataset that the
    unlabelled videos come from, if it is another one. With `train.record_epochs`, `pseudo_labels.npz` is written, too.
    The state
    of an unfinished run lives in `state_dir` and is continued from; TensorBoard's events are there, too.

    Raises UserError for what the user can mend: a split, video or device that does not serve, a state of other
    settings, a loss that is not finite. Leaves by SystemExit (128 + the signal) on SIGTERM and SIGURG, state saved.
    """
    began = time.monotonic()
    fabric = launched(config, runtime)
    out, state_dir = Path(out_dir), Path(state_dir)
    split = read_split(split_path)
    if unlabelled is not None:
        split = replace(split, elsewhere=read_split(unlabelled[0]).training)
    total = plan(config.train, len(split.labelled), len(split.unlabelled), fabric.world_size)
    store = TGStore(tg_store) if tg_store else None
    feed = Feed(config, split, Path(video_root), store, runtime, fabric, unlabelled[1] if unlabelled else None)
    checkpoints = Checkpoints(state_dir, f"{digest(canonical(config), 12)}-{sha256(split_path)[:12]}")
    curves = Curves(state_dir / "tensorboard" if fabric.is_global_zero else None)

    with Interrupt() as interrupt:
        state = checkpoints.load()
        earlier: dict[str, Any] = state["record"] if state else {"started": _now(), "attempts": 0}
        method, remarks = _method(fabric, config, split, upstream or {}, feed.paths)
        source = feed.raw(state["step"] if state else 0, total)
        first = list(itertools.islice(source, 1))  # none when only PreciseBN is left to do
        batch = feed.prepare(method, first[0], 0.0)[0] if first else None
        known = earlier["self_test"]["layers_in_fp32"] if state else ()
        report = settle(fabric, method, config, runtime, batch, known)
        if config.compile:
            method.compile()
        recorder = _recorder(config, split, feed, fabric)
        loop = Loop(fabric, method, config, total, runtime, checkpoints, curves, interrupt, recorder)
        if state:
            loop.load_state_dict(state)
            note(f"continuing at step {loop.step} of {total.steps}")
        loop.record = earlier | {"attempts": earlier["attempts"] + 1, "self_test": report, "weights": remarks}
        del state, batch

        before = loop.account.seconds
        loop.run(itertools.chain(first, source), lambda raw, epoch: feed.prepare(method, raw, epoch))
        inside = loop.account.seconds - before
        predictor: nn.Module = method.predictor if loop.ema is None else loop.ema.module
        if config.train.precise_bn:
            loop.save()
            # every network that can be tested: a teacher's own statistics are those of strong clips, too
            tested: dict[Modality, nn.Module] = {config.options.test_modality: predictor}
            tested |= {modality: getattr(method, name) for modality, name in method.others.items()}
            with fabric.autocast():
                for modality, network in tested.items():
                    precise_bn(network, feed.precise_bn_clips(modality, interrupt, fabric.is_global_zero))
    curves.close()
    if fabric.is_global_zero:
        save_model(out / "model.pt", config, split.classes, method, predictor)
        curves.write(out / "curves.csv")
        if recorder is not None:
            recorder.write(out / "pseudo_labels.npz")
        seconds = loop.account.seconds + time.monotonic() - began - inside
        facts = {"split": {"path": str(split_path), "sha256": sha256(split_path)}, "classes": len(split.classes)}
        write_json(out / "run.json", _run_json(config, fabric, runtime, loop, seconds) | facts)
        checkpoints.clear()
    fabric.barrier()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _method(
    fabric: Fabric, config: RunConfig, split: Split, upstream: Mapping[str, Path], videos: Mapping[str, Sequence[str]]
) -> tuple[Method, list[str]]:
    """The method with its initial weights, equal in all processes, on the device; and where they come from."""
    torch.manual_seed(config.seed)
    method = method_class(config.method)(config, len(split.classes))
    remarks = method.start(upstream, videos)
    for remark in remarks:
        note(remark)
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        # statistics over the global batch, as LTG's code has them; torch has this for GPUs only
        nn.SyncBatchNorm.convert_sync_batchnorm(method)
    fabric.to_device(method)
    return method, remarks


def _recorder(config: RunConfig, split: Split, feed: Feed, fabric: Fabric) -> Recorder | None:
    if not (config.train.record_epochs and config.options.needs_unlabelled):
        return None
    truth = torch.tensor([video.label for video in split.unlabelled])
    return Recorder(feed.paths["unlabelled"], config.train.record_epochs, truth, fabric.device)


def _run_json(config: RunConfig, fabric: Fabric, runtime: Runtime, loop: Loop, seconds: float) -> dict[str, Any]:
    gpus = fabric.world_size if fabric.device.type == "cuda" else 0
    return {
        "config": json.loads(canonical(config)),
        "ssar": __version__,
        "git": provenance.git_commit(),
        "versions": provenance.versions(),
        "reader": backend_name(runtime.reader),
        "device": provenance.device_name(fabric.device),
        "devices": fabric.world_size,
        "threads": torch.get_num_threads(),
        "precision": config.precision,
        **loop.record,
        "finished": _now(),
        "seconds": round(seconds, 1),
        "gpu_hours": round(seconds * gpus / 3600, 4),
        "steps": loop.step,
        "epochs": loop.plan.epochs,
        "peak_memory_bytes": provenance.peak_memory(fabric.device),
    }
