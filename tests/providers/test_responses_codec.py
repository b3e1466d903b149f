"""OpenAI's Responses API as a provider: fixtures in the shape of its documentation, whole, cut anywhere, truncated, and through
a running gateway."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from dialects import CALLED, ROUND, WEATHER, named, read, spoiled, told
from gateway_server import KEY, gateway
from scripted import Line, provider

from gateway.providers import OpenAIProvider
from gateway.providers.codec import AttemptFailed
from gateway.providers.openai.codec import OpenAICodec
from gateway.storage.records import CallRecord

THOUGHT = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "hm"}],
    "encrypted_content": "gAAA",
}
NOTE = {"type": "url_citation", "start_index": 0, "end_index": 3, "url": "https://a.example", "title": "A"}
SPOKEN = {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant",
          "content": [{"type": "output_text", "text": "Let me löok.", "annotations": [NOTE], "logprobs": []}]}  # fmt: skip
CALLS = [{"id": f"fc_{at}", "type": "function_call", "status": "completed", "call_id": f"call_{at}", "name": "weather",
          "arguments": '{"city":"Bonn"}'} for at in (1, 2)]  # fmt: skip
USAGE = {"input_tokens": 35, "input_tokens_details": {"cached_tokens": 20}, "output_tokens": 7,
         "output_tokens_details": {"reasoning_tokens": 3}, "total_tokens": 42}  # fmt: skip
RESPONSE: dict[str, Any] = {
    "id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "gpt-5-codex", "error": None,
    "incomplete_details": None, "output": [THOUGHT, SPOKEN, *CALLS], "usage": USAGE, "service_tier": "default",
}  # fmt: skip
SIGNED = {"type": "thinking", "thinking": "hm", "signature": "openai:rs_1:gAAA"}
EXPECTED = {
    "role": "assistant", "content": "Let me löok.", "refusal": None,
    "annotations": [{"type": "url_citation", "url_citation": {"start_index": 0, "end_index": 3, "url": "https://a.example", "title": "A"}}],
    "reasoning_content": "hm", "thinking_blocks": [SIGNED],
    "tool_calls": [{"id": f"call_{at}", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bonn"}'}}
                   for at in (1, 2)],
}  # fmt: skip


def events() -> list[dict[str, Any]]:
    """The response as OpenAI streams it."""
    empty = {**RESPONSE, "status": "in_progress", "output": [], "usage": None}
    found: list[dict[str, Any]] = [
        {"type": "response.created", "response": empty},
        {"type": "response.in_progress", "response": empty},
    ]

    def add(index: int, item: dict[str, Any], *inner: dict[str, Any]) -> None:
        begun = {**item, "content": [], "summary": [], "arguments": ""}
        found.append({"type": "response.output_item.added", "output_index": index, "item": begun})
        found.extend({"output_index": index, "item_id": item["id"], **one} for one in inner)
        found.append({"type": "response.output_item.done", "output_index": index, "item": item})

    add(0, THOUGHT, {"type": "response.reasoning_summary_part.added", "summary_index": 0},
        {"type": "response.reasoning_summary_text.delta", "summary_index": 0, "delta": "hm"})  # fmt: skip
    add(1, SPOKEN, {"type": "response.content_part.added", "content_index": 0},
        *({"type": "response.output_text.delta", "content_index": 0, "delta": one, "logprobs": []} for one in ("Let me ", "löok.")),
        {"type": "response.output_text.annotation.added", "content_index": 0, "annotation_index": 0, "annotation": NOTE},
        {"type": "response.output_text.done", "content_index": 0, "text": "Let me löok."})  # fmt: skip
    for at, call in enumerate(CALLS, 2):
        add(at, call, *({"type": "response.function_call_arguments.delta", "delta": one} for one in ('{"city":', '"Bonn"}')),
            {"type": "response.function_call_arguments.done", "arguments": call["arguments"]})  # fmt: skip
    found.append({"type": "response.of_the_future", "x": 1})
    return [
        {**one, "sequence_number": at}
        for at, one in enumerate([*found, {"type": "response.completed", "response": RESPONSE}])
    ]


STREAM = named(events())


def codec(**settings: Any) -> OpenAICodec:
    return OpenAIProvider(api_key="sk-secret", api="responses", **settings).build("openai", "")


def sent(body: dict[str, Any], model: str = "gpt-4.1", **settings: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(codec(**settings).encode(body, model, stream=False).body)
    return found


def test_a_whole_request() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "low"}}
    file = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}}
    schema = {"name": "s", "schema": {"type": "object"}, "strict": True}
    body = {
        "messages": [{"role": "developer", "content": "Be brief."},
                     {"role": "user", "content": [{"type": "text", "text": "see"}, image, file]}],
        "max_completion_tokens": 9, "reasoning_effort": "low", "verbosity": "low", "logprobs": True, "top_logprobs": 2,
        "response_format": {"type": "json_schema", "json_schema": schema}, "temperature": 0.5, "user": "u",
        "tools": [WEATHER, {"type": "web_search"}], "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "parallel_tool_calls": False, "stream_options": {"include_usage": True}, "born_after_us": 1,
        "google": {"safetySettings": []},
    }  # fmt: skip
    assert sent(body) == {
        "model": "gpt-4.1", "store": False, "max_output_tokens": 9, "reasoning": {"effort": "low"}, "temperature": 0.5,
        "user": "u", "top_logprobs": 2, "parallel_tool_calls": False, "born_after_us": 1,
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
        "text": {"verbosity": "low", "format": {"type": "json_schema", "name": "s", "schema": {"type": "object"}, "strict": True}},
        "tools": [{"type": "function", "strict": False, **WEATHER["function"]}, {"type": "web_search"}],  # type: ignore[dict-item]
        "tool_choice": {"type": "function", "name": "weather"},
        "input": [
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Be brief."}]},
            {"type": "message", "role": "user", "content": [
                {"type": "input_text", "text": "see"},
                {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "low"},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}]},
        ],
    }  # fmt: skip


def test_a_round_of_tools_with_its_thoughts() -> None:
    called = {
        **CALLED,
        "thinking_blocks": [SIGNED, {"type": "thinking", "thinking": "x", "signature": "of Claude"}],
    }
    items = sent({"messages": [ROUND[0], called, *ROUND[2:]]}, "gpt-5")["input"]
    assert [one["type"] for one in items] == [
        "message", "reasoning", "function_call", "function_call", "function_call_output", "function_call_output",
    ]  # fmt: skip
    assert items[1] == THOUGHT
    assert (items[2]["call_id"], items[4]["call_id"], items[5]["output"]) == ("call_1", "call_1", "rain")


def test_custom_tools() -> None:
    call = {"id": "c", "type": "custom", "custom": {"name": "sql", "input": "SELECT 1"}}
    body = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": None, "tool_calls": [call]},
                         {"role": "tool", "tool_call_id": "c", "content": "1"}],
            "tools": [{"type": "custom", "custom": {"name": "sql", "description": "d"}}]}  # fmt: skip
    found = sent(body)
    assert found["tools"] == [{"type": "custom", "name": "sql", "description": "d"}]
    assert found["input"][1] == {
        "type": "custom_tool_call",
        "call_id": "c",
        "name": "sql",
        "input": "SELECT 1",
    }
    assert found["input"][2] == {"type": "custom_tool_call_output", "call_id": "c", "output": "1"}
    item = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c", "name": "sql", "input": "SELECT 1"}
    answer = codec().decode(200, {}, json.dumps({**RESPONSE, "output": [item]}).encode(), now=0)
    assert answer.data["choices"][0]["message"]["tool_calls"] == [call]


@pytest.mark.parametrize("name", ["n", "seed", "logit_bias", "prediction", "frequency_penalty"])
def test_what_this_api_lacks_is_refused_by_name(name: str) -> None:
    value = {"logit_bias": {"1": 2}, "prediction": {"type": "content"}}.get(name, 2)
    body = {"messages": [{"role": "user", "content": "hi"}], name: value}
    with pytest.raises(AttemptFailed) as told_:
        sent(body)
    assert (told_.value.failure.kind, told_.value.error.param) == ("unsupported", name)
    assert name not in sent(body, drop_params=True)


def test_a_whole_answer() -> None:
    answer = codec().decode(200, {}, json.dumps(RESPONSE).encode(), now=5)
    assert answer.data["choices"][0]["message"] == EXPECTED
    assert answer.data["choices"][0]["finish_reason"] == "tool_calls"
    assert (answer.data["id"], answer.data["service_tier"]) == ("resp_1", "default")
    assert answer.usage is not None
    assert (answer.usage.prompt, answer.usage.cached, answer.usage.completion, answer.usage.reasoning) == (
        35,
        20,
        7,
        3,
    )


def test_a_stream_wherever_it_is_cut() -> None:
    whole = told(read(codec().stream(), [STREAM]))
    assert whole["choices"][0]["message"] == EXPECTED
    assert whole["usage"]["prompt_tokens"] == 35
    assert told(read(codec().stream(), [STREAM[at : at + 1] for at in range(len(STREAM))])) == whole
    rng = random.Random(7)
    for _ in range(50):
        cuts = sorted(rng.sample(range(len(STREAM)), 5))
        pieces = [STREAM[a:b] for a, b in zip([0, *cuts], [*cuts, len(STREAM)], strict=True)]
        assert told(read(codec().stream(), pieces)) == whole
    for name, raw in spoiled(STREAM).items():
        assert told(read(codec().stream(), [raw])) == whole, name


def test_a_truncated_stream_is_never_an_answer() -> None:
    frames = STREAM.split(b"\n\n")
    for at in range(len(frames) - 2):
        decoder = codec().stream()
        decoder.feed(b"\n\n".join(frames[:at]) + b"\n\n")
        with pytest.raises(AttemptFailed):
            decoder.finish()


@pytest.mark.parametrize(
    ("response", "finish"),
    [({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "output": [SPOKEN]}, "length"),
     ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}, "output": []}, "content_filter"),
     ({"output": [{"type": "message", "content": [{"type": "refusal", "refusal": "No."}]}]}, "stop")],
)  # fmt: skip
def test_ends(response: dict[str, Any], finish: str) -> None:
    data = codec().decode(200, {}, json.dumps({**RESPONSE, **response}).encode(), now=0).data
    assert data["choices"][0]["finish_reason"] == finish
    if finish == "stop":
        assert data["choices"][0]["message"]["refusal"] == "No."


def test_errors() -> None:
    failed = {**RESPONSE, "status": "failed", "error": {"code": "server_error", "message": "broke"}}
    with pytest.raises(AttemptFailed) as problem:
        codec().decode(200, {}, json.dumps(failed).encode(), now=0)
    assert problem.value.failure.kind == "failed"
    for event in (
        {"type": "response.failed", "response": failed},
        {"type": "error", "code": "x", "message": "broke"},
    ):
        with pytest.raises(AttemptFailed):
            codec().stream().feed(named([event]))
    body = b'{"error": {"message": "too long", "type": "invalid_request_error", "param": "input", "code": "context_length_exceeded"}}'
    assert codec().refuse(400, {}, body, now=0).error.code == "context_length_exceeded"


def test_a_limit_inside_an_answer_is_a_limit() -> None:
    """Another candidate or a later try may have room, as when it had been said before the answer began."""
    error = {"code": "rate_limit_exceeded", "message": "Slow down."}
    failed = {**RESPONSE, "status": "failed", "error": error}
    chat = OpenAIProvider(api_key="sk-secret").build("openai", "")
    said = (
        lambda: codec().decode(200, {}, json.dumps(failed).encode(), now=0),
        lambda: codec().stream().feed(named([{"type": "response.failed", "response": failed}])),
        lambda: chat.decode(200, {}, json.dumps({"error": error}).encode(), now=0),
        lambda: chat.stream().feed(f"data: {json.dumps({'error': error})}\n\n".encode()),
    )
    for one in said:
        with pytest.raises(AttemptFailed) as problem:
            one()
        assert problem.value.failure.kind == "throttled" and problem.value.error.status == 429


POLICIES = """
providers:
  openai: {{type: openai, api: responses, base_url: "{url}", api_key: sk-upstream-secret}}
keys: [{{name: tests, key: {key}, project: default}}]
timeouts: {{connect: 30, first_byte: 30, chunk_gap: 30, total: 60}}
"""


async def behave(line: Line) -> None:
    if line.seen.path == "/v1/embeddings":
        data = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
        await line.answer(
            200,
            {"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1}},
        )
    elif line.seen.body.get("stream"):
        await line.stream(STREAM, piece=13)
    else:
        await line.answer(200, RESPONSE)


async def test_every_client_gets_and_returns_thoughts_through_a_gateway(tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    async with provider() as upstream:
        upstream.behave = behave
        (folder / "gateway.yaml").write_text(POLICIES.format(url=upstream.url, key=KEY))
        async with (
            gateway(tmp_path, folder) as made,
            openai.AsyncOpenAI(base_url=made.base_url, api_key=KEY, max_retries=0) as client,
            anthropic.AsyncAnthropic(base_url=made.url, api_key=KEY, max_retries=0) as claude,
        ):
            model: Any = "openai/gpt-5-codex"
            chat = await client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": "hi"}]
            )
            assert upstream.seen[-1].path == "/v1/responses"
            assert chat.usage is not None
            assert chat.usage.prompt_tokens_details is not None
            assert (chat.usage.total_tokens, chat.usage.prompt_tokens_details.cached_tokens) == (42, 20)
            results: Any = [
                {"role": "tool", "tool_call_id": one, "content": "rain"} for one in ("call_1", "call_2")
            ]
            again: Any = [
                {"role": "user", "content": "hi"},
                chat.choices[0].message.model_dump(exclude_none=True),
                *results,
            ]
            await client.chat.completions.create(model=model, messages=again)
            assert THOUGHT in upstream.seen[-1].body["input"]

            async with client.responses.stream(model=model, input="hi", store=False) as stream:
                response = await stream.get_final_response()
            kept = [one.model_dump(exclude_none=True) for one in response.output]
            outputs = [
                {"type": "function_call_output", "call_id": one, "output": "rain"}
                for one in ("call_1", "call_2")
            ]
            await client.responses.create(model=model, input=[*kept, *outputs], store=False)  # type: ignore[list-item]
            assert THOUGHT in upstream.seen[-1].body["input"]

            said = await claude.messages.create(
                model=model, max_tokens=9000, messages=[{"role": "user", "content": "hi"}],
                thinking={"type": "enabled", "budget_tokens": 2048},
            )  # fmt: skip
            told_: Any = [
                {"type": "tool_result", "tool_use_id": one, "content": "rain"} for one in ("call_1", "call_2")
            ]
            turns: Any = [
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": said.content},
                {"role": "user", "content": told_},
            ]
            await claude.messages.create(model=model, max_tokens=9000, messages=turns)
            assert THOUGHT in upstream.seen[-1].body["input"]
            vectors = await client.embeddings.create(model="openai/text-embedding-3-small", input="x")
            assert vectors.data[0].embedding == [0.5]
            records = [one for one in made.records() if isinstance(one, CallRecord)]
            assert {one.status for one in records} == {"ok"}


def test_a_tools_result_keeps_its_images() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": None, "tool_calls": [call]},
             {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "a map"}, image]}]  # fmt: skip
    output = sent({"messages": turns})["input"][-1]
    assert output == {"type": "function_call_output", "call_id": "call_1", "output": [
        {"type": "input_text", "text": "a map"},
        {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"},
    ]}  # fmt: skip
    turns[-1]["content"] = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert sent({"messages": turns})["input"][-1]["output"] == "a\nb"


SOUGHT = {"type": "web_search_call", "id": "ws_1", "status": "completed",
          "action": {"type": "search", "query": "Bonn", "sources": [{"type": "url", "url": "https://b.de"}]}}  # fmt: skip
OPENED = {"type": "web_search_call", "id": "ws_2", "status": "completed", "action": {"type": "open_page", "url": "https://b.de"}}
CODED = {"type": "code_interpreter_call", "id": "ci_1", "status": "completed", "code": "1+1", "container_id": "c",
         "outputs": [{"type": "logs", "logs": "2"}]}  # fmt: skip


def said_in(id_: str, text: str, words: str) -> dict[str, Any]:
    at = text.index(words)
    note = {"type": "url_citation", "url": "https://b.de", "title": "B", "start_index": at, "end_index": at + len(words)}
    part = {"type": "output_text", "text": text, "annotations": [note], "logprobs": []}
    return {"type": "message", "id": id_, "role": "assistant", "status": "completed", "content": [part]}


def test_what_ran_at_openai_and_where_each_message_is_cited() -> None:
    output = [said_in("m1", "I look. ", "look"), SOUGHT, OPENED, CODED, said_in("m2", "It räins.", "räins")]
    whole = {"id": "r", "status": "completed", "model": "gpt-5", "output": output, "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}}
    told_events: list[dict[str, Any]] = [{"type": "response.created", "response": {"id": "r", "model": "gpt-5"}}]
    for at, item in enumerate(output):
        told_events.append({"type": "response.output_item.added", "output_index": at, "item": {**item, "content": []}})
        for part in item.get("content", ()):
            place = {"output_index": at, "content_index": 0}
            told_events += [{"type": "response.output_text.delta", **place, "delta": one} for one in (part["text"][:4], part["text"][4:])]
            told_events.append({"type": "response.output_text.annotation.added", **place, "annotation": part["annotations"][0]})
        told_events.append({"type": "response.output_item.done", "output_index": at, "item": item})
    raw = named([*told_events, {"type": "response.completed", "response": whole}])
    answers = [codec().decode(200, {}, json.dumps(whole).encode(), now=0).data["choices"][0]["message"]]
    answers += [told(read(codec().stream(), pieces))["choices"][0]["message"] for pieces in ([raw], [bytes([one]) for one in raw])]
    for message in answers:
        text = message["content"]
        assert text == "I look. \n\nIt räins."
        pages = [one["url_citation"] for one in message["annotations"]]
        assert [text[one["start_index"] : one["end_index"]] for one in pages] == ["look", "räins"]
        ran = [(one["start_index"], one["block"]["type"]) for one in message["server_blocks"]]
        assert ran == [(8, "server_tool_use"), (8, "web_search_tool_result"), (8, "server_tool_use"), (8, "code_execution_tool_result"), (8, "phase")]
        use, found, code, output_of, _ = (one["block"] for one in message["server_blocks"])
        assert (use["input"], found["content"][0]["url"]) == ({"query": "Bonn"}, "https://b.de")
        assert (code["input"], output_of["content"]["stdout"]) == ({"code": "1+1"}, "2")
