"""Several teachers' votes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.panel import vote


def test_most_win_and_the_first_breaks_ties() -> None:
    assert vote(["a", "b", "b"], "exact").label == "b"
    found = vote(["a", "b"], "exact")
    assert (found.label, found.share, found.votes) == ("a", 0.5, 2)
    assert vote(["Refund.", "refund", "keep"], "folded") == vote(["Refund.", "Refund.", "keep"], "exact")
    assert vote(['{"a":1,"b":2}', '{"b":2,"a":1}'], "json").share == 1.0
    with pytest.raises(ValueError, match="nobody"):
        vote([], "exact")


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=9))
def test_the_label_is_an_answer_that_nobody_outvotes(answers: list[str]) -> None:
    found = vote(answers, "exact")
    assert found.share * len(answers) == pytest.approx(max(answers.count(one) for one in answers))
    assert answers.count(found.label) == max(answers.count(one) for one in answers)
