"""What a figure is as data: the models of config/papers/<paper>/figures.yaml, one for each kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from ssar.options import Closed, Positive, option
from ssar.reporting.sources import Role, Source


class FigureSpec(Closed):
    """A figure of a paper: what every kind has."""

    roles: ClassVar[tuple[Role, ...]] = ()  # the files of each variant that it reads

    kind: str = option(about="which renderer draws it")
    caption: str = option(about="one sentence: what the figure shows")
    source: str = option(about="the paper's figure")
    setting: str = option(about="dataset.labels that the videos and runs belong to")
    variants: tuple[str, ...] = option(about="variants to compare, the baseline first", min_length=1)
    labels: tuple[str, ...] = option((), about="their names in the figure; empty: the variants' names")
    seed: int = option(0, about="seed of every random choice", ge=0)

    @model_validator(mode="after")
    def _as_many_labels(self) -> FigureSpec:
        if len(self.labels) not in (0, len(self.variants)):
            raise ValueError(f"{len(self.labels)} labels for {len(self.variants)} variants")
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


FIGURES: dict[str, type[FigureSpec]] = {"tg": TgFigure, "gradcam": GradcamFigure, "tsne": TsneFigure}
"""The model of each kind; its renderer is the module of the kind's name beside this one."""


def figure_model(values: Mapping[str, Any]) -> type[FigureSpec]:
    """The model that a figure of figures.yaml is validated with: the common one for an unknown kind."""
    return FIGURES.get(str(values.get("kind")), FigureSpec)
