"""What a figure is as data: the models of config/papers/<paper>/figures.yaml, one for each kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from ssar.conditions import RESAMPLINGS
from ssar.options import Closed, Positive, option
from ssar.reporting.sources import Role, Source


class FigureSpec(Closed):
    """A figure of a paper: what every kind has."""

    roles: ClassVar[tuple[Role, ...]] = ()  # the files of each variant that it reads
    takes: ClassVar[int | None] = None  # how many variants; none: one or more

    kind: str = option(about="which renderer draws it")
    caption: str = option(about="one sentence: what the figure shows")
    source: str = option(about="the paper's figure")
    setting: str = option(about="dataset.labels that the videos and runs belong to")
    variants: tuple[str, ...] = option(about="variants to compare, the baseline first", min_length=1)
    labels: tuple[str, ...] = option((), about="their names in the figure; empty: the variants' names")
    notes: tuple[str, ...] = option((), about="footnotes that hold at every scale")
    seed: int = option(0, about="seed of every random choice", ge=0)

    @model_validator(mode="after")
    def _sound(self) -> FigureSpec:
        if self.kind not in FIGURES:
            raise ValueError(f"there is no kind of figure `{self.kind}`; known: {', '.join(FIGURES)}")
        if len(self.labels) not in (0, len(self.variants)):
            raise ValueError(f"{len(self.labels)} labels for {len(self.variants)} variants")
        if self.takes not in (None, len(self.variants)):
            raise ValueError(f"a figure of kind {self.kind} compares {self.takes} variants, not {len(self.variants)}")
        return self

    def sources(self) -> Iterator[Source]:
        """Everything that the figure reads of runs; the split's videos come on top."""
        for variant in self.variants:
            for role in self.roles:
                yield Source(variant, self.setting, role)

    @property
    def names(self) -> dict[str, str]:
        """What the figure calls each variant."""
        return dict(zip(self.variants, self.labels or self.variants, strict=True))


class TgFigure(FigureSpec):
    """Temporal gradients beside the frame (LTG Figure 3)."""

    kind: Literal["tg"] = option("tg", about="which renderer draws it")
    videos: Positive = option(3, about="how many test videos, drawn from different classes")
    intervals: tuple[Positive, ...] = option((1, 7), about="intervals n of the gradients, in this order")


class GradcamFigure(FigureSpec):
    """Attention of several networks on the same frames (LTG Figure 4)."""

    roles: ClassVar[tuple[Role, ...]] = ("model",)

    kind: Literal["gradcam"] = option("gradcam", about="which renderer draws it")
    videos: Positive = option(3, about="how many test videos, drawn from different classes")
    moments: Positive = option(4, about="clips of each video, uniform over its length")
    layer: str = option("layer4", about="module of the network whose activations are explained")


class TsneFigure(FigureSpec):
    """Features on the plane (LTG Figure 5, ACL+MTL Figure 5)."""

    roles: ClassVar[tuple[Role, ...]] = ("predictions",)

    kind: Literal["tsne"] = option("tsne", about="which renderer draws it")
    points: Positive = option(4000, about="at most so many test videos, drawn at random")
    classes: Positive = option(20, about="at most so many classes are coloured, drawn at random; others are grey")
    perplexity: float = option(30.0, about="perplexity; less where there are few videos", gt=0)
    neighbours: Positive = option(5, about="k of the leave-one-out k-NN accuracy below each panel")


class AccuracyFigure(FigureSpec):
    """Top-1 accuracy of each variant beside the values that the paper prints."""

    roles: ClassVar[tuple[Role, ...]] = ("metrics",)

    published: tuple[float | None, ...] = option(
        (), about="Top-1 of each variant as printed; none where the paper prints no value"
    )
    published_in: str | None = option(None, about="where the published values stand")

    @model_validator(mode="after")
    def _published_somewhere(self) -> AccuracyFigure:
        if len(self.published) not in (0, len(self.variants)):
            raise ValueError(f"{len(self.published)} published values for {len(self.variants)} variants")
        if self.published and self.published_in is None:
            raise ValueError("`published` needs `published_in`, where the paper prints the values")
        return self

    @property
    def printed(self) -> tuple[float | None, ...]:
        """The published value of each variant."""
        return self.published or (None,) * len(self.variants)


class BarsFigure(AccuracyFigure):
    """A bar of each variant (LTG Figure 1, TimeBalance Figure 5)."""

    kind: Literal["bars"] = option("bars", about="which renderer draws it")


class CurveFigure(AccuracyFigure):
    """Accuracy against a number that the variants differ in (CMPL Figure 4)."""

    kind: Literal["curve"] = option("curve", about="which renderer draws it")
    x: tuple[float, ...] = option(about="the number of each variant, rising")
    x_label: str = option(about="what the number is")

    @model_validator(mode="after")
    def _rising(self) -> CurveFigure:
        if len(self.x) != len(self.variants):
            raise ValueError(f"{len(self.x)} values in `x` for {len(self.variants)} variants")
        if list(self.x) != sorted(set(self.x)):
            raise ValueError("`x` does not rise from value to value")
        return self


class ClassGapFigure(FigureSpec):
    """Accuracy of the first variant less that of the second in every class, sorted (CMPL and TimeBalance Figure 1)."""

    roles: ClassVar[tuple[Role, ...]] = ("metrics",)
    takes: ClassVar[int | None] = 2

    kind: Literal["class_gap"] = option("class_gap", about="which renderer draws it")
    extreme: Positive | None = option(None, about="only so many classes of either end; none: all")


class PseudoLabelsFigure(FigureSpec):
    """Pseudo-labels of networks in the course of the training (CMPL Figures 2 and 6).

    A line is a network of a variant, which may be named more than once.
    """

    roles: ClassVar[tuple[Role, ...]] = ("record", "metrics")  # the latter has the run's threshold

    kind: Literal["pseudo_labels"] = option("pseudo_labels", about="which renderer draws it")
    networks: tuple[str, ...] = option(about="whose labels each variant's line shows, as its record names them")
    chosen_by: Positive | None = option(
        None,
        about="the line, from 1, whose network chooses by its confidence the videos of an accuracy; none: the lines "
        "are the shares of confident and right labels in all unlabelled videos",
    )

    @model_validator(mode="after")
    def _lines(self) -> PseudoLabelsFigure:
        if len(self.networks) != len(self.variants):
            raise ValueError(f"{len(self.networks)} networks for {len(self.variants)} variants")
        if self.chosen_by is not None and self.chosen_by > len(self.variants):
            raise ValueError(f"`chosen_by` is {self.chosen_by}, there are {len(self.variants)} lines")
        return self

    @property
    def lines(self) -> list[tuple[str, str, str]]:
        """(variant, network, name) of each line."""
        names = self.labels or [
            f"{variant}, {network}" for variant, network in zip(self.variants, self.networks, strict=True)
        ]
        return list(zip(self.variants, self.networks, names, strict=True))


class ResamplingFigure(FigureSpec):
    """How much of the accuracy is lost when a clip has fewer different frames (CMPL Figure 5)."""

    kind: Literal["resampling"] = option("resampling", about="which renderer draws it")
    videos: Positive = option(1, about="how many test videos show the re-sampled frames")

    def sources(self) -> Iterator[Source]:
        for variant in self.variants:
            for condition in ("", *RESAMPLINGS):
                yield Source(variant, self.setting, "metrics", condition)


class GainFigure(FigureSpec):
    """Gain of the first variant over the second in every class, against the third's accuracy (CMPL Figure 7)."""

    roles: ClassVar[tuple[Role, ...]] = ("metrics",)
    takes: ClassVar[int | None] = 3

    kind: Literal["gain"] = option("gain", about="which renderer draws it")
    bin: float = option(5.0, about="width of a bin of the third's accuracy in percentage points", gt=0, le=100)


class SimilarityFigure(FigureSpec):
    """Temporal similarity matrices of both teachers for the extreme videos (TimeBalance Figure 4)."""

    roles: ClassVar[tuple[Role, ...]] = ("scores",)
    takes: ClassVar[int | None] = 1

    kind: Literal["similarity"] = option("similarity", about="which renderer draws it")
    videos: Positive = option(1, about="how many videos of the highest score, and as many of the lowest")


class LookalikesFigure(FigureSpec):
    """What the variants predict for actions that look like another one (ACL+MTL Figures 1 and 6)."""

    roles: ClassVar[tuple[Role, ...]] = ("predictions",)

    kind: Literal["lookalikes"] = option("lookalikes", about="which renderer draws it")
    pairs: tuple[tuple[str, str], ...] = option(
        about="classes: the one that is shown, and the one that it looks like; where the dataset lacks one of them, as "
        "many pairs that the first variant confuses most stand for all",
        min_length=1,
    )
    top: Positive = option(5, about="how many classes have a bar, by the mean of all variants' probabilities")


FIGURES: dict[str, type[FigureSpec]] = {
    "tg": TgFigure,
    "gradcam": GradcamFigure,
    "tsne": TsneFigure,
    "bars": BarsFigure,
    "curve": CurveFigure,
    "class_gap": ClassGapFigure,
    "pseudo_labels": PseudoLabelsFigure,
    "resampling": ResamplingFigure,
    "gain": GainFigure,
    "similarity": SimilarityFigure,
    "lookalikes": LookalikesFigure,
}
"""The model of each kind; its renderer is the module of the kind's name beside this one."""


def figure_model(values: Mapping[str, Any]) -> type[FigureSpec]:
    """The model that a figure of figures.yaml is validated with: the common one for an unknown kind."""
    return FIGURES.get(str(values.get("kind")), FigureSpec)
