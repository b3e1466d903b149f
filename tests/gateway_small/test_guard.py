from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_fakes import Stream, chunk, exchange_of, read, runtime_of, texts, whole

from gateway.config import Config, Task
from gateway.errors import BadRequest, Unavailable
from gateway.guardrails import Blocklist, Pii
from gateway.protocol.assemble import assemble
from gateway.stages.guard import Guard

MAIL = "jane@example.org"
PII = Config(guardrails={"privacy": Pii()})
LIST = Config(guardrails={"words": Blocklist(phrases=["project falcon", "bad"])})


def answering(answer: Any) -> Any:
    async def inner(exchange: Any) -> Any:
        inner.seen = exchange  # type: ignore[attr-defined]
        return answer

    return inner


async def test_without_guardrails_nothing_is_touched() -> None:
    exchange, answer = exchange_of(runtime_of(), text=MAIL), whole("x")
    body = exchange.body
    assert await Guard()(exchange, answering(answer)) is answer
    assert exchange.body is body


async def test_the_provider_sees_placeholders_and_the_client_its_own_values() -> None:
    exchange = exchange_of(
        runtime_of(PII),
        {"user": MAIL, "metadata": {"session": MAIL}, "new_field": [MAIL]},
        text=f"I am {MAIL}",
    )
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"to":"[EMAIL_1]"}'}}
    answer = await Guard()(exchange, answering(whole("Hi [EMAIL_1], not [EMAIL_2]", tool_calls=[call])))
    assert exchange.body["messages"][0]["content"] == "I am [EMAIL_1]"
    assert exchange.body["new_field"] == ["[EMAIL_1]"]
    assert exchange.request.messages[0].content == "I am [EMAIL_1]"
    assert exchange.request.user == MAIL and exchange.session == MAIL
    assert exchange.placeholders == {"[EMAIL_1]": MAIL}
    assert exchange.verdicts == ["privacy:mask"]
    assert answer.text == f"Hi {MAIL}, not [EMAIL_2]"  # type: ignore[union-attr]
    arguments = answer.data["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]  # type: ignore[union-attr]
    assert json.loads(arguments) == {"to": MAIL}


async def test_clean_text_passes_as_it_is() -> None:
    exchange = exchange_of(runtime_of(PII), text="clean")
    body, answer = exchange.body, whole("x")
    assert await Guard()(exchange, answering(answer)) is answer
    assert exchange.body is body and exchange.verdicts == []


@given(st.lists(st.integers(1, 4), max_size=20))
async def test_streams_are_unmasked_however_they_are_cut(cuts: list[int]) -> None:
    exchange = exchange_of(runtime_of(PII), text=f"I am {MAIL}")
    rest, pieces = "To [EMAIL_1] and [EMAIL_1", []
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    inner = texts(*pieces, rest)
    stream: Any = await Guard()(exchange, answering(inner))
    assert await read(stream) == f"To {MAIL} and [EMAIL_1"


async def test_streamed_tool_arguments_are_unmasked_as_json() -> None:
    key = "-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----"
    exchange = exchange_of(runtime_of(PII), text=f"use {key}")
    call = {"index": 0, "id": "1", "type": "function", "function": {"name": "f", "arguments": '{"k":"[SEC'}}
    more = {"index": 0, "function": {"arguments": 'RET_1]"}'}}
    inner = Stream(chunk({"tool_calls": [call]}), chunk({"tool_calls": [more]}), chunk({}, "tool_calls"))
    stream: Any = await Guard()(exchange, answering(inner))
    answer = assemble([one.data async for one in stream])
    arguments = answer["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(arguments) == {"k": key}


async def test_a_stream_without_a_finish_reason_still_gives_everything() -> None:
    exchange = exchange_of(runtime_of(PII), text=f"I am {MAIL}")
    stream: Any = await Guard()(exchange, answering(Stream(chunk({"content": "x [EMAIL"}))))
    assert await read(stream) == "x [EMAIL"


async def test_pii_can_block_and_a_task_chooses_its_guardrails() -> None:
    config = Config(
        guardrails={"strict": Pii(action="block"), "words": Blocklist(phrases=["bad"])},
        tasks=[Task(name="t", guardrails=["words"])],
    )
    exchange = exchange_of(runtime_of(config), text=MAIL)
    with pytest.raises(BadRequest) as caught:
        await Guard()(exchange, answering(whole("x")))
    assert caught.value.code == "guardrail_blocked" and MAIL not in caught.value.message
    assert exchange.verdicts == ["strict:block"]
    await Guard()(exchange_of(runtime_of(config), {"model": "t"}, text=MAIL), answering(whole("x")))


@pytest.mark.parametrize(
    "text", ["Project  Falcon!", "PROJECT\nfalcon", "project\u200b falcon", "ｂａｄ", "so bad."]
)
async def test_the_blocklist_sees_through_case_spacing_and_look_alikes(text: str) -> None:
    with pytest.raises(BadRequest):
        await Guard()(exchange_of(runtime_of(LIST), text=text), answering(whole("x")))
    exchange = exchange_of(runtime_of(LIST))
    with pytest.raises(BadRequest, match="answer was blocked by the guardrail 'words'"):
        await Guard()(exchange, answering(whole(text)))
    assert exchange.verdicts == ["words:block"]


@pytest.mark.parametrize("text", ["badge", "project falconer", "projectfalcon", "abad"])
async def test_the_blocklist_wants_whole_words(text: str) -> None:
    await Guard()(exchange_of(runtime_of(LIST), text=text), answering(whole(text)))
    stream: Any = await Guard()(exchange_of(runtime_of(LIST)), answering(texts(*text)))
    assert await read(stream) == text


async def stopped(*pieces: str) -> str:
    exchange = exchange_of(runtime_of(LIST))
    stream: Any = await Guard()(exchange, answering(texts(*pieces)))
    out = ""
    with pytest.raises(BadRequest):
        async for one in stream:
            out += one.text
    assert exchange.verdicts == ["words:block"]
    return out


async def test_a_blocked_stream_stops_before_the_phrase_is_whole() -> None:
    assert await stopped("On pro", "ject fal", "con we") == "On project fal"
    assert await stopped("so ", "bad") == "so "
    assert await stopped("so ", "bad", " day") == "so "
    assert "falcon" not in await stopped("x" * 5000 + " ", "project ", "falcon", ".")
    assert await stopped(*("long word " * 500), "bad") == "long word " * 500


async def test_several_words_later_the_window_still_knows_where_a_word_began() -> None:
    text = "c" * 400 + "bad"
    stream: Any = await Guard()(exchange_of(runtime_of(LIST)), answering(texts(*text)))
    assert await read(stream) == text


async def test_a_guardrail_that_fails_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(Pii, "check", fail)
    inner = answering(whole("x"))
    exchange = exchange_of(runtime_of(PII))
    with pytest.raises(Unavailable) as caught:
        await Guard()(exchange, inner)
    assert caught.value.code == "guardrail_failed" and "secret" not in caught.value.message
    assert not hasattr(inner, "seen") and exchange.verdicts == ["privacy:error-block"]


async def test_closing_frees_the_upstream() -> None:
    inner = texts("a")
    stream: Any = await Guard()(exchange_of(runtime_of(PII)), answering(inner))
    await stream.aclose()
    assert inner.closed == 1
