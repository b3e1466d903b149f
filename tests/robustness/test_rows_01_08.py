"""Providers that fail: retries, fallbacks, breakers. The numbers are those of docs/reliability.md."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import pytest
from faultproxy import faultproxy
from rough import Start, ask
from scripted import Line, Provider
from stopwatch import Stopwatch

from gateway.providers import (
    AnthropicProvider,
    AzureProvider,
    BedrockProvider,
    CohereProvider,
    GeminiProvider,
    OpenAIProvider,
)
from gateway.resilience.breakers import Breakers
from optimizer.routing.attempts import FALLBACK, Failure, GiveUp, NextCandidate, Retry, after_failure
from optimizer.routing.plan import Candidate, Rung

IMPATIENT = "timeouts: {connect: 30, first_byte: 1, chunk_gap: 1, total: 60}"


def status(code: int, headers: dict[str, str] | None = None, body: Any = None) -> Callable[[Line], Any]:
    async def behave(line: Line) -> None:
        await line.answer(code, body or {"error": {"message": "as scripted"}}, headers)

    return behave


async def test_row_1_a_dead_port_is_left_alone_and_the_fallback_is_quick(
    start: Start, first: Provider, spare: Provider
) -> None:
    async with faultproxy(first.port) as proxy:
        url = proxy.url
        await proxy.refuse()
        async with start({"first": url, "spare": spare.url}) as (served, client):
            for _ in range(100):
                watch = Stopwatch()
                answer = await ask(client)
                assert answer.status_code == 200
                assert watch.seconds < 0.5
            records = served.records()
    tried = [one for one in records for attempt in one.attempts if attempt.provider == "first"]  # type: ignore[attr-defined]
    assert len(tried) == 5
    fallback = [one.latency_ms - one.attempts[0].latency_ms for one in tried]  # type: ignore[attr-defined]
    assert sorted(fallback)[len(fallback) // 2] < 50


def test_row_1_at_most_ten_calls_reach_a_dead_port_in_thirty_seconds() -> None:
    now = 0.0
    breakers = Breakers(lambda: now)
    rung, calls = Rung(Candidate("dead", "m"), "plain"), 0
    other = Rung(Candidate("alive", "m"), "plain")
    while now < 30:
        if rung in breakers.usable([rung, other]):
            calls += 1
            breakers.started("dead/m")
            breakers.failed("dead/m")
        now += 0.05
    assert calls <= 10


async def test_row_2_a_provider_that_never_answers_times_out_then_falls_back(
    start: Start, first: Provider, spare: Provider
) -> None:
    async with faultproxy(first.port) as proxy:
        proxy.hang = True
        async with start({"first": proxy.url, "spare": spare.url}, settings=IMPATIENT) as (_, client):
            for stream in (False, True):
                watch = Stopwatch()
                answer = await ask(client, stream=stream)
                assert answer.headers["x-understudy-candidate"] == "spare/m"
                assert watch.seconds < 1.5


async def test_row_2_without_a_fallback_the_client_learns_of_the_timeout(
    start: Start, first: Provider
) -> None:
    async with faultproxy(first.port) as proxy:
        proxy.hang = True
        async with start({"first": proxy.url}, settings=IMPATIENT) as (_, client):
            answer = await ask(client)
    assert answer.status_code == 504 and answer.json()["error"]["code"] == "upstream_timeout"
    assert answer.headers["x-should-retry"] == "false"


async def test_row_3_retries_stay_within_their_budget(start: Start, first: Provider) -> None:
    rng = random.Random(7)

    async def sometimes(line: Line) -> None:
        if rng.random() < 0.3:
            await line.answer(rng.choice([500, 502, 503, 504]), {"error": {"message": "no"}})
        else:
            await line.answer()

    first.behave = sometimes
    async with start({"first": first.url}) as (_, client):
        lock = asyncio.Semaphore(16)

        async def one() -> int:
            async with lock:
                return (await ask(client)).status_code

        began = time.monotonic()
        codes = await asyncio.gather(*[one() for _ in range(1000)])
        halvings = (time.monotonic() - began) // 10  # each gives half of the few retries to get started back
    assert len(first.seen) <= 1110 + 5 * halvings
    assert codes.count(200) >= 700


async def test_row_3_at_most_three_attempts_per_call(start: Start, first: Provider) -> None:
    first.behave = status(503)
    async with start({"first": first.url}) as (_, client):
        assert (await ask(client)).status_code == 503
    assert len(first.seen) == 3


def test_row_3_full_jitter_is_uniform() -> None:
    rng = random.Random(3)
    delays = []
    for _ in range(2000):
        step = after_failure(Failure("failed", 500), attempt=2, attempts_left=1, more_candidates=False, may_retry=True,
                             remaining=60, base=0.25, cap=8, draw=rng.random())  # fmt: skip
        assert isinstance(step, Retry)
        delays.append(step.delay / 0.5)
    ordered = sorted(delays)
    distance = max(abs(at / 2000 - value) for at, value in enumerate(ordered))
    assert distance < 1.63 / 2000**0.5  # Kolmogorov-Smirnov at 1 %


@pytest.mark.parametrize("header", ["20", "date"])
async def test_row_4_a_retry_after_that_is_too_long_to_wait_for_is_passed_on(
    start: Start, first: Provider, header: str
) -> None:
    value = formatdate(time.time() + 60, usegmt=True) if header == "date" else header
    first.behave = status(429, {"retry-after": value})
    async with start({"first": first.url}) as (_, client):
        answer = await ask(client)
    assert answer.status_code == 429
    assert (int(answer.headers["retry-after"]) == 20) if header == "20" else (30 <= int(answer.headers["retry-after"]) <= 60)
    assert "x-should-retry" not in answer.headers
    assert len(first.seen) == 1


@pytest.mark.parametrize("header", ["0.03", "junk", "1000000000", "-5"])
async def test_row_4_a_short_one_is_waited_for_and_junk_is_ignored(
    start: Start, first: Provider, header: str
) -> None:
    first.script = [status(429, {"retry-after": header})]
    async with start({"first": first.url}) as (_, client):
        watch = Stopwatch()
        assert (await ask(client)).status_code == 200
        assert watch.seconds < 1.0
    assert len(first.seen) == 2


@pytest.mark.parametrize("code", [400, 404, 422])
async def test_row_5_the_clients_own_mistake_is_not_tried_again(
    start: Start, first: Provider, spare: Provider, code: int
) -> None:
    first.behave = status(code, body={"error": {"message": "bad tool", "param": "tools", "code": "invalid"}})
    async with start({"first": first.url, "spare": spare.url}) as (_, client):
        for _ in range(7):
            answer = await ask(client)
            assert answer.status_code == code and answer.json()["error"]["param"] == "tools"
    assert len(first.seen) == 7 and not spare.seen


@pytest.mark.parametrize("code", [401, 403])
async def test_row_5_our_own_key_is_never_reported_as_the_clients(
    start: Start, first: Provider, code: int
) -> None:
    first.behave = status(code, body={"error": {"message": "Incorrect API key: sk-upstream-secret"}})
    async with start({"first": first.url}) as (_, client):
        for _ in range(7):
            answer = await ask(client)
            assert answer.status_code == 502 and "sk-upstream" not in answer.text
    assert len(first.seen) == 7  # asked once each, and no breaker opened


@pytest.mark.parametrize("code", [400, 404, 422, 429])
async def test_row_5_a_provider_that_repeats_our_key_tells_it_nobody(start: Start, first: Provider, code: int) -> None:
    first.behave = status(code, {"retry-after": "60"}, body={"error": {"message": "No model m for the key sk-upstream-secret."}})
    async with start({"first": first.url}) as (_, client):
        for stream in (False, True):
            answer = await ask(client, stream=stream)
            assert answer.status_code == code
            assert answer.json()["error"]["message"] == "No model m for the key [redacted]."


@pytest.mark.parametrize("settings", [
    OpenAIProvider(api_key="a-key-of-ours"), AnthropicProvider(api_key="a-key-of-ours"), GeminiProvider(api_key="a-key-of-ours"),
    CohereProvider(api_key="a-key-of-ours"), BedrockProvider(region="eu-west-1", api_key="a-key-of-ours"),
    AzureProvider(base_url="https://x.example", api_key="a-key-of-ours"),
], ids=lambda one: type(one).__name__)  # fmt: skip
def test_row_5_in_every_dialect(settings: Any) -> None:
    codec = settings.build("p", "")
    for body in ({"error": {"message": "bad a-key-of-ours"}}, {"message": "bad a-key-of-ours"}):
        problem = codec.refuse(400, {}, json.dumps(body).encode(), now=0.0)
        assert "a-key-of-ours" not in problem.error.message


async def test_row_6_all_down_is_told_at_once(start: Start, first: Provider, spare: Provider) -> None:
    first.behave = spare.behave = status(500)
    async with start({"first": first.url, "spare": spare.url}) as (_, client):
        for _ in range(12):
            await ask(client)
        before = len(first.seen) + len(spare.seen)
        watch = Stopwatch()
        answers = await asyncio.gather(*[ask(client) for _ in range(20)])
        assert watch.seconds < 2.0
        watch = Stopwatch()
        answers.append(await ask(client))
        assert watch.seconds < 0.1
    assert {one.status_code for one in answers} == {503}
    assert all(1 <= int(one.headers["retry-after"]) <= 10 for one in answers)
    assert len(first.seen) + len(spare.seen) == before


def test_row_7_one_probe_at_a_time_and_longer_pauses() -> None:
    now = 0.0
    breakers = Breakers(lambda: now)
    dead, alive = Candidate("dead", "m"), Candidate("alive", "m")
    for _ in range(5):
        breakers.failed("dead/m")
    assert not breakers.healthy(dead) and breakers.healthy(alive)
    now = 5.0
    assert breakers.healthy(dead)
    breakers.started("dead/m")
    assert not breakers.healthy(dead)  # the probe is on its way
    breakers.failed("dead/m")
    now = 14.9
    assert not breakers.healthy(dead)
    now = 15.0
    breakers.started("dead/m")
    breakers.succeeded("dead/m")
    assert breakers.healthy(dead)


def test_row_7_failures_of_calls_from_before_the_opening_do_not_lengthen_it() -> None:
    now = 0.0
    breakers = Breakers(lambda: now)
    for _ in range(50):
        breakers.failed("dead/m")
    now = 5.0
    assert breakers.healthy(Candidate("dead", "m"))


async def test_row_8_the_last_one_is_never_ejected(start: Start, first: Provider) -> None:
    rng = random.Random(11)

    async def flaky(line: Line) -> None:
        await (line.answer(500, {}) if rng.random() < 0.6 else line.answer())

    first.behave = flaky
    async with start({"first": first.url}) as (_, client):
        codes = [(await ask(client)).status_code for _ in range(200)]
    assert codes.count(200) >= 60
    assert codes.count(503) == 0


def test_row_8_an_outlier_is_ejected_while_another_is_well() -> None:
    now = 0.0
    breakers = Breakers(lambda: now)
    bad, good = Rung(Candidate("bad", "m"), "plain"), Rung(Candidate("good", "m"), "plain")
    for at in range(30):  # never five in a row
        (breakers.failed if at % 3 else breakers.succeeded)("bad/m")
        breakers.succeeded("good/m")
    assert list(breakers.usable([bad, good])) == [good]
    assert list(breakers.usable([bad])) == [bad]


def test_fallback_on_chooses_what_another_candidate_is_asked_after() -> None:
    def step(kind: Any, chosen: Any) -> Any:
        return after_failure(Failure(kind, 400), attempt=1, attempts_left=2, more_candidates=True, may_retry=True,
                             remaining=60, base=1, cap=8, draw=0.5, fallback_on=chosen)  # fmt: skip

    assert step("content_filter", FALLBACK) == GiveUp()
    assert step("content_filter", ["content_filter"]) == NextCandidate()
    assert step("failed", ["content_filter"]) == Retry(0.5)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("content_filter", {"error": {"message": "no", "code": "content_filter"}}),
        ("context_length", {"error": {"message": "too long", "code": "context_length_exceeded"}}),
        ("context_length", {"error": {"message": "This model's maximum context length is 8192 tokens."}}),
    ],
)
async def test_fallback_on_a_refusal_that_another_model_may_not_share(
    start: Start, first: Provider, spare: Provider, kind: str, body: Any
) -> None:
    first.behave = status(400, body=body)
    extra = f"    fallback_on: [failed, {kind}]\n"
    async with start({"first": first.url, "spare": spare.url}, extra) as (_, client):
        answer = await ask(client)
    assert answer.status_code == 200 and answer.headers["x-understudy-candidate"] == "spare/m"


async def test_fallback_on_an_answer_that_the_filter_cut(
    start: Start, first: Provider, spare: Provider
) -> None:
    from scripted import COMPLETION

    cut = {**COMPLETION, "choices": [{**COMPLETION["choices"][0], "finish_reason": "content_filter"}]}
    first.behave = status(200, body=cut)
    async with start({"first": first.url, "spare": spare.url}, "    fallback_on: [content_filter]\n") as (
        _,
        client,
    ):
        answer = await ask(client)
    assert answer.json()["choices"][0]["finish_reason"] == "stop"


async def test_a_health_check_feeds_the_breakers(start: Start, first: Provider, spare: Provider) -> None:
    well = False

    async def health(line: Line) -> None:
        if line.seen.path == "/health":
            await line.answer(200 if well else 503, {})
        else:
            await line.answer()

    first.behave = health
    settings = f"upstreams: {{first: {{health: {{url: 'http://127.0.0.1:{first.port}/health', every_s: 0.1, failures: 1}}}}}}"
    async with start({"first": first.url, "spare": spare.url}, settings=settings) as (_, client):
        async with asyncio.timeout(60):
            while (await ask(client)).headers["x-understudy-candidate"] != "spare/m":
                await asyncio.sleep(0.05)
            well = True
            while (await ask(client)).headers["x-understudy-candidate"] != "first/m":
                await asyncio.sleep(0.05)
