"""Evaluation views: which clips and crops of a test video are predicted, and what of them is averaged."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast

from ssar.errors import UserError

Average = Literal["logits", "probs"]

TEXT = re.compile(r"(\d+)x(\d+)(?:@(\d+))?")
SLUG = re.compile(r"(\d+)x(\d+)(?:-(\d+))?-(logits|probs)")


@dataclass(frozen=True)
class Views:
    """A named protocol, e.g. LTG's `10x3@256`: 10 clips, 3 crops of 256 x 256 of each.

    Without a size the crops have the side that the run was trained at.
    """

    clips: int
    crops: Literal[1, 3]
    size: int | None
    average: Average

    @classmethod
    def parse(cls, text: str, average: str) -> Views:
        """From the config's `clips x crops @ size`. Raises UserError for anything else."""
        match = TEXT.fullmatch(text)
        if match is None:
            raise UserError(f"views `{text}`: expected CLIPSxCROPS or CLIPSxCROPS@SIZE, e.g. 10x3@256 or 10x1")
        clips, crops, size = match.groups()
        return cls._checked(text, clips, crops, size, average)

    @classmethod
    def from_slug(cls, slug: str) -> Views:
        """From the name of a results folder, e.g. `10x3-256-logits`. Raises UserError for anything else."""
        match = SLUG.fullmatch(slug)
        if match is None:
            raise UserError(f"views `{slug}`: expected CLIPSxCROPS-SIZE-AVERAGE, e.g. 10x3-256-logits or 10x1-probs")
        return cls._checked(slug, *match.groups())

    @classmethod
    def _checked(cls, text: str, clips: str, crops: str, size: str | None, average: str) -> Views:
        problems = []
        if int(clips) < 1:
            problems.append("at least one clip is needed")
        if int(crops) not in (1, 3):
            problems.append(f"{crops} crops are not known; there are 1 (centre) and 3 (along the longer side)")
        if size is not None and int(size) < 1:
            problems.append("the crops' side is at least one pixel")
        if average not in ("logits", "probs"):
            problems.append(f"average `{average}` is not known; there are logits and probs")
        if problems:
            raise UserError.of(f"views `{text}`:", problems)
        known = cast(Literal[1, 3], int(crops)), cast(Average, average)
        return cls(int(clips), known[0], int(size) if size else None, known[1])

    @property
    def text(self) -> str:
        """As in the config: `10x3@256`."""
        return f"{self.clips}x{self.crops}" + (f"@{self.size}" if self.size else "")

    @property
    def slug(self) -> str:
        """As the name of a folder: `10x3-256-logits`."""
        return "-".join([f"{self.clips}x{self.crops}", *([str(self.size)] if self.size else []), self.average])
