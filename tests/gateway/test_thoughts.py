"""``capture: {logprobs: K}``: the teacher is asked for its likeliest tokens, the capture keeps them, the client sees none."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from gateway_server import Gateway, gateway, write_policies
from scripted import COMPLETION, Line, Provider, chunk, provider, sse

from gateway.storage.records import CallRecord
from gateway.storage.thoughts import thoughts_in
from gateway.storage.writing.capture import capture_row

TASK = """  - name: sorting
    candidates: [{provider: first, model: m}]
    teacher: {provider: first, model: m, may_train_on_outputs: true}
    capture: {rate: 1.0, logprobs: 2}
    learn: {}
"""


def said(*tokens: str) -> dict[str, Any]:
    def one(token: str, logprob: float) -> dict[str, Any]:
        return {"token": token, "logprob": logprob, "bytes": list(token.encode())}

    top = [one("other", -3.0)]
    return {
        "content": [{**one(t, -0.1), "top_logprobs": [one(t, -0.1), *top]} for t in tokens],
        "refusal": None,
    }


async def thinking(line: Line) -> None:
    """A provider that tells when it is asked."""
    told = line.seen.body.get("logprobs")
    if line.seen.body.get("stream"):
        parts = [chunk({"role": "assistant", "content": ""})]
        for text in ("hel", "lo"):
            parts.append(chunk({"content": text}))
            if told:
                parts[-1]["choices"][0]["logprobs"] = said(text)
        await line.stream(sse([*parts, chunk({}, "stop")]))
    else:
        choice = {**COMPLETION["choices"][0], "logprobs": said("hel", "lo") if told else None}
        await line.answer(200, {**COMPLETION, "choices": [choice]})


async def refusing(line: Line) -> None:
    if line.seen.body.get("logprobs"):
        error = {
            "message": "Unsupported parameter: logprobs",
            "type": "invalid_request_error",
            "param": "logprobs",
            "code": None,
        }
        await line.answer(400, {"error": error})
    else:
        await line.answer(200, COMPLETION)


@pytest.fixture
async def upstream() -> AsyncIterator[Provider]:
    async with provider() as made:
        made.behave = thinking
        yield made


@pytest.fixture
async def served(tmp_path: Path, upstream: Provider) -> AsyncIterator[Gateway]:
    async with gateway(
        tmp_path, write_policies(tmp_path / "policies", {"first": upstream.url}, extra=TASK)
    ) as made:
        yield made


def captured(made: Gateway) -> tuple[CallRecord, dict[str, Any]]:
    record = [one for one in made.records() if isinstance(one, CallRecord)][-1]
    assert record.text is not None
    return record, json.loads(record.text.answer)


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_capture_hears_and_the_client_does_not(client, served, upstream, streamed) -> None:
    ask: Any = {"model": "sorting", "messages": [{"role": "user", "content": "hi"}]}
    if streamed:
        chunks = [one async for one in await client.chat.completions.create(**ask, stream=True)]
        text = "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)
        assert all(one.choices[0].logprobs is None for one in chunks if one.choices)
    else:
        answer = await client.chat.completions.create(**ask)
        text = answer.choices[0].message.content or ""
        assert answer.choices[0].logprobs is None
    assert text == "hello"
    sent = upstream.seen[-1].body
    assert (sent["logprobs"], sent["top_logprobs"]) == (True, 2)
    record, kept = captured(served)
    assert record.text is not None
    assert "logprobs" not in json.loads(record.text.request), "the capture holds what the client asked"
    found = thoughts_in(json.dumps(kept))
    assert [one.token for one in found] == [b"hel", b"lo"]
    assert found[0].top == ((b"hel", -0.1), (b"other", -3.0))


async def test_a_client_that_asks_itself_gets_its_own(client, served, upstream) -> None:
    answer = await client.chat.completions.create(
        model="sorting", messages=[{"role": "user", "content": "hi"}], logprobs=True
    )
    assert answer.choices[0].logprobs is not None
    assert "top_logprobs" not in upstream.seen[-1].body


async def test_a_teacher_that_refuses_is_asked_plainly_and_then_left_alone(client, served, upstream) -> None:
    upstream.behave = refusing
    for _ in range(2):
        answer = await client.chat.completions.create(
            model="sorting", messages=[{"role": "user", "content": "hi"}]
        )
        assert answer.choices[0].message.content == "hello"
    assert [bool(one.body.get("logprobs")) for one in upstream.seen] == [True, False, False]


async def test_other_tasks_and_unstored_calls_are_not_asked_about(client, served, upstream) -> None:
    await client.chat.completions.create(model="triage", messages=[{"role": "user", "content": "hi"}])
    await client.chat.completions.create(
        model="sorting", store=False, messages=[{"role": "user", "content": "hi"}]
    )
    assert not any("logprobs" in one.body for one in upstream.seen)


async def test_masked_text_does_not_come_back_in_pieces(client, served, upstream) -> None:
    for text in ("write to jane.doe@example.com", "nothing private"):
        await client.chat.completions.create(model="sorting", messages=[{"role": "user", "content": text}])
    records = [one for one in served.records() if isinstance(one, CallRecord)]
    masked, plain = (capture_row(one, one.text) for one in records if one.text)
    assert thoughts_in(masked["answer"]) == ()
    assert len(thoughts_in(plain["answer"])) == 2


@pytest.mark.parametrize(
    "junk",
    [
        None,
        "",
        "{",
        '{"top_logprobs"',
        '{"choices": [{"logprobs": {"content": [{"token": 1, "top_logprobs": []}]}}]}',
        '{"top_logprobs": 1, "choices": []}',
    ],
)
def test_an_answer_of_another_shape_holds_no_thoughts(junk) -> None:
    assert thoughts_in(junk) == ()
