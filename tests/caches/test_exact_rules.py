"""The exact cache as a stage: stale answers, what guardrails stop, rules, and forgetting."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from small_fakes import ALICE, BOB, exchange_of, read, runtime_of, texts, whole

from gateway.caching.entries import Entry, Purge, oldest, packed, unpacked
from gateway.caching.refreshing import Refresher
from gateway.config import Cache as Rules
from gateway.config import CandidateRef, Config, Policy, Rule, Task
from gateway.errors import BadRequest
from gateway.guardrails.blocklist import Blocklist
from gateway.pipeline import fold
from gateway.providers import OpenAIProvider
from gateway.stages.cache import Admit, Cache, cache_key
from gateway.stages.guard import Guard
from gateway.storage.answers import MemoryAnswers
from optimizer.routing.rules import When

STALE = runtime_of(Config(cache=Rules(enabled=True, ttl_s=10, stale_s=50)))


class Teacher:
    """Numbers its answers."""

    def __init__(self, *said: str) -> None:
        self.asked: list[Any] = []
        self.said = list(said)

    async def __call__(self, exchange: Any) -> Any:
        self.asked.append(exchange)
        text = self.said.pop(0) if self.said else f"answer {len(self.asked)}"
        return texts(text) if exchange.request.streamed else whole(text)


class House:
    """A cache whose clocks are moved by hand."""

    def __init__(self, view: Any = STALE) -> None:
        self.view, self.time = view, 1000.0
        self.teacher = Teacher()
        self.refresher = Refresher(lambda: "chatcmpl-again", lambda: self.time)
        self.cache = Cache(MemoryAnswers(), lambda: self.time, refresher=self.refresher)
        self.refresher.pipeline = fold([self.cache], self.teacher)

    async def ask(self, text: str = "hello", body: dict[str, Any] | None = None, **more: Any) -> tuple[str, str]:
        exchange = exchange_of(self.view, {"temperature": 0, **(body or {})}, text=text, **more)
        exchange.received_at, exchange.deadline = 1.7e9 + self.time, self.time + 60
        answer: Any = await self.cache(exchange, self.teacher)
        return exchange.cache, await read(answer) if exchange.request.streamed else answer.text


async def test_a_stale_answer_is_served_while_one_fresh_one_is_asked_for() -> None:
    house = House()
    assert await house.ask() == ("miss", "answer 1")
    house.time += 11
    found = await asyncio.gather(*(house.ask(body={"stream": at % 2 == 1}) for at in range(6)))
    assert set(found) == {("stale", "answer 1")}
    await house.refresher.settled()
    assert len(house.teacher.asked) == 2
    again = house.teacher.asked[-1]
    assert not again.request.streamed and again.principal == ALICE and again.call_id == "chatcmpl-again"
    assert await house.ask() == ("hit", "answer 2")
    house.time += 61
    assert await house.ask() == ("miss", "answer 3")


async def test_a_client_that_takes_no_stale_answer_waits_for_a_fresh_one() -> None:
    house = House()
    await house.ask()
    house.time += 11
    assert await house.ask(headers={"cache-control": "max-age=10"}) == ("miss", "answer 2")


async def test_an_answer_that_cannot_be_refreshed_is_not_asked_for_on_every_hit() -> None:
    house = House()
    await house.ask()
    house.time += 11
    tries = 0

    async def away(exchange: Any) -> Any:
        nonlocal tries
        tries += 1
        raise BadRequest("no")

    house.refresher.pipeline = away
    for _ in range(5):
        assert await house.ask() == ("stale", "answer 1")
        await house.refresher.settled()
    assert tries == 1
    house.time += 5.1
    await house.ask()
    await house.refresher.settled()
    assert tries == 2


def guarded() -> Any:
    rules = {"words": Blocklist(phrases=["forbidden"])}
    return runtime_of(Config(cache=Rules(enabled=True), guardrails=rules))


@pytest.mark.parametrize("stream", [False, True])
async def test_what_a_guardrail_stops_on_its_way_out_does_not_enter(stream: bool) -> None:
    house = House(guarded())
    house.teacher.said = ["a forbidden thing", "a fine thing"]
    pipeline = fold([Admit(), Guard(), house.cache], house.teacher)

    async def ask() -> str:
        body = {"temperature": 0, "stream": stream}
        answer: Any = await pipeline(exchange_of(house.view, body))
        return await read(answer) if stream else str(answer.text)

    with pytest.raises(BadRequest):
        await ask()
    assert house.cache.exact.stats()["entries"] == 0
    assert await ask() == await ask() == "a fine thing"
    assert len(house.teacher.asked) == 2


async def test_a_guarded_stream_that_is_left_does_not_enter_and_hands_over() -> None:
    house = House(guarded())
    pipeline = fold([Admit(), Guard(), house.cache], house.teacher)
    leader: Any = await pipeline(exchange_of(house.view, {"temperature": 0, "stream": True}))
    follower = asyncio.create_task(pipeline(exchange_of(house.view, {"temperature": 0})))
    await asyncio.sleep(0)
    await anext(aiter(leader))
    await leader.aclose()
    answer: Any = await follower
    assert answer.text == "answer 2"


def test_under_another_rule_another_answer() -> None:
    """A caller whom the rules give another model is not answered with what the first one's model said."""
    refs = [CandidateRef("a", "small")]
    better = Policy(name="better", candidates=[CandidateRef("a", "large")])
    rules = [
        Rule(policy="better", when=When(header={"x-tier": "gold"})),
        Rule(policy="better", when=When(metadata={"team": "legal"}, min_tokens=10)),
        Rule(policy="better", when=When(key=["key_vip"])),
    ]
    task = Task(name="t", cache=True, candidates=refs, rules=rules)
    view = runtime_of(Config(providers={"a": OpenAIProvider(api_key="x")}, policies=[better], tasks=[task]))

    def key(body: dict[str, Any] | None = None, **more: Any) -> str:
        return cache_key(exchange_of(view, {"model": "t", **(body or {})}, **more), view.tasks["t"])

    vip = type(ALICE)(key_id="key_vip", project="p1")
    keys = [key(), key(headers={"x-tier": "gold"}), key({"metadata": {"team": "legal"}}), key(principal=vip)]
    assert len(set(keys)) == 4
    assert key() == key({"metadata": {"team": "sales"}}, headers={"x-tier": "silver"})


@pytest.mark.parametrize(
    ("which", "left"),
    [
        (Purge(), []),
        (Purge(project="p2"), ["a", "b"]),
        (Purge(task="t"), ["b", "c"]),
        (Purge(key_ids=("key_alice",)), ["b", "c"]),
        (Purge(entry="b"), ["a", "c"]),
        (Purge(before=15.0), ["b", "c"]),
        (Purge(project="p1", task="u"), ["a", "c"]),
        (Purge(project="p3"), ["a", "b", "c"]),
    ],
)
async def test_what_is_forgotten(which: Purge, left: list[str]) -> None:
    exact = Cache(now=lambda: 0.0).exact
    for key, at, project, task, key_id in (
        ("a", 10.0, "p1", "t", "key_alice"), ("b", 20.0, "p1", "u", "key_bob"), ("c", 30.0, "p2", "u", "key_carol"),
    ):  # fmt: skip
        exact.put(key, Entry(at, 60.0, project, task, key_id, "x", "m", None, b"{}"), life=60.0, max_bytes=10_000)
    assert await exact.purge(which) == 3 - len(left)
    assert [key for key in "abc" if await exact.find(key, 1.0) is not None] == left


async def test_purging_many_lets_others_be_served() -> None:
    store = MemoryAnswers()
    entry = packed(Entry(0.0, 60.0, "p", "t", "k", "x", "m", None, b"{}"))
    for at in range(5000):
        store.put(str(at), entry, now=0.0, ttl=60.0, max_bytes=1 << 24)
    served = 0

    async def others() -> None:
        nonlocal served
        while True:
            await asyncio.sleep(0)
            served += 1

    other = asyncio.create_task(others())
    assert await store.purge(lambda key, raw: True) == 5000
    other.cancel()
    assert served >= 9
    assert store.stats() == {"entries": 0, "bytes": 0}


def test_what_another_version_kept_is_no_entry() -> None:
    assert unpacked(b'{"choices": []}') is None
    assert unpacked(b"") is None
    entry = Entry(0.0, 60.0, "p", "t", "k", "x", "m", None, b"{}")
    assert unpacked(packed(entry)) == entry


@pytest.mark.parametrize(
    ("wishes", "seconds"),
    [((), math.inf), (("no-cache",), 0.0), (("max-age=5", "max-age=3"), 3.0), (("max-age=",), 0.0),
     (("max-age=-1",), 0.0), (("max-age=٣",), 0.0), (('max-age="60"',), 60.0), (("max-age = 60",), 60.0), (("private",), math.inf), (("max-age=" + "9" * 400,), 999999999999.0)],
)  # fmt: skip
def test_how_old_an_answer_may_be(wishes: tuple[str, ...], seconds: float) -> None:
    assert oldest(wishes) == seconds


async def test_memory_is_bounded_under_a_flood_of_unique_prompts() -> None:
    view = runtime_of(Config(cache=Rules(enabled=True, max_bytes=100_000)))
    house = House(view)
    for at in range(3000):
        await house.ask(f"prompt {at} " + "x" * (at % 300))
    stats = house.cache.exact.stats()
    assert 0 < stats["bytes"] <= 100_000
    assert stats["entries"] < 300
    assert not house.cache.exact._flights
    assert (await house.ask(f"prompt {2999} " + "x" * (2999 % 300)))[0] == "hit"


async def test_ten_thousand_adversarial_pairs_find_nothing_of_another_project() -> None:
    """Near-identical, look-alike and cleverly shaped requests of two projects, with all games a client can play
    on what makes a key: no answer of one ever reaches the other."""
    house = House(runtime_of(Config(cache=Rules(enabled=True, max_bytes=1 << 26))))
    owner_of: dict[str, str] = {}

    async def teacher(exchange: Any) -> Any:
        return whole(f"secret of {exchange.principal.project}")

    crossed = hits = 0
    for number in range(10_000):
        body, headers, text = games(number // 2)
        mine = number % 2 == 0
        exchange = exchange_of(
            house.view, {"temperature": 0, **body}, text=text, headers=headers, principal=ALICE if mine else BOB
        )
        answer: Any = await house.cache(exchange, teacher)
        hits += exchange.cache == "hit"
        crossed += answer.text != f"secret of {'p1' if mine else 'p2'}"
        key = cache_key(exchange)
        assert owner_of.setdefault(key, exchange.principal.project) == exchange.principal.project  # type: ignore[union-attr]
    assert crossed == 0
    assert hits > 1000  # the cache did work: the same project's repeats were found


def games(number: int) -> tuple[dict[str, Any], dict[str, str], str]:
    """A request that tries to be taken for one of another project's; some repeat earlier ones."""
    words = ["what is my balance", "what is my bаlance", "what is my balance\u200b", "ＷＨＡＴ is my balance", "what is my balance?"]
    text = words[number % len(words)] + ("" if number % 7 else f" {number % 50}")
    bodies: list[dict[str, Any]] = [
        {}, {"user": "p1"}, {"metadata": {"project": "p1"}}, {"project": "p1"}, {"prompt_cache_key": "p1"},
        {"safety_identifier": "p2"}, {"seed": number % 3}, {"messages": [
            {"role": "system", "content": '","p1",{"messages"'}, {"role": "user", "content": text}]},
        {"tools": [{"type": "function", "function": {"name": "p1"}}]}, {"x": '"],"p1"'},
    ]  # fmt: skip
    headers: list[dict[str, str]] = [
        {}, {"x-understudy-project": "p1"}, {"x-understudy-project": "p2"}, {"openai-project": "p1"},
        {"x-forwarded-user": "p1"}, {"cache-control": "max-age=99999"}, {"cookie": "project=p1"},
    ]  # fmt: skip
    return bodies[number // 5 % len(bodies)], headers[number // 50 % len(headers)], text
