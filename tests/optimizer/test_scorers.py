from __future__ import annotations

import pytest

from optimizer.scorers import agrees


def test_exact_is_exact() -> None:
    assert agrees("exact", "billing", "billing")
    assert not agrees("exact", "Billing", "billing")
    assert not agrees("exact", "billing ", "billing")


@pytest.mark.parametrize("other", ["Billing", "  billing\n", "BILLING.", "billing !", "Billing…"])
def test_folded_ignores_case_space_and_final_punctuation(other: str) -> None:
    assert agrees("folded", "billing", other)


def test_folded_keeps_what_matters() -> None:
    assert agrees("folded", "refund  request", "Refund request")
    assert not agrees("folded", "refundrequest", "refund request")
    assert not agrees("folded", "1.5", "15")


def test_an_unknown_comparison_is_refused() -> None:
    with pytest.raises(ValueError, match="exact, folded"):
        agrees("fuzzy", "a", "a")
