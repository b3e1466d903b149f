"""The semantic cache as a stage: what it compares, what opens it, what closes it, and how much it keeps."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from small_fakes import ALICE, BOB, Stream, chunk, exchange_of, read, runtime_of, texts, whole

from gateway.caching.search.inverted import Inverted
from gateway.caching.semantic import Semantic
from gateway.caching.vectors import Vectors
from gateway.config import Cache as Rules
from gateway.config import Config, SemanticCache, Task
from gateway.stages.cache import Cache
from optimizer.reuse import trust

EASY = SemanticCache(delta=0.2, alpha=0.2, reask_rate=0.05)
SUBJECTS = [
    "refund",
    "invoice",
    "parcel",
    "password",
    "warranty",
    "shipping",
    "coupon",
    "account",
    "receipt",
    "size",
]
WAYS = [
    "how do I get my {} sorted please",
    "please how do I get my {} sorted",
    "how do I get my {} sorted",
    "how do I get the {} sorted please",
    "how would I get my {} sorted",
]


def runtime(rules: SemanticCache = EASY, max_bytes: int = 1 << 20) -> Any:
    tasks = [Task(name="faq", semantic_cache=rules), Task(name="other", semantic_cache=rules)]
    return runtime_of(Config(cache=Rules(ttl_s=1000, max_bytes=max_bytes), tasks=tasks))


class House:
    """A cache before a teacher that answers by subject, and in the end by ``mood``."""

    def __init__(self, view: Any = None, seed: int = 1) -> None:
        self.view = view or runtime()
        self.time = 0.0
        self.semantic = Semantic(random.Random(seed), lambda: self.time)
        self.cache = Cache(now=lambda: self.time, semantic=self.semantic)
        self.asked = 0
        self.mood = ""

    async def teacher(self, exchange: Any) -> Any:
        self.asked += 1
        said = exchange.request.messages[-1].content
        subject = next((one for one in SUBJECTS if one in said), said)
        text = f"about {subject}{self.mood and random.Random(self.asked).random()}"
        return texts(text) if exchange.request.streamed else whole(text)

    async def ask(self, text: str, *, body: dict[str, Any] | None = None, **more: Any) -> tuple[str, str]:
        self.time += 0.01
        exchange = exchange_of(self.view, {"model": "faq", **(body or {})}, text=text, **more)
        answer = await self.cache(exchange, self.teacher)
        said = await read(answer) if exchange.request.streamed else answer.text
        return exchange.cache, said

    async def open(self) -> None:
        """Traffic until the task serves. Every question is new to the exact cache."""
        rng = random.Random(4)
        for number in range(3000):
            way, subject = rng.choice(WAYS), rng.choice(SUBJECTS)
            pad = "" if rng.random() < 0.5 else f" {''.join(rng.choices('bcdfg', k=5))}"
            await self.ask(way.format(subject) + pad)
            if number % 20 == 0:
                await self.semantic.settled()
                if any(one.open for one in self.semantic.standings()):
                    return
        pytest.fail(f"never opened: {self.semantic.standings()}")


async def test_a_paraphrase_hits_only_after_the_task_was_proven() -> None:
    house = House()
    assert (await house.ask("how do I get my refund sorted"))[0] == "miss"
    assert (await house.ask("how do I get my refund sorted please"))[0] == "miss"
    await house.open()
    house.semantic._rng = random.Random(0)
    before = house.asked
    found = [await house.ask(f"how do I get my refund sorted qq{'x' * number}") for number in range(40)]
    hits = [answer for how, answer in found if how == "semantic"]
    assert len(hits) > 20
    assert set(hits) == {"about refund"}
    assert house.asked - before == 40 - len(hits)


async def test_an_approximate_index_is_proven_like_an_exact_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    made: list[Inverted] = []

    def early(size: int, most: int) -> Inverted:
        made.append(Inverted(size, most, 30))
        return made[-1]

    monkeypatch.setattr("gateway.caching.search.Inverted", early)
    house = House(runtime(replace(EASY, index="faiss")))
    await house.open()
    assert any(one.approximate for one in made)
    house.semantic._rng = random.Random(0)
    found = [await house.ask(f"how do I get my refund sorted qq{'x' * number}") for number in range(40)]
    assert {answer for _, answer in found} == {"about refund"}
    assert sum(how == "semantic" for how, _ in found) > 20
    assert (await house.ask("how do I get my refund sorted qq", principal=BOB))[0] == "miss"
    house.mood = "changed"
    for number in range(400):
        await house.ask(f"how do I get my coupon sorted {'y' * (number % 90)} {number % 7}")
        if number % 20 == 19:
            await house.semantic.settled()
            if house.semantic.standings()[0].alarms:
                break
    assert house.semantic.standings()[0].alarms == 1


async def test_another_encoder_or_another_index_begins_anew_and_harms_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Vectors of two encoders say nothing about each other, and may have another length."""
    house = House()
    for number in range(5):
        await house.ask(f"how do I get my refund sorted {'x' * number}")
    short = np.full(8, 8**-0.5, dtype=np.float32)

    async def encoded(self: Vectors, text: str, said: Any, encoder: str | None) -> Any:
        return short if encoder else await lexical(self, text, said, encoder)

    lexical = Vectors.of
    monkeypatch.setattr(Vectors, "of", encoded)
    house.view = runtime(replace(EASY, encoder="/models/other"))
    assert (await house.ask("how do I get my refund sorted xx"))[0] == "hit", (
        "the exact answer is as good as ever"
    )
    for number in range(20):
        assert (await house.ask(f"how do I get my parcel sorted {'x' * number}"))[0] == "miss"
    house.view = runtime(replace(EASY, encoder="/models/other", max_entries=2))
    assert (await house.ask("how do I get my invoice sorted"))[0] == "miss"
    assert house.semantic.stats()["entries"] == 2


async def test_what_differs_besides_the_last_text_is_never_reused() -> None:
    house = House()
    await house.open()
    asked = "how do I get my refund sorted plz"
    others: list[dict[str, Any]] = [
        {"messages": [{"role": "system", "content": "Be rude."}, {"role": "user", "content": asked}]},
        {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes?"},
                      {"role": "user", "content": asked}]},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"response_format": {"type": "json_object"}},
        {"model": "other"},
        {"temperature": 0.3},
        {"n": 2},
    ]  # fmt: skip
    for body in others:
        assert (await house.ask(asked, body=body))[0] == "miss", body
    assert (await house.ask(asked, principal=BOB))[0] == "miss"
    assert (await house.ask(asked, headers={"x-understudy-force": "teacher"}))[0] == "miss"


async def test_one_text_part_is_a_text_and_anything_beside_it_is_not_compared() -> None:
    house = House()
    await house.open()
    house.semantic._rng = random.Random(0)

    async def found(*content: Any) -> str:
        return (await house.ask("", body={"messages": [{"role": "user", "content": list(content)}]}))[0]

    texts_of = [{"type": "text", "text": f"how do I get my refund sorted plz{'x' * n}"} for n in range(10)]
    assert "semantic" in {await found(text) for text in texts_of}
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    for more in (picture, {"type": "text", "text": "and"}, {"type": "file", "file": {"file_id": "file-1"}}):
        assert {await found(text, more) for text in texts_of} == {"miss"}
    marked = [{**text, "cache_control": {"type": "ephemeral"}} for text in texts_of]
    assert {await found(text) for text in marked} == {"miss"}
    assert await found({"type": "text", "text": ["a"]}) == await found({"type": "input", "text": "a"}) == "miss"


async def test_guards_stand_between_likely_questions() -> None:
    house = House()
    await house.open()
    house.semantic._rng = random.Random(0)
    await house.ask("how do I get my refund sorted in 5 days")
    for near in (
        "how do I get my refund sorted in 6 days",
        "how do I not get my refund sorted in 5 days",
        "how do I get my refund sorted in 5 days tomorrow",
    ):
        assert (await house.ask(near))[0] == "miss", near


async def test_a_client_that_wants_a_fresh_answer_gets_one_and_a_stream_is_replayed() -> None:
    house = House()
    await house.open()
    house.semantic._rng = random.Random(0)
    fresh = {"cache-control": "no-cache"}
    assert {
        (await house.ask(f"how do I get my coupon sorted {'y' * n}", headers=fresh))[0] for n in range(20)
    } == {"miss"}
    streamed = [
        await house.ask(f"how do I get my coupon sorted {'z' * n}", body={"stream": True})
        for n in range(1, 20)
    ]
    assert ("semantic", "about coupon") in streamed
    assert ("miss", "about coupon") in streamed or all(how == "semantic" for how, _ in streamed)


async def test_a_task_whose_answers_change_is_switched_off() -> None:
    house = House(runtime(SemanticCache(delta=0.2, alpha=0.2, reask_rate=0.5, average_run_length=100)))
    await house.open()
    house.mood = "unlike before"
    rng = random.Random(9)
    for number in range(1500):
        await house.ask(
            f"{rng.choice(WAYS).format(rng.choice(SUBJECTS))} v{'w' * (number % 50)}{rng.random()}"[:60]
        )
        await house.semantic.settled()
        if house.semantic.standings()[0].alarms:
            break
    standing = house.semantic.standings()[0]
    assert standing.alarms == 1
    assert not standing.open
    assert standing.round >= 2


async def test_changed_rules_start_anew() -> None:
    house = House()
    await house.open()
    house.view = runtime(SemanticCache(delta=0.1, alpha=0.2))
    assert (await house.ask("how do I get my refund sorted bb"))[0] == "miss"
    assert (await house.ask("how do I get my refund sorted bbb"))[0] == "miss"
    await house.semantic.settled()
    assert not any(one.open for one in house.semantic.standings())


async def test_entries_expire() -> None:
    house = House()
    await house.open()
    house.time += 1001
    assert (await house.ask("how do I get my refund sorted cc"))[0] == "miss"
    assert house.semantic.stats()["entries"] == 1


async def test_a_flood_of_unique_prompts_stays_within_its_bytes() -> None:
    house = House(runtime(max_bytes=300_000))
    for number in range(1500):
        await house.ask(
            f"unique question {number} {'long ' * (number % 9)}", principal=ALICE if number % 2 else BOB
        )
        assert house.semantic.stats()["bytes"] <= 300_000
    assert house.semantic.stats()["entries"] < 100
    few = House(runtime(SemanticCache(max_entries=10)))
    for number in range(100):
        await few.ask(f"another one {number}", principal=ALICE if number % 2 else BOB)
    assert few.semantic.stats()["entries"] == 20


async def test_what_was_learnt_is_bounded_over_projects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.caching.lessons.TASKS", 3)
    house = House()
    for number in range(5):
        who = replace(ALICE, project=f"p{number}")
        for text in ("how do I get my refund sorted", "how do I get my refund sorted please"):
            await house.ask(text, principal=who)
    await house.semantic.settled()
    assert [one.project for one in house.semantic.standings()] == ["p2", "p3", "p4"]


async def test_an_answer_that_is_cut_or_calls_a_tool_is_not_kept() -> None:
    house = House()

    async def cut(exchange: Any) -> Any:
        return whole("half", "length")

    async def calls(exchange: Any) -> Any:
        return whole("", "tool_calls", tool_calls=[{"id": "c", "type": "function", "function": {}}])

    async def breaks(exchange: Any) -> Any:
        return Stream(chunk({"content": "ha"}), RuntimeError("gone"))

    for teacher in (cut, calls):
        await house.cache(exchange_of(house.view, {"model": "faq"}, text=str(teacher)), teacher)
    answer = await house.cache(exchange_of(house.view, {"model": "faq", "stream": True}), breaks)
    with pytest.raises(RuntimeError):
        await read(answer)
    assert house.semantic.stats()["entries"] == 0


async def test_no_hit_crosses_projects_over_ten_thousand_adversarial_pairs() -> None:
    """One project's question in every dress, asked by another project, in a task that would reuse anything."""
    house = House()
    scope_trust = trust.start(0.02, 0.05, 1000)
    sure = trust.Model((0.0,) * 12, (1.0,) * 12, (0.0,) * 12, 100.0)
    opened = trust.replace(scope_trust, model=sure, cut=-1000.0, watch=trust.drift.start(0.98, 0.0, 1000))
    house.semantic._state = lambda scope, rules: opened  # type: ignore[method-assign]
    rng = random.Random(11)
    for number in range(10_000):
        text = rng.choice(WAYS).format(rng.choice(SUBJECTS)) + rng.choice(
            ["", " ", "?", "!", " please", " ok"]
        )
        mine = number % 2 == 0
        exchange = exchange_of(house.view, {"model": "faq"}, text=text, principal=ALICE if mine else BOB)
        owner = "alice" if mine else "bob"

        async def teacher(exchange: Any, owner: str = owner) -> Any:
            return whole(f"secret of {owner}")

        answer = await house.cache(exchange, teacher)
        assert answer.text == f"secret of {owner}"
