"""Row 25: the same request again under its Idempotency-Key is asked once and answered in the same bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_server import ADMIN, KEY, gateway, write_policies
from rough import Start
from scripted import CHUNKS, Line, Provider, sse, usual

from gateway.caching.repeats import HEADER, Asking, Repeats, Told
from gateway.config import Idempotency
from gateway.context import Principal
from gateway.errors import BadRequest, Unauthenticated, Unprocessable
from gateway.storage.answers import MemoryAnswers

TURNS = [{"role": "user", "content": "hi"}]
BODY: dict[str, Any] = {"model": "triage", "messages": TURNS}
CHAT = "/v1/chat/completions"
REPEATED = "idempotent-replayed"


def named(key: str) -> dict[str, str]:
    return {HEADER: key}


class Held:
    """A provider that answers when it is told to."""

    def __init__(self, upstream: Provider) -> None:
        self.go = asyncio.Event()
        self.asked = asyncio.Event()
        upstream.behave = self._answer

    async def _answer(self, line: Line) -> None:
        self.asked.set()
        await self.go.wait()
        await usual(line)


@pytest.mark.parametrize("stream", [False, True])
async def test_row_25_fifty_at_a_time_are_one_call(start: Start, first: Provider, stream: bool) -> None:
    held = Held(first)
    async with start({"first": first.url}) as (served, client):
        asking = [
            asyncio.create_task(client.post(CHAT, json={**BODY, "stream": stream}, headers=named("order-1")))
            for _ in range(50)
        ]
        await held.asked.wait()
        held.go.set()
        answers = await asyncio.gather(*asking)
        assert {one.status_code for one in answers} == {200}, answers[0].text
        assert len(first.seen) == 1
        assert len({one.content for one in answers}) == 1
        assert sorted(one.headers.get(REPEATED, "") for one in answers) == ["", *["true"] * 49]
        records = [one for one in served.records() if getattr(one, "model_asked", "") == "triage"]
        assert len(records) == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "body"),
    [(CHAT, BODY), ("/v1/responses", {"model": "triage", "input": "hi"}),
     ("/v1/messages", {"model": "triage", "messages": TURNS, "max_tokens": 50}),
     ("/v1/completions", {"model": "triage", "prompt": "hi"}),
     ("/v1beta/models/triage:generateContent", {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]})],
)  # fmt: skip
async def test_row_25_every_api_says_the_same_bytes_again(
    start: Start, first: Provider, path: str, body: dict[str, Any], stream: bool
) -> None:
    async with start({"first": first.url}) as (_, client):
        sent = body
        if "contents" not in body:
            sent = {**body, "stream": stream}
        elif stream:
            path = path.replace(":generate", ":streamGenerate") + "?alt=sse"
        one, two = [await client.post(path, json=sent, headers=named("k")) for _ in range(2)]
        assert (one.status_code, two.status_code) == (200, 200), one.text
        assert "hel" in one.text
        assert one.content == two.content
        assert (one.headers.get(REPEATED), two.headers.get(REPEATED)) == (None, "true")
        assert one.headers["content-type"] == two.headers["content-type"]
        assert len(first.seen) == 1
        other = await client.post(path, json=sent, headers=named("another"))
        assert other.headers.get(REPEATED) is None
        assert len(first.seen) == 2
        await client.post(path, json=sent)
        assert len(first.seen) == 3


async def test_row_25_embeddings(start: Start, first: Provider) -> None:
    async def vectors(line: Line) -> None:
        data = [{"object": "embedding", "index": 0, "embedding": [0.5, float(len(first.seen))]}]
        await line.answer(body={"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 1}})

    first.behave = vectors
    async with start({"first": first.url}) as (_, client):
        body = {"model": "first/m", "input": "x"}
        one, two = [await client.post("/v1/embeddings", json=body, headers=named("k")) for _ in range(2)]
        assert one.status_code == 200, one.text
        assert one.content == two.content
        assert two.headers[REPEATED] == "true"
        assert (await client.post("/v1/embeddings", json=body)).content != one.content
        assert len(first.seen) == 2


async def test_row_25_another_request_under_the_same_key(start: Start, first: Provider) -> None:
    async with start({"first": first.url}) as (_, client):
        await client.post(CHAT, json=BODY, headers=named("k"))
        for path, body in ((CHAT, {**BODY, "seed": 1}), ("/v1/messages", {**BODY, "max_tokens": 5})):
            answer = await client.post(path, json=body, headers=named("k"))
            assert answer.status_code == 422
            told = answer.json()["error"]
            if path == CHAT:
                assert set(told) == {"message", "type", "param", "code"}
                assert (told["type"], told["code"]) == ("invalid_request_error", "idempotency_key_reused")
            assert "Use a new key" in told["message"]
        assert (await client.post(CHAT, json=BODY, headers=named("k"))).headers[REPEATED] == "true"
        assert len(first.seen) == 1
        page = (await client.get("/metrics", headers={"authorization": f"Bearer {ADMIN}"})).text
        for outcome, count in (("asked", 1), ("repeated", 1), ("changed", 2), ("busy", 0)):
            assert f'understudy_idempotent_requests_total{{outcome="{outcome}"}} {count}.0' in page


async def test_row_25_keys_of_others_are_others(tmp_path: Path, first: Provider) -> None:
    policies = write_policies(tmp_path / "p", {"first": first.url})
    settings = policies / "gateway.yaml"
    colleague = "{name: colleague, key: a-key-for-the-tests-0002, project: default}"
    stranger = "{name: stranger, key: a-key-for-the-tests-0003, project: elsewhere}"
    settings.write_text(settings.read_text().replace("project: default}]", f"project: default}}, {colleague}, {stranger}]"))
    async with gateway(tmp_path, policies) as served, httpx.AsyncClient(base_url=served.url) as client:
        for number, key in enumerate((KEY, "a-key-for-the-tests-0002", "a-key-for-the-tests-0003")):
            for repeated in (None, "true"):
                headers = {"authorization": f"Bearer {key}", **named("k")}
                body = {"model": "first/m", "messages": [{"role": "user", "content": f"I am {number}"}]}
                answer = await client.post(CHAT, json=body, headers=headers)
                assert (answer.status_code, answer.headers.get(REPEATED)) == (200, repeated), answer.text
        refused = await client.post(CHAT, json=BODY, headers={"authorization": "Bearer junk", **named("k")})
        assert refused.status_code == 401
        assert len(first.seen) == 3


async def test_row_25_errors_and_cut_streams_are_not_remembered(start: Start, first: Provider) -> None:
    async def failing(line: Line) -> None:
        await line.answer(500, {"error": {"message": "no", "type": "server_error"}})

    async def throttling(line: Line) -> None:
        await line.answer(429, {"error": {"message": "slower", "type": "requests"}}, {"retry-after": "99"})

    async def cut(line: Line) -> None:
        await line.stream(sse(CHUNKS[:2], done=False), cut=True)

    async with start({"first": first.url}) as (_, client):
        for behave, status, stream in ((failing, 502, False), (throttling, 429, False), (cut, 200, True)):
            first.behave, key = behave, f"{status}"
            body = {**BODY, "stream": stream}
            bad = await client.post(CHAT, json=body, headers=named(key))
            assert bad.status_code == status, bad.text
            assert "error" in bad.text
            first.behave = usual
            good = await client.post(CHAT, json=body, headers=named(key))
            assert (good.status_code, good.headers.get(REPEATED)) == (200, None), good.text
            assert "error" not in good.text
            again = await client.post(CHAT, json=body, headers=named(key))
            assert (again.content, again.headers[REPEATED]) == (good.content, "true")


async def test_row_25_who_waits_too_long_is_told_to_come_again(start: Start, first: Provider) -> None:
    held = Held(first)
    async with start({"first": first.url}, settings="idempotency: {wait_s: 0.05}") as (_, client):
        leader = asyncio.create_task(client.post(CHAT, json=BODY, headers=named("k")))
        await held.asked.wait()
        busy = await client.post(CHAT, json=BODY, headers=named("k"))
        assert busy.status_code == 409
        assert busy.json()["error"]["code"] == "idempotency_key_in_use"
        assert busy.headers["retry-after"] == "1"
        held.go.set()
        assert (await leader).status_code == 200
        assert (await client.post(CHAT, json=BODY, headers=named("k"))).content == (await leader).content
        assert len(first.seen) == 1


async def test_row_25_a_client_that_leaves_hands_over(start: Start, first: Provider) -> None:
    held = Held(first)
    async with start({"first": first.url}) as (_, client):
        leader = asyncio.create_task(client.post(CHAT, json=BODY, headers=named("k")))
        await held.asked.wait()
        followers = [asyncio.create_task(client.post(CHAT, json=BODY, headers=named("k"))) for _ in range(5)]
        await asyncio.sleep(0.1)
        leader.cancel()
        await first.seen[0].peer_left.wait()
        held.go.set()
        answers = await asyncio.gather(*followers)
        assert {one.status_code for one in answers} == {200}
        assert len({one.content for one in answers}) == 1
        assert len(first.seen) == 2


async def test_row_25_policies_may_turn_it_off(start: Start, first: Provider) -> None:
    async with start({"first": first.url}, settings="idempotency: {enabled: false}") as (_, client):
        for _ in range(2):
            assert (await client.post(CHAT, json=BODY, headers=named("k"))).headers.get(REPEATED) is None
        assert len(first.seen) == 2


class Clock:
    time = 0.0

    def __call__(self) -> float:
        return self.time


def who(headers: Mapping[str, str]) -> Principal:
    if not headers.get("authorization"):
        raise Unauthenticated("nobody")
    return Principal("key", "project")


async def test_what_is_kept_is_bounded_in_time_bytes_and_number() -> None:
    store, clock = MemoryAnswers(), Clock()
    repeats, rules = Repeats(store, who, clock), Idempotency(max_bytes=20_000)

    async def ask(key: str, size: int) -> bool:
        """Whether it was answered before."""
        headers = {"authorization": "x", HEADER: key}
        found = await repeats.begin(headers, ("chat", b"{}"), rules)
        if isinstance(found, Asking):
            found.keep({"x-ratelimit-remaining-requests": "7", "a": "b"}, b"x" * size)
            found.land()
            return False
        assert isinstance(found, Told)
        assert (found.headers, found.body) == ({"a": "b"}, b"x" * size)
        return True

    assert [await ask("k", 100), await ask("k", 100)] == [False, True]
    clock.time = 86_399.0
    assert await ask("k", 100)
    clock.time = 86_400.0
    assert not await ask("k", 100)
    for number in range(1000):
        await ask(f"k{number}", 0)
        assert store.bytes <= 20_000
    assert 10 < len(store) < 60
    assert [await ask("large", 30_000), await ask("large", 30_000)] == [False, False]


async def test_odd_keys() -> None:
    repeats, rules = Repeats(MemoryAnswers(), who), Idempotency()
    for key in ("", "x" * 256, "a\x00b", "a\tb"):
        with pytest.raises(BadRequest, match="1 to 255"):
            await repeats.begin({"authorization": "x", HEADER: key}, ("chat", b"{}"), rules)
    assert await repeats.begin({HEADER: "k"}, ("chat", b"{}"), rules) is None
    made = await repeats.begin({"authorization": "x", HEADER: "k"}, ("chat", b"{}"), rules)
    assert isinstance(made, Asking)
    made.keep({}, b"hello")
    made.land()
    with pytest.raises(Unprocessable):
        await repeats.begin({"authorization": "x", HEADER: "k"}, ("responses", b"{}"), rules)
