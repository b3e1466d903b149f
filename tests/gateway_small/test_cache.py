from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from small_fakes import ALICE, BOB, Stream, chunk, exchange_of, read, runtime_of, texts, whole

from gateway.caching.entries import Purge
from gateway.config import Cache as Rules
from gateway.config import Config, Task
from gateway.stages.cache import Cache, cache_key, cacheable
from gateway.storage.answers import MemoryAnswers

ON = runtime_of(Config(cache=Rules(enabled=True, ttl_s=10)))
COLD = {"temperature": 0}


class Teacher:
    """Counts what it is asked; ``gate`` holds its answers back."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, exchange: Any) -> Any:
        self.asked += 1
        await self.gate.wait()
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer


def ask(body: dict[str, Any] | None = None, **more: Any) -> Any:
    return exchange_of(ON, {**COLD, **(body or {})}, **more)


async def test_a_hit_is_replayed_whole_and_costs_nothing() -> None:
    teacher, cache = Teacher(whole("one"), whole("two")), Cache()
    first, second = ask(), ask({"user": "x", "metadata": {"a": "b"}})
    await cache(first, teacher)
    answer: Any = await cache(second, teacher)
    assert (first.cache, second.cache, teacher.asked) == ("miss", "hit", 1)
    assert answer.text == "one" and second.cost_usd == 0.0
    assert answer.data["id"] == "chatcmpl-x"


async def test_a_stream_is_kept_and_serves_both_forms() -> None:
    teacher, cache = Teacher(texts("Hel", "lo")), Cache()
    assert await read(await cache(ask({"stream": True}), teacher)) == "Hello"
    assert (await cache(ask(), teacher)).text == "Hello"
    again: Any = await cache(ask({"stream": True}), teacher)
    chunks = [one async for one in again]
    assert "".join(one.text for one in chunks) == "Hello" and chunks[-1].finish_reason == "stop"
    assert teacher.asked == 1


async def test_nothing_crosses_projects_policies_students_or_steering_headers() -> None:
    keys = {
        cache_key(one)
        for one in (
            ask(), ask(principal=BOB), ask({"seed": 1}), ask({"n": 2}), ask(text="other"), ask({"model": "m2"}),
            ask(headers={"x-understudy-force": "teacher"}),
            exchange_of(runtime_of(Config(digest="d2", cache=Rules(enabled=True), aliases={"x": "y"})), COLD),
        )
    }  # fmt: skip
    assert len(keys) == 8
    assert cache_key(ask()) == cache_key(ask({"stream": True, "store": True}, headers={"user-agent": "x"}))
    teacher, cache = Teacher(whole("alice"), whole("bob")), Cache()
    await cache(ask(), teacher)
    assert (await cache(ask(principal=BOB), teacher)).text == "bob"


def test_what_may_be_cached() -> None:
    off = runtime_of(Config(tasks=[Task(name="t", cache=True), Task(name="u", cache=False)]))
    assert not cacheable(exchange_of(off, COLD))
    assert cacheable(exchange_of(off, {"model": "t", "temperature": 1}))
    assert cacheable(ask()) and not cacheable(ask({"temperature": 0.5})) and not cacheable(exchange_of(ON))
    both = runtime_of(Config(cache=Rules(enabled=True), tasks=[Task(name="u", cache=False)]))
    assert not cacheable(exchange_of(both, {"model": "u", **COLD}))


async def test_only_complete_successful_answers_enter() -> None:
    cut = Stream(chunk({"content": "x"}), ValueError("cut"))
    error = Stream(chunk({"content": "x"}), chunk({}, "stop"))
    error.items[0].data["error"] = {"message": "boom"}  # type: ignore[union-attr]
    unfinished = Stream(chunk({"content": "x"}))
    teacher = Teacher(
        whole("x", finish="content_filter"), ValueError("no"), cut, error, unfinished, whole("y")
    )
    cache = Cache()
    await cache(ask(), teacher)
    with pytest.raises(ValueError, match="no"):
        await cache(ask(), teacher)
    with pytest.raises(ValueError, match="cut"):
        await read(await cache(ask({"stream": True}), teacher))
    await read(await cache(ask({"stream": True}), teacher))
    await read(await cache(ask({"stream": True}), teacher))
    assert (await cache(ask(), teacher)).text == "y"
    assert teacher.asked == 6


async def test_cache_control() -> None:
    teacher, cache = Teacher(*(whole(str(at)) for at in range(9))), Cache()
    assert (await cache(ask(headers={"cache-control": "no-store"}), teacher)).text == "0"
    assert (await cache(ask(), teacher)).text == "1"
    assert (await cache(ask(headers={"cache-control": "no-cache"}), teacher)).text == "2"
    assert (await cache(ask(), teacher)).text == "2"


async def test_identical_requests_share_one_call() -> None:
    teacher, cache = Teacher(whole("once")), Cache()
    teacher.gate.clear()
    calls = [asyncio.create_task(cache(ask(), teacher)) for _ in range(10)]
    await asyncio.sleep(0)
    teacher.gate.set()
    answers: list[Any] = await asyncio.gather(*calls)
    assert {one.text for one in answers} == {"once"} and teacher.asked == 1


class Nowhere(MemoryAnswers):
    """A store that is away."""

    async def get(self, key: str, now: float) -> bytes | None:
        return None

    def put(self, key: str, answer: bytes, *, now: float, ttl: float, max_bytes: int) -> None:
        return


@pytest.mark.parametrize("streamed", [False, True])
async def test_identical_requests_share_one_call_where_nothing_can_be_kept(streamed: bool) -> None:
    """Who waits gets the answer from the request that asked, and does not wait for the provider a second time."""
    teacher, cache = Teacher(texts("on", "ce") if streamed else whole("once")), Cache(Nowhere())
    teacher.gate.clear()

    async def answered() -> str:
        answer: Any = await cache(ask({"stream": streamed}), teacher)
        return await read(answer) if streamed else answer.text

    calls = [asyncio.create_task(answered()) for _ in range(5)]
    await asyncio.sleep(0)
    teacher.gate.set()
    assert await asyncio.gather(*calls) == ["once"] * 5 and teacher.asked == 1


async def test_an_answer_that_was_purged_on_its_way_is_given_to_nobody_else() -> None:
    teacher, cache = Teacher(whole("old"), whole("new"), whole("new")), Cache()
    teacher.gate.clear()
    calls = [asyncio.create_task(cache(ask(), teacher)) for _ in range(2)]
    await asyncio.sleep(0)
    cache.exact.remember(Purge(before=1e12))
    teacher.gate.set()
    answers: list[Any] = await asyncio.gather(*calls)
    assert [one.text for one in answers] == ["old", "new"]


async def test_a_failed_leader_does_not_poison_its_followers() -> None:
    teacher, cache = Teacher(ValueError("no"), *(whole("fine") for _ in range(3))), Cache()
    teacher.gate.clear()
    calls = [asyncio.create_task(cache(ask(), teacher)) for _ in range(4)]
    await asyncio.sleep(0)
    teacher.gate.set()
    answers: list[Any] = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(answers[0], ValueError)
    assert [one.text for one in answers[1:]] == ["fine"] * 3


async def test_a_cancelled_leader_hands_over() -> None:
    teacher, cache = Teacher(whole("second")), Cache()
    teacher.gate.clear()
    calls = [asyncio.create_task(cache(ask(), teacher)) for _ in range(4)]
    await asyncio.sleep(0)
    calls[0].cancel()
    await asyncio.sleep(0.01)
    teacher.gate.set()
    answers: list[Any] = await asyncio.gather(*calls[1:])
    assert [one.text for one in answers] == ["second"] * 3 and teacher.asked == 2


async def test_a_client_that_leaves_its_stream_hands_over() -> None:
    teacher, cache = Teacher(texts("a"), texts("b")), Cache()
    leader: Any = await cache(ask({"stream": True}), teacher)
    follower = asyncio.create_task(cache(ask({"stream": True}), teacher))
    await asyncio.sleep(0)
    await leader.aclose()
    assert await read(await follower) == "b"


async def test_the_store_is_bounded_by_bytes_and_time() -> None:
    store = MemoryAnswers()
    for at in range(100):
        store.put(str(at), b"x" * 1000, now=0.0, ttl=10.0, max_bytes=10_000)
        await store.get("0", 0.0)
    assert store.bytes <= 10_000 and len(store) == 7
    assert await store.get("0", 9.9) == b"x" * 1000 and await store.get("0", 10.0) is None
    store.put("big", b"x" * 20_000, now=0.0, ttl=10.0, max_bytes=10_000)
    assert await store.get("big", 0.0) is None


async def test_usage_is_replayed() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    answer = whole("x")
    answer.data["usage"] = usage
    teacher, cache = Teacher(answer), Cache()
    await cache(ask(), teacher)
    second = ask(principal=msgspec.structs.replace(ALICE, key_id="other"))
    await cache(second, teacher)
    assert second.usage is not None and (second.usage.prompt, second.usage.completion) == (3, 2)


async def test_a_client_says_how_old_an_answer_may_be() -> None:
    teacher, cache = Teacher(whole("first"), whole("second"), whole("third"), whole("last")), Cache(MemoryAnswers())

    async def at(seconds: float, wish: str = "") -> Any:
        exchange = ask(headers={"cache-control": wish} if wish else None)
        exchange.received_at += seconds
        answer = await cache(exchange, teacher)
        return exchange.cache, answer.text, exchange.response_headers.get("age")

    assert await at(0) == ("miss", "first", None)
    assert await at(7.5) == ("hit", "first", "7")
    assert await at(8, "max-age=8") == ("hit", "first", "8")
    assert await at(9, "max-age=soon") == ("miss", "second", None)
    assert await at(18, "Max-Age=8, no-transform") == ("miss", "third", None)
    assert await at(19, "max-age=1") == ("hit", "third", "1")
    assert await at(19, "max-age=0") == ("miss", "last", None)


async def test_a_hit_shows_nothing_of_how_it_was_kept() -> None:
    teacher, cache = Teacher(whole("first")), Cache(MemoryAnswers())
    await cache(ask(), teacher)
    answer = await cache(ask(), teacher)
    assert not [name for name in answer.data if name.startswith("understudy")]
