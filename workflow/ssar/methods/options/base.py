"""What every method's options say of the data that it needs, and the options that several methods share."""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

from ssar.options import Closed, NonNegative, Probability, option

Stage = Literal["pretrain_teacher", "finetune_teacher", "train_student"]
Stream = Literal["labelled", "unlabelled"]


class Window(NamedTuple):
    """A clip of a video beside its main one, which `RunConfig.clip` describes and which is called `main`."""

    name: str
    frames: int
    stride: int
    shift: int | None = None
    """Frames from the main clip's start to this one's, less where the video is too short; none: a random place."""
    either_way: bool = False
    """Whether a coin decides if the shift goes forward or back."""


class MethodOptions(Closed):
    """What every method's options say of the data that it needs."""

    stage: ClassVar[Stage] = "train_student"
    """The rule that trains the method."""
    needs_labelled: ClassVar[bool] = True
    """Whether training reads the labelled stream; self-supervised pretraining does not."""

    @property
    def modalities(self) -> frozenset[str]:
        """The modalities that training reads: a subset of {"rgb", "tg", "flow"}."""
        return frozenset({"rgb"})

    @property
    def test_modality(self) -> Literal["rgb", "tg"]:
        """The modality that the evaluated network sees."""
        return "rgb"

    @property
    def needs_unlabelled(self) -> bool:
        return False

    @property
    def exchanges(self) -> bool:
        """Whether the loss looks at the clips of a step's other shares (`ssar.exchange`), as contrasts do."""
        return False

    def windows(self, stream: Stream, frames: int, stride: int) -> tuple[Window, ...]:
        """The clips that the method wants of each video of a stream beside the main one of `frames` and `stride`."""
        return ()

    @property
    def roles(self) -> tuple[str, ...]:
        """The parts that other runs must play for this one (`needs` of an experiment), without the free `init`."""
        return ()

    @property
    def aligned_blocks(self) -> tuple[int, ...]:
        """Residual stages, counted from 1, whose features the method reads."""
        return ()


class SingleStreamOptions(MethodOptions):
    """Options of methods with one network, fed with RGB or with temporal gradients."""

    modality: Literal["rgb", "tg"] = option("rgb", about="what the network sees", source="LTG Table 3a")

    @property
    def modalities(self) -> frozenset[str]:
        return frozenset({self.modality})

    @property
    def test_modality(self) -> Literal["rgb", "tg"]:
        return self.modality


class SupervisedOptions(SingleStreamOptions):
    """Cross-entropy on the labelled videos alone."""


class PseudoLabelOptions(MethodOptions):
    """Options of methods that train on confident predictions for unlabelled clips."""

    threshold: Probability = option(
        about="gamma of Eq. 2 and 5: least confidence of a pseudo-label", source="LTG §4.2: 0.3"
    )
    strong_pass: Literal["joint", "own"] = option(
        "joint",
        about="strong clips pass the network with the others, sharing batch statistics, or by themselves",
        source="undefined in LTG; LTG code: joint",
    )

    @property
    def needs_unlabelled(self) -> bool:
        return True


class OwnPseudoLabelOptions(PseudoLabelOptions):
    """Options of methods whose trained networks make the pseudo-labels."""

    pseudo_label_mode: Literal["train", "eval"] = option(
        "train",
        about="mode of the network when it makes pseudo-labels: train has dropout and batch statistics",
        source="undefined in LTG; LTG code: train",
    )


class FixMatchOptions(SingleStreamOptions, OwnPseudoLabelOptions):
    """FixMatch (LTG §3.1)."""

    w_labelled: NonNegative = option(1.0, about="weight of L_l", source="LTG Eq. 4")
    w_unlabelled: NonNegative = option(1.0, about="weight of L_u", source="LTG Eq. 4")
