from __future__ import annotations

from pathlib import Path

import pytest

from gateway.guardrails import Toxicity
from gateway.guardrails.injection.fitted import save
from gateway.guardrails.injection.fitting import Example, fit, read
from gateway.guardrails.toxicity.toxicity import listed

GUARD = Toxicity(action="block")


@pytest.mark.parametrize(
    "text",
    [
        "You are a worthless idiot.",
        "I hate all immigrants.",
        "Women are disgusting.",
        "I will kill you.",
        "You are an 1di0t.",
    ],
)
def test_toxic_language_is_found_in_both_directions(text: str) -> None:
    assert GUARD.check(text, "in").action == GUARD.check(text, "out").action == "block"
    assert Toxicity().check(text, "in").action == "flag"


@pytest.mark.parametrize(
    "text",
    [
        "Women do not deserve to be hurt.",
        "How do I kill a process?",
        "The pigs are in the barn.",
        "Gay people are wonderful.",
        "I hate Mondays.",
        "",
    ],
)
def test_other_texts_pass(text: str) -> None:
    assert GUARD.check(text, "in").action == "allow"


async def test_it_answers_moderations_with_a_score() -> None:
    rated = await GUARD.rated(["You are a worthless idiot.", "Hello."], None)  # type: ignore[arg-type]
    assert rated is not None
    assert rated[0]["harassment"].hit and 0.5 <= rated[0]["harassment"].score < 1
    assert rated[1]["harassment"].score == 0


def test_a_fitted_model_takes_the_place_of_the_list(tmp_path: Path) -> None:
    rows = b"\n".join(
        b'{"text": "%s number %d", "toxic": %d}' % (text, at, toxic)
        for at in range(30)
        for text, toxic in ((b"your zorgle is a blarg", 1), (b"your zorgle is a friend", 0))
    )
    save(tmp_path, fit(read(rows), 0.02))
    guard = Toxicity(model=str(tmp_path))
    assert (
        guard.score("your zorgle is a blarg number 7") > 0.5 > guard.score("your zorgle is a friend number 7")
    )
    insult = "You are a worthless idiot."
    assert guard.score(insult) != listed(insult)  # the list is not asked
    with pytest.raises(ValueError, match="cannot be used"):
        Toxicity(model=str(tmp_path / "none"))


def test_a_row_without_a_label_is_refused() -> None:
    with pytest.raises(ValueError, match="line 1"):
        read(b'{"text": "x"}')
    assert Example("x", toxic=1).label == 1 and Example("x", 0, toxic=1).label == 0
