from __future__ import annotations

from typing import Any

import pytest
from small_fakes import exchange_of, runtime_of, whole

from gateway.config import Config
from gateway.errors import BadRequest
from gateway.guardrails import Groundedness, Scene
from gateway.stages.guard import Guard
from gateway.stages.guarding.texts import said_in

TEXT = (
    "The bridge was opened in 1932. Its architect was John Bradfield, and it carries eight lanes of traffic."
)
GUARD = Groundedness(action="block")


def said(answer: str, context: str = TEXT, question: str = "Who built the bridge?", **more: Any) -> str:
    places = (("input", question), *((("context", context),) if context else ()))
    return Groundedness(action="block", **more).check_in(Scene({}, places), answer, "out").action  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "answer",
    [
        "The bridge was opened in 1932.",
        "The architect of the bridge was John Bradfield.",
        "Yes, of course. It carries eight lanes.",
        "",
    ],
)
def test_what_the_context_says_passes(answer: str) -> None:
    assert said(answer) == "allow"


@pytest.mark.parametrize(
    "answer",
    [
        "The bridge was opened in 1934.",
        "The architect of the bridge was Ralph Freeman.",
        "Tickets for climbing towers cost nothing on public holidays.",
        "The bridge was opened in 1932. Painters renew its grey coating during summer months.",
    ],
)
def test_other_numbers_names_and_claims_are_a_find(answer: str) -> None:
    assert said(answer) == "block"


def test_settings_say_how_much_may_lack_support_and_nothing_is_judged_without_context() -> None:
    answer = "The bridge was opened in 1932. Painters renew its grey coating during summer months."
    assert said(answer, share=0.5) == "allow"
    assert said(answer, context="") == "allow"
    assert GUARD.check_in(Scene({}, ()), "x", "out").action == "allow"
    assert GUARD.check_in(Scene({}, (("context", TEXT),)), "In 1934", "out", final=False).action == "wait"


@pytest.mark.parametrize("answer", ["It flew as AS-206.", "So did the Polish Workers' Party and Hans-Joachim's."])
def test_names_with_hyphens_and_apostrophes_are_read_as_the_context_is(answer: str) -> None:
    context = "AS-206 flew. The Polish Workers' Party and Hans-Joachim's flew as well."
    assert said(answer, context=context) == "allow"
    assert said(answer, context=context.replace("Joachim", "Georg").replace("206", "207")) == "block"


NAMED: list[tuple[dict[str, Any], str]] = [
    ({"type": "file", "file": {"filename": "Bridges 1932.pdf", "file_data": "data:application/pdf;base64,JVBERg=="}}, ""),
    ({"type": "text", "text": TEXT, "document": {"title": "Bridges 1932.pdf"}}, TEXT),
    ({"type": "search_result", "title": "Bridges 1932.pdf", "content": [{"type": "text", "text": TEXT}]}, TEXT),
]


@pytest.mark.parametrize(("part", "says"), NAMED)
def test_what_a_document_is_called_is_no_context(part: dict[str, Any], says: str) -> None:
    body = {"messages": [{"role": "user", "content": [part, {"type": "text", "text": "When?"}]}]}
    scene = Scene(body, tuple(said_in(body)))
    assert scene.told("context") == ([says] if says else []) and scene.names() == ["Bridges 1932.pdf"]
    wrong = "Painters renew its grey coating during summer months."
    assert GUARD.check_in(scene, wrong, "out").action == ("block" if says else "allow")
    named = "By the file Bridges 1932 its architect was John Bradfield."  # what it is called may be said
    assert GUARD.check_in(scene, named, "out").action == "allow"


def test_a_document_that_says_its_own_name_says_it() -> None:
    part = {"type": "text", "text": "Opened in 1932", "document": {"title": "Opened in 1932"}}
    body = {"messages": [{"role": "user", "content": [part]}]}
    assert Scene(body, tuple(said_in(body))).told("context") == ["Opened in 1932"]


async def test_in_a_call_the_documents_of_its_request_are_the_context() -> None:
    body = {"messages": [{"role": "user", "content": "When?"}], "documents": [{"text": TEXT}]}
    for answer, stopped in (("It was opened in 1932.", False), ("It was opened in 1950.", True)):
        exchange = exchange_of(runtime_of(Config(guardrails={"grounds": GUARD})), body)

        async def inner(_: object, answer: str = answer) -> object:
            return whole(answer)

        if stopped:
            with pytest.raises(BadRequest, match="grounds"):
                await Guard()(exchange, inner)  # type: ignore[arg-type]
        else:
            await Guard()(exchange, inner)  # type: ignore[arg-type]
