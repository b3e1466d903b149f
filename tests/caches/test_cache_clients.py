"""The exact cache as clients meet it, over real sockets: what is shared, what enters, who waits for whom, what it costs."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
from cache_house import OTHERS, House, how, policies
from gateway_server import ADMIN, KEY, gateway
from redis_server import RedisServer
from scripted import CHUNKS, COMPLETION, Behaviour, Line, Provider, provider, sse, usual

from gateway.stages import cache


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with (
        provider() as upstream,
        gateway(tmp_path, policies(tmp_path / "policies", upstream.url)) as served,
        httpx.AsyncClient(base_url=served.url, timeout=60) as http,
    ):
        yield House(served, http, upstream)


def ends(reason: str, **message: Any) -> Behaviour:
    async def answer(line: Line) -> None:
        said = {"role": "assistant", "content": "so", "refusal": None, **message}
        choice = {"index": 0, "message": said, "finish_reason": reason, "logprobs": None}
        await line.answer(body={**COMPLETION, "choices": [choice]})

    return answer


def called(arguments: str) -> dict[str, Any]:
    function = {"name": "f", "arguments": arguments}
    return {"content": None, "tool_calls": [{"id": "c", "type": "function", "function": function}]}


ENDS: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("stop", {}, {}, "hit"),
    ("stop", {"content": None, "refusal": "I cannot"}, {}, "hit"),
    ("tool_calls", called('{"a": 1}'), {}, "hit"),
    ("tool_calls", called(""), {}, "hit"),
    ("length", {}, {"max_tokens": 1}, "hit"),
    ("length", {}, {}, "miss"),
    ("length", {"content": None, "reasoning_content": "hm"}, {"max_tokens": 1}, "miss"),
    ("content_filter", {}, {}, "miss"),
    ("stop", {"content": ""}, {}, "miss"),
    ("stop", {"content": None}, {}, "miss"),
    ("tool_calls", called('{"a": '), {}, "miss"),
    ("odd", {}, {}, "miss"),
]


async def test_only_what_was_brought_to_its_end_and_says_something_enters(house: House) -> None:
    for number, (reason, message, asked, second) in enumerate(ENDS):
        house.upstream.behave = ends(reason, **message)
        assert await house.twice(f"so? {number}", **asked) == ("miss", second), (reason, message, asked)


async def test_a_hit_has_the_usage_and_the_answer_of_the_first_and_an_id_of_its_own(house: House) -> None:
    first, hit = (await house.ask()).json(), (await house.ask()).json()
    for name in ("usage", "choices", "model", "object"):
        assert hit[name] == first[name]
    assert hit["id"] != first["id"]
    streamed = (await house.ask(stream=True, stream_options={"include_usage": True})).text
    told = [line.removeprefix("data: ") for line in streamed.splitlines() if line]
    assert told[-1] == "[DONE]" and '"choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":100' in told[-2]
    assert '"usage"' not in (await house.ask(stream=True)).text
    assert len(house.upstream.seen) == 1


async def test_sdks_of_both_vendors_are_served_alike_from_streams_and_whole_answers(house: House) -> None:
    turns: list[Any] = [{"role": "user", "content": "hi"}]
    async with (
        openai.AsyncOpenAI(base_url=f"{house.served.url}/v1", api_key=KEY, max_retries=0) as gpt,
        anthropic.AsyncAnthropic(base_url=house.served.url, api_key=KEY, max_retries=0) as claude,
    ):
        stream = await gpt.chat.completions.create(
            model="faq", messages=turns, stream=True, stream_options={"include_usage": True}, max_tokens=50
        )
        parts = [part async for part in stream]
        said = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
        whole = await gpt.chat.completions.create(model="faq", messages=turns, max_tokens=50)
        assert said == whole.choices[0].message.content == "hello"
        assert parts[-1].usage is not None and whole.usage is not None
        assert parts[-1].usage.total_tokens == whole.usage.total_tokens == 1100
        message = await claude.messages.create(model="faq", messages=turns, max_tokens=50)
        async with claude.messages.stream(model="faq", messages=turns, max_tokens=50) as events:
            last = await events.get_final_message()
        assert message.content[0].text == last.content[0].text == "hello"  # type: ignore[union-attr]
        assert message.usage == last.usage and message.usage.input_tokens == 600 and message.id != last.id
    assert len(house.upstream.seen) <= 2, "a whole answer and a stream at most, in whichever API's words"


OTHERWISE: list[tuple[dict[str, Any], dict[str, str], str]] = [
    ({"user": "u", "metadata": {"a": "b"}, "store": True, "safety_identifier": "s"}, {}, "hit"),
    ({}, {"openai-organization": "o", "cookie": "a=b"}, "hit"),
    ({"seed": 1}, {}, "miss"),
    ({"n": 2}, {}, "miss"),
    ({"top_p": 0.5}, {}, "miss"),
    ({"max_tokens": 5}, {}, "miss"),
    ({"stop": ["x"]}, {}, "miss"),
    ({"logprobs": True}, {}, "miss"),
    ({"service_tier": "flex"}, {}, "miss"),
    ({"response_format": {"type": "json_object"}}, {}, "miss"),
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, {}, "miss"),
    ({"a_field_of_tomorrow": 1}, {}, "miss"),
    ({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "hi"}]}, {}, "miss"),
    ({}, {"x-understudy-force": "teacher"}, "miss"),
    ({}, {"cache-control": "no-cache"}, "miss"),
    ({}, {"cache-control": "no-store"}, ""),
]


async def test_what_makes_another_request(house: House) -> None:
    await house.ask()
    for more, headers, found in OTHERWISE:
        assert how(await house.ask(**more, headers=headers)) == found, (more, headers)


async def test_projects_keys_limits_and_budgets_of_hits(house: House) -> None:
    cost = (await house.ask()).headers["x-understudy-cost-usd"]
    assert cost == "0.003"
    assert how(await house.ask(key=OTHERS["second"])) == "miss", "another project's is nobody else's"
    assert (await house.ask(key=OTHERS["barred"])).status_code == 404
    few = [(await house.ask(key=OTHERS["few"])).status_code for _ in range(4)]
    assert few == [200, 200, 200, 429], "a hit is a request"
    for _ in range(10):  # of which the worst case would cost 1.6 dollars
        hit = await house.ask(key=OTHERS["poor"])
        assert how(hit) == "hit" and hit.headers["x-understudy-cost-usd"] == "0"
    assert len(house.upstream.seen) == 2
    spent = [one for one in house.served.records() if getattr(one, "cost_usd", 0)]
    assert len(spent) == 2, "no hit costs anything"
    told = (await house.http.get("/metrics", headers={"authorization": f"Bearer {ADMIN}"})).text
    figures = dict(line.rsplit(" ", 1) for line in told.splitlines() if not line.startswith("#"))
    assert float(figures['understudy_cache_lookups_total{outcome="hit",task="faq"}']) == 13
    assert float(figures['understudy_cache_saved_usd_total{task="faq"}']) == pytest.approx(13 * 0.003)
    bought = [float(number) for name, number in figures.items() if name.startswith("understudy_tokens_total{direction=\"output\"")]
    assert sum(bought) == 200, "the tokens of a hit were not bought"


async def test_row_18_another_project_neither_waits_for_nor_learns_of_ours(house: House) -> None:
    """No hit, no age, no key in common, and no wait that would tell that somebody asks the same just now."""
    _, go = await held(house.upstream)
    ours = asyncio.create_task(house.ask("ours"))
    theirs = asyncio.create_task(house.ask("ours", key=OTHERS["second"]))
    await until(lambda: len(house.upstream.seen) == 2)
    go.set()
    first, other = await ours, await theirs
    assert how(first) == how(other) == "miss" and "age" not in other.headers
    keys = {one.headers["x-understudy-cache-key"] for one in (first, other)}
    assert len(keys) == 2
    for number in range(100):
        text = f"what is my balance {'?' * (number // 2)}"
        asked = await house.ask(text, key=OTHERS["second"] if number % 2 else KEY)
        assert how(asked) == "miss" and asked.headers["x-understudy-cache-key"] not in keys
        keys.add(asked.headers["x-understudy-cache-key"])


async def echo(line: Line) -> None:
    await ends("stop", content=f"so: {line.seen.body['messages'][-1]['content']}")(line)


async def test_everybody_gets_their_own_masked_values_back_and_a_new_guardrail_judges_what_is_kept(
    tmp_path: Path,
) -> None:
    async with provider() as upstream:
        upstream.behave = echo
        written = policies(tmp_path / "policies", upstream.url)
        rules = "guardrails:\n  pii: {type: pii, action: mask}\n"
        (written / "safety.yaml").write_text(rules)
        async with (
            gateway(tmp_path, written) as served,
            httpx.AsyncClient(base_url=served.url, timeout=60) as http,
        ):
            house = House(served, http, upstream)
            for number, who in enumerate(("anna@example.com", "bert@example.org")):
                answer = await house.ask(f"write to {who}")
                assert how(answer) == ("hit" if number else "miss")
                assert answer.json()["choices"][0]["message"]["content"] == f"so: write to {who}"
            streamed = (await house.ask("write to carl@example.net", stream=True)).text
            assert "carl@example.net" in streamed and "[EMAIL" not in streamed
            assert [one.body["messages"][-1]["content"] for one in upstream.seen] == ["write to [EMAIL_1]"]
            assert await house.twice("a bird") == ("miss", "hit")
            (written / "safety.yaml").write_text(f"{rules}  words: {{type: blocklist, phrases: [bird]}}\n")

            async def blocked() -> bool:
                return (await house.ask("a bird")).status_code == 400

            await eventually(blocked)


async def held(upstream: Provider, then: Behaviour = usual) -> tuple[asyncio.Event, asyncio.Event]:
    """(set once the provider was asked, lets it answer)."""
    asked, go = asyncio.Event(), asyncio.Event()

    async def answer(line: Line) -> None:
        asked.set()
        await go.wait()
        await then(line)

    upstream.behave = answer
    return asked, go


async def test_fifty_at_once_are_one_call_whole_and_streamed(house: House) -> None:
    asked, go = await held(house.upstream)
    calls = [asyncio.create_task(house.ask("fifty", stream=at % 2 == 1)) for at in range(50)]
    await asked.wait()
    await until(lambda: waiting(house) >= 50)
    go.set()
    answers = await asyncio.gather(*calls)
    assert sorted(how(one) for one in answers) == ["hit"] * 49 + ["miss"]
    assert len(house.upstream.seen) == 1


def waiting(house: House) -> int:
    """Calls that the gateway holds just now."""
    return int(house.served.app.state.drain.in_use()["requests"])


async def until(true: Callable[[], bool]) -> None:
    for _ in range(30000):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to that")


async def cut(line: Line) -> None:
    await line.stream(sse(CHUNKS[:2], done=False), cut=True)


async def test_a_stream_that_is_cut_serves_nobody_else_and_stays_nowhere(house: House) -> None:
    asked, go = await held(house.upstream, cut)
    leader = asyncio.create_task(house.ask("cut", stream=True))
    await asked.wait()
    followers = [asyncio.create_task(house.ask("cut")) for _ in range(5)]
    await until(lambda: waiting(house) >= 6)
    house.upstream.behave = usual
    go.set()
    assert "upstream_error" in (await leader).text
    answers = await asyncio.gather(*followers)
    assert {one.json()["choices"][0]["message"]["content"] for one in answers} == {"hello"}
    assert how(await house.ask("cut")) == "hit"


async def test_a_leader_that_leaves_hands_over_to_one_of_those_who_wait(house: House) -> None:
    asked, _ = await held(house.upstream)
    leader = asyncio.create_task(house.ask("left"))
    await asked.wait()
    followers = [asyncio.create_task(house.ask("left", stream=at % 2 == 1)) for at in range(5)]
    await until(lambda: waiting(house) >= 6)
    house.upstream.behave = usual
    leader.cancel()
    answers = await asyncio.gather(*followers)
    assert sorted(how(one) for one in answers) == ["hit"] * 4 + ["miss"]
    assert len(house.upstream.seen) == 2


async def test_those_who_take_nothing_old_wait_for_one_fresh_answer(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.ask("old")
    first, real = time.time(), cache.age
    monkeypatch.setattr(cache, "age", lambda asked, kept: real(asked, kept) + 100.0 * (kept.kept_at < first))
    fresh = {"cache-control": "max-age=60"}
    asked, go = await held(house.upstream)
    calls = [asyncio.create_task(house.ask("old", headers=fresh)) for _ in range(10)]
    await asked.wait()
    await until(lambda: waiting(house) >= 10)
    go.set()
    assert sorted(how(one) for one in await asyncio.gather(*calls)) == ["hit"] * 9 + ["miss"]
    assert len(house.upstream.seen) == 2


async def test_what_was_asked_for_before_a_purge_does_not_enter_after_it(house: House) -> None:
    login = await house.http.post("/admin/login", json={"key": ADMIN})
    asked, go = await held(house.upstream)
    late = asyncio.create_task(house.ask("late"))
    await asked.wait()
    for body in ({"task": "other"}, {"key": "few"}):
        await purge(house, login, body)
    go.set()
    await late
    house.upstream.behave = usual
    assert how(await house.ask("late")) == "hit", "that was not about it"
    asked, go = await held(house.upstream)
    later = asyncio.create_task(house.ask("later"))
    await asked.wait()
    await purge(house, login, {"task": "faq"})
    go.set()
    assert how(await later) == "miss"
    house.upstream.behave = usual
    assert await house.twice("later") == ("miss", "hit")


async def purge(house: House, login: httpx.Response, body: dict[str, Any]) -> None:
    answer = await house.http.post(
        "/admin/api/caches/purge", json={"reason": "a test", **body}, headers={"x-csrf-token": login.json()["csrf"]}
    )
    assert answer.status_code == 200, answer.text


async def test_a_changed_policy_ends_the_answers_of_its_task_and_no_others(house: House) -> None:
    assert await house.twice("pol") == ("miss", "hit")
    assert how(await house.ask("pol", model="other", temperature=0)) == "miss"
    path = house.served.policies / "routing.yaml"
    path.write_text(path.read_text().replace("    cache: true\n", "    cache: true\n    defaults: {top_p: 0.5}\n"))

    async def changed() -> bool:
        return how(await house.ask("pol")) == "miss"

    for _ in range(6000):
        if await changed():
            break
        await asyncio.sleep(0.05)
    else:
        pytest.fail("the change was never seen")
    assert how(await house.ask("pol", model="other", temperature=0)) == "hit"


async def test_redis_that_dies_in_the_middle_means_misses_and_comes_back(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    async with (
        provider() as upstream,
        gateway(
            tmp_path, policies(tmp_path / "policies", upstream.url), UNDERSTUDY_REDIS_URL=redis_server.url,
            UNDERSTUDY_REDIS_TIMEOUT_MS="5000",  # a busy machine must not look like a Redis that is away
        ) as served,
        httpx.AsyncClient(base_url=served.url, timeout=60) as http,
    ):
        house = House(served, http, upstream)

        async def hits() -> bool:
            return how(await house.ask("kept")) == "hit"

        await eventually(hits)
        asked, go = await held(upstream)
        calls = [asyncio.create_task(house.ask("killed")) for _ in range(5)]
        await asked.wait()
        await until(lambda: waiting(house) >= 5)
        redis_server.signal(signal.SIGKILL)
        upstream.behave = usual
        go.set()
        assert {one.status_code for one in await asyncio.gather(*calls)} == {200}
        assert {how(await house.ask("kept")) for _ in range(3)} == {"miss"}
        redis_server.stop()
        redis_server.start()
        await eventually(hits)


async def eventually(true: Callable[[], Any]) -> None:
    for _ in range(6000):
        if await true():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it never came to that")
