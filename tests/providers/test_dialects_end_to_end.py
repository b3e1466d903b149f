"""The unmodified openai client through a running gateway to providers that speak another dialect."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import openai
import pytest
import test_anthropic_codec as anthropic
import test_bedrock_codec as bedrock
import test_cohere_codec as cohere
import test_gemini_codec as gemini
from dialects import CALLED, ROUND, WEATHER
from gateway_server import KEY, Gateway, gateway
from scripted import Line, Provider

from gateway.providers.bedrock.aws import Credentials, signed_headers
from gateway.storage.records import CallRecord

MESSAGES: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Bonn?"}]
TOOLS: Any = [WEATHER]
CASES = {
    "anthropic": (anthropic.MESSAGE, anthropic.STREAM, anthropic.EXPECTED_MESSAGE, "claude-sonnet-4-5", (35, 7, 20)),
    "gemini": (gemini.ANSWER, gemini.STREAM, gemini.EXPECTED, "gemini-2.5-flash", (12, 8, 4)),
    "bedrock": (bedrock.ANSWER, bedrock.STREAM, bedrock.EXPECTED, bedrock.CLAUDE, (35, 7, 20)),
    "cohere": (cohere.ANSWER, cohere.STREAM, cohere.EXPECTED, "command-a", (5, 6, 5)),
}  # fmt: skip
KEPT = {
    "anthropic": ('"signature": "sig"', "toolu_1"),
    "gemini": ("text-sig", "call-sig", "g-2"),
    "bedrock": ('"signature": "sig"', '"toolUseId": "t1"'),
    "cohere": ('"tool_plan": "hm"', '"tool_call_id": "t2"'),
}
POLICIES = """
providers:
  anthropic: {{type: anthropic, base_url: "{url}", api_key: sk-upstream-secret}}
  gemini: {{type: gemini, base_url: "{url}", api_key: sk-upstream-secret}}
  bedrock: {{type: bedrock, base_url: "{url}", access_key_id: AKID, secret_access_key: sk-upstream-secret}}
  cohere: {{type: cohere, base_url: "{url}", api_key: sk-upstream-secret}}
  azure: {{type: azure, base_url: "{url}", api_key: sk-upstream-secret, api_version: "2024-10-21"}}
prices:
  bedrock: {{"{claude}": {{input: 3.0, cached_input: 0.3, output: 15.0}}}}
  cohere: {{command-a: {{input: 2.5, output: 10.0}}}}
keys: [{{name: tests, key: {key}, project: default}}]
timeouts: {{connect: 30, first_byte: 30, chunk_gap: 30, total: 60}}
retries: {{attempts: 2, base_s: 0.01, cap_s: 0.05}}
"""


@pytest.fixture
async def served(tmp_path: Path, upstream: Provider) -> AsyncIterator[Gateway]:
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "gateway.yaml").write_text(POLICIES.format(url=upstream.url, key=KEY, claude=bedrock.CLAUDE))
    (policies / "routing.yaml").write_text(
        "tasks:\n  - name: either\n    candidates: [{provider: anthropic, model: claude-sonnet-4-5}, "
        "{provider: gemini, model: gemini-2.5-flash}]\n"
        "  - name: loyal\n    fallback_on: [failed]\n    candidates: [{provider: anthropic, model: claude-sonnet-4-5}, "
        "{provider: gemini, model: gemini-2.5-flash}]\n"
    )
    async with gateway(tmp_path, policies) as made:
        yield made


@pytest.mark.parametrize("dialect", CASES)
async def test_a_whole_answer_and_its_price(
    client: openai.AsyncOpenAI, upstream: Provider, dialect: str
) -> None:
    answer, _, expected, model, (prompt, completion, cached) = CASES[dialect]

    async def speak(line: Line) -> None:
        await line.answer(200, answer)

    upstream.behave = speak
    raw = await client.chat.completions.with_raw_response.create(
        model=f"{dialect}/{model}", messages=MESSAGES, tools=TOOLS
    )
    found = raw.parse()
    assert found.choices[0].finish_reason == "tool_calls"
    message = found.choices[0].message
    assert message.content == expected["content"]
    assert [call.model_dump()["function"] for call in message.tool_calls or []] == [
        call["function"] for call in expected["tool_calls"]
    ]
    assert [note.url_citation.url for note in message.annotations or []] == [
        note["url_citation"]["url"] for note in expected["annotations"]
    ]
    assert found.usage and (found.usage.prompt_tokens, found.usage.completion_tokens) == (prompt, completion)
    assert found.usage.prompt_tokens_details and found.usage.prompt_tokens_details.cached_tokens == cached
    assert float(raw.headers["x-understudy-cost-usd"]) > 0  # shipped list prices know the first two
    sent = json.dumps(upstream.seen[0].headers)
    assert ("sk-upstream-secret" in sent) == (dialect != "bedrock") and KEY not in sent


@pytest.mark.parametrize("dialect", CASES)
@pytest.mark.parametrize("piece", [0, 7])
async def test_a_stream(client: openai.AsyncOpenAI, upstream: Provider, dialect: str, piece: int) -> None:
    _, stream, expected, model, (prompt, completion, _) = CASES[dialect]

    async def speak(line: Line) -> None:
        await line.stream(stream, piece=piece)

    upstream.behave = speak
    async with client.chat.completions.stream(
        model=f"{dialect}/{model}",
        messages=MESSAGES,
        tools=TOOLS,
        stream_options={"include_usage": True},
    ) as streamed:
        final = await streamed.get_final_completion()
    message = final.choices[0].message
    assert message.content == expected["content"]
    assert [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or []] == [
        (call["id"], call["function"]["name"], call["function"]["arguments"])
        for call in expected["tool_calls"]
    ]
    assert final.usage and (final.usage.prompt_tokens, final.usage.completion_tokens) == (prompt, completion)


@pytest.mark.parametrize("dialect", CASES)
async def test_what_came_out_goes_back_in(
    client: openai.AsyncOpenAI, upstream: Provider, dialect: str
) -> None:
    """The message as the client read it is enough for the next round: calls, results, thinking, signatures."""
    answer, _, _, model, _ = CASES[dialect]

    async def speak(line: Line) -> None:
        await line.answer(200, answer)

    upstream.behave = speak
    first = await client.chat.completions.create(model=f"{dialect}/{model}", messages=MESSAGES, tools=TOOLS)
    message = first.choices[0].message
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": "blue"} for call in message.tool_calls or []
    ]
    history: Any = [*MESSAGES, message.model_dump(exclude_none=True), *results]
    await client.chat.completions.create(model=f"{dialect}/{model}", messages=history, tools=TOOLS)
    said = json.dumps(upstream.seen[1].body, ensure_ascii=False)
    for kept in KEPT[dialect]:
        assert kept in said


@pytest.mark.parametrize("dialect", CASES)
@pytest.mark.parametrize("streamed", [False, True])
async def test_several_choices(
    client: openai.AsyncOpenAI, upstream: Provider, dialect: str, streamed: bool
) -> None:
    """A dialect that gives one choice at a time is asked side by side; Gemini gives several itself."""
    answer, stream, expected, model, (prompt, completion, _) = CASES[dialect]

    async def speak(line: Line) -> None:
        await (line.stream(stream) if streamed else line.answer(200, answer))

    upstream.behave = speak
    name = f"{dialect}/{model}"
    if streamed:
        async with client.chat.completions.stream(
            model=name, messages=MESSAGES, tools=TOOLS, n=2, stream_options={"include_usage": True}
        ) as got:
            final: Any = await got.get_final_completion()
    else:
        final = await client.chat.completions.create(model=name, messages=MESSAGES, tools=TOOLS, n=2)
    if dialect == "gemini":
        assert upstream.seen[0].body["generationConfig"]["candidateCount"] == 2 and len(upstream.seen) == 1
        return
    assert [one.index for one in final.choices] == [0, 1] and len(upstream.seen) == 2
    for one in final.choices:
        assert [call.function.arguments for call in one.message.tool_calls] == [
            call["function"]["arguments"] for call in expected["tool_calls"]
        ]
    assert (final.usage.prompt_tokens, final.usage.completion_tokens) == (2 * prompt, 2 * completion)


async def test_one_dialect_falls_back_to_another(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    async def speak(line: Line) -> None:
        if line.seen.path.endswith("/messages"):
            await line.answer(
                529, {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
            )
        else:
            await line.answer(200, gemini.ANSWER)

    upstream.behave = speak
    answer = await client.chat.completions.create(model="either", messages=ROUND)  # type: ignore[arg-type]
    assert answer.choices[0].message.content == "Grüße, Bonn"
    assert [seen.path for seen in upstream.seen] == [
        "/v1/messages",
        "/v1/models/gemini-2.5-flash:generateContent",
    ]


@pytest.mark.parametrize("dialect", CASES)
async def test_what_a_provider_cannot_do_is_told_before_it_is_asked(
    client: openai.AsyncOpenAI, upstream: Provider, dialect: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(
            model=f"{dialect}/{CASES[dialect][3]}", messages=MESSAGES, logit_bias={"1": 1}
        )
    assert (caught.value.param, caught.value.code) == ("logit_bias", "unsupported_parameter")
    assert dialect in caught.value.message
    assert not upstream.seen


async def test_a_parameter_that_one_candidate_lacks_is_for_the_next(
    client: openai.AsyncOpenAI, upstream: Provider, served: Gateway
) -> None:
    async def speak(line: Line) -> None:
        await line.answer(200, gemini.ANSWER)

    upstream.behave = speak
    for _ in range(8):  # more often than a breaker would bear failures
        answer = await client.chat.completions.create(model="either", messages=MESSAGES, seed=7)
    assert answer.choices[0].message.content == "Grüße, Bonn"
    assert {seen.path for seen in upstream.seen} == {"/v1/models/gemini-2.5-flash:generateContent"}
    (call, *_) = [one for one in served.records() if isinstance(one, CallRecord)]
    assert [one.outcome for one in call.attempts] == ["refused", "ok"]


async def test_a_parameter_that_nobody_has_names_every_provider(
    client: openai.AsyncOpenAI, upstream: Provider
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(model="either", messages=MESSAGES, logit_bias={"1": 1})
    assert (caught.value.param, caught.value.code) == ("logit_bias", "unsupported_parameter")
    assert "'anthropic'" in caught.value.message and "'gemini'" in caught.value.message
    assert not upstream.seen


async def test_a_policy_may_keep_a_refused_parameter_at_its_candidate(
    client: openai.AsyncOpenAI, upstream: Provider
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(model="loyal", messages=MESSAGES, seed=7)
    assert caught.value.param == "seed" and "'gemini'" not in caught.value.message
    assert not upstream.seen


async def test_what_bedrock_receives_is_what_was_signed(
    client: openai.AsyncOpenAI, upstream: Provider
) -> None:
    """The signature is made again from the bytes on the wire, as AWS does."""

    async def speak(line: Line) -> None:
        await line.answer(200, bedrock.ANSWER)

    upstream.behave = speak
    await client.chat.completions.create(model=f"bedrock/{bedrock.CLAUDE}", messages=MESSAGES)
    (seen,) = upstream.seen
    found = seen.headers["authorization"]
    names = found.split("SignedHeaders=")[1].split(",")[0].split(";")
    assert names == ["content-type", "host", "x-amz-date"]
    again = signed_headers(
        Credentials("AKID", "sk-upstream-secret"), method="POST", path=seen.path,
        headers={name: seen.headers[name] for name in ("content-type", "host")}, body=json.dumps(
            seen.body, separators=(",", ":"), ensure_ascii=False
        ).encode(), region="us-east-1", service="bedrock",
        now=datetime.strptime(seen.headers["x-amz-date"], "%Y%m%dT%H%M%S%z").timestamp(),
    )  # fmt: skip
    assert again["authorization"] == found


@pytest.mark.parametrize("dialect", CASES)
async def test_a_cut_stream_ends_in_an_error(
    client: openai.AsyncOpenAI, served: Gateway, upstream: Provider, dialect: str
) -> None:
    _, stream, _, model, _ = CASES[dialect]

    async def speak(line: Line) -> None:
        await line.stream(stream[: len(stream) // 2], cut=True)

    upstream.behave = speak
    with pytest.raises(openai.APIError):
        async for _ in await client.chat.completions.create(
            model=f"{dialect}/{model}", messages=MESSAGES, stream=True
        ):
            pass
    assert [call.status for call in served.records() if isinstance(call, CallRecord)] == ["upstream_cut"]


@pytest.mark.parametrize(
    ("dialect", "status", "body"),
    [("anthropic", 401, {"type": "error", "error": {"type": "authentication_error", "message": "sk-upstream-secret"}}),
     ("gemini", 400, {"error": {"status": "INVALID_ARGUMENT", "message": "API key not valid: sk-upstream-secret"}}),
     ("cohere", 401, {"message": "invalid sk-upstream-secret"}), ("bedrock", 403, {"message": "sk-upstream-secret"})],
)  # fmt: skip
async def test_our_own_key_is_never_the_clients_fault(
    client: openai.AsyncOpenAI, upstream: Provider, dialect: str, status: int, body: Any
) -> None:
    async def speak(line: Line) -> None:
        await line.answer(status, body)

    upstream.behave = speak
    with pytest.raises(openai.InternalServerError) as caught:
        await client.chat.completions.create(model=f"{dialect}/{CASES[dialect][3]}", messages=MESSAGES)
    assert caught.value.code == "provider_credentials"
    assert "sk-upstream-secret" not in str(caught.value)


async def test_azure_is_openai_at_another_address(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    answer = await client.chat.completions.create(model="azure/my-gpt", messages=MESSAGES)
    assert answer.choices[0].message.content == "hello"
    (seen,) = upstream.seen
    assert seen.path == "/v1/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21"
    assert seen.headers["api-key"] == "sk-upstream-secret"
    assert "authorization" not in seen.headers
    for name in ("../x", "..", "a/b", "x?y"):
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.create(model=f"azure/{name}", messages=MESSAGES)
    assert len(upstream.seen) == 1 and CALLED
