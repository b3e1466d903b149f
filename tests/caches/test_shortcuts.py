"""Requests that come again byte by byte are answered as every other hit is, only with less work."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from cache_house import OTHERS, House, how, policies
from gateway_server import ADMIN, KEY, gateway
from scripted import COMPLETION, Behaviour, Line, provider

from gateway.storage.answers import MemoryAnswers

OWN = {"id", "request_id", "created_at", "latency_ms", "first_byte_ms", "overhead_ms"}
"""What differs from call to call on a record."""
ITS_OWN = {"x-request-id", "x-understudy-call-id", "x-understudy-overhead-ms", "openai-processing-ms", "age", "date"}


@asynccontextmanager
async def house(tmp: Path, cache: str = "{enabled: true, ttl_s: 600}", safety: str = "") -> AsyncIterator[House]:
    async with provider() as upstream:
        written = policies(tmp / "policies", upstream.url, cache)
        if safety:
            (written / "safety.yaml").write_text(safety)
        async with gateway(tmp, written) as served, httpx.AsyncClient(base_url=served.url, timeout=60) as http:
            yield House(served, http, upstream)


async def remembered(house: House, what: str = "entries") -> int:
    """How many requests the gateway knows by their bytes, or what they take."""
    told = (await house.http.get("/metrics", headers={"authorization": f"Bearer {ADMIN}"})).text
    name = "understudy_kept_bytes" if what == "bytes" else "understudy_kept"
    line = next(one for one in told.splitlines() if one.startswith(f'{name}{{what="shortcuts"}}'))
    return int(float(line.rsplit(" ", 1)[1]))


def says(**message: Any) -> Behaviour:
    async def answer(line: Line) -> None:
        said = {"role": "assistant", "content": "so", "refusal": None, **message}
        choice = {"index": 0, "message": said, "finish_reason": "stop", "logprobs": None}
        await line.answer(body={**COMPLETION, "choices": [choice]})

    return answer


SAID: list[dict[str, Any]] = [
    {},
    {"content": 'a "created":1 and an "id":"chatcmpl-1" ☃ \\ \n'},
    {"content": None, "refusal": "I cannot"},
]


@pytest.mark.parametrize("said", SAID)
async def test_a_hit_by_its_bytes_is_like_every_other_hit(tmp_path: Path, said: dict[str, Any]) -> None:
    async with house(tmp_path) as one:
        one.upstream.behave = says(**said)
        more = {"user": "u", "metadata": {"session_id": "s"}, "temperature": 0}
        answers = [await one.ask("hi", **more) for _ in range(4)]
        assert [how(answer) for answer in answers] == ["miss", "hit", "hit", "hit"]
        assert await remembered(one) == 1
        bodies = [answer.json() for answer in answers]
        assert len({body["id"] for body in bodies}) == 4 and len({body["created"] for body in bodies[1:]}) <= 2
        for answer, body in zip(answers, bodies, strict=True):
            assert body.pop("id") == answer.headers["x-understudy-call-id"]
            body.pop("created")
        assert bodies[1] == bodies[2] == bodies[3]
        heads = [
            {name: value for name, value in answer.headers.items() if name not in ITS_OWN} for answer in answers
        ]
        assert heads[1] == heads[2] == heads[3] and [*answers[1].headers] == [*answers[2].headers]
        records = [msgspec.to_builtins(found) for found in one.served.records()]
        kept = [{name: value for name, value in found.items() if name not in OWN} for found in records]
        assert len(kept) == 4 and kept[1] == kept[2] == kept[3]
        assert [found["id"] for found in records] == [answer.headers["x-understudy-call-id"] for answer in answers]


@pytest.mark.parametrize("more", [{}, {"stream_options": {"include_usage": True}}])
@pytest.mark.parametrize("said", SAID)
async def test_a_streamed_hit_by_its_bytes_is_like_every_other(
    tmp_path: Path, said: dict[str, Any], more: dict[str, Any]
) -> None:
    async with house(tmp_path) as one:
        one.upstream.behave = says(**said)
        assert how(await one.ask("hi")) == "miss"
        answers = [await one.ask("hi", stream=True, **more) for _ in range(3)]
        assert [how(answer) for answer in answers] == ["hit"] * 3 and await remembered(one) == 1
        told = [
            re.sub(r'"created":\d{10}', "", answer.text.replace(answer.headers["x-understudy-call-id"], ""))
            for answer in answers
        ]
        assert told[0] == told[1] == told[2] and told[0].endswith("data: [DONE]\n\n")
        assert len({answer.text for answer in answers}) == 3
        heads = [[name for name in answer.headers if name != "date"] for answer in answers]
        assert heads[0] == heads[1] == heads[2] and len({len(answer.content) for answer in answers}) == 1
        records = [msgspec.to_builtins(found) for found in one.served.records()]
        kept = [{name: value for name, value in found.items() if name not in OWN} for found in records]
        assert kept[1] == kept[2] == kept[3] and all(found["first_byte_ms"] is not None for found in records)
        streamed = await one.ask("hi", stream=True, **more)
        whole = await one.ask("hi")
        assert (how(streamed), how(whole)) == ("hit", "hit") and whole.json()["object"] == "chat.completion"


NOT_REMEMBERED: list[tuple[dict[str, Any], dict[str, str]]] = [
    ({"store": True}, {}),
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, {}),
    ({}, {"cache-control": "max-age=600"}),
    ({}, {"idempotency-key": "once"}),
    ({"user": "x" * 70_000}, {}),
    ({"modalities": ["text"]}, {}),
]


@pytest.mark.parametrize(("more", "headers"), NOT_REMEMBERED)
async def test_what_asks_something_of_each_call_is_looked_at_each_time(
    tmp_path: Path, more: dict[str, Any], headers: dict[str, str]
) -> None:
    async with house(tmp_path) as one:
        answers = [await one.ask("hi", headers=headers, **more) for _ in range(3)]
        assert len(one.upstream.seen) == 1 and {answer.status_code for answer in answers} == {200}
        assert await remembered(one) == 0


async def test_where_a_guardrail_judges_every_call_is_judged(tmp_path: Path) -> None:
    rules = "guardrails:\n  words: {type: blocklist, phrases: [bird], action: flag}\n"
    async with house(tmp_path, safety=rules) as one:
        assert [how(await one.ask("a bird")) for _ in range(3)] == ["miss", "hit", "hit"]
        assert await remembered(one) == 0
        verdicts = [getattr(found, "verdicts", None) for found in one.served.records()]
        assert sum(bool(found) for found in verdicts) == 3


async def test_where_guardrails_had_nothing_to_say_they_need_not_look_again(tmp_path: Path) -> None:
    rules = "guardrails:\n  words: {type: blocklist, phrases: [bird], action: block}\n  private: {type: pii}\n"
    async with house(tmp_path, safety=rules) as one:
        assert [how(await one.ask("a fish")) for _ in range(3)] == ["miss", "hit", "hit"]
        assert await remembered(one) == 1
        assert (await one.ask("a bird")).status_code == 400
        assert [how(await one.ask("I am a@example.org")) for _ in range(3)] == ["miss", "hit", "hit"]
        assert await remembered(one) == 1, "what was masked is put back in each call's own answer"
        assert [found.verdicts for found in one.served.records()[:3]] == [[]] * 3


async def _allows(line: Line) -> None:
    await line.answer(body={"verdicts": [{"action": "allow"}] * len(line.seen.body["texts"])})


async def test_guardrails_that_ask_others_or_change_requests_see_every_call(tmp_path: Path) -> None:
    async with provider() as asked:
        asked.behave = _allows
        others = "type: webhook, secret: a-secret-of-sixteen, private_addresses: true, url: "
        for at, rule in enumerate((f"{others}'{asked.url}/judge'", "type: spotlight")):
            async with house(tmp_path / str(at), safety=f"guardrails:\n  one: {{{rule}}}\n") as one:
                assert [how(await one.ask("a fish")) for _ in range(3)] == ["miss", "hit", "hit"]
                assert await remembered(one) == 0 and [found.verdicts for found in one.served.records()] == [[]] * 3
        assert len(asked.seen) >= 3, "of each call"


async def test_a_file_that_is_gone_is_not_answered_about(tmp_path: Path) -> None:
    async with house(tmp_path) as one:
        auth = {"authorization": f"Bearer {KEY}"}
        form = {"file": ("notes.txt", b"Refunds take a week."), "purpose": (None, "user_data")}
        made = (await one.http.post("/v1/files", files=form, headers=auth)).json()
        parts = [{"type": "file", "file": {"file_id": made["id"]}}, {"type": "text", "text": "When?"}]
        asked = {"messages": [{"role": "user", "content": parts}]}
        assert [how(await one.ask(**asked)) for _ in range(3)] == ["miss", "hit", "hit"]
        assert (await one.http.delete(f"/v1/files/{made['id']}", headers=auth)).status_code == 200
        assert (await one.ask(**asked)).status_code in (400, 404)


async def test_another_key_or_header_goes_its_own_way(tmp_path: Path) -> None:
    async with house(tmp_path) as one:
        assert [how(await one.ask()) for _ in range(3)] == ["miss", "hit", "hit"]
        assert how(await one.ask(key=OTHERS["second"])) == "miss", "another project's"
        assert (await one.ask(key=OTHERS["barred"])).status_code == 404
        assert (await one.ask(key="a-key-for-the-tests-0009")).status_code == 401
        assert how(await one.ask(headers={"cache-control": "no-cache"})) == "miss"
        assert how(await one.ask(headers={"x-understudy-force": "teacher"})) == "miss"
        assert [how(await one.ask(headers={"x-other": "1"})) for _ in range(2)] == ["hit", "hit"]
        assert await remembered(one) == 1, "one for a key and a body: two clients would push each other out for ever"
        assert [how(await one.ask(key=OTHERS["second"])) for _ in range(2)] == ["hit", "hit"]
        assert await remembered(one) == 2
        assert how(await one.ask()) == "hit"


async def test_a_key_is_known_whatever_header_it_comes_in(tmp_path: Path) -> None:
    """Clients whose keys do not come as ``authorization`` had one place for all of them: only the first was known."""
    async with house(tmp_path) as one:
        for header in ("x-api-key", "api-key"):
            for key in (KEY, OTHERS["second"]):
                body = {"model": "faq", "messages": [{"role": "user", "content": header}]}
                asked = [
                    await one.http.post("/v1/chat/completions", json=body, headers={header: key}) for _ in range(3)
                ]
                assert [how(answer) for answer in asked] == ["miss", "hit", "hit"]
        assert await remembered(one) == 4


async def test_a_key_that_is_taken_away_opens_nothing_any_more(tmp_path: Path) -> None:
    async with house(tmp_path) as one:
        assert [how(await one.ask(key=OTHERS["second"])) for _ in range(3)] == ["miss", "hit", "hit"]
        path = one.served.policies / "gateway.yaml"
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line for line in lines if "second" not in line))
        for _ in range(6000):
            answer = await one.ask(key=OTHERS["second"])
            if answer.status_code == 401:
                break
            assert how(answer) == "hit"
            await asyncio.sleep(0.05)
        else:
            pytest.fail("the key was never taken away")


async def test_what_has_expired_is_asked_for_again(tmp_path: Path) -> None:
    async with house(tmp_path, "{enabled: true, ttl_s: 1, stale_s: 0}") as one:
        for _ in range(6000):
            await one.ask()
            if len(one.upstream.seen) == 3:
                break
            await asyncio.sleep(0.01)
        else:
            pytest.fail("it was answered from the cache for ever")


async def test_memory_for_them_is_bounded_and_who_is_forgotten_is_a_hit_all_the_same(tmp_path: Path) -> None:
    async with house(tmp_path) as one:
        texts = [f"{number} {'word ' * 11_000}" for number in range(90)]
        for text in texts:
            assert await one.twice(text) == ("miss", "hit")
        assert 0 < await remembered(one) < len(texts)
        assert await remembered(one, "bytes") <= 8 * 1024 * 1024
        assert {how(await one.ask(text)) for text in texts[:5]} == {"hit"}


async def test_limits_count_and_refuse_them(tmp_path: Path) -> None:
    async with house(tmp_path) as one:
        few = [await one.ask(key=OTHERS["few"]) for _ in range(5)]
        assert [answer.status_code for answer in few] == [200, 200, 200, 429, 429]
        assert [answer.headers["x-ratelimit-remaining-requests"] for answer in few[:3]] == ["2", "1", "0"]


async def test_who_is_stopped_after_its_answer_says_nothing_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    get, asked, held = MemoryAnswers.get, 0, asyncio.Event()

    async def slow(self: MemoryAnswers, key: str, now: float) -> bytes | None:
        nonlocal asked
        asked += 1
        if asked == 4:  # for what is to be remembered, when the second request was answered from the cache
            held.set()
            await asyncio.Event().wait()
        return await get(self, key, now)

    monkeypatch.setattr(MemoryAnswers, "get", slow)
    body = b'{"model": "faq", "messages": [{"role": "user", "content": "hi"}]}'
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-length: {len(body)}\r\n\r\n"
    async with house(tmp_path, "{enabled: true, ttl_s: 600}\nserver: {shutdown_s: 1}") as one:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(one.served.url.rpartition(":")[2]))
        for _ in range(2):
            writer.write(head.encode() + body)
            told = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(re.findall(rb"content-length: (\d+)", told)[0]))
        await asyncio.wait_for(held.wait(), 60)
    assert await reader.read() == b""
    writer.close()


async def test_other_bytes_with_equal_numbers_are_a_hit_and_known_by_themselves(tmp_path: Path) -> None:
    async with house(tmp_path) as one:
        answers = [await one.ask("hi", temperature=number) for number in (0, 0.0, 0, 0.0, 0.0)]
        assert [how(answer) for answer in answers] == ["miss", "hit", "hit", "hit", "hit"]
        assert len(one.upstream.seen) == 1 and await remembered(one) == 2
        other = await one.ask("hi", temperature=0.5)
        assert how(other) == "miss"
