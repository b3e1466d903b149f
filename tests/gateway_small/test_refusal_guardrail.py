from __future__ import annotations

import pytest

from gateway.guardrails import Refusal

GUARD = Refusal()


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, I cannot assist with that request.",
        "Sorry. I am unable to provide medical advice.",
        "As an AI language model, I don't have opinions.",
        "I won't write that.",
        "That is a hard question, but I must respectfully decline.",
        "Es tut mir leid, aber ich kann dir dabei nicht helfen.",
    ],
)
def test_refusals_are_flagged_in_answers_and_not_in_requests(text: str) -> None:
    assert GUARD.check(text, "out").action == "flag"
    assert GUARD.check(text, "in").action == "allow"
    assert Refusal(action="block").check(text, "out").action == "block"


@pytest.mark.parametrize(
    "text",
    [
        "Sure. Here is the list you asked for.",
        "If the door cannot be opened, call us.",
        "He said that he can't help it.",
        "You can decline the offer in writing.",
        "",
    ],
)
def test_other_answers_pass(text: str) -> None:
    assert GUARD.check(text, "out").action == "allow"


def test_requests_are_not_its_place() -> None:
    assert not GUARD.reads("input") and GUARD.reads("output")
