"""What a claim compares, one by one: from its sides to the effect that must be positive, large or small."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ssar.conditions import Condition
from ssar.reporting.claims.spec import ClaimSpec, Gain, Side, Term

Weights = dict[Term, int]
"""A sum of terms, each with its factor."""


@dataclass(frozen=True)
class Share:
    """A change of a variant under a condition, in percent of the value without it."""

    loss: Weights
    clean: Term


@dataclass(frozen=True)
class Comparison:
    """One comparison in one setting.

    The effect is the sum of `weights`; with `shares` the second share minus the first; with `against` the slope of the
    sum of `weights` over the values of that term, class by class.
    """

    setting: str
    text: str
    weights: Weights
    shares: tuple[Share, Share] | None = None
    against: Term | None = None

    @property
    def terms(self) -> list[Term]:
        """Everything that it reads."""
        shares = [term for share in self.shares or () for term in (*share.loss, share.clean)]
        return list(dict.fromkeys([*self.weights, *shares, *([self.against] if self.against else [])]))

    @property
    def linear(self) -> bool:
        """Whether the effect is a sum of terms."""
        return self.shares is None and self.against is None

    @property
    def reach(self) -> float:
        """The largest effect that percentages can have."""
        return 100.0 * sum(max(weight, 0) for weight in self.weights.values()) if self.linear else math.inf

    def effect(self, values: Mapping[Term, Any]) -> Any:
        """Of numbers or arrays; for a slope arrays with the classes first, (K, ...) to (...)."""
        if self.shares is not None:
            first, second = (_ratio(100 * total(share.loss, values), values[share.clean]) for share in self.shares)
            return second - first
        if self.against is not None:
            return slope(total(self.weights, values), values[self.against])
        return total(self.weights, values)


def total(weights: Weights, values: Mapping[Term, Any]) -> Any:
    """The sum of terms, of numbers or arrays."""
    return sum(weight * values[term] for term, weight in weights.items())


def slope(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Of the line of least squares through K points, y and x (K, ...) to (...); 0 where all x are equal."""
    apart = x - x.mean(axis=0)
    return _ratio((apart * (y - y.mean(axis=0))).sum(axis=0), (apart**2).sum(axis=0))


def _ratio(upper: Any, lower: Any) -> np.ndarray:
    upper, lower = np.asarray(upper, float), np.asarray(lower, float)
    return np.divide(upper, lower, out=np.zeros_like(upper), where=lower != 0)


def comparisons(claim: ClaimSpec) -> Iterator[Comparison]:
    """All comparisons of a claim: in each setting those with each of `than`, or of the steps of `rising`."""
    for setting in claim.settings:
        if claim.form == "rising":
            for lower, upper in pairwise(claim.rising):
                yield _difference(setting, upper, lower, ">", claim)
        elif claim.form == "grows_with":
            assert claim.greater is not None
            assert claim.grows_with is not None
            text = f"{_named(claim.greater)} grows with {claim.grows_with}"
            yield Comparison(setting, text, _weights(claim.greater), against=Term.parse(claim.grows_with))
        else:
            for other in claim.than:
                yield _pair(setting, other, claim)


def _pair(setting: str, other: Side, claim: ClaimSpec) -> Comparison:
    if claim.form == "steadier":
        assert claim.steadier is not None
        assert isinstance(other, str)
        return _steadier(setting, claim.steadier, other, claim)
    if claim.form == "same":
        assert claim.same is not None
        return _difference(setting, claim.same, other, "=", claim)
    assert claim.greater is not None
    return _difference(setting, claim.greater, other, ">", claim)


def _difference(setting: str, side: Side, other: Side, sign: str, claim: ClaimSpec) -> Comparison:
    bound = f" ± {claim.within:g}" if sign == "=" else f" + {claim.by:g}" if claim.by else ""
    text = f"{_named(side)} {sign} {_named(other)}{bound}"
    return Comparison(setting, text, _minus(_weights(side), _weights(other)))


def _steadier(setting: str, steady: str, other: str, claim: ClaimSpec) -> Comparison:
    """A smaller loss under the condition; with the videos of the training a smaller gap to those of the test."""
    sign = 1 if Condition.parse(claim.under).training else -1
    losses = []
    for name in (steady, other):
        clean, changed = Term.parse(name), Term.parse(name, claim.under)
        losses.append(Share({changed: sign, clean: -sign}, clean))
    first, second = losses
    bound = f" by {claim.by:g}" if claim.by else ""
    text = f"{steady} steadier than {other}{bound} under {claim.under}{', relative' if claim.relative else ''}"
    if claim.relative:
        return Comparison(setting, text, {}, shares=(first, second))
    return Comparison(setting, text, _minus(second.loss, first.loss))


def _weights(side: Side) -> Weights:
    if isinstance(side, Gain):
        return _minus(_weights(side.gain[0]), _weights(side.gain[1]))
    return {Term.parse(side): 1}


def _minus(left: Weights, right: Weights) -> Weights:
    """The difference of two sums; terms that cancel stay, with the factor 0."""
    return {term: left.get(term, 0) - right.get(term, 0) for term in dict.fromkeys([*left, *right])}


def _named(side: Side) -> str:
    return f"({side.gain[0]} - {side.gain[1]})" if isinstance(side, Gain) else side
