"""What a claim is as data: the model of config/papers/<paper>/claims.yaml."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import model_validator

from ssar.conditions import Condition
from ssar.options import Closed, option
from ssar.reporting.sources import Role, Source

Measure = Literal["top1", "top5", "knn", "labels", "similarity", "gflops"]


class Gain(Closed):
    """The difference of two variants."""

    gain: tuple[str, str] = option(about="minuend and subtrahend, each a variant or variant@condition")


Side = str | Gain
"""One side of a comparison: `variant`, `variant@condition`, or the gain of one over the other."""


class ClaimSpec(Closed):
    """One sentence of a paper that compares, as a predicate over runs. Exactly one form is given."""

    says: str = option(about="the claim in one sentence of our own")
    source: str = option(about="where the paper says it: section, table or figure")
    settings: tuple[str, ...] = option(about="dataset.labels in each of which it must hold", min_length=1)
    table: str | None = option(None, about="the table of tables.yaml that has the published values")
    published: tuple[float, ...] = option((), about="the published effects where no table has them, one a comparison")
    measure: Measure = option("top1", about="what is compared")
    classes: tuple[str, ...] = option((), about="only test videos of these classes")

    greater: Side | None = option(None, about="form 1: this side is greater ...")
    than: tuple[Side, ...] = option((), about="... than each of these; also the other side of `steadier`")
    by: float = option(0.0, about="at least so much greater", ge=0)
    rising: tuple[Side, ...] = option((), about="form 2: each is greater than the one before it")
    same: Side | None = option(None, about="form 3: this side differs from each of `than` by less than `within`")
    within: float | None = option(None, about="largest difference that still counts as the same", gt=0)
    steadier: str | None = option(None, about="form 4: a condition changes this variant less than each of `than`")
    under: str = option("", about="the condition of `steadier`")
    relative: bool = option(False, about="changes of `steadier` as shares of the value without the condition")
    grows_with: str | None = option(
        None, about="form 5: over classes, the gain of `greater` rises with the accuracy of this variant"
    )

    @model_validator(mode="after")
    def _one_form(self) -> ClaimSpec:
        forms = {
            "greater": self.greater is not None and bool(self.than) and self.grows_with is None,
            "rising": len(self.rising) > 1,
            "same": self.same is not None and bool(self.than) and self.within is not None,
            "steadier": self.steadier is not None and bool(self.than) and bool(self.under),
            "grows_with": self.grows_with is not None and isinstance(self.greater, Gain),
        }
        if sum(forms.values()) != 1:
            raise ValueError(
                "exactly one form is needed: `greater` with `than`; `rising` with two sides or more; `same` with "
                "`than` and `within`; `steadier` with `than` and `under`; `greater: {gain: [...]}` with `grows_with`"
            )
        Condition.parse(self.under)
        return self

    @property
    def sides(self) -> tuple[Side, ...]:
        """Every side that is compared."""
        sides = (self.greater, *self.than, *self.rising, self.same, self.steadier, self.grows_with)
        return tuple(side for side in sides if side is not None)

    @property
    def role(self) -> Role:
        """The file that the measure is read from."""
        special: dict[str, Role] = {"labels": "record", "similarity": "scores", "gflops": "architecture"}
        return special.get(self.measure, "predictions")

    def terms(self) -> Iterator[tuple[str, str]]:
        """(variant, condition) of everything that is compared."""
        for side in self.sides:
            for name in side.gain if isinstance(side, Gain) else (side,):
                variant, _, condition = name.partition("@")
                yield variant, condition
                if self.under and not condition:
                    yield variant, self.under

    def sources(self) -> Iterator[Source]:
        """Everything that the claim reads, once."""
        yield from dict.fromkeys(
            Source(variant, setting, self.role, condition)
            for setting in self.settings
            for variant, condition in self.terms()
        )
