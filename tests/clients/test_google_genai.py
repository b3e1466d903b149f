"""Google's own client, unmodified, with another base url: through the gateway to providers of every dialect."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest
from clients_helpers import (
    ARGS,
    CALLS,
    MODELS,
    PIXEL,
    answers,
    chunked,
    completion,
    streams,
)
from gateway_server import KEY, Gateway
from google import genai
from google.genai import errors, types
from pydantic import BaseModel
from scripted import Provider

from gateway.storage.records import CallRecord

pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")
"""The client makes a class of its own of aiohttp's session, which aiohttp would rather not see."""
WEATHER = types.FunctionDeclaration(
    name="weather",
    description="of a city",
    parameters=types.Schema(
        type=types.Type.OBJECT,
        properties={"city": types.Schema(type=types.Type.STRING, nullable=True, min_length=2)},
        required=["city"],
    ),
)
TOOLS = [types.Tool(function_declarations=[WEATHER])]
MANUAL = types.AutomaticFunctionCallingConfig(disable=True)


class City(BaseModel):
    name: str
    people: int


async def test_a_whole_answer_with_every_setting(
    google: genai.Client, served: Gateway, upstream: Provider
) -> None:
    upstream.behave = answers(completion({"content": "hello"}))
    answer = await google.aio.models.generate_content(
        model="triage",
        contents="hi",
        config=types.GenerateContentConfig(
            system_instruction="be brief", temperature=0.5, top_p=0.9, max_output_tokens=64, stop_sequences=["END"],
            seed=7, presence_penalty=0.1, frequency_penalty=0.2, candidate_count=1, thinking_config=types.ThinkingConfig(thinking_budget=2048),
            safety_settings=[types.SafetySetting(category="HARM_CATEGORY_HARASSMENT", threshold="BLOCK_NONE")],
        ),
    )  # fmt: skip
    assert (answer.text, answer.model_version) == ("hello", "triage")
    assert answer.response_id and answer.response_id.startswith("gen_")
    assert answer.candidates and answer.candidates[0].finish_reason is types.FinishReason.STOP
    usage = answer.usage_metadata
    assert usage and (usage.prompt_token_count, usage.cached_content_token_count) == (30, 10)
    assert (usage.candidates_token_count, usage.thoughts_token_count, usage.total_token_count) == (8, 4, 42)
    (seen,) = upstream.seen
    assert seen.body == {
        "model": "gpt-4o", "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}],
        "temperature": 0.5, "top_p": 0.9, "max_completion_tokens": 64, "stop": ["END"], "seed": 7, "n": 1,
        "presence_penalty": 0.1, "frequency_penalty": 0.2, "reasoning_effort": "low",
    }  # fmt: skip
    assert KEY not in json.dumps(seen.headers)
    (record,) = [one for one in served.records() if isinstance(one, CallRecord)]
    assert (record.id, record.endpoint, record.status) == (answer.response_id, "generate_content", "ok")


async def test_what_only_gemini_knows_reaches_gemini(google: genai.Client, upstream: Provider) -> None:
    upstream.behave = answers(CALLS["gemini"][0])
    safety = types.SafetySetting(category="HARM_CATEGORY_HARASSMENT", threshold="BLOCK_NONE")
    await google.aio.models.generate_content(
        model=MODELS["gemini"],
        contents="hi",
        config=types.GenerateContentConfig(
            top_k=5, safety_settings=[safety],
            thinking_config=types.ThinkingConfig(thinking_budget=2047, include_thoughts=True),
        ),
    )  # fmt: skip
    sent = upstream.seen[0].body
    assert sent["generationConfig"] == {
        "topK": 5,
        "thinkingConfig": {"includeThoughts": True, "thinkingBudget": 2047},
    }
    assert sent["safetySettings"] == [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]


async def test_geminis_own_defaults_are_told_to_gemini_alone(google: genai.Client, upstream: Provider) -> None:
    """gemini-cli says them to any model."""
    config = types.GenerateContentConfig(temperature=1, top_p=0.95, top_k=64)
    told = {}
    for dialect, model in MODELS.items():
        upstream.behave = answers(CALLS[dialect][0])
        await google.aio.models.generate_content(model=model, contents="hi", config=config)
        told[dialect] = upstream.seen[-1].body
    assert told["gemini"]["generationConfig"] == {"temperature": 1, "topP": 0.95, "topK": 64}
    names = {"top_p", "top_k", "p", "k", "generationConfig", "google"}
    assert all(names.isdisjoint(body) for dialect, body in told.items() if dialect != "gemini")


@pytest.mark.parametrize("dialect", CALLS)
@pytest.mark.parametrize("streamed", [False, True])
async def test_parallel_calls_and_their_results(
    google: genai.Client, upstream: Provider, dialect: str, streamed: bool
) -> None:
    """Calls come out of every dialect with their ids, and go back in with their results in order."""
    whole, stream = CALLS[dialect]
    upstream.behave = streams(stream, piece=11) if streamed else answers(whole)
    config = types.GenerateContentConfig(tools=TOOLS, automatic_function_calling=MANUAL)
    turns: list[Any] = [types.Content(role="user", parts=[types.Part(text="Bonn and Köln?")])]
    if streamed:
        events = [
            one
            async for one in await google.aio.models.generate_content_stream(
                model=MODELS[dialect], contents=turns, config=config
            )
        ]
    else:
        events = [
            await google.aio.models.generate_content(model=MODELS[dialect], contents=turns, config=config)
        ]
    parts = [
        part
        for one in events
        for part in (one.candidates[0].content.parts if one.candidates and one.candidates[0].content else [])
        or []
        if part.function_call
    ]
    calls = [part.function_call for part in parts if part.function_call]
    assert [(one.name, one.args) for one in calls] == [("weather", args) for args in ARGS]
    assert len({one.id for one in calls}) == 2
    usage = events[-1].usage_metadata
    assert usage and (usage.prompt_token_count, usage.total_token_count) == (30, 42)
    turns += [
        types.Content(role="model", parts=parts),
        types.Content(
            role="user",
            parts=[
                types.Part(
                    function_response=types.FunctionResponse(id=one.id, name=one.name, response={"sky": sky})
                )
                for one, sky in zip(calls, ("blue", "grey"), strict=True)
            ],
        ),
    ]
    upstream.behave = answers(whole)
    await google.aio.models.generate_content(model=MODELS[dialect], contents=turns, config=config)
    again = json.dumps(upstream.seen[-1].body, ensure_ascii=False)
    assert again.index("blue") < again.index("grey") and "Köln" in again
    if dialect == "gemini":
        model = upstream.seen[-1].body["contents"][1]["parts"]
        assert [part.get("thoughtSignature") for part in model] == ["c2ln", None]
    first = upstream.seen[0].body
    if dialect == "openai":
        assert first["tools"][0]["function"]["parameters"] == {
            "type": "object",
            "properties": {"city": {"type": ["string", "null"], "minLength": 2}},
            "required": ["city"],
        }


def weather(city: str) -> str:
    """The weather of a city."""
    return f"rain in {city}"


async def test_the_clients_own_function_loop(google: genai.Client, upstream: Provider) -> None:
    """The SDK calls Python functions by itself and comes back with their results."""
    upstream.behave = answers(CALLS["openai"][0], completion({"content": "It rains."}))
    answer = await google.aio.models.generate_content(
        model="triage", contents="Bonn?", config=types.GenerateContentConfig(tools=[weather])
    )
    assert answer.text == "It rains."
    turns = upstream.seen[1].body["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "tool", "tool"]
    assert [turn["tool_call_id"] for turn in turns[2:]] == ["call_0", "call_1"]
    assert json.loads(turns[3]["content"]) == {"result": "rain in Köln"}


CHOICES: list[Any] = [
    ({"mode": "ANY"}, "required"),
    ({"mode": "NONE"}, "none"),
    ({"mode": "ANY", "allowed_function_names": ["weather"]}, {"type": "function", "function": {"name": "weather"}}),
    (
        {"mode": "VALIDATED", "allowed_function_names": ["weather"]},
        {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "weather"}}]}},
    ),
]  # fmt: skip


async def test_how_tools_may_be_used(google: genai.Client, upstream: Provider) -> None:
    for config, expected in CHOICES:
        choice = types.ToolConfig(function_calling_config=types.FunctionCallingConfig(**config))
        await google.aio.models.generate_content(
            model="triage",
            contents="hi",
            config=types.GenerateContentConfig(
                tools=TOOLS, tool_config=choice, automatic_function_calling=MANUAL
            ),
        )
        assert upstream.seen[-1].body["tool_choice"] == expected


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "gemini"])
async def test_images_sounds_and_files(google: genai.Client, upstream: Provider, dialect: str) -> None:
    upstream.behave = answers(CALLS[dialect][0])
    parts: list[Any] = [
        types.Part.from_bytes(data=PIXEL, mime_type="image/png"),
        types.Part.from_uri(file_uri="https://example.org/cat.jpg", mime_type="image/jpeg"),
        types.Part(text="what?"),
    ]
    if dialect != "anthropic":
        parts.append(types.Part.from_bytes(data=b"RIFF", mime_type="audio/wav"))
    await google.aio.models.generate_content(model=MODELS[dialect], contents=parts)
    sent = json.dumps(upstream.seen[0].body)
    assert base64.b64encode(PIXEL).decode() in sent
    assert "https://example.org/cat.jpg" in sent
    if dialect == "openai":
        audio = upstream.seen[0].body["messages"][0]["content"][3]
        assert audio == {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}


async def test_json_by_a_schema(google: genai.Client, upstream: Provider) -> None:
    upstream.behave = answers(completion({"content": '{"name": "Bonn", "people": 336465}'}))
    answer = await google.aio.models.generate_content(
        model="triage",
        contents="Bonn",
        config=types.GenerateContentConfig(response_mime_type="application/json", response_schema=City),
    )
    assert answer.parsed == City(name="Bonn", people=336465)
    form = upstream.seen[0].body["response_format"]
    assert form["type"] == "json_schema" and form["json_schema"]["strict"] is True
    schema = form["json_schema"]["schema"]
    assert schema["additionalProperties"] is False and list(schema["properties"]) == ["name", "people"]
    await google.aio.models.generate_content(
        model="triage",
        contents="Bonn",
        config=types.GenerateContentConfig(
            response_mime_type="application/json",
            response_json_schema={"type": "object", "properties": {"a": {"type": "string"}}},
        ),
    )
    loose = upstream.seen[1].body["response_format"]["json_schema"]
    assert loose["strict"] is False  # 'a' may be absent, which no strict mode allows


@pytest.mark.parametrize("piece", [0, 5])
async def test_a_stream(google: genai.Client, served: Gateway, upstream: Provider, piece: int) -> None:
    deltas = [{"reasoning_content": "hm"}, {"content": "Grü"}, {"content": "ße"}]
    upstream.behave = streams(chunked(*deltas), piece=piece)
    thinks = types.GenerateContentConfig(thinking_config=types.ThinkingConfig(include_thoughts=True))
    found = [
        one
        async for one in await google.aio.models.generate_content_stream(
            model="triage", contents="hi", config=thinks
        )
    ]
    parts = [one.candidates[0].content.parts[0] for one in found]  # type: ignore[index, union-attr]
    assert [(part.text, part.thought) for part in parts] == [
        ("hm", True), ("Grü", None), ("ße", None), ("", None),
    ]  # fmt: skip
    assert [one.usage_metadata is not None for one in found] == [False, False, False, True]
    last = found[-1]
    assert last.usage_metadata and last.usage_metadata.thoughts_token_count == 4
    assert last.candidates and last.candidates[0].finish_reason is types.FinishReason.STOP
    silent = [
        one async for one in await google.aio.models.generate_content_stream(model="triage", contents="hi")
    ]
    assert "".join(one.text or "" for one in silent) == "Grüße"
    (record, _) = [one for one in served.records() if isinstance(one, CallRecord)]
    assert (record.stream, record.prompt_tokens, record.completion_tokens) == (True, 30, 12)


async def test_several_candidates_and_log_probabilities(google: genai.Client, upstream: Provider) -> None:
    told = completion({"content": "yes"})
    near = {"token": "no", "logprob": -2.0, "bytes": None}
    token = {"token": "yes", "logprob": -0.5, "bytes": None, "top_logprobs": [near]}
    told["choices"][0]["logprobs"] = {"content": [token], "refusal": None}
    told["choices"].append({**told["choices"][0], "index": 1, "finish_reason": "length"})
    upstream.behave = answers(told)
    answer = await google.aio.models.generate_content(
        model="triage",
        contents="hi",
        config=types.GenerateContentConfig(candidate_count=2, response_logprobs=True, logprobs=1),
    )
    assert upstream.seen[0].body["n"] == 2 and upstream.seen[0].body["top_logprobs"] == 1
    first, second = answer.candidates or []
    assert (second.index, second.finish_reason) == (1, types.FinishReason.MAX_TOKENS)
    result = first.logprobs_result
    assert result and result.chosen_candidates and result.top_candidates
    assert (result.chosen_candidates[0].token, result.chosen_candidates[0].log_probability) == ("yes", -0.5)
    assert result.top_candidates[0].candidates and result.top_candidates[0].candidates[0].token == "no"
    assert first.avg_logprobs == -0.5


REASONS: list[Any] = [
    ({"content": "x"}, "length", types.FinishReason.MAX_TOKENS),
    ({"content": ""}, "content_filter", types.FinishReason.SAFETY),
    ({"refusal": "I will not."}, "stop", types.FinishReason.SAFETY),
    ({"content": "x"}, "tool_calls", types.FinishReason.STOP),
]


async def test_finish_reasons(google: genai.Client, upstream: Provider) -> None:
    for message, finish, expected in REASONS:
        upstream.behave = answers(completion(message, finish))
        answer = await google.aio.models.generate_content(model="triage", contents="hi")
        assert answer.candidates and answer.candidates[0].finish_reason is expected


async def test_sources_count_bytes(google: genai.Client, upstream: Provider) -> None:
    note = {"start_index": 0, "end_index": 5, "url": "https://a.example", "title": "A"}
    said = {"content": "Grüße!", "annotations": [{"type": "url_citation", "url_citation": note}]}
    upstream.behave = answers(completion(said))
    answer = await google.aio.models.generate_content(model="triage", contents="hi")
    assert answer.candidates and answer.candidates[0].grounding_metadata
    grounding = answer.candidates[0].grounding_metadata
    assert grounding.grounding_chunks and grounding.grounding_chunks[0].web
    assert grounding.grounding_chunks[0].web.uri == "https://a.example"
    assert grounding.grounding_supports and grounding.grounding_supports[0].segment
    assert grounding.grounding_supports[0].segment.end_index == len("Grüße".encode())


async def test_models_tokens_and_chats(google: genai.Client, upstream: Provider) -> None:
    names = [model.name async for model in await google.aio.models.list(config={"page_size": 1})]
    assert names[:2] == ["models/triage", "models/openai/gpt-4o"] and len(names) == len(set(names))
    assert "models/claude-sonnet-4-5" in names  # what the catalog adds, page after page
    found = await google.aio.models.get(model="triage")
    chats = ["generateContent", "streamGenerateContent", "countTokens"]
    assert found.name == "models/triage" and found.supported_actions == chats
    embeds = ["embedContent", "batchEmbedContents"]
    for model, actions in (("gemini-embedding-001", embeds), ("claude-sonnet-4-5", chats)):
        assert (await google.aio.models.get(model=model)).supported_actions == actions
    async for one in await google.aio.models.list():
        if "embed" in (one.name or ""):
            assert one.supported_actions == embeds
    with pytest.raises(errors.ClientError):
        await google.aio.models.get(model="nobody")
    counted = await google.aio.models.count_tokens(model="triage", contents="one two three four")
    assert counted.total_tokens == 18 // 4 + 3 and not upstream.seen
    chat = google.aio.chats.create(model="triage")
    await chat.send_message("hi")
    await chat.send_message("again")
    assert [turn["role"] for turn in upstream.seen[1].body["messages"]] == ["user", "assistant", "user"]


async def test_embeddings(google: genai.Client, served: Gateway, upstream: Provider) -> None:
    vectors = [{"object": "embedding", "index": at, "embedding": [float(at), 0.5]} for at in (0, 1)]
    usage = {"prompt_tokens": 5, "total_tokens": 5}
    upstream.behave = answers({"object": "list", "data": vectors, "model": "e", "usage": usage})
    answer = await google.aio.models.embed_content(
        model="openai/embed", contents=["a", "b"], config=types.EmbedContentConfig(output_dimensionality=2)
    )
    assert [one.values for one in answer.embeddings or []] == [[0.0, 0.5], [1.0, 0.5]]
    assert upstream.seen[0].body == {"model": "embed", "input": ["a", "b"], "dimensions": 2}
    with pytest.raises(errors.ClientError, match="taskType"):
        await google.aio.models.embed_content(
            model="openai/embed", contents="a", config=types.EmbedContentConfig(task_type="RETRIEVAL_QUERY")
        )
    (record,) = [one for one in served.records() if isinstance(one, CallRecord) and one.status == "ok"]
    assert (record.endpoint, record.prompt_tokens) == ("embeddings", 5)
    async with httpx.AsyncClient(base_url=served.url, params={"key": KEY}) as http:
        body = {"content": {"parts": [{"text": "a"}]}}
        one = await http.post("/v1beta/models/openai/embed:embedContent", json=body)
    assert one.json() == {"embedding": {"values": [0.0, 0.5]}}
