"""A model may answer in several messages, with a phase or without. Chat has one text, and so have Google's clients, who
put all parts together: there an empty line stands between. Whoever has messages or blocks sees them as they were."""

from __future__ import annotations

from typing import Any

import anthropic
import httpx
import openai
import pytest
from gateway_server import served_over
from scripted import Line, Provider, sse

served = served_over("""
providers:
  home: {{type: openai, api: responses, base_url: "{url}", api_key: sk-up}}
keys: [{{name: tests, key: {key}, project: default}}]
tasks: [{{name: masked, teacher: {{provider: home, model: gpt-5.4}}}}]
guardrails: {{hide: {{type: pii, tasks: [masked]}}}}
""")
TEXTS = ["Ask a@b.org first. ", "", "It rains."]
ONE = "Ask a@b.org first. \n\nIt rains."
PAGE = {"type": "url_citation", "url": "https://b.de", "title": "B", "start_index": 3, "end_index": 8}
MODELS = pytest.mark.parametrize("model", ["home/gpt-5.4", "masked"])
WAYS = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def _message(at: int, text: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": [PAGE] if at == 2 else [], "logprobs": []}
    return {"id": f"msg_{at}", "type": "message", "status": "completed", "role": "assistant", "content": [part]}


OUTPUT = [_message(at, text) for at, text in enumerate(TEXTS)]


def _response(output: list[dict[str, Any]], status: str = "completed") -> dict[str, Any]:
    usage = {"input_tokens": 5, "output_tokens": 5, "total_tokens": 10}
    head = {"id": "resp_up", "object": "response", "created_at": 1, "model": "m", "error": None}
    return {**head, "output": output, "usage": usage, "status": status, "incomplete_details": None}


def _streamed() -> bytes:
    told: list[dict[str, Any]] = [{"type": "response.created", "response": _response([], "in_progress")}]
    for at, item in enumerate(OUTPUT):
        told.append({"type": "response.output_item.added", "output_index": at, "item": {**item, "content": []}})
        place = {"output_index": at, "item_id": item["id"], "content_index": 0}
        delta = {"type": "response.output_text.delta", **place, "logprobs": []}
        told += [{**delta, "delta": letter} for letter in TEXTS[at]]
        if at == 2:
            told.append({"type": "response.output_text.annotation.added", **place, "annotation": PAGE})
        told.append({"type": "response.output_item.done", "output_index": at, "item": item})
    return sse([*told, {"type": "response.completed", "response": _response(OUTPUT)}], done=False)


@pytest.fixture(autouse=True)
def _answering(upstream: Provider) -> None:
    async def behave(line: Line) -> None:
        streams = line.seen.body.get("stream")
        await (line.stream(_streamed(), piece=97) if streams else line.answer(200, _response(OUTPUT)))

    upstream.behave = behave


@MODELS
@WAYS
async def test_chat_has_an_empty_line_between(client: openai.AsyncOpenAI, upstream: Provider, model: str,
                                              stream: bool) -> None:  # fmt: skip
    turns: Any = [{"role": "user", "content": "Ask a@b.org?"}]
    if stream:
        async with client.chat.completions.stream(model=model, messages=turns) as events:
            found: Any = await events.get_final_completion()
    else:
        found = await client.chat.completions.create(model=model, messages=turns)
    said = found.choices[0].message
    assert said.content == ONE
    cited = said.annotations[0].url_citation if not stream else None
    assert cited is None or ONE[cited.start_index : cited.end_index] == "rains"
    turns += [said.model_dump(exclude_none=True), {"role": "user", "content": "Sure?"}]
    await client.chat.completions.create(model=model, messages=turns)
    told = [one for one in upstream.seen[-1].body["input"] if one["role"] == "assistant"]
    assert [one["content"][0]["text"][-8:] for one in told] == [" first. ", "t rains."]


@MODELS
@WAYS
async def test_clients_of_responses_have_their_messages(client: openai.AsyncOpenAI, model: str, stream: bool) -> None:
    if stream:
        async with client.responses.stream(model=model, input="Ask a@b.org?") as events:
            found: Any = await events.get_final_response()
    else:
        found = await client.responses.create(model=model, input="Ask a@b.org?")
    parts = [one.content[0] for one in found.output]
    assert [part.text for part in parts] == [TEXTS[0], TEXTS[2]]
    assert [(note.start_index, note.end_index) for note in parts[1].annotations] == [(3, 8)]


@MODELS
@WAYS
async def test_clients_of_anthropics_have_blocks(claude: anthropic.AsyncAnthropic, model: str, stream: bool) -> None:
    asked: dict[str, Any] = {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "a@b.org?"}]}
    if stream:
        async with claude.messages.stream(**asked) as events:
            found: Any = await events.get_final_message()
    else:
        found = await claude.messages.create(**asked)
    assert [one.text for one in found.content] == [TEXTS[0], TEXTS[2]]
    assert found.content[1].citations[0].cited_text == "rains"


@WAYS
async def test_googles_clients_put_all_parts_together(http: httpx.AsyncClient, stream: bool) -> None:
    way = "streamGenerateContent" if stream else "generateContent"
    asked = {"contents": [{"parts": [{"text": "hi"}]}]}
    found = (await http.post(f"/v1beta/models/home/gpt-5.4:{way}", json=asked)).json()
    told = [one["candidates"][0] for one in (found if stream else [found])]
    assert "".join(part["text"] for one in told for part in one["content"]["parts"]) == ONE
    assert told[-1]["groundingMetadata"]["groundingSupports"][0]["segment"]["text"] == "rains"


async def test_what_is_kept_reads_as_it_was_told(client: openai.AsyncOpenAI) -> None:
    turns: Any = [{"role": "user", "content": "Bonn?"}]
    found = await client.chat.completions.create(model="home/gpt-5.4", messages=turns, store=True)
    kept = await client.chat.completions.retrieve(found.id)
    assert kept.choices[0].message.content == ONE.replace("a@b.org", "[EMAIL_1]")
