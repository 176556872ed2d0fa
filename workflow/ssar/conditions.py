"""What a test changes about the protocol: another network of the run, changed frames, the videos of the training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ssar.errors import UserError

NETWORKS: tuple[Literal["tg"], ...] = ("tg",)
"""Networks of a run beside the evaluated one: LTG's teacher, which sees temporal gradients (LTG Table 6)."""

CORRUPTIONS = ("contrast", "brightness", "grayscale")
"""Of the pixels (LTG Table 5)."""

RESAMPLINGS = {"every2": 2, "every4": 4, "every8": 8}
"""Every n-th frame of a clip, held until the next one: less motion in a clip of the same length (CMPL Figure 5)."""

TRAINING = "training"
"""The labelled videos instead of the test videos (LTG Table 6)."""

KNOWN = (*NETWORKS, *CORRUPTIONS, *RESAMPLINGS, TRAINING)


@dataclass(frozen=True)
class Condition:
    """A test's differences from the protocol; none of them is the protocol itself."""

    network: Literal["tg"] | None = None  # of NETWORKS
    change: str | None = None  # of CORRUPTIONS or RESAMPLINGS
    training: bool = False

    @classmethod
    def parse(cls, text: str) -> Condition:
        """From words joined by `+`, e.g. `grayscale` or `tg+training`. Raises UserError for anything else."""
        words = text.split("+") if text else []
        network = [known for word in words for known in NETWORKS if word == known]
        change = [word for word in words if word in CORRUPTIONS or word in RESAMPLINGS]
        training = words.count(TRAINING)
        if len(network) > 1 or len(change) > 1 or training > 1 or len(network) + len(change) + training != len(words):
            raise UserError(
                f"condition `{text}`: expected words joined by +, at most one of each group: {', '.join(NETWORKS)}; "
                f"{', '.join((*CORRUPTIONS, *RESAMPLINGS))}; {TRAINING}"
            )
        return cls(network[0] if network else None, change[0] if change else None, bool(training))

    @property
    def slug(self) -> str:
        """The words in one order, as part of a folder's name; empty for the protocol itself."""
        return "+".join(word for word in (self.network, self.change, self.training and TRAINING) if word)

    @property
    def stride(self) -> int:
        """How many frames in a row are the same one."""
        return RESAMPLINGS.get(self.change or "", 1)


PROTOCOL = Condition()
"""Nothing changed."""
