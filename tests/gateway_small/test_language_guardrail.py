from __future__ import annotations

import pytest

from gateway.guardrails import Language

GUARD = Language(allow=["en", "de"])


@pytest.mark.parametrize(
    "text",
    [
        "What is the weather like in the city today?",
        "Wie ist das Wetter heute in der Stadt und was kann ich tun?",
        "Quoi?",
        "1234567890 1234567890 1234567890",
        "",
    ],
)
def test_allowed_languages_and_what_cannot_be_told_pass(text: str) -> None:
    assert GUARD.check(text, "in").action == GUARD.check(text, "out").action == "allow"


@pytest.mark.parametrize(
    "text",
    [
        "Je ne suis pas dans la maison avec les enfants.",
        "Привет, расскажи о погоде в Москве, пожалуйста.",
        "今日の天気はどうですか。とても寒いですね、そうでしょう。",
    ],
)
def test_other_languages_are_stopped_at_the_end_of_an_answer(text: str) -> None:
    assert GUARD.check(text, "in").action == GUARD.check(text, "out").action == "block"
    assert GUARD.check(text, "out", final=False).action == "wait"


def test_an_unknown_code_is_refused() -> None:
    with pytest.raises(ValueError, match="'xx'"):
        Language(allow=["xx"])
