from __future__ import annotations

import pytest

from gateway.guardrails import Topics

MEDICAL = [
    "Which dose of ibuprofen may I take for a headache?",
    "Is this rash a symptom of an allergy?",
    "Can I take my medicine with alcohol?",
]
ORDERS = ["Where is my order?", "I want to return the shoes I ordered.", "When will the parcel be delivered?"]
GUARD = Topics(deny={"medical": MEDICAL}, allow={"orders": ORDERS}, phrases=["blood pressure"])


@pytest.mark.parametrize(
    "text",
    ["What dose of my medicine should I take?", "Is a headache a symptom?", "My Blood  Pressure is high"],
)
def test_denied_subjects_and_phrases_are_stopped(text: str) -> None:
    assert GUARD.check(text, "in").action == GUARD.check(text, "out").action == "block"


@pytest.mark.parametrize(
    "text", ["When will my order be delivered?", "Tell me a story about dragons.", "Hello!", ""]
)
def test_other_subjects_pass(text: str) -> None:
    assert GUARD.check(text, "in").action == "allow"


def test_with_only_allowed_whatever_is_not_near_an_allowed_one_is_a_find() -> None:
    guard = Topics(allow={"orders": ORDERS}, only_allowed=True, action="flag")
    assert guard.check("When will my parcel be delivered?", "in").action == "allow"
    assert guard.check("Tell me a story about dragons.", "in").action == "flag"
    assert guard.check("Hello!", "in").action == "allow"  # says nothing yet


def test_an_answer_is_judged_at_its_end() -> None:
    assert GUARD.check("What dose of my medicine", "out", final=False).action == "wait"


def test_settings_without_a_subject_are_refused() -> None:
    with pytest.raises(ValueError, match="name subjects"):
        Topics()
    with pytest.raises(ValueError, match="only_allowed"):
        Topics(only_allowed=True)
