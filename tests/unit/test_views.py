"""Evaluation views by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssar.errors import UserError
from ssar.views import Views


def test_the_papers_protocols():
    assert Views.parse("10x3@256", "logits") == Views(10, 3, 256, "logits")
    assert Views.parse("5x3@224", "logits").slug == "5x3-224-logits"
    assert Views.parse("10x1", "probs") == Views(10, 1, None, "probs")
    assert Views.parse("10x1", "probs").slug == "10x1-probs"


VIEWS = st.builds(
    Views,
    st.integers(1, 50),
    st.sampled_from([1, 3]),
    st.none() | st.integers(1, 999),
    st.sampled_from(["logits", "probs"]),
)


@given(VIEWS)
def test_both_spellings_keep_everything(views):
    assert Views.parse(views.text, views.average) == views
    assert Views.from_slug(views.slug) == views


@pytest.mark.parametrize("text", ["10", "x3@256", "10x3@", "10x3@256 ", "-1x3", "0x1", "2x2@224", "1x1@0"])
def test_nonsense_is_refused(text):
    with pytest.raises(UserError, match="views"):
        Views.parse(text, "logits")


def test_an_unknown_average_and_a_foreign_folder_name_are_refused():
    with pytest.raises(UserError, match="average `max`"):
        Views.parse("1x1", "max")
    with pytest.raises(UserError, match="expected CLIPSxCROPS-SIZE-AVERAGE"):
        Views.from_slug("10x3@256")
