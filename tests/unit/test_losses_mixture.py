"""The mixture of ACL+MTL Eq. 9 against scikit-learn's, and where there is little to fit."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor

from ssar.losses.mixture import FLOOR, higher_component


def sets(seed: int, rows: int = 3, width: int = 14) -> tuple[Tensor, Tensor]:
    """Values in -1..1 of two clumps, and members of which each row has two or more."""
    generator = torch.Generator().manual_seed(seed)
    clump = torch.rand(rows, width, generator=generator) < 0.5
    noise = 0.15 * torch.randn(rows, width, generator=generator, dtype=torch.float64)
    member = torch.rand(rows, width, generator=generator) < 0.7
    member[:, :2] = True
    return (torch.where(clump, 0.7, -0.1).double() + noise).clamp(-1, 1), member


def by_sklearn(values: np.ndarray, iterations: int) -> tuple[np.ndarray, np.ndarray]:
    """The means, and each value's posterior of the higher one, from the same start."""
    precision = 1 / (values.var() + FLOOR)
    mixture = GaussianMixture(
        2,
        reg_covar=FLOOR,
        tol=0,
        max_iter=iterations,
        weights_init=[0.5, 0.5],
        means_init=[[values.min()], [values.max()]],
        precisions_init=np.full((2, 1, 1), precision),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(values[:, None])
    means = mixture.means_[:, 0]
    return means, mixture.predict_proba(values[:, None])[:, means.argmax()]


@pytest.mark.parametrize("iterations", [1, 5, 20])
@pytest.mark.parametrize("seed", range(4))
def test_is_the_mixture_of_scikit_learn(seed: int, iterations: int) -> None:
    values, member = sets(seed)
    found = higher_component(values, member, iterations)
    for row, inside, gamma in zip(values, member, found, strict=True):
        _, expected = by_sklearn(row[inside].numpy(), iterations)
        assert gamma[inside].tolist() == pytest.approx(expected.tolist(), abs=1e-7)
        assert gamma[~inside].abs().sum() == 0


def test_means_are_those_of_scikit_learn() -> None:
    """Weighted by their posteriors, the values have the component's mean, once the fit has settled."""
    values, member = sets(1)
    gamma = higher_component(values, member, 200)
    for row, inside, part in zip(values, member, gamma, strict=True):
        means, _ = by_sklearn(row[inside].numpy(), 200)
        assert ((part * row).sum() / part.sum()).item() == pytest.approx(means.max(), abs=1e-4)


@settings(max_examples=12, deadline=None)
@given(values=st.lists(st.floats(-1, 1), min_size=1, max_size=9), seed=st.integers(0, 99))
def test_a_probability_whatever_the_values_and_their_order(values: list[float], seed: int) -> None:
    x = torch.tensor([values], dtype=torch.float64)
    gamma = higher_component(x, torch.ones_like(x, dtype=torch.bool), 20)
    assert gamma.isfinite().all()
    assert ((gamma >= 0) & (gamma <= 1)).all()
    order = torch.randperm(len(values), generator=torch.Generator().manual_seed(seed))
    again = higher_component(x[:, order], torch.ones_like(x, dtype=torch.bool), 20)
    torch.testing.assert_close(again, gamma[:, order], rtol=0, atol=1e-4)


def test_rows_are_fitted_by_themselves_and_others_do_not_matter() -> None:
    values, member = sets(2)
    together = higher_component(values, member, 20)
    for number in range(len(values)):
        alone = higher_component(values[number : number + 1], member[number : number + 1], 20)
        torch.testing.assert_close(alone[0], together[number])
    strange = torch.where(member, values, torch.nan)
    assert torch.equal(higher_component(strange, member, 20), together)


def test_few_and_equal_values() -> None:
    every = torch.ones(1, 4, dtype=torch.bool)
    equal = higher_component(torch.full((1, 4), 0.3), every, 20)
    assert torch.allclose(equal, torch.full((1, 4), 0.5))
    one = torch.tensor([[True, False, False, False]])
    assert higher_component(torch.rand(1, 4), one, 20).tolist() == [[0.5, 0, 0, 0]]
    two = torch.tensor([[True, True, False, False]])
    assert higher_component(torch.tensor([[0.9, 0.1, 0.5, 0.5]]), two, 20)[0].tolist() == pytest.approx([1, 0, 0, 0])
    assert higher_component(torch.rand(1, 4), ~every, 20).tolist() == [[0, 0, 0, 0]]


def test_the_higher_component_and_no_gradient() -> None:
    values = torch.tensor([[0.8, 0.82, 0.79, 0.1, 0.12, 0.09]], dtype=torch.bfloat16, requires_grad=True)
    gamma = higher_component(values, torch.ones_like(values, dtype=torch.bool), 20)
    assert gamma.dtype == torch.float32
    assert not gamma.requires_grad
    assert gamma[0].round().tolist() == [1, 1, 1, 0, 0, 0]
