"""Evaluation views: which clips and crops of a video are predicted, under which condition, and what is averaged."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast

from ssar.conditions import PROTOCOL, Condition
from ssar.errors import UserError

Average = Literal["logits", "probs"]
Kind = Literal["crops", "scales"]

TEXT = re.compile(r"(\d+)x(\d+)(s?)(?:@(\d+))?")
SLUG = re.compile(r"(\d+)x(\d+)(s?)(?:-(\d+))?-(logits|probs)")

SCALES: dict[int, tuple[float, ...]] = {1: (0.8,), 3: (1.0, 0.8, 0.7)}
"""Sides of centre squares as shares of the frame's short side, by their number.

TimeBalance averages 10 clips at 3 spatial scales and does not give the scales; its released code names these three in a
comment and runs 0.8 alone. There a crop keeps the frame's aspect and is squashed to a square; here it is a square.
"""


@dataclass(frozen=True)
class Views:
    """A named protocol, e.g. LTG's `10x3@256`: 10 clips, 3 crops of 256 x 256 of each.

    `10x3s@224` is TimeBalance's: centre crops at the 3 spatial scales of `SCALES`, each resized to 224 x 224. Without a
    size the crops have the side that the run was trained at.
    """

    clips: int
    crops: Literal[1, 3]
    size: int | None
    average: Average
    kind: Kind = "crops"
    condition: Condition = PROTOCOL

    @classmethod
    def parse(cls, text: str, average: str, condition: str = "") -> Views:
        """From the config's `clips x crops @ size` and words of `Condition`. Raises UserError for anything else."""
        match = TEXT.fullmatch(text)
        if match is None:
            raise UserError(
                f"views `{text}`: expected CLIPSxCROPS or CLIPSxCROPS@SIZE, e.g. 10x3@256 or 10x1, "
                "with an s after CROPS for scales, e.g. 10x3s@224"
            )
        clips, crops, scales, size = match.groups()
        return cls._checked(text, clips, crops, scales, size, average, condition)

    @classmethod
    def from_slug(cls, slug: str) -> Views:
        """From the name of a results folder, e.g. `10x3-256-logits+grayscale`. Raises UserError for anything else."""
        protocol, _, condition = slug.partition("+")
        match = SLUG.fullmatch(protocol)
        if match is None:
            raise UserError(
                f"views `{slug}`: expected CLIPSxCROPS-SIZE-AVERAGE, e.g. 10x3-256-logits or 10x1-probs, "
                "with an s after CROPS for scales, e.g. 10x3s-224-probs"
            )
        clips, crops, scales, size, average = match.groups()
        return cls._checked(slug, clips, crops, scales, size, average, condition)

    @classmethod
    def _checked(
        cls, text: str, clips: str, crops: str, scales: str, size: str | None, average: str, condition: str
    ) -> Views:
        problems = []
        if int(clips) < 1:
            problems.append("at least one clip is needed")
        if int(crops) not in (1, 3):
            known = "1 (0.8) and 3 (1, 0.8, 0.7)" if scales else "1 (centre) and 3 (along the longer side)"
            problems.append(f"{crops} {'scales' if scales else 'crops'} are not known; there are {known}")
        if size is not None and int(size) < 1:
            problems.append("the crops' side is at least one pixel")
        if average not in ("logits", "probs"):
            problems.append(f"average `{average}` is not known; there are logits and probs")
        if problems:
            raise UserError.of(f"views `{text}`:", problems)
        return cls(
            int(clips),
            cast(Literal[1, 3], int(crops)),
            int(size) if size else None,
            cast(Average, average),
            "scales" if scales else "crops",
            Condition.parse(condition),
        )

    @property
    def scales(self) -> tuple[float, ...] | None:
        """The scales of the centre crops; None where the crops are along the longer side."""
        return SCALES[self.crops] if self.kind == "scales" else None

    @property
    def text(self) -> str:
        """As in the config: `10x3@256`."""
        return self._cut + (f"@{self.size}" if self.size else "")

    @property
    def slug(self) -> str:
        """As the name of a folder: `10x3-256-logits`, or with a condition `10x3-256-logits+grayscale`."""
        protocol = "-".join([self._cut, *([str(self.size)] if self.size else []), self.average])
        return "+".join(filter(None, (protocol, self.condition.slug)))

    @property
    def _cut(self) -> str:
        return f"{self.clips}x{self.crops}" + ("s" if self.kind == "scales" else "")
