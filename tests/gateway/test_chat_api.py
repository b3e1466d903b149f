"""POST /v1/chat/completions through the unmodified openai client, over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import openai
import pytest
from gateway_server import KEY, Gateway, gateway, write_policies
from scripted import CHUNKS, COMPLETION, Line, Provider, chunk, provider, sse
from stopwatch import within

from gateway.storage.records import CallRecord

MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.fixture
async def spare() -> AsyncIterator[Provider]:
    async with provider() as made:
        yield made


@pytest.fixture
async def served(tmp_path: Path, upstream: Provider, spare: Provider) -> AsyncIterator[Gateway]:
    policies = write_policies(tmp_path / "policies", {"first": upstream.url, "spare": spare.url})
    async with gateway(tmp_path, policies) as made:
        yield made


def calls(served: Gateway) -> list[CallRecord]:
    return [record for record in served.records() if isinstance(record, CallRecord)]


async def test_a_whole_answer_with_its_price(
    client: openai.AsyncOpenAI, served: Gateway, upstream: Provider
) -> None:
    raw = await client.chat.completions.with_raw_response.create(
        model="triage", messages=MESSAGES, extra_body={"born_after_us": {"deep": [1]}}
    )
    answer = raw.parse()
    assert answer.choices[0].message.content == "hello"
    assert answer.model == "triage"
    assert answer.usage and answer.usage.prompt_tokens == 1000
    assert raw.headers["x-understudy-call-id"] == answer.id
    assert raw.headers["x-understudy-candidate"] == "first/m"
    assert raw.headers["x-request-id"]
    # 600 fresh tokens at 2.5, 400 cached at 1.25, 100 written at 10 dollars per million
    assert float(raw.headers["x-understudy-cost-usd"]) == pytest.approx(0.003)
    sent = upstream.seen[0].body
    assert sent == {"model": "m", "messages": MESSAGES, "born_after_us": {"deep": [1]}}
    assert upstream.seen[0].headers["authorization"] == "Bearer sk-upstream-secret"
    (call,) = calls(served)
    assert (call.id, call.status, call.cost_usd) == (answer.id, "ok", pytest.approx(0.003))
    assert call.text is not None and json.loads(call.text.answer)["id"] == answer.id


@pytest.mark.parametrize("told", [2**63, 10**30, -(10**30)])
async def test_a_count_that_no_call_can_have_used_is_unknown(
    client: openai.AsyncOpenAI, served: Gateway, upstream: Provider, told: int
) -> None:
    async def boasting(line: Line) -> None:
        await line.answer(body={**COMPLETION, "usage": {"prompt_tokens": told, "completion_tokens": 1, "total_tokens": told}})

    upstream.behave = boasting
    answer = await client.chat.completions.create(model="triage", messages=MESSAGES)
    assert answer.choices[0].message.content
    (call,) = calls(served)
    assert call.status == "ok" and (call.cost_usd is None or call.cost_usd < 1)


@pytest.mark.parametrize("usage", [True, False])
async def test_a_stream(client: openai.AsyncOpenAI, served: Gateway, usage: bool) -> None:
    options = {"stream_options": {"include_usage": True}} if usage else {}
    chunks = [
        c
        async for c in await client.chat.completions.create(
            model="triage", messages=MESSAGES, stream=True, **options
        )
    ]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "hello"
    assert {c.model for c in chunks} == {"triage"}
    assert len({c.id for c in chunks}) == 1
    assert [c for c in chunks if not c.choices] == (chunks[-1:] if usage else [])
    assert bool(chunks[-1].usage) is usage
    (call,) = calls(served)
    assert call.status == "ok"
    assert call.cost_usd == pytest.approx(0.003)
    assert (
        call.text is not None and json.loads(call.text.answer)["choices"][0]["message"]["content"] == "hello"
    )


async def test_stream_frames_are_exactly_openais(http: httpx.AsyncClient) -> None:
    body = {"model": "triage", "messages": MESSAGES, "stream": True}
    answer = await http.post("/v1/chat/completions", json=body)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    frames = answer.text.split("\n\n")
    assert frames[-2:] == ["data: [DONE]", ""]
    parsed = [json.loads(frame.removeprefix("data: ")) for frame in frames[:-2]]
    assert all("usage" not in one and one["choices"] for one in parsed)


async def test_a_dead_provider_falls_back_and_is_left_alone_after_a_while(
    client: openai.AsyncOpenAI, served: Gateway, upstream: Provider, spare: Provider
) -> None:
    async def refuse(line: Line) -> None:
        await line.answer(503, {"error": {"message": "down"}})

    upstream.behave = refuse
    for _ in range(12):
        answer = await client.chat.completions.create(model="triage", messages=MESSAGES)
        assert answer.choices[0].message.content == "hello"
    assert len(upstream.seen) == 5  # the breaker opens after five failures in a row
    assert len(spare.seen) == 12
    assert {call.provider for call in calls(served)} == {"spare"}


async def test_everything_down_is_one_clear_error_and_no_further_retry(
    client: openai.AsyncOpenAI, upstream: Provider, spare: Provider
) -> None:
    async def broken(line: Line) -> None:
        await line.answer(500, b"<html>secret internals</html>", {"content-type": "text/html"})

    upstream.behave = spare.behave = broken
    with pytest.raises(openai.InternalServerError) as caught:
        await client.chat.completions.create(model="triage", messages=MESSAGES)
    assert caught.value.status_code == 502
    assert "secret internals" not in caught.value.message
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert caught.value.request_id


async def test_a_clients_mistake_is_not_retried_and_keeps_the_providers_words(
    client: openai.AsyncOpenAI, upstream: Provider, spare: Provider
) -> None:
    async def refuse(line: Line) -> None:
        error = {
            "message": "too long",
            "type": "invalid_request_error",
            "param": "messages",
            "code": "context_length_exceeded",
        }
        await line.answer(400, {"error": error})

    upstream.behave = refuse
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(model="triage", messages=MESSAGES)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")
    assert len(upstream.seen) == 1 and not spare.seen


async def test_our_own_bad_credentials_are_never_the_clients_fault(
    client: openai.AsyncOpenAI, upstream: Provider, spare: Provider
) -> None:
    async def unauthorised(line: Line) -> None:
        await line.answer(401, {"error": {"message": "Incorrect API key sk-upstream-secret"}})

    upstream.behave = spare.behave = unauthorised
    with pytest.raises(openai.InternalServerError) as caught:
        await client.chat.completions.create(model="triage", messages=MESSAGES)
    assert caught.value.status_code == 502
    assert "sk-upstream-secret" not in str(caught.value)


async def test_a_silent_provider_is_left_for_the_next(
    tmp_path: Path, upstream: Provider, spare: Provider
) -> None:
    upstream.behave = Line.hang
    impatient = "timeouts: {connect: 30, first_byte: 0.5, chunk_gap: 0.5, total: 60}"
    policies = write_policies(tmp_path / "hasty", {"first": upstream.url, "spare": spare.url}, gateway=impatient)
    async with (
        gateway(tmp_path / "hasty", policies) as served,
        openai.AsyncOpenAI(base_url=served.base_url, api_key=KEY, max_retries=0) as client,
    ):
        raw = await client.chat.completions.with_raw_response.create(model="triage", messages=MESSAGES)
        await asyncio.wait_for(upstream.seen[0].peer_left.wait(), 30)
    assert raw.headers["x-understudy-candidate"] == "spare/m"
    assert raw.parse().choices[0].message.content == "hello"


async def test_a_stream_cut_in_the_middle_ends_in_an_error_event(
    client: openai.AsyncOpenAI, served: Gateway, upstream: Provider
) -> None:
    async def cut(line: Line) -> None:
        await line.stream(sse(CHUNKS[:2], done=False), cut=True)

    upstream.behave = cut
    text = ""
    with pytest.raises(openai.APIError):
        async for one in await client.chat.completions.create(model="triage", messages=MESSAGES, stream=True):
            text += one.choices[0].delta.content or ""
    assert text == "hel"
    assert [call.status for call in calls(served)] == ["upstream_cut"]


async def test_a_stream_that_fails_before_its_first_chunk_falls_back(
    client: openai.AsyncOpenAI, upstream: Provider, spare: Provider
) -> None:
    async def empty(line: Line) -> None:
        await line.stream(b": nothing\n\n")

    upstream.behave = empty
    chunks = [
        c async for c in await client.chat.completions.create(model="triage", messages=MESSAGES, stream=True)
    ]
    assert chunks and len(spare.seen) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_frees_the_upstream(
    http: httpx.AsyncClient, served: Gateway, upstream: Provider, stream: bool
) -> None:
    async def slow(line: Line) -> None:
        if stream:
            await line.stream(sse([chunk({"content": "x"})] * 400, done=False), piece=100, pause=0.02)
        else:
            await line.hang()

    upstream.behave = slow
    body = {"model": "triage", "messages": MESSAGES, "stream": stream}
    asking = asyncio.create_task(http.post("/v1/chat/completions", json=body))
    async with asyncio.timeout(60):
        while not upstream.seen:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    asking.cancel()
    async with within(0.5):
        await upstream.seen[0].peer_left.wait()
    async with asyncio.timeout(60):
        while not (found := calls(served)):
            await asyncio.sleep(0.01)
    assert [call.status for call in found] == ["client_closed"]


async def test_many_who_hang_up_do_not_spoil_it_for_the_rest(
    http: httpx.AsyncClient, upstream: Provider
) -> None:
    upstream.behave = Line.hang
    body = {"model": "triage", "messages": MESSAGES}

    async def leave() -> None:
        with pytest.raises(httpx.TimeoutException):
            await http.post("/v1/chat/completions", json=body, timeout=0.05)

    for _ in range(5):
        await asyncio.gather(*(leave() for _ in range(40)))
    upstream.behave = Provider().behave
    answers = await asyncio.gather(*(http.post("/v1/chat/completions", json=body) for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}


BAD = {
    "no json": (b"{nope", 400, None),
    "a list": (b"[]", 400, None),
    "no model": (b'{"messages": [{"role": "user", "content": "x"}]}', 400, "missing_required_parameter"),
    "no messages": (b'{"model": "triage"}', 400, "missing_required_parameter"),
    "empty messages": (b'{"model": "triage", "messages": []}', 400, "empty_array"),
    "bad role": (b'{"model": "triage", "messages": [{"role": "king", "content": "x"}]}', 400, "invalid_value"),
    "wrong type": (b'{"model": "triage", "messages": [{"role": "user", "content": 7}]}', 400, "invalid_type"),
    "too hot": (b'{"model": "triage", "temperature": 3, "messages": [{"role": "user", "content": "x"}]}', 400, "invalid_type"),
    "steering": (b'{"model": "triage", "api_base": "http://169.254.169.254", "messages": [{"role": "user", "content": "x"}]}', 400, "unsupported_parameter"),
    "unknown model": (b'{"model": "gpt-99", "messages": [{"role": "user", "content": "x"}]}', 404, "model_not_found"),
    "somebody's student": (b'{"model": "students/x-v1", "messages": [{"role": "user", "content": "x"}]}', 404, "model_not_found"),
    "options without stream": (b'{"model": "triage", "stream_options": {}, "messages": [{"role": "user", "content": "x"}]}', 400, None),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
async def test_bad_requests_are_told_in_openais_shape(
    http: httpx.AsyncClient, upstream: Provider, name: str
) -> None:
    body, status, code = BAD[name]
    answer = await http.post("/v1/chat/completions", content=body)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert answer.headers["x-request-id"]
    assert not upstream.seen


@pytest.mark.parametrize("key", ["", "Bearer", "Bearer sk-wrong", "Basic eDp5", "Bearer " + "x" * 5000])
async def test_a_wrong_key(http: httpx.AsyncClient, upstream: Provider, key: str) -> None:
    answer = await http.post(
        "/v1/chat/completions", json={"model": "triage", "messages": MESSAGES}, headers={"authorization": key}
    )
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert not upstream.seen


async def test_an_oversized_body_is_refused_before_it_is_read(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/chat/completions", content=b"x" * (16 * 1024 * 1024 + 1))
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"


async def test_unknown_paths_and_methods(http: httpx.AsyncClient) -> None:
    for method, path, status in [
        ("GET", "/v1/nothing", 404),
        ("PUT", "/v1/chat/completions", 405),
        ("GET", "/", 404),
    ]:
        answer = await http.request(method, path)
        assert answer.status_code == status
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


async def test_models_health_and_metrics(client: openai.AsyncOpenAI, http: httpx.AsyncClient) -> None:
    names = [model.id async for model in client.models.list()]
    assert names == ["triage", "first/m", "spare/m"]
    assert (await client.models.retrieve("first/m")).owned_by == "first"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("nobody/nothing")
    assert (await http.get("/healthz")).json() == {"status": "ok"}
    assert (await http.get("/readyz")).status_code == 200
    await client.chat.completions.create(model="triage", messages=MESSAGES)
    text = (await http.get("/metrics")).text
    assert "understudy" in text and "triage" in text
    assert (await http.get("/metrics", headers={"authorization": ""})).status_code == 401


async def test_a_directly_named_candidate(client: openai.AsyncOpenAI, spare: Provider) -> None:
    answer = await client.chat.completions.create(model="spare/m", messages=MESSAGES)
    assert answer.model == "spare/m"
    assert len(spare.seen) == 1
    with pytest.raises(openai.BadRequestError, match="more than one provider"):
        await client.chat.completions.create(model="m", messages=MESSAGES)


async def test_an_unknown_price_is_null_and_not_zero(client: openai.AsyncOpenAI, served: Gateway) -> None:
    raw = await client.chat.completions.with_raw_response.create(model="spare/unpriced", messages=MESSAGES)
    assert "x-understudy-cost-usd" not in raw.headers
    assert calls(served)[0].cost_usd is None


async def test_policies_are_reloaded_and_bad_ones_are_not(
    client: openai.AsyncOpenAI, http: httpx.AsyncClient, served: Gateway
) -> None:
    routing = served.policies / "routing.yaml"
    good = routing.read_text()
    routing.write_text("tasks: [{name: triage, polcy: x}]")
    for _ in range(600):
        if (await http.get("/readyz")).json()["degraded"] == ["policies"]:
            break
        await asyncio.sleep(0.1)
    else:
        pytest.fail("the broken policies were not noticed")
    await client.chat.completions.create(model="triage", messages=MESSAGES)
    routing.write_text(good.replace("triage", "sorting"))
    for _ in range(600):
        if "sorting" in [model.id async for model in client.models.list()]:
            break
        await asyncio.sleep(0.1)
    else:
        pytest.fail("the new policies were not taken up")


async def test_nothing_of_the_answer_is_lost(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    rich = {**COMPLETION, "service_tier": "default", "system_fingerprint": "fp", "from_tomorrow": {"a": 1}}

    async def answer(line: Line) -> None:
        await line.answer(200, rich)

    upstream.behave = answer
    found = (await client.chat.completions.create(model="triage", messages=MESSAGES)).model_dump()
    assert found["from_tomorrow"] == {"a": 1}
    assert found["system_fingerprint"] == "fp"


@pytest.mark.parametrize("stream", [False, True])
async def test_tokens_of_sound_are_told_and_priced(
    tmp_path: Path, upstream: Provider, stream: bool
) -> None:
    usage = {
        "prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 600},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 400},
    }  # fmt: skip

    async def speak(line: Line) -> None:
        if line.seen.body.get("stream"):
            await line.stream(sse([*CHUNKS[:-1], {**CHUNKS[-1], "usage": usage}]))
        else:
            await line.answer(body={**COMPLETION, "usage": usage})

    upstream.behave = speak
    policies = write_policies(tmp_path / "policies", {"first": upstream.url})
    settings = policies / "gateway.yaml"
    settings.write_text(settings.read_text().replace("output: 10.0,", "output: 10.0, audio_input: 40, audio_output: 80,"))
    async with gateway(tmp_path, policies) as served, httpx.AsyncClient(base_url=served.url) as http:
        body = {"model": "triage", "messages": MESSAGES, "modalities": ["text", "audio"], "stream": stream}
        if stream:
            body["stream_options"] = {"include_usage": True}
        answer = await http.post(
            "/v1/chat/completions", json=body, headers={"authorization": f"Bearer {KEY}"}
        )
        assert answer.status_code == 200, answer.text
        shown = answer.json() if not stream else json.loads(answer.text.split("data: ")[-2])
        assert shown["usage"]["prompt_tokens_details"]["audio_tokens"] == 600
        assert shown["usage"]["completion_tokens_details"]["audio_tokens"] == 400
        (call,) = calls(served)
        assert call.cost_usd == pytest.approx((400 * 2.5 + 600 * 40 + 100 * 10 + 400 * 80) / 1e6)
