"""``file_search`` over vector stores that lie at OpenAI, by the unmodified openai client: OpenAI searches them, where it answers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from gateway_server import KEY, Gateway, gateway
from more_gateway import FOREIGN, client_of
from openai.types.responses import Response, ResponseStreamEvent
from openai_items import answers, events, response, spoken
from scripted import Provider
from sdk_types import strictly

from gateway.catalog import vendor
from gateway.protocol.assemble import assemble
from gateway.providers import OpenAIProvider
from gateway.providers.codec import AttemptFailed
from gateway.storage.records import CallRecord

POLICIES = """
providers:
  openai: {{type: openai, api: responses, base_url: "{url}", api_key: sk-upstream-secret}}
  chat: {{type: openai, base_url: "{url}", api_key: sk-upstream-secret}}
  xai: {{type: openai, profile: xai, api: responses, base_url: "{url}", api_key: sk-upstream-secret}}
  claude: {{type: anthropic, base_url: "{url}", api_key: sk-upstream-secret}}
prices: {{openai: {{gpt-4.1: {{input: 1.0, output: 2.0, file_search: 2.5, as_of: "2026-11-30", source: test}}}}}}
keys:
  - {{name: tests, key: {key}, project: default}}
  - {{name: foreign, key: {foreign}, project: elsewhere}}
tasks:
  - name: falls
    candidates: [{{provider: openai, model: gpt-4.1}}, {{provider: claude, model: claude-sonnet-4-5}}]
  - name: rises
    candidates: [{{provider: claude, model: claude-sonnet-4-5}}, {{provider: openai, model: gpt-4.1}}]
timeouts: {{connect: 30, first_byte: 30, chunk_gap: 30, total: 60}}
retries: {{attempts: 2, base_s: 0.01, cap_s: 0.05}}
"""
MODEL = "openai/gpt-4.1"
FOUND = {"file_id": "file-1", "filename": "refunds.pdf", "score": 0.9, "attributes": {}, "text": "Within fourteen days."}
CALL = {"id": "fs_0001", "type": "file_search_call", "status": "completed", "queries": ["refunds"], "results": None}
CITED = {"type": "file_citation", "index": 21, "file_id": "file-1", "filename": "refunds.pdf"}
SAID = spoken("Within fourteen days. Ask the shöp.", CITED)
TOOL: Any = {"type": "file_search", "vector_store_ids": ["vs_theirs"], "max_num_results": 3,
             "filters": {"type": "eq", "key": "year", "value": 2026}}  # fmt: skip
WEATHER: Any = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}, "strict": False}


@pytest.fixture
async def served(tmp_path: Path, upstream: Provider) -> AsyncIterator[Gateway]:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "gateway.yaml").write_text(POLICIES.format(url=upstream.url, key=KEY, foreign=FOREIGN))
    async with gateway(tmp_path, folder) as made:
        yield made


def test_an_answer_is_the_same_wherever_its_stream_is_cut() -> None:
    codec = OpenAIProvider(api_key="sk-secret", api="responses").build("openai", "")
    items = (spoken("I look. ", id_="msg_0"), {**CALL, "results": [FOUND]}, {**CALL, "id": "fs_0002", "status": "failed"}, SAID)
    whole = codec.decode(200, {}, json.dumps(response(*items)).encode(), now=0.0)
    message = whole.data["choices"][0]["message"]
    assert message["content"] == "I look. \n\nWithin fourteen days. Ask the shöp."
    assert message["annotations"] == [{"type": "file_citation", "file_citation": {name: CITED[name] for name in ("index", "file_id", "filename")}}]
    assert [one["start_index"] for one in message["server_blocks"]] == [8] * 5  # the last one says where the next message begins
    assert whole.usage is not None and (whole.usage.file_searches, whole.usage.searches) == (2, 0)
    raw = events(*items)
    for at in range(1, len(raw)):
        decoder = codec.stream()
        chunks = [*decoder.feed(raw[:at]), *decoder.feed(raw[at:]), *decoder.finish()]
        assert assemble([one.data for one in chunks])["choices"][0]["message"] == message
        assert chunks[-1].usage == whole.usage
    for cut in (0, len(raw) // 2, len(raw) - 2):
        decoder = codec.stream()
        with pytest.raises(AttemptFailed):
            decoder.feed(raw[:cut])
            decoder.finish()


def test_the_catalog_knows_what_a_search_costs() -> None:
    known = vendor("openai")
    assert known is not None and known.prices is not None and known.prices.file_search == 2.5


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("include", [False, True])
async def test_openai_searches_its_own_stores(
    client: openai.AsyncOpenAI, served: Gateway, upstream: Provider, stream: bool, include: bool
) -> None:
    upstream.script = [answers({**CALL, "results": [FOUND] if include else None}, SAID)]
    ask: Any = {"model": MODEL, "input": "Refunds?", "tools": [WEATHER, TOOL], "tool_choice": {"type": "file_search"}, "max_tool_calls": 2}
    ask |= {"include": ["file_search_call.results"]} if include else {}
    if stream:
        async with client.responses.stream(**ask) as told:
            kinds = [event.type.removeprefix("response.") async for event in told]
            answer: Any = await told.get_final_response()
        at = kinds.index("file_search_call.in_progress")
        assert kinds[at - 1 : at + 4] == ["output_item.added", *(f"file_search_call.{one}" for one in ("in_progress", "searching", "completed")), "output_item.done"]
        assert "output_text.annotation.added" in kinds
    else:
        raw = await client.responses.with_raw_response.create(**ask)
        strictly(Response, raw.text, beyond=frozenset({"store"}))
        answer = raw.parse()
        assert float(raw.headers["x-understudy-cost-usd"]) == pytest.approx((100 + 20) / 1e6 + 0.0025)
    (sent,) = [one.body for one in upstream.seen]
    assert sent["tools"][1] == TOOL and sent["tools"][0]["name"] == "weather" and sent["tool_choice"] == {"type": "file_search"}
    assert sent["max_tool_calls"] == 2 and ("file_search_call.results" in sent.get("include", [])) == include
    call, message = answer.output
    assert (call.type, call.id, call.status, call.queries) == ("file_search_call", "fs_0001", "completed", ["refunds"])
    assert ([one.filename for one in call.results] if include else call.results) == (["refunds.pdf"] if include else None)
    (note,) = message.content[0].annotations
    assert (note.type, note.index, note.file_id, note.filename) == ("file_citation", 21, "file-1", "refunds.pdf")
    (record,) = [one for one in served.records() if isinstance(one, CallRecord)]
    assert record.cost_usd == pytest.approx((100 + 20) / 1e6 + 0.0025)


async def test_every_event_is_by_the_sdks_types(served: Gateway, upstream: Provider, http: Any) -> None:
    upstream.script = [answers({**CALL, "results": [FOUND]}, SAID)]
    body = {"model": MODEL, "input": "Refunds?", "tools": [TOOL], "include": ["file_search_call.results"], "stream": True}
    raw = (await http.post("/v1/responses", json=body)).text
    told = [line[6:] for line in raw.splitlines() if line.startswith("data: ")]
    for one in told:
        strictly(ResponseStreamEvent, one, beyond=frozenset({"store"}))
    assert [json.loads(one)["sequence_number"] for one in told] == list(range(len(told)))


async def test_a_conversation_goes_on_without_what_openai_did(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    upstream.script = [answers(CALL, SAID), answers(spoken("Yes."))]
    first = await client.responses.create(model=MODEL, input="Refunds?", tools=[TOOL])
    await client.responses.create(model=MODEL, previous_response_id=first.id, input="Sure?", tools=[TOOL])
    assert [one["role"] for one in upstream.seen[1].body["input"]] == ["user", "assistant", "user"]
    assert upstream.seen[1].body["tools"] == [TOOL]


async def test_who_does_not_search_is_passed_over(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    upstream.script = [answers(CALL, SAID), answers(CALL, SAID)]
    for model in ("falls", "rises"):
        answer = await client.responses.create(model=model, input="Refunds?", tools=[TOOL])
        assert answer.output[0].type == "file_search_call"
    assert [one.path.rpartition("/")[2] for one in upstream.seen] == ["responses", "responses"]


async def test_who_falls_back_is_told_what_openai_said(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    async def fails(line: Any) -> None:
        await line.answer(500, {"error": {"message": "down", "type": "server_error"}})

    upstream.behave = fails
    with pytest.raises(openai.InternalServerError):
        await client.responses.create(model="falls", input="Refunds?", tools=[TOOL])
    assert {one.path.rpartition("/")[2] for one in upstream.seen} == {"responses"}


async def test_what_cannot_be_searched_says_which_and_why(client: openai.AsyncOpenAI, served: Gateway, upstream: Provider) -> None:
    store = (await client.vector_stores.create(name="ours")).id

    async def refused(who: openai.AsyncOpenAI, model: str, *ids: str) -> str:
        with pytest.raises(openai.NotFoundError) as caught:
            await who.responses.create(model=model, input="x", tools=[{**TOOL, "vector_store_ids": list(ids)}])
        assert isinstance(caught.value.body, dict) and caught.value.body["param"] == "vector_store_id"
        return str(caught.value.body["message"])

    for model in ("chat/m", "xai/grok-4.3", "claude/claude-sonnet-4-5"):
        message = await refused(client, model, "vs_theirs")
        assert "'vs_theirs'" in message and "no provider that may answer" in message
    message = await refused(client, MODEL, store, "vs_theirs")
    assert "'vs_theirs'" in message and "cannot be searched by one tool" in message
    async with client_of(served, FOREIGN) as foreign:  # whose a store is, or whether it is there at all, makes no difference
        assert (await refused(foreign, "chat/m", "vs_theirs")).replace("vs_theirs", store) == await refused(foreign, "chat/m", store)
        upstream.script = [answers(CALL, SAID)]
        await foreign.responses.create(model=MODEL, input="x", tools=[{**TOOL, "vector_store_ids": [store]}])
    assert len(upstream.seen) == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("where", ["results", "queries", "text"])
async def test_what_is_found_there_is_judged_before_its_client_has_it(
    tmp_path: Path, upstream: Provider, stream: bool, where: str
) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    guards = "guardrails: {{words: {{type: blocklist, phrases: [project falcon], directions: [output]}}}}\n"
    (folder / "gateway.yaml").write_text((POLICIES + guards).format(url=upstream.url, key=KEY, foreign=FOREIGN))
    found = {**FOUND, "text": "It is project falcon."} if where == "results" else FOUND
    asked = {"queries": ["project falcon"]} if where == "queries" else {}
    said = spoken("It is project falcon.") if where == "text" else SAID
    upstream.behave = answers({**CALL, **asked, "results": [found]}, said)
    ask: Any = {"model": MODEL, "input": "Refunds?", "tools": [TOOL], "include": ["file_search_call.results"]}
    heard: list[str] = []
    async with gateway(tmp_path, folder) as made, client_of(made) as client:
        try:
            if not stream:
                heard.append(str(await client.responses.create(**ask)))
            else:
                async for event in await client.responses.create(stream=True, **ask):
                    heard += [str(event)]  # also what came before the refusal
        except openai.APIError as refused:  # or, once something has left, the stream's last event
            heard.append(str(refused))
    assert "falcon" not in "".join(heard) and "blocked by the guardrail 'words'" in heard[-1]
