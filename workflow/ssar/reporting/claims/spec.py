"""What a claim is as data: the model of config/papers/<paper>/claims.yaml."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from pydantic import model_validator

from ssar.conditions import Condition
from ssar.errors import UserError
from ssar.options import Closed, option
from ssar.reporting.sources import Role, Source

Measure = Literal["top1", "top5", "knn", "labels", "similarity", "gflops"]
"""Percent of the test videos whose class is the first or among the first 5, or that of most of the 5 nearest other
test videos by cosine of the features; percent of the unlabelled videos with a right and confident pseudo-label at the
end (CMPL Figure 2); mean similarity of a training video's clips under one teacher (TimeBalance Figure 4); 10^9
operations of a clip's forward pass through the evaluated network."""

Form = Literal["greater", "rising", "same", "steadier", "grows_with"]

ROLES: dict[Measure, Role] = {
    "top1": "predictions",
    "top5": "predictions",
    "knn": "predictions",
    "labels": "record",
    "similarity": "scores",
    "gflops": "architecture",
}
"""The file that each measure is read from."""

TEACHERS = ("invariant", "distinctive")
"""Whose similarities a run's scores have, in the order of the file."""


class Gain(Closed):
    """The difference of two variants."""

    gain: tuple[str, str] = option(about="minuend and subtrahend, each a variant or variant@condition")


Side = str | Gain
"""One side of a comparison: `variant`, `variant@condition`, or the gain of one over the other; with the measure
`similarity` `variant:teacher`."""


class Term(NamedTuple):
    """One measured thing of a comparison: a variant under a condition."""

    variant: str
    teacher: str = ""  # of TEACHERS, for similarities
    condition: str = ""

    @classmethod
    def parse(cls, text: str, under: str = "") -> Term:
        """From `variant`, `variant:teacher` or `variant@condition`, with a further condition that it is `under`.

        Raises UserError for a condition that does not exist.
        """
        name, _, condition = text.partition("@")
        variant, _, teacher = name.partition(":")
        both = Condition.parse("+".join(part for part in (condition, under) if part))
        return cls(variant, teacher, both.slug)

    def __str__(self) -> str:
        teacher, condition = self.teacher and f":{self.teacher}", self.condition and f"@{self.condition}"
        return f"{self.variant}{teacher}{condition}"


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
    than: tuple[Side, ...] = option((), about="... than each of these; also the other side of `same` and `steadier`")
    by: float = option(0.0, about="at least so much greater; also of `rising`, `steadier` and `grows_with`", ge=0)
    rising: tuple[Side, ...] = option((), about="form 2: each is greater than the one before it")
    same: Side | None = option(None, about="form 3: this side differs from each of `than` by less than `within`")
    within: float | None = option(None, about="largest difference that still counts as the same", gt=0)
    steadier: str | None = option(
        None, about="form 4: under a condition this variant loses less than each of `than`, or has a smaller gap"
    )
    under: str = option("", about="the condition of `steadier`; with `training` the gap to the test videos is compared")
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
        problems = [*self._foreign(), *self._false_terms()]
        if self.published and len(self.published) != self.count:
            problems.append(f"{len(self.published)} published effects for {self.count} comparisons")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _foreign(self) -> Iterator[str]:
        """Keys that the form has no use for."""
        own = {
            "greater": ("greater", "than", "by"),
            "rising": ("rising", "by"),
            "same": ("same", "than", "within"),
            "steadier": ("steadier", "than", "under", "relative", "by"),
            "grows_with": ("greater", "grows_with", "by"),
        }
        given = [
            name
            for name in dict.fromkeys(key for keys in own.values() for key in keys)
            if getattr(self, name) != type(self).model_fields[name].default
        ]
        yield from (f"`{name}` has no meaning with `{self.form}`" for name in given if name not in own[self.form])

    def _false_terms(self) -> Iterator[str]:
        if self.form in ("steadier", "grows_with") and any(isinstance(side, Gain) for side in self.than):
            yield f"`than` of `{self.form}` are variants, not gains"
        predicted, scores = self.role == "predictions", self.role == "scores"
        if self.classes and not predicted:
            yield f"`classes` choose test videos, which the measure {self.measure} does not have"
        if self.form == "grows_with" and not (predicted and not self.classes):
            yield "`grows_with` is about the accuracy in each class: it has no `classes`, and a measure of test videos"
        try:
            terms = [Term.parse(variant, under) for variant, under in self._names()]
        except UserError as error:
            yield str(error)
            return
        under = Condition.parse(self.under)
        if self.form == "steadier" and not (under.change or under.training):
            yield f"`under: {self.under}` is another network, not a change of the test that accuracy could be lost by"
        if self.form == "grows_with" and any(Condition.parse(term.condition).training for term in terms):
            yield "`grows_with` compares classes over the same videos: it has no condition `training`"
        if any(term.condition for term in terms) and not predicted:
            yield f"a condition changes the test, which the measure {self.measure} does not have"
        for term in terms:
            if (term.teacher in TEACHERS) != scores or (term.teacher and not scores):
                known = " or ".join(f"`{term.variant}:{teacher}`" for teacher in TEACHERS)
                yield f"`{term}`: similarities are of a teacher, {known}, and nothing else is"

    @property
    def form(self) -> Form:
        """Which of the five it is."""
        if self.grows_with is not None:
            return "grows_with"
        if self.rising:
            return "rising"
        if self.same is not None:
            return "same"
        return "steadier" if self.steadier is not None else "greater"

    @property
    def sides(self) -> tuple[Side, ...]:
        """Every side that is compared."""
        sides = (self.greater, *self.than, *self.rising, self.same, self.steadier, self.grows_with)
        return tuple(side for side in sides if side is not None)

    @property
    def count(self) -> int:
        """How many comparisons it makes: in each setting one, or one for each of `than` or step of `rising`."""
        return len(self.settings) * max(len(self.than), len(self.rising) - 1, 1)

    @property
    def role(self) -> Role:
        """The file that the measure is read from."""
        return ROLES[self.measure]

    def _names(self) -> Iterator[tuple[str, str]]:
        """(side as written, further condition) of everything that is compared."""
        for side in self.sides:
            for name in side.gain if isinstance(side, Gain) else (side,):
                yield name, ""
                if self.under:
                    yield name, self.under

    def terms(self) -> Iterator[Term]:
        """Everything that is compared."""
        for name, under in self._names():
            yield Term.parse(name, under)

    def sources(self) -> Iterator[Source]:
        """Everything that the claim reads, once."""
        yield from dict.fromkeys(self.reads(term, setting) for setting in self.settings for term in self.terms())

    def reads(self, term: Term, setting: str) -> Source:
        """The files of a term in a setting."""
        return Source(term.variant, setting, self.role, term.condition)
