"""Training one run: from a split and its videos to model.pt, curves.csv and run.json."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from ssar import __version__
from ssar.augment import Augmenter, make_batch
from ssar.augment.augmenter import MODALITIES
from ssar.augment.views import centre
from ssar.config import Modality, RunConfig, WeakAugment, canonical, digest
from ssar.data.loader import RawBatch, precise_bn_batches, training_batches
from ssar.data.reader import backend_name
from ssar.data.split import Split, read_split, training_checksum
from ssar.data.tg_store import TGStore
from ssar.engine import provenance
from ssar.engine.agreement import agree
from ssar.engine.attempts import Claim
from ssar.engine.averaging import precise_bn
from ssar.engine.checkpoint import Checkpoints
from ssar.engine.devices import launched
from ssar.engine.finished import Finished, inputs
from ssar.engine.interrupt import Interrupt, leave
from ssar.engine.life import Life
from ssar.engine.logs import Curves
from ssar.engine.loop import Loop
from ssar.engine.numerics import settle
from ssar.engine.objective import ShareState
from ssar.engine.outputs import finished
from ssar.engine.plan import Plan, exchanging, plan
from ssar.engine.record import Recorder
from ssar.engine.weights import save_model
from ssar.files import sha256, write_json
from ssar.methods import method_class
from ssar.methods.base import Batch, Method
from ssar.models.batch_statistics import convert
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
        self.fabric, self.devices, self.rank = fabric, fabric.world_size, fabric.global_rank
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

    def precise_bn_clips(
        self, modality: Modality, plan: Plan, interrupt: Interrupt, life: Life
    ) -> Iterator[list[Tensor]]:
        """Training videos as a network sees test videos in its modality: centre crop, no augmentation.

        Each item is the batches (B_u, 3, T, H, W) that this process computes side by side.
        """
        count, weak = self.config.train.precise_bn, self.config.augment.weak
        batches = precise_bn_batches(
            self.config,
            self.split,
            self.root,
            self.store,
            self.runtime,
            modality=modality,
            count=count,
            accumulation=plan.accumulation,
            devices=self.devices,
            rank=self.rank,
            pin_memory=self.pin,
        )
        passes = count * plan.accumulation // plan.at_once
        together = (list(itertools.islice(batches, plan.at_once)) for _ in range(passes))
        for raws in track(together, passes, "precise batch normalisation") if self.rank == 0 else together:
            life.check()
            if asked := self._asked(interrupt.received):
                leave(asked, self.rank == 0, self.fabric.barrier)
            yield [self._as_tested(raw, modality, weak) for raw in raws]

    def _asked(self, received: int) -> int:
        """The signal by which any process was asked to stop; 0: none was. Collective."""
        if self.devices == 1:
            return received
        found = self.fabric.all_reduce(torch.tensor(float(received), device=self.fabric.device), reduce_op="max")
        return int(cast(Tensor, found))

    def _as_tested(self, raw: RawBatch, modality: Modality, weak: WeakAugment) -> Tensor:
        videos = getattr(raw, MODALITIES[modality])
        assert videos is not None
        clips = [centre(video.to(self.augmenter.device), weak.size, weak.short_side) for video in videos]
        return self.augmenter.normalise(torch.stack(clips))


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
    The state of an unfinished run lives in `state_dir` and is continued from; its signs of life
    (`ssar.engine.state`) and TensorBoard's events are there, too.

    Raises UserError for what the user can mend: a split, video or device that does not serve, a state of other
    settings, a loss that is not finite, a full disk, a newer attempt at the same run (Superseded). Leaves by SystemExit
    (128 + the signal) on SIGTERM, SIGINT, SIGHUP and SIGURG, state saved.
    """
    began = time.monotonic()
    fabric = launched(config, runtime)
    out, state_dir = Path(out_dir), Path(state_dir)
    split = read_split(split_path)
    if unlabelled is not None:
        split = replace(split, elsewhere=read_split(unlabelled[0]).training)
    total = plan(config, len(split.labelled), len(split.unlabelled), fabric.world_size)
    store = TGStore(tg_store) if tg_store else None
    feed = Feed(config, split, Path(video_root), store, runtime, fabric, unlabelled[1] if unlabelled else None)
    # the launcher has taken it for all processes; where there was none, the first process does
    claim = Claim.given(state_dir) or (Claim.take(state_dir) if fabric.is_global_zero else None)
    identity = f"{digest(canonical(config), 12)}-{training_checksum(split_path)[:12]}"
    checkpoints = Checkpoints(state_dir, identity, claim.hold if claim else nullcontext)
    curves = Curves(state_dir / "tensorboard" if fabric.is_global_zero else None)

    with Life(claim, speaks=fabric.is_global_zero) as life, Interrupt() as interrupt:
        state = checkpoints.load()
        agree(fabric, {"the step of the checkpoint": torch.tensor(float(state["step"] if state else 0))}, "start")
        earlier: dict[str, Any] = state["record"] if state else {"started": _now(), "attempts": 0}
        method, remarks = _method(fabric, config, split, upstream or {}, feed.paths)
        source = feed.raw(state["step"] if state else 0, total)
        first = list(itertools.islice(source, 1))  # none when only PreciseBN is left to do
        batch = feed.prepare(method, first[0], 0.0)[0] if first else None
        known = earlier["self_test"]["layers_in_fp32"] if state else ()
        report = settle(fabric, method, config, runtime, batch, known)
        if config.compile:
            # each share of a device is compiled for itself, and torch gives up at 8 versions of a function
            torch._dynamo.config.recompile_limit = 8 * total.accumulation
            method.compile()
        recorder = _recorder(config, split, feed, fabric)
        loop = Loop(fabric, method, config, total, runtime, checkpoints, curves, interrupt, recorder, life)
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
            life.phase = "precise batch normalisation"
            loop.save()
            # every network that can be tested: a teacher's own statistics are those of strong clips, too
            tested: dict[Modality, nn.Module] = {config.options.test_modality: predictor}
            tested |= {modality: getattr(method, name) for modality, name in method.others.items()}
            with fabric.autocast():
                for modality, network in tested.items():
                    clips = feed.precise_bn_clips(modality, total, interrupt, life)
                    precise_bn(network, clips, ShareState(fabric.device), exchanging(config))
        else:
            loop.save()  # what is left to do needs room on a disk and may fail
        curves.close()
        fabric.barrier()  # from here on one process is enough
        life.phase = "writing"
        if fabric.is_global_zero:
            assert claim is not None
            seconds = loop.account.seconds + time.monotonic() - began - inside
            facts = {"split": {"path": str(split_path), "sha256": sha256(split_path)}, "classes": len(split.classes)}
            files = inputs(Path(split_path), upstream or {}, unlabelled)
            kept = Finished.of(state_dir, out, canonical(config), files)
            with finished(claim, checkpoints, kept, life) as place:
                save_model(place("model.pt"), config, split.classes, method, predictor)
                curves.write(place("curves.csv"))
                if recorder is not None:
                    recorder.write(place("pseudo_labels.npz"))
                # its presence says that the run is done, so it comes last
                write_json(place("run.json"), _run_json(config, fabric, runtime, loop, seconds) | facts)


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
    if config.train.shares > 1:
        convert(method, config.train.batch_norm)
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
