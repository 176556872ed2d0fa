"""What a method is to the rest of the code: the clips that it wants, its terms, its evaluated network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ssar.config import Modality, RunConfig
from ssar.methods.options import Stream
from ssar.models.backbone import Backbone, Features


class View(NamedTuple):
    """One kind of clip: which videos, what of them, how augmented, when, and which draw of the augmentation."""

    stream: Stream
    modality: Modality
    strength: Literal["weak", "strong"]
    clip: str = "main"
    """`main`, or a window that the method's options name."""
    copy: int = 0
    """Views that differ in nothing but this are independent draws of the augmentation."""


@dataclass(frozen=True)
class Batch:
    """One micro-batch. Views of one stream are of the same videos, in the same order."""

    clips: dict[View, Tensor]  # each (B, 3, T, H, W) float, normalised; B = B_l or B_u, T that of its window
    label: Tensor  # (B_l,) int64 labels of the labelled clips; (0,) where the method reads none
    truth: Tensor | None  # (B_u,) true labels of the unlabelled clips: for statistics only, never for a loss
    epoch: float  # fractional epoch at this step
    video: Mapping[str, Tensor] = field(default_factory=dict)  # stream: (B,) int64 places in the split's list

    @property
    def device(self) -> torch.device:
        """Where the clips are."""
        return next(iter(self.clips.values())).device


class Method(nn.Module, ABC):
    """A way to learn from labelled and unlabelled videos.

    The engine minimises ``sum(weights(epoch)[name] * term for name, term in loss(batch).items())``.
    """

    views: tuple[View, ...]
    """The clips that `loss` reads."""

    predictor: Backbone
    """The evaluated network: clips (B, 3, T, H, W) to logits (B, K); `features` gives the pooled (B, C)."""

    others: ClassVar[Mapping[Modality, str]] = {}
    """Attributes of further networks that can be tested, by the modality that they see."""

    def __init__(self, config: RunConfig, num_classes: int) -> None:
        super().__init__()
        self.config = config
        self.num_classes = num_classes
        self.stats: dict[str, Tensor] = {}
        """Detached scalars of a share's `loss`, for the curves; NaN where a share of nothing was asked for.

        Read after each share, and not there any more in `after_step`; so are `predictions`.
        """
        self.predictions: dict[str, Tensor] = {}
        """Detached probabilities (B_u, K) of the last `loss` for the weak unlabelled clips, by network: on record."""

    def start(self, upstream: Mapping[str, Path], videos: Mapping[str, Sequence[str]]) -> list[str]:
        """Called once before training, after the network's initialisation; a checkpoint is loaded after it.

        `upstream`: the files of the parts that other runs play, by role; `init` is a model that the evaluated network
        starts from. `videos`: the paths of each stream's videos, which `Batch.video` points into. Returns remarks on
        where weights come from, for the record. A method with copies of its predictor takes them here again.
        Raises UserError for a file that does not serve.
        """
        remarks = list(self.predictor.load_pretrained())
        if "init" in upstream:
            self.predictor.load_body(upstream["init"])
            remarks.append(f"initialised from {upstream['init']}")
        return remarks

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The unweighted terms of the objective, each a scalar. Fills `stats` and, where there are any, `predictions`.

        Changes nothing that lasts but batch statistics: banks, prototypes and averages move in `after_step`, since a
        step calls this for each of its shares and the numeric self-test calls it without a step. What is noted here
        for `after_step` goes into lists of the method, one entry a share, and there through `ssar.exchange.gathered`.
        A loss that looks at other shares' clips does so through `ssar.exchange`, and its options say `exchanges`.
        """

    @abstractmethod
    def weights(self, epoch: float) -> dict[str, float]:
        """The weight of each term that `loss` returns, at a fractional epoch."""

    def after_step(self, step: int) -> None:
        """Called after each optimiser step: moving averages, prototypes, memory banks. Here nothing."""

    def warming_up(self, epoch: float) -> bool:
        """Whether the supervised warm-up lasts, in which pseudo-labels weigh nothing (LTG Table 3f)."""
        return epoch < self.config.train.supervised_warmup_epochs

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the parts in place; `loss` itself reads options and fills statistics, and stays Python."""
        for part in self.children():
            part.compile(*args, **kwargs)


def joint_forward(network: Backbone, clips: Sequence[Tensor]) -> tuple[Features, list[Tensor]]:
    """One pass over several groups of clips, so that they share batch-norm statistics (as LTG's code does).

    Returns the features of all, in order, and the logits of each group.
    """
    features = network.forward_all(torch.cat(list(clips)))
    return features, list(features.logits.split([len(group) for group in clips]))


def fixmatch_forward(
    network: Backbone, clips: Sequence[Tensor], strong_pass: Literal["joint", "own"], needed: bool
) -> tuple[Features, Tensor, Tensor, Tensor | None]:
    """The passes of FixMatch over labelled, weak and strong clips: features of all that share a pass, three logits.

    In a pass of their own the strong clips, whose contrast RandAugment may multiply, leave the batch statistics of
    the others alone; it is left out, and their logits are None, while the loss on them weighs nothing (not `needed`).
    """
    if strong_pass == "joint":
        features, (labelled, weak, strong) = joint_forward(network, clips)
        return features, labelled, weak, strong
    features, (labelled, weak) = joint_forward(network, clips[:2])
    return features, labelled, weak, network(clips[2]) if needed else None


@torch.no_grad()
def evaluated_all(network: Backbone, clips: Tensor) -> Features:
    """A pass in evaluation mode: no dropout, running batch-norm statistics, no gradient."""
    training = network.training
    network.eval()
    try:
        return network.forward_all(clips)
    finally:
        network.train(training)


def evaluated(network: Backbone, clips: Tensor) -> Tensor:
    """Logits (B, K) of clips in evaluation mode, without gradient."""
    return evaluated_all(network, clips).logits


def accuracy(logits: Tensor, label: Tensor) -> Tensor:
    """Share of right predictions: logits (B, K), label (B,), a detached scalar."""
    return (logits.detach().argmax(dim=1) == label).float().mean()
