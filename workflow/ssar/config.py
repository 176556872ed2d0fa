"""Every option of a run: closed, typed, described, with its source.

A pydantic default means "feature off" or "the field's own convention" and must never change, because
canonical JSON leaves defaults out (a new field then changes no run's id). The values that a paper
states live in ``config/methods`` and ``config/papers``. Nothing here imports torch.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import cache
from typing import Literal

from pydantic import BaseModel, create_model, field_validator, model_validator

from ssar.methods import options_class
from ssar.methods.options import MethodOptions
from ssar.options import Closed, NonNegative, Positive, Probability, option

Modality = Literal["rgb", "tg", "flow"]
TGCodec = Literal["webp", "zlib", "jpeg"]

# --- data -----------------------------------------------------------------------------------------


class Synthact(Closed):
    """The embedded dataset: procedurally generated actions, encoded to real video files."""

    train_per_class: Positive = option(40, about="training videos of each class")
    test_per_class: Positive = option(20, about="test videos of each class")
    classes: Positive = option(12, about="how many of the generator's classes, in its fixed order", ge=2, le=16)
    seed: int = option(
        0, about="seed of the generator; every video is a function of it, its class and its number", ge=0
    )
    width: Positive = option(160, about="frame width in pixels; even", multiple_of=2)
    height: Positive = option(120, about="frame height in pixels; even", multiple_of=2)
    min_frames: Positive = option(40, about="frames of the shortest video", ge=4)
    max_frames: Positive = option(120, about="frames of the longest video")
    codec: Literal["mpeg4", "h264"] = option("mpeg4", about="video codec of the files")
    bias: Probability = option(0.0, about="share of training videos whose appearance follows the class")

    @model_validator(mode="after")
    def _lengths(self) -> Synthact:
        if self.min_frames > self.max_frames:
            raise ValueError(f"`min_frames` ({self.min_frames}) is more than `max_frames` ({self.max_frames})")
        return self


class ListFile(Closed):
    """A published list: its path relative to the repository, or the URL that it is fetched from."""

    path: str = option(about="local file or folder with the list (relative to the repository root or absolute)")
    url: str | None = option(
        None, about="address to fetch the file from when it is not at `path`; a .zip is unpacked into a folder there"
    )
    sha256: str | None = option(None, about="checksum of the file, or of the archive", pattern=r"^[0-9a-f]{64}$")
    format: Literal["auto", "rawframes", "videos", "svformer", "ucf", "hmdb", "kinetics"] = option(
        "auto", about="format of the list; auto looks at its lines", source="LTG, SVFormer, UCF-101, HMDB-51, Kinetics"
    )
    fold: Positive = option(1, about="split number, for formats with several in one folder (HMDB-51)")
    numbers: bool | Literal["labels"] = option(
        True,
        about="whether the list's class numbers count; false: its folders alone say the classes; labels: so do they, "
        "but labelled videos are trained on with the numbers, right or wrong (see hmdb51.yaml)",
    )


class ListSplit(Closed):
    """One published label protocol: which list holds the labelled, unlabelled and test videos."""

    labelled: ListFile = option(about="list of the labelled videos")
    unlabelled: ListFile | None = option(None, about="list of the unlabelled videos; none: all training videos")
    test: ListFile | None = option(
        None, about="list of the test videos, where it is not the dataset's; training videos are then all others"
    )


class RemoteFile(Closed):
    """A file that can be downloaded: its addresses, which all give the same bytes, its size and checksum."""

    name: str = option(about="file name under the dataset's download folder", pattern=r"^[A-Za-z0-9_][\w.+-]*$")
    urls: tuple[str, ...] = option(about="addresses, tried in this order", min_length=1)
    sha256: str | None = option(None, about="checksum; none where the publisher states none", pattern=r"^[0-9a-f]{64}$")
    bytes: int | None = option(None, about="size, for the progress bar and a first check", gt=0)


class Mirror(RemoteFile):
    """One file to download, or what stands in for it."""

    otherwise: tuple[RemoteFile, ...] = option(
        (), about="other files with the same videos, tried in this order where no address gives the first"
    )
    into: str = option("", about="folder below `videos/` that an archive is unpacked into")
    parts: bool = option(
        False, about="the file lists addresses, one per line, that are fetched and unpacked", source="Kinetics"
    )
    jobs: Positive = option(1, about="with `parts`: jobs that fetch the listed files, each its share")

    @model_validator(mode="after")
    def _whole(self) -> Mirror:
        if self.parts and self.otherwise:
            raise ValueError("a list of addresses (`parts`) has no `otherwise`")
        if self.jobs > 1 and not self.parts:
            raise ValueError("`jobs` share the addresses of a list: they need `parts: true`")
        if self.into.startswith("/") or ".." in self.into.split("/"):
            raise ValueError(f"`into` must be a folder below `videos/`, not {self.into}")
        return self


class Transcode(Closed):
    """How a dataset's videos are written anew, for fast reading; `transcode: {}` takes the defaults."""

    short_side: Positive = option(
        256, about="short side of the new videos in pixels; smaller ones keep their size", multiple_of=2
    )
    keyframe_interval: Positive = option(
        12, about="frames from one keyframe to the next: fewer are read faster and need more disk"
    )
    crf: int = option(18, about="constant quality of x264: lower is better, 6 less is twice the disk", ge=1, le=40)


def group_regex(pattern: str) -> re.Pattern[str]:
    """A `group_pattern`; its first group is the name of the recording. Raises ValueError for one that cannot work."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"`{pattern}` is no regular expression: {error}") from None
    if compiled.groups != 1:
        raise ValueError(f"`{pattern}` must have one group in parentheses: the name of the recording")
    return compiled


class DatasetConfig(Closed):
    """A dataset: where its videos come from and which label protocols it offers."""

    kind: Literal["synthact", "folder", "download"] = option(about="generated, a local folder, or fetched")
    about: str = option("", about="one line for the tables and docs")
    root: str | None = option(
        None,
        about="folder of videos that are there already, only read; then nothing is downloaded. Without published lists "
        "`root/<class>/<video>`, with them any layout; environment variables are expanded",
    )
    csv: str | None = option(None, about="csv `path,label[,group][,split]` instead of class folders")
    files: tuple[Mirror, ...] = option((), about="what `kind: download` fetches and unpacks")
    keep_archives: bool = option(
        True, about="whether downloaded archives stay after they were unpacked; they are not fetched again if not"
    )
    licence: str = option("", about="what the dataset's owners allow")
    citation: str = option("", about="the dataset's paper, as BibTeX")
    synthact: Synthact | None = option(None, about="options of the generator, for `kind: synthact`")
    extensions: tuple[str, ...] = option(
        (".avi", ".mp4", ".mov", ".mkv", ".webm"), about="which files of the folder are videos"
    )
    group_pattern: str | None = option(
        None, about="regular expression whose first group names the recording group of a path", source="UCF-101"
    )
    train: ListFile | None = option(None, about="published training list; with `test`")
    test: ListFile | None = option(None, about="published test list")
    test_percent: NonNegative = option(
        20.0, about="share of each class held out for testing when nothing else says so", lt=100
    )
    protocols: dict[str, ListSplit] = option({}, about="named published label protocols, e.g. videossl-20")
    allow_missing: int = option(
        0,
        about="how many videos of the lists `train` and `test` together may be missing or unusable; with more no split "
        "is made, and tables say how many there are",
        ge=0,
    )
    classes: Positive | None = option(None, about="number of classes, checked against the index")
    videos: Positive | None = option(None, about="number of training videos, for plans made before the download")
    tg_source: Literal["store", "online", "none"] = option(
        "store",
        about="temporal gradients from a store made once, computed at decoding, or not offered by this dataset",
        source="LTG §3.2",
    )
    tg_codec: TGCodec = option(
        "webp",
        about="how the store keeps a gradient: webp and zlib are lossless, jpeg is quality 95 with halved chroma",
        source="benchmarks/tg_store.py; LTG code: jpeg",
    )
    decode_short_side: Positive | None = option(
        None, about="decode at this short side instead of the native size (laptop scale)"
    )
    fast: bool = option(False, about="trust container frame counts instead of decoding every video to its end")
    index_jobs: Positive = option(1, about="jobs that decode the videos for the index, each its share; on a cluster")
    transcode: Transcode | None = option(
        None, about="write all videos anew before anything reads them; none: they are read as they are"
    )
    transcode_jobs: Positive = option(1, about="jobs that transcode the videos side by side, on a cluster")

    @field_validator("group_pattern")
    @classmethod
    def _names_recordings(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            group_regex(pattern)
        return pattern

    @model_validator(mode="after")
    def _consistent(self) -> DatasetConfig:
        if self.kind == "synthact" and self.synthact is None:
            raise ValueError("`kind: synthact` needs the group `synthact`")
        if self.kind == "synthact" and (self.root or self.csv or self.files):
            raise ValueError("`kind: synthact` makes its videos: it has no `root`, `csv` or `files`")
        if self.kind == "folder" and not (self.root or self.csv):
            raise ValueError("`kind: folder` needs `root` (a folder) or `csv`")
        if self.kind == "download" and not (self.files or self.root):
            raise ValueError("`kind: download` needs `files`, or `root` (a folder that has them)")
        if (self.train is None) != (self.test is None):
            raise ValueError("`train` and `test` lists are given together or not at all")
        for key, item in self.lists().items():
            if item.numbers == "labels" and not key.endswith(".labelled"):
                raise ValueError(f"`{key}`: `numbers: labels` is for the labelled videos of a protocol alone")
        names = [file.name for mirror in self.files for file in (mirror, *mirror.otherwise)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two of `files` have the name {twice[0]}")
        return self

    def lists(self) -> dict[str, ListFile]:
        """Every list that the dataset names, by its key, e.g. `train` or `protocols.videossl-5.labelled`."""
        named = {"train": self.train, "test": self.test}
        for name, protocol in self.protocols.items():
            roles = {"labelled": protocol.labelled, "unlabelled": protocol.unlabelled, "test": protocol.test}
            named |= {f"protocols.{name}.{role}": item for role, item in roles.items()}
        return {key: item for key, item in named.items() if item is not None}


class DataIdentity(Closed):
    """What of a dataset decides a run's weights; everything but where its files are."""

    synthact: Synthact | None = option(None, about="options of the generator")
    lists: dict[str, str] = option({}, about="role of each list in use: its checksum, or its path where none is stated")
    group_pattern: str | None = option(None, about="see DatasetConfig")
    test_percent: NonNegative = option(20.0, about="see DatasetConfig")
    tg_source: Literal["store", "online", "none"] = option("store", about="see DatasetConfig")
    tg_codec: TGCodec = option("webp", about="see DatasetConfig")
    decode_short_side: Positive | None = option(None, about="see DatasetConfig")
    transcode: Transcode | None = option(None, about="see DatasetConfig")


class LabelsConfig(Closed):
    """Which training videos are labelled. `labels` names the protocol: see docs/datasets.md."""

    protocol: str = option(
        about="all, per-class-N, percent-P, or a published protocol of the dataset",
        pattern=r"^[a-z0-9][a-z0-9.]*(-[a-z0-9.]+)*$",
    )
    draw: int = option(0, about="which random draw of the protocol (published lists have one)", ge=0)
    unlabelled_includes_labelled: bool = option(
        True, about="whether labelled videos are also unlabelled ones", source="LTG code: full training list"
    )


class ClipConfig(Closed):
    """How frames of a video become a clip."""

    frames: Positive = option(8, about="frames per clip (T)", source="LTG §4.2")
    stride: Positive = option(8, about="distance between them in frames of the file", source="LTG §4.2")
    short_videos: Literal["loop", "hold"] = option(
        "loop",
        about="a clip that is longer than its video starts over, or stays at the last frame",
        source="LTG code loops, SVFormer's holds",
    )


class TemporalGradient(Closed):
    """TG = x_t - x_{t+n}, mapped to 0..255 as (TG + 255) / 2."""

    interval: Positive = option(1, about="n: 1 is the fast, 7 the slow gradient", source="LTG §1, §4.5")
    sign: Literal["x_t - x_t+n", "x_t+n - x_t"] = option(
        "x_t - x_t+n", about="order of the difference", source="LTG §1; the released slow TG has the other sign"
    )


class OpticalFlow(Closed):
    """Optical flow from a frame to the next, mapped to bytes."""

    algorithm: Literal["dis", "farneback", "raft"] = option(
        "dis", about="OpenCV's DIS or Farneback, or torchvision's RAFT, whose weights must be at hand"
    )
    bound: float = option(20.0, about="displacement in pixels that is mapped to 0 and 255; more is cut off", gt=0)


# --- augmentation ---------------------------------------------------------------------------------


class Colour(Closed):
    """Photometric changes of a clip, the same for all its frames; gradients and flow are left alone."""

    jitter: Probability = option(0.0, about="probability of brightness, contrast, saturation and hue jitter")
    brightness: NonNegative = option(0.0, about="brightness is multiplied by 1 - x to 1 + x", le=1)
    contrast: NonNegative = option(0.0, about="contrast is multiplied by 1 - x to 1 + x", le=1)
    saturation: NonNegative = option(0.0, about="saturation is multiplied by 1 - x to 1 + x", le=1)
    hue: NonNegative = option(0.0, about="hue is turned by -x to x of the full circle", le=0.5)
    gray: Probability = option(0.0, about="probability of a grey clip")


class WeakAugment(Closed):
    """Crop, resize and flip; shared by RGB and TG of one clip (LTG §4.2)."""

    crop: Literal["resized", "jitter", "squash", "centre"] = option(
        "resized",
        about="a box of random area and ratio; a random square after a random short side; a box of the frame's own "
        "ratio, squashed; the centre",
        source="LTG code; SlowFast, SVFormer; TimeBalance code; CMPL §3.3",
    )
    short_side: Positive = option(256, about="short side before cropping; the least one of `jitter`", source="LTG §4.2")
    short_side_max: Positive | None = option(None, about="jitter: largest short side", source="SlowFast: 320")
    factor: tuple[float, float] = option(
        (0.5, 1.0), about="squash: range of the box's sides as shares of the frame's", source="TimeBalance code"
    )
    colour: Colour | None = option(None, about="photometric changes of the weak view", source="TimeBalance §4.2")
    size: Positive = option(224, about="side of the square crop that the network sees", source="LTG §4.2")
    area: tuple[float, float] = option((0.08, 1.0), about="range of the crop's share of the area", source="LTG code")
    ratio: tuple[float, float] = option((0.75, 4 / 3), about="range of the crop's aspect ratio", source="LTG code")
    flip: Probability = option(0.5, about="probability of a horizontal flip", source="LTG §4.2")


class StrongAugment(Closed):
    """RandAugment on top of the weak view, independent for RGB and TG (LTG §4.2)."""

    operations: int = option(2, about="N: operations per clip, of 15", source="LTG code", ge=0, le=15)
    magnitude: int = option(9, about="M of 10", source="LTG code", ge=0, le=10)
    signs: Literal["per-sample", "per-pipeline"] = option(
        "per-sample",
        about="when the signs of rotate, shear and translate are drawn",
        source="LTG code draws them once per pipeline",
    )
    cutout: NonNegative = option(
        0.0, about="side of an extra cutout as a share of the crop's side; 0 is none", source="CMPL §4.1", lt=1
    )
    crop: Literal["shared", "own"] = option(
        "shared", about="the strong view's crop and flip are those of the weak view, or drawn anew", source="LTG code"
    )
    flip: Probability | None = option(
        None, about="probability of a flip of a crop of its own; none: that of the weak view", source="SVFormer code"
    )
    colour: Colour | None = option(None, about="photometric changes on top", source="ACL+MTL §4.2")
    channel_dropout: Probability = option(
        0.0, about="probability with which each channel of a strong clip is set to zero", source="SVFormer code"
    )


class Augment(Closed):
    weak: WeakAugment = option(WeakAugment(), about="weak augmentation")
    unlabelled: WeakAugment | None = option(
        None,
        about="weak augmentation of unlabelled clips where it is not that of the labelled ones",
        source="CMPL §3.3",
    )
    strong: StrongAugment = option(StrongAugment(), about="strong augmentation")
    windows: Literal["own", "shared"] = option(
        "own", about="whether the clips of one video have crops and flips of their own", source="undefined"
    )
    mean: tuple[float, float, float] = option(
        (123.675, 116.28, 103.53), about="RGB mean in 0..255", source="LTG code: ImageNet"
    )
    std: tuple[float, float, float] = option(
        (58.395, 57.12, 57.375), about="RGB standard deviation in 0..255", source="LTG code: ImageNet"
    )


# --- network --------------------------------------------------------------------------------------


class ViT(Closed):
    """A video transformer with divided space-time attention (TimeSformer)."""

    dim: Positive = option(768, about="width of a token: 384 is ViT-S, 768 ViT-B")
    depth: Positive = option(12, about="number of blocks")
    heads: Positive = option(12, about="attention heads: 6 is ViT-S, 12 ViT-B")
    patch: Positive = option(16, about="side of a patch in pixels")
    size: Positive = option(224, about="side of the frames that the spatial embedding is made for")
    frames: Positive = option(8, about="frames that the temporal embedding is made for")
    mlp_ratio: float = option(4.0, about="hidden width of a block's MLP, times `dim`", gt=0)
    drop_path: Probability = option(0.0, about="drop path of the last block; linear from 0 at the first")
    pretrained: str | None = option(
        None, about="image weights: a file, or `timm:` and a model's name; none: from scratch", source="TimeSformer"
    )


class ModelConfig(Closed):
    """A 3D residual network (LTG Table 4; CMPL Table A4 and TimeBalance are data, too), or a video transformer."""

    arch: Literal["resnet3d", "timesformer"] = option("resnet3d", about="kind of network")
    vit: ViT = option(ViT(), about="the transformer, for `arch: timesformer`, which reads `dropout` besides")
    depth: Literal[10, 18, 34, 50] = option(18, about="number of weighted layers", source="LTG Table 4")
    width: float = option(1.0, about="multiplier of every stage's channels", source="CMPL §4.3", gt=0)
    stem_kernel: tuple[int, int, int] = option((3, 7, 7), about="first convolution (t, h, w)", source="LTG Table 4")
    stem_stride: tuple[int, int, int] = option((1, 2, 2), about="its stride", source="LTG Table 4")
    stem_pool: bool = option(
        True,
        about="1x3x3 max-pooling after the stem",
        source="LTG code; not printed in LTG Table 4, whose sizes need it",
    )
    temporal_kernels: tuple[int, int, int, int] = option(
        (3, 3, 3, 3), about="temporal kernel of each stage's convolutions", source="LTG Table 4"
    )
    inflated: Literal["both", "first"] = option(
        "both",
        about="convolutions of a basic block that have the temporal kernel; of a bottleneck always the first",
        source="LTG Table 4; CMPL Appendix D",
    )
    temporal_strides: tuple[int, int, int, int] = option(
        (1, 2, 2, 2), about="temporal stride of each stage", source="LTG Table 4"
    )
    spatial_strides: tuple[int, int, int, int] = option((1, 2, 2, 2), about="spatial stride of each stage")
    pool2: bool = option(
        False, about="2x1x1 max-pooling after the first stage", source="LTG code (mmaction2 default); not in Table 4"
    )
    dropout: Probability = option(0.0, about="dropout before the classifier", source="LTG §4.2: 0.5")
    bn_eps: float = option(1e-5, about="epsilon of the batch normalisation", source="PyTorch; LTG code: 1e-3", gt=0)


# --- optimisation ---------------------------------------------------------------------------------


class OptimConfig(Closed):
    name: Literal["sgd", "adam"] = option("sgd", about="optimiser", source="LTG §4.2")
    lr: float = option(about="peak learning rate, for `train.global_labelled` clips", gt=0)
    momentum: Probability = option(0.9, about="momentum of SGD", source="LTG §4.2")
    nesterov: bool = option(False, about="Nesterov's form of the momentum", source="SVFormer code")
    weight_decay: NonNegative = option(0.0, about="L2 penalty", source="LTG §4.2: 1e-4")
    clip_norm: NonNegative = option(0.0, about="gradient norm limit; 0 is none", source="LTG code: 40")
    schedule: Literal["constant", "cosine", "step", "plateau"] = option(
        "cosine", about="learning rate after the warm-up", source="LTG §4.2"
    )
    milestones: tuple[float, ...] = option((), about="epochs at which `step` multiplies by `gamma`")
    gamma: float = option(0.1, about="factor of `step` and `plateau`", gt=0, lt=1)
    patience: Positive = option(
        5,
        about="epochs without improvement that `plateau` lets pass: it acts at the next one, as PyTorch's does",
        source="TimeBalance code",
    )
    warmup_epochs: NonNegative = option(0.0, about="epochs of linear warm-up", source="LTG §4.2")
    warmup_from: Probability = option(0.1, about="first learning rate as a share of the peak", source="LTG code")

    @model_validator(mode="after")
    def _nesterov(self) -> OptimConfig:
        if self.nesterov and (self.name != "sgd" or self.momentum == 0):
            raise ValueError("`nesterov` is a form of SGD's momentum: it needs `name: sgd` and a `momentum` above 0")
        return self


class TrainConfig(Closed):
    epochs: float | None = option(None, about="length of the training in epochs; or `steps`", gt=0)
    steps: Positive | None = option(None, about="length of the training in optimiser steps; or `epochs`")
    epoch_of: Literal["labelled", "unlabelled"] = option(
        "unlabelled", about="the stream whose pass is an epoch", source="LTG code: unlabelled"
    )
    labelled: Positive = option(5, about="labelled clips on each of the paper's GPUs (B_l)", source="LTG §4.2")
    unlabelled: Positive = option(5, about="unlabelled clips on each of the paper's GPUs (B_u)", source="LTG §4.2")
    global_labelled: Positive | None = option(
        None,
        about="labelled clips per optimiser step over all of the paper's GPUs; none: it had one. Its quotient by "
        "`labelled` is the number of shares of a step, whatever the number of devices here",
        source="LTG §4.2: 8 GPUs",
    )
    batch_norm: Literal["share", "device", "step"] = option(
        "share",
        about="which clips batch normalisation sees together: those of a share, as on one of the paper's GPUs; of all "
        "shares that a device computes at once; of all shares of the step (synchronised)",
        source="undefined in the papers; LTG code: step",
    )
    exchange: Positive | None = option(
        None,
        about="shares among which losses on pairs and batch normalisation of a step look at each other; none: all. "
        "Fewer need less memory, and are not the paper's setting",
    )
    supervised_warmup_epochs: NonNegative = option(
        0.0, about="first epochs without the pseudo-label loss", source="LTG Table 3f"
    )
    precise_bn: int = option(
        0, about="batches over which BN statistics are averaged after training; 0 is off", source="LTG Table 3f", ge=0
    )
    record_epochs: NonNegative = option(
        0.0,
        about="epochs between two records of the pseudo-labels of all unlabelled videos; 0 is none",
        source="CMPL Figure 6: 10",
    )
    ema: Probability = option(0.0, about="decay of averaged weights, which are then evaluated; 0 is none")

    @property
    def shares(self) -> int:
        """Batches of the paper's GPUs that make up a step: S."""
        return (self.global_labelled or self.labelled) // self.labelled

    @model_validator(mode="after")
    def _length(self) -> TrainConfig:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give `epochs` or `steps`, not both and not neither")
        if self.global_labelled is not None and self.global_labelled % self.labelled:
            raise ValueError(
                f"`global_labelled` ({self.global_labelled}) must be a multiple of `labelled` ({self.labelled})"
            )
        if self.exchange is not None and self.shares % self.exchange:
            raise ValueError(f"`exchange` ({self.exchange}) must divide the {self.shares} shares of a step")
        if self.exchange is not None and self.batch_norm == "device":
            raise ValueError("`exchange` is a number of shares, and with `batch_norm: device` that of a device decides")
        return self


# --- a run ----------------------------------------------------------------------------------------


class UnlabelledSource(Closed):
    """Another dataset whose training videos are the unlabelled ones (CMPL Table A1)."""

    dataset: str = option(about="name of a file in config/datasets")
    data: DataIdentity = option(DataIdentity(), about="see RunConfig.data")


class RunConfig(Closed):
    """Everything that decides a run's weights. Its canonical JSON is the training rule's only parameter."""

    method: str = option(about="name in ssar.methods.METHODS")
    version: int = option(about="bumped in config/methods/<name>.yaml on a semantic change", ge=1)
    dataset: str = option(about="name of a file in config/datasets")
    data: DataIdentity = option(about="the dataset's options that change what is trained on (not its location)")
    labels: LabelsConfig = option(about="label protocol")
    seed: int = option(0, about="training seed", ge=0)
    unlabelled: UnlabelledSource | None = option(
        None, about="where the unlabelled videos come from, if not from `dataset`", source="CMPL Table A1"
    )
    upstream: dict[str, str] = option({}, about="ids of the runs that this one starts or learns from, by role")
    clip: ClipConfig = option(ClipConfig(), about="clip sampling: the clips of the evaluated network")
    flow: OpticalFlow = option(OpticalFlow(), about="optical flow")
    tg: TemporalGradient = option(TemporalGradient(), about="temporal gradient")
    augment: Augment = option(Augment(), about="augmentation")
    model: ModelConfig = option(ModelConfig(), about="network")
    optim: OptimConfig = option(about="optimiser and schedule")
    train: TrainConfig = option(about="batch composition and length")
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = option("32-true", about="Fabric precision")
    channels_last: bool = option(False, about="channels_last_3d memory format")
    compile: bool = option(False, about="torch.compile the networks")
    options: MethodOptions = option(about="the method's own options")


@cache
def run_model(method: str) -> type[RunConfig]:
    """RunConfig with the options of one method, so that a mistake in them is told with its key."""
    kind = options_class(method)
    return create_model(f"RunConfig[{method}]", __base__=RunConfig, options=(kind, RunConfig.model_fields["options"]))


def parse_run(text: str) -> RunConfig:
    """The run of a canonical JSON line."""
    method = json.loads(text).get("method")
    return run_model(method).model_validate_json(text)


def canonical(config: BaseModel) -> str:
    """One line of JSON: sorted keys, defaults left out, equal for equal settings."""
    return json.dumps(config.model_dump(mode="json", exclude_defaults=True, serialize_as_any=True), sort_keys=True)


def digest(text: str, length: int = 6) -> str:
    """The first `length` hex digits of the text's sha256."""
    return hashlib.sha256(text.encode()).hexdigest()[:length]
