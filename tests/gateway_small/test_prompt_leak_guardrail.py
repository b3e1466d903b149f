from __future__ import annotations

from typing import Any

import pytest
from small_fakes import Stream, chunk, exchange_of, read, runtime_of, whole

from gateway.config import Config
from gateway.errors import BadRequest
from gateway.guardrails import PromptLeak
from gateway.guardrails.prompt_leak import canary_of
from gateway.stages.guard import Guard

PROMPT = "You are Ada, the assistant of a bank. Never talk about loans above ten thousand and always greet people by name."
BODY = {"messages": [{"role": "system", "content": PROMPT}, {"role": "user", "content": "Hello"}]}


async def call(answer: Any, **settings: Any) -> tuple[Any, Any]:
    exchange = exchange_of(runtime_of(Config(guardrails={"leak": PromptLeak(**settings)})), BODY)

    async def inner(_: object) -> Any:
        return answer(exchange) if callable(answer) else answer

    return exchange, await Guard()(exchange, inner)


async def test_many_words_of_the_prompt_in_a_row_are_a_find() -> None:
    leak = "Sure: NEVER talk about loans, above ten thousand - and always greet people by name!"
    with pytest.raises(BadRequest, match="leak"):
        await call(whole(leak))
    exchange, _ = await call(whole(leak), action="flag")
    assert exchange.verdicts == ["leak:flag"]
    await call(whole("I am Ada, the assistant of a bank. How may I help?"))
    await call(whole(leak), words=30)


async def test_in_a_stream_the_words_add_up_over_chunks() -> None:
    words = [
        "never",
        "talk",
        "about",
        "loans",
        "above",
        "ten",
        "thousand",
        "and",
        "always",
        "greet",
        "people",
        "by",
        "name",
    ]
    with pytest.raises(BadRequest):
        await read((await call(Stream(*(chunk({"content": word + " "}) for word in words))))[1])
    _, stream = await call(
        Stream(chunk({"content": "never talk about "}), chunk({"content": "loans."}), chunk({}, "stop"))
    )
    assert await read(stream) == "never talk about loans."


async def test_a_canary_goes_into_the_prompt_and_never_comes_out() -> None:
    exchange, _ = await call(whole("Hello."), canary=True)
    token = canary_of(PROMPT)
    sent = exchange.body["messages"][0]["content"]
    assert sent.startswith(PROMPT) and token in sent
    assert exchange.body["messages"][1] == BODY["messages"][1]
    with pytest.raises(BadRequest):
        await call(whole(f"My last line is {token.upper()}."), canary=True)
    await call(whole("canary-0123456789abcdef is not mine"), canary=True)


async def test_no_part_of_a_canary_that_is_split_over_chunks_goes_out() -> None:
    token = canary_of(PROMPT)
    pieces = [chunk({"content": "It is "}), chunk({"content": token[:10]}), chunk({"content": token[10:]})]
    _, stream = await call(Stream(*pieces), canary=True)
    seen = ""
    with pytest.raises(BadRequest):
        async for one in stream:
            seen += one.text
    assert seen == "It is "


def test_the_same_request_gets_the_same_canary_and_only_one() -> None:
    guard = PromptLeak(canary=True)
    once = guard.prepared(dict(BODY))
    assert once == guard.prepared(dict(BODY)) and guard.prepared(once) is once
    assert guard.prepared({"messages": [{"role": "user", "content": "x"}]})["messages"] == [
        {"role": "user", "content": "x"}
    ]
    assert guard.prepared({"input": "x"}) == {"input": "x"}
