"""``file_search`` in the Responses API by the unmodified openai client: searched here, whatever provider's model asks."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from gateway_server import ADMIN, KEY, Gateway, gateway
from more_gateway import FOREIGN, client_of, jsonl, policies_at
from openai.types.responses import Response
from scripted import Behaviour, Line, Provider, chunk, sse
from sdk_types import strictly

from gateway.storage.engine import write_engine
from gateway.storage.reading.reader import open_reader
from gateway.storage.records import CallRecord
from gateway.storage.spooling.ingester import Ingester
from gateway.storage.writing.writer import SqlWriter

TEXTS = {
    "refunds.txt": "Refunds are paid within fourteen days. Ask for a refund in the shop where you bought it.",
    "shipping.md": "Parcels leave the warehouse every morning. Shipping to islands takes a week.",
}
USAGE = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
ASKS = {"tool_calls": [{"id": "call_1", "type": "function",
                        "function": {"name": "file_search", "arguments": '{"queries": ["refunds"]}'}}]}  # fmt: skip
WEATHER: Any = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}, "strict": False}


def says(message: dict[str, Any], finish: str = "") -> Behaviour:
    """Answers as it is asked, whole or streamed."""
    finish = finish or ("tool_calls" if "tool_calls" in message else "stop")

    async def behave(line: Line) -> None:
        if not line.seen.body.get("stream"):
            said = {"role": "assistant", "content": None, "refusal": None, **message}
            choice = {"index": 0, "message": said, "logprobs": None, "finish_reason": finish}
            await line.answer(200, {"id": "c", "object": "chat.completion", "created": 1, "model": "m",
                                    "choices": [choice], "usage": USAGE})  # fmt: skip
            return
        text = message.get("content") or ""
        deltas: list[dict[str, Any]] = [{"content": text[at : at + 3]} for at in range(0, len(text), 3)]
        for at, call in enumerate(message.get("tool_calls", ())):
            words = call["function"]["arguments"]
            deltas.append({"tool_calls": [{**call, "index": at, "function": {**call["function"], "arguments": ""}}]})
            deltas += [{"tool_calls": [{"index": at, "function": {"arguments": words[one : one + 4]}}]}
                       for one in range(0, len(words), 4)]  # fmt: skip
        chunks = [chunk({"role": "assistant", "content": ""}), *(chunk(one) for one in deltas), chunk({}, finish)]
        await line.stream(sse([*chunks, {**chunk({}), "choices": [], "usage": USAGE}]))

    return behave


async def filled(client: openai.AsyncOpenAI, names: tuple[str, ...] = tuple(TEXTS)) -> str:
    store = await client.vector_stores.create(name="help")
    for name in names:
        file = await client.files.create(file=(name, TEXTS[name].encode()), purpose="assistants")
        made = await client.vector_stores.files.create_and_poll(
            file.id, vector_store_id=store.id, poll_interval_ms=20, attributes={"name": name}
        )
        assert made.status == "completed"
    return store.id


def tool(*stores: str, **more: Any) -> Any:
    return {"type": "file_search", "vector_store_ids": list(stores), **more}


def calls(served: Gateway) -> list[CallRecord]:
    return [one for one in served.records() if isinstance(one, CallRecord)]


async def test_a_whole_response(client: openai.AsyncOpenAI, served: Gateway, upstream: Provider) -> None:
    store = await filled(client)
    upstream.script = [says(ASKS), says({"content": "Within fourteen days.【1】 Ask the shop.【7】"})]
    raw = await client.responses.with_raw_response.create(
        model="triage", input="How long do refunds take?", tools=[tool(store)], include=["file_search_call.results"]
    )
    answer = raw.parse()
    strictly(Response, raw.text, beyond=frozenset({"store"}))
    call, message = answer.output
    assert call.type == "file_search_call" and call.status == "completed" and call.queries == ["refunds"]
    assert call.results and call.results[0].filename == "refunds.txt" and call.results[0].text == TEXTS["refunds.txt"]
    assert call.results[0].attributes == {"name": "refunds.txt"} and 0 < (call.results[0].score or 0) <= 1
    assert message.type == "message" and message.content[0].type == "output_text"
    text = message.content[0]
    assert text.text == "Within fourteen days. Ask the shop.【7】"  # nothing has the mark 7
    (note,) = text.annotations
    assert note.type == "file_citation" and (note.filename, note.index) == ("refunds.txt", 21)
    assert note.file_id == call.results[0].file_id
    # each turn is a call of its own: limited, priced and on the record; the client sees their sum
    assert answer.usage and (answer.usage.input_tokens, answer.usage.output_tokens) == (200, 20)
    first, second = calls(served)
    assert first.id == answer.id != second.id and first.request_id == second.request_id
    assert first.text is not None and second.text is not None
    assert float(raw.headers["x-understudy-cost-usd"]) == pytest.approx((first.cost_usd or 0) + (second.cost_usd or 0))
    asked, told = [one.body for one in upstream.seen]
    assert [one["function"]["name"] for one in asked["tools"]] == ["file_search"]
    assert [one["role"] for one in told["messages"]] == ["user", "assistant", "tool"]
    assert told["messages"][1]["tool_calls"] == ASKS["tool_calls"]
    result = told["messages"][2]
    assert result["tool_call_id"] == "call_1" and result["content"].startswith("【1】 refunds.txt\nRefunds are paid")


async def test_a_stream_tells_of_the_search_in_openais_order(
    client: openai.AsyncOpenAI, http: httpx.AsyncClient, upstream: Provider
) -> None:
    store = await filled(client)
    upstream.script = [says({"content": "Let me look.", **ASKS}), says({"content": "In fourteen days.【1】"})]
    kinds, text, final = [], "", None
    async with client.responses.stream(model="triage", input="Refunds?", tools=[tool(store)]) as stream:
        async for event in stream:
            kinds.append(event.type.removeprefix("response."))
            if event.type == "response.output_text.delta":
                text += event.delta
        final = await stream.get_final_response()
    turn = ["output_item.added", "content_part.added", "output_text.delta", "output_text.done", "content_part.done",
            "output_item.done"]  # fmt: skip
    one_each = [kind for at, kind in enumerate(kinds) if kind != "output_text.delta" or kinds[at - 1] != kind]
    assert one_each == [
        "created", "in_progress", *turn,
        "output_item.added", "file_search_call.in_progress", "file_search_call.searching",
        "file_search_call.completed", "output_item.done",
        *turn[:3], "output_text.annotation.added", *turn[3:], "completed",
    ]  # fmt: skip
    assert text == "Let me look.In fourteen days."
    assert [one.type for one in final.output] == ["message", "file_search_call", "message"]
    assert final.output[1].type == "file_search_call" and final.output[1].results is None
    assert final.usage and final.usage.input_tokens == 200
    upstream.script = [says(ASKS), says({"content": "In fourteen days."})]
    body = {"model": "triage", "input": "Refunds?", "tools": [tool(store)], "stream": True}
    raw = (await http.post("/v1/responses", json=body)).text
    events = [json.loads(line[6:]) for line in raw.splitlines() if line.startswith("data: ")]
    assert [one["sequence_number"] for one in events] == list(range(len(events)))
    steps = [one for one in events if "file_search_call" in one["type"]]
    assert len({(one["item_id"], one["output_index"]) for one in steps}) == 1


def counted(page: str, metric: str) -> list[float]:
    return [float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith(metric)]


def ended(page: str) -> dict[str, float]:
    """How many requests ended with each status."""
    lines = [line for line in page.splitlines() if line.startswith("understudy_calls_total")]
    counts = {line.partition('status="')[2].partition('"')[0]: float(line.rpartition(" ")[2]) for line in lines}
    return {status: count for status, count in counts.items() if count}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_of_several_turns_is_one_request_at_the_sum_of_their_costs(
    client: openai.AsyncOpenAI, served: Gateway, http: httpx.AsyncClient, upstream: Provider, stream: bool
) -> None:
    store = await filled(client)
    upstream.script = [says(ASKS), says({"content": "Fourteen days.【1】"}), says({"content": "Hello."})]
    answer: Any = await client.responses.create(model="triage", input="x", tools=[tool(store)], stream=stream)
    if stream:
        assert [one.type async for one in answer][-1] == "response.completed"
    await client.responses.create(model="triage", input="hello")
    writer = SqlWriter(write_engine(served.home.database_url))
    try:
        Ingester(served.home, writer, threading.Event()).drain()
    finally:
        writer.close()
    rows = calls(served)
    assert (await http.post("/admin/login", json={"key": ADMIN})).status_code == 200
    for group in ("key", "task", "end_user"):
        (line,) = (await http.get("/admin/api/costs", params={"group_by": group})).json()["lines"]
        assert (line["calls"], line["errors"], line["prompt_tokens"]) == (2, 0, 300) and len(rows) == 3
        assert line["cost_usd"] == pytest.approx(sum(one.cost_usd or 0.0 for one in rows))
    assert rows[0].request_id == rows[1].request_id != rows[2].request_id
    page = (await http.get(f"{served.url}/metrics")).text
    assert ended(page) == {"ok": 2.0} and sum(counted(page, "understudy_latency_seconds_count")) == 3
    assert counted(page, "understudy_tokens_total{direction=\"input\"") == [300.0]
    assert sum(counted(page, "understudy_cost_usd_total")) == pytest.approx(sum(one.cost_usd or 0.0 for one in rows))
    reader = open_reader(served.home)
    try:
        sums = reader.ledger(since=0.0, bucket_s=86_400)
    finally:
        reader.close()
    assert (sum(one.calls for one in sums), sum(one.prompt_tokens for one in sums)) == (2, 300)
    assert sum(one.cost_usd for one in sums) == pytest.approx(sum(one.cost_usd or 0.0 for one in rows))
    if not stream:
        assert rows[0].id == answer.id and rows[1].id.startswith("turn_")


async def test_filters_ranking_number_and_several_stores(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    first, second = await filled(client, ("refunds.txt",)), await filled(client, ("shipping.md",))
    both = json.dumps({"queries": ["refund in the shop", "shipping to islands"]})
    asks = {"tool_calls": [{"id": "c", "type": "function", "function": {"name": "file_search", "arguments": both}}]}

    async def names(**more: Any) -> list[str | None]:
        upstream.script = [says(asks), says({"content": "ok"})]
        answer = await client.responses.create(
            model="triage", input="x", tools=[tool(first, second, **more)], include=["file_search_call.results"]
        )
        (call, _) = answer.output
        assert call.type == "file_search_call" and call.results is not None
        return [one.filename for one in call.results]

    assert sorted(map(str, await names())) == ["refunds.txt", "shipping.md"]
    assert len(await names(max_num_results=1)) == 1
    assert await names(filters={"type": "eq", "key": "name", "value": "shipping.md"}) == ["shipping.md"]
    assert await names(ranking_options={"score_threshold": 1.0}) == []


async def test_what_was_found_is_known_when_the_conversation_goes_on(
    client: openai.AsyncOpenAI, upstream: Provider
) -> None:
    store = await filled(client)
    talk = await client.conversations.create()
    for goes_on in ("previous_response_id", "conversation"):
        upstream.script = [says(ASKS), says({"content": "Fourteen days.【1】"}), says({"content": "Yes.【1】"})]
        more: Any = {"conversation": talk.id} if goes_on == "conversation" else {}
        first = await client.responses.create(model="triage", input="Refunds?", tools=[tool(store)], **more)
        more = more or {"previous_response_id": first.id}
        second = await client.responses.create(model="triage", input="Sure?", tools=[tool(store)], **more)
        said = upstream.seen[-1].body["messages"]
        assert [one["role"] for one in said] == ["user", "assistant", "tool", "assistant", "user"]
        assert said[2]["content"].startswith("【1】 refunds.txt")
        (message,) = second.output
        assert message.type == "message" and message.content[0].type == "output_text"
        assert message.content[0].annotations[0].type == "file_citation"
    plain = await client.responses.retrieve(first.id)
    full = await client.responses.retrieve(first.id, include=["file_search_call.results"])
    assert plain.output[0].type == full.output[0].type == "file_search_call"
    assert plain.output[0].results is None and full.output[0].results
    items = [one async for one in client.conversations.items.list(talk.id, order="asc")]
    assert items[1].type == "file_search_call" and items[1].results is None
    again = await client.conversations.items.retrieve(
        items[1].id or "", conversation_id=talk.id, include=["file_search_call.results"]
    )
    assert again.type == "file_search_call" and again.results


async def test_a_client_that_keeps_the_conversation_itself(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    store = await filled(client)
    upstream.script = [says(ASKS), says({"content": "Fourteen days."}), says({"content": "Yes."})]
    first = await client.responses.create(model="triage", input="Refunds?", tools=[tool(store)], store=False)
    kept: Any = [{"role": "user", "content": "Refunds?"}, *(one.model_dump() for one in first.output)]
    await client.responses.create(model="triage", input=[*kept, {"role": "user", "content": "Sure?"}], store=False)
    said = upstream.seen[-1].body["messages"]
    assert [one["role"] for one in said] == ["user", "assistant", "tool", "assistant", "user"]
    assert "no longer part of this conversation" in said[2]["content"]


async def test_functions_of_the_client_beside_it(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    store = await filled(client)
    weather = {"id": "call_2", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    for streamed in (False, True):
        upstream.script = [says({"tool_calls": [weather, *ASKS["tool_calls"]]}), says({"content": "Rain.【1】"})]
        asked: Any = {"model": "triage", "input": "x", "tools": [tool(store), WEATHER]}
        if streamed:
            async with client.responses.stream(**asked) as stream:
                answer: Any = await stream.get_final_response()
        else:
            answer = await client.responses.create(**asked)
        assert sorted(one.type for one in answer.output) == ["file_search_call", "function_call"]
        last = await client.responses.create(
            model="triage", previous_response_id=answer.id, tools=asked["tools"],
            input=[{"type": "function_call_output", "call_id": "call_2", "output": "rain"}],
        )  # fmt: skip
        said = upstream.seen[-1].body["messages"]
        assert [one["role"] for one in said] == ["user", "assistant", "tool", "assistant", "tool"]
        assert said[2]["content"].startswith("【1】 refunds.txt") and said[4]["tool_call_id"] == "call_2"
        assert last.output_text == "Rain."


async def test_turns_and_searches_are_bounded(tmp_path: Path, upstream: Provider) -> None:
    folder = policies_at(tmp_path, upstream)
    with (folder / "gateway.yaml").open("a") as main:
        main.write("vector_stores: {turns: 2}\n")
    async with gateway(tmp_path, folder) as served, client_of(served) as client:
        store, asks = await filled(client), says(ASKS)
        upstream.behave = asks  # a model that never has enough
        answer = await client.responses.create(
            model="triage", input="x", tools=[tool(store)], tool_choice={"type": "file_search"}
        )
        assert [one.type for one in answer.output] == ["file_search_call"] * 2
        forced = {"type": "function", "function": {"name": "file_search"}}
        assert [one.body["tool_choice"] for one in upstream.seen] == [forced, "auto", "none"]
        upstream.seen.clear()
        upstream.script = [says({"tool_calls": ASKS["tool_calls"] * 2}), says({"content": "ok"})]
        answer = await client.responses.create(model="triage", input="x", tools=[tool(store)], max_tool_calls=1)
        assert [one.type for one in answer.output] == ["file_search_call", "message"]
        _, *results = upstream.seen[-1].body["messages"][1:]
        assert len({one["tool_call_id"] for one in results}) == 2 and "Not searched" in results[1]["content"]
        assert upstream.seen[-1].body["tool_choice"] == "none"


async def test_a_question_that_is_none_is_told_to_the_model(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    store = await filled(client)
    odd = {"id": "c", "type": "function", "function": {"name": "file_search", "arguments": "{}"}}
    upstream.script = [says({"tool_calls": [odd]}), says({"content": "Sorry."})]
    answer = await client.responses.create(model="triage", input="x", tools=[tool(store)])
    assert answer.output[0].type == "file_search_call" and answer.output[0].status == "failed"
    assert "queries" in upstream.seen[-1].body["messages"][-1]["content"] and answer.output_text == "Sorry."


async def test_what_cannot_be_is_refused_by_name(client: openai.AsyncOpenAI, served: Gateway, upstream: Provider) -> None:
    store = await filled(client)

    async def refused(who: openai.AsyncOpenAI, *tools: Any, **more: Any) -> tuple[int, str]:
        with pytest.raises(openai.APIStatusError) as caught:
            await who.responses.create(model="triage", input="x", tools=list(tools), **more)
        assert isinstance(caught.value.body, dict)
        return caught.value.status_code, str(caught.value.body["param"])

    assert await refused(client, tool("vs_" + "0" * 32)) == (404, "vector_store_id")
    assert await refused(client, tool("vs_of_openai")) == (404, "vector_store_id")
    assert await refused(client, tool()) == (400, "tools[0].vector_store_ids")
    assert await refused(client, WEATHER, tool(store, max_num_results=51)) == (400, "tools[1].max_num_results")
    assert await refused(client, tool(store, filters={"type": "odd", "key": "a", "value": 1})) == (400, "tools[0].filters.type")
    assert await refused(client, tool(store), tool(store)) == (400, "tools[1]")
    assert await refused(client, tool(store), {**WEATHER, "name": "file_search"}) == (400, "tools[1].name")
    assert await refused(client, WEATHER, tool_choice={"type": "file_search"}) == (400, "tool_choice")
    async with client_of(served, FOREIGN) as foreign:
        assert await refused(foreign, tool(store)) == (404, "vector_store_id")
    assert not upstream.seen


async def test_a_turn_that_fails_is_an_error_and_ends_a_stream(
    client: openai.AsyncOpenAI, upstream: Provider, served: Gateway, http: httpx.AsyncClient
) -> None:
    store = await filled(client)

    async def fails(line: Line) -> None:
        await line.answer(400, {"error": {"message": "no more", "type": "invalid_request_error"}})

    upstream.script = [says(ASKS), fails]
    with pytest.raises(openai.BadRequestError, match="no more"):
        await client.responses.create(model="triage", input="x", tools=[tool(store)])
    upstream.script = [says(ASKS), fails]
    kinds = [one.type async for one in await client.responses.create(model="triage", input="x", tools=[tool(store)], stream=True)]
    assert kinds[-1] == "response.failed" and "response.file_search_call.completed" in kinds
    assert [one.status for one in calls(served)] == ["ok", "error", "ok", "error"]
    page = (await http.get(f"{served.url}/metrics")).text
    assert ended(page) == {"error": 2.0}  # one for each request, as its client saw it


async def test_a_search_that_fails_between_turns_counts_as_the_clients_error(
    client: openai.AsyncOpenAI, upstream: Provider, served: Gateway, http: httpx.AsyncClient
) -> None:
    store = await filled(client)

    async def loses_the_store(line: Line) -> None:
        await client.vector_stores.delete(store)
        await says(ASKS)(line)

    upstream.script = [loses_the_store]
    with pytest.raises(openai.NotFoundError):
        await client.responses.create(model="triage", input="x", tools=[tool(store)])
    assert ended((await http.get(f"{served.url}/metrics")).text) == {"error": 1.0}
    paid, failed = calls(served)  # the ledger has the turn that could not be asked, and why
    assert (paid.status, failed.status, failed.http_status) == ("ok", "error", 404)
    assert failed.error_code and failed.request_id == paid.request_id and failed.cost_usd in (0, None)
    store = await filled(client)
    upstream.script = [loses_the_store]
    kinds = [one.type async for one in await client.responses.create(model="triage", input="x", tools=[tool(store)], stream=True)]
    assert kinds[-1] == "response.failed"
    assert [one.status for one in calls(served)] == ["ok", "error"] * 2


async def test_in_the_background(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    store = await filled(client)
    upstream.script = [says(ASKS), says({"content": "Fourteen days.【1】"})]
    made = await client.responses.create(model="triage", input="x", tools=[tool(store)], background=True)
    while made.status in ("queued", "in_progress"):
        await asyncio.sleep(0.02)
        made = await client.responses.retrieve(made.id, include=["file_search_call.results"])
    assert made.status == "completed" and made.output_text == "Fourteen days."
    assert [one.type for one in made.output] == ["file_search_call", "message"]


async def test_a_line_of_a_batch_searches(client: openai.AsyncOpenAI, upstream: Provider, served: Gateway) -> None:
    store = await filled(client)
    upstream.script = [says(ASKS), says({"content": "Fourteen days.【1】"})]
    body = {"model": "triage", "input": "Refunds?", "tools": [tool(store)]}
    line = {"custom_id": "1", "method": "POST", "url": "/v1/responses", "body": body}
    file = await client.files.create(file=("b.jsonl", jsonl([line])), purpose="batch")
    made = await client.batches.create(input_file_id=file.id, endpoint="/v1/responses", completion_window="24h")
    while (made := await client.batches.retrieve(made.id)).status not in ("completed", "failed"):
        await asyncio.sleep(0.02)
    said = json.loads((await client.files.content(made.output_file_id or "")).content)
    assert [one["type"] for one in said["response"]["body"]["output"]] == ["file_search_call", "message"]
    assert [one.batch for one in calls(served)] == [made.id] * 2


async def test_a_client_that_leaves_between_turns_stops_them(
    client: openai.AsyncOpenAI, upstream: Provider, served: Gateway, http: httpx.AsyncClient
) -> None:
    store = await filled(client)

    async def hangs(line: Line) -> None:
        await line.hang()

    upstream.script = [says(ASKS), hangs]
    stream = await client.responses.create(model="triage", input="x", tools=[tool(store)], stream=True)
    async for event in stream:
        if event.type == "response.file_search_call.completed":
            break
    while len(upstream.seen) < 2:
        await asyncio.sleep(0.02)
    await stream.close()
    await asyncio.wait_for(upstream.seen[1].peer_left.wait(), 30)
    while len(calls(served)) < 2:
        await asyncio.sleep(0.02)
    assert [one.status for one in calls(served)] == ["ok", "client_closed"]
    assert ended((await http.get(f"{served.url}/metrics")).text) == {"client_closed": 1.0}


GUARDED = """
providers:
  claude: {{type: anthropic, base_url: "{url}", api_key: sk-upstream-secret}}
keys: [{{name: tests, key: {key}, project: default, requests_per_minute: 3}}]
timeouts: {{connect: 30, first_byte: 30, chunk_gap: 30, total: 60}}
guardrails:
  found: {{type: blocklist, phrases: [forbidden fruit], directions: [context]}}
"""


@pytest.fixture
async def guarded(tmp_path: Path, upstream: Provider) -> AsyncIterator[Gateway]:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "gateway.yaml").write_text(GUARDED.format(url=upstream.url, key=KEY))
    task = "tasks:\n  - {name: triage, candidates: [{provider: claude, model: claude-sonnet-4-5}]}\n"
    (folder / "routing.yaml").write_text(task)
    async with gateway(tmp_path, folder) as made:
        yield made


def claude(*blocks: dict[str, Any], stop: str = "end_turn") -> Behaviour:
    async def behave(line: Line) -> None:
        await line.answer(200, {
            "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "content": list(blocks),
            "stop_reason": stop, "stop_sequence": None, "usage": {"input_tokens": 10, "output_tokens": 5},
        })  # fmt: skip

    return behave


async def test_another_dialect_with_signed_thoughts_limits_and_guardrails(guarded: Gateway, upstream: Provider) -> None:
    thinks = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    uses = {"type": "tool_use", "id": "toolu_1", "name": "file_search", "input": {"queries": ["refunds"]}}
    async with client_of(guarded) as client:
        store = await filled(client)
        upstream.script = [claude(thinks, uses, stop="tool_use"), claude({"type": "text", "text": "Soon.【1】"})]
        answer = await client.responses.create(
            model="triage", input="x", tools=[tool(store)], reasoning={"effort": "low"}
        )
        assert [one.type for one in answer.output] == ["reasoning", "file_search_call", "message"]
        _, said, result = upstream.seen[-1].body["messages"]
        assert said["content"] == [thinks, uses]
        assert result["content"][0]["type"] == "tool_result" and result["content"][0]["tool_use_id"] == "toolu_1"
        # a request counts once, however many turns it takes: of the three of this minute two are left
        upstream.script = [claude(thinks, uses, stop="tool_use"), claude({"type": "text", "text": "Soon."})]
        raw = await client.responses.with_raw_response.create(model="triage", input="x", tools=[tool(store)])
        assert raw.headers["x-ratelimit-remaining-requests"] == "1"
        upstream.script = [claude({"type": "text", "text": "Hello."})]
        await client.responses.create(model="triage", input="x")
        with pytest.raises(openai.RateLimitError):
            await client.responses.create(model="triage", input="x", tools=[tool(store)])


async def test_guardrails_read_what_was_found_as_retrieved_text(guarded: Gateway, upstream: Provider) -> None:
    uses = {"type": "tool_use", "id": "toolu_1", "name": "file_search", "input": {"queries": ["fruit"]}}
    async with client_of(guarded) as client:
        store = await client.vector_stores.create()
        file = await client.files.create(file=("a.txt", b"A forbidden fruit."), purpose="assistants")
        await client.vector_stores.files.create_and_poll(file.id, vector_store_id=store.id, poll_interval_ms=20)
        upstream.script = [claude(uses, stop="tool_use")]
        with pytest.raises(openai.BadRequestError, match="found"):
            await client.responses.create(model="triage", input="fruit?", tools=[tool(store.id)])
        assert len(upstream.seen) == 1


async def test_what_ran_at_the_provider_goes_back_and_is_demanded_once(guarded: Gateway, upstream: Provider) -> None:
    uses = {"type": "tool_use", "id": "toolu_1", "name": "file_search", "input": {"queries": ["refunds"]}}
    asked = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "refunds"}}
    came = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
    async with client_of(guarded) as client:
        store = await filled(client)
        upstream.script = [claude(asked, came, uses, stop="tool_use"), claude({"type": "text", "text": "Soon."})]
        answer = await client.responses.create(
            model="triage", input="x", tools=[tool(store), {"type": "web_search"}], tool_choice={"type": "web_search"}
        )
    assert [one.type for one in answer.output] == ["web_search_call", "file_search_call", "message"]
    first, second = [one.body for one in upstream.seen]
    assert second["messages"][1]["content"] == [asked, came, uses]
    assert first["tool_choice"]["name"] == "web_search" and second.get("tool_choice") in (None, {"type": "auto"})
