"""Citations point to the same words after guardrails put values back or take words out, whole and streamed."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any

import pytest
from small_fakes import Asking, Stream, chunk, exchange_of, runtime_of, whole

from gateway.config import Config
from gateway.guardrails import Blocklist, Pii, Scene
from gateway.guardrails.guardrail import WHOLE
from gateway.guardrails.verdict import ALLOW, Verdict
from gateway.protocol.assemble import assemble, split
from gateway.stages.guard import Guard
from gateway.stages.guarding import positions

MAIL = "jane.of.the.longest.name@example.org"
SAID = "Ask [EMAIL_1], the falcon of [EMAIL_1] is fast. A falcon flies."
BACK = SAID.replace("[EMAIL_1]", MAIL)


def note(text: str, words: str, nth: int = 0) -> dict[str, Any]:
    start = -1
    for _ in range(nth + 1):
        start = text.index(words, start + 1)
    return {"type": "url_citation", "url_citation": {
        "url": "https://example.org", "title": "t", "start_index": start, "end_index": start + len(words)}}  # fmt: skip


def cited(message: dict[str, Any]) -> list[str]:
    notes = [one["url_citation"] for one in message["annotations"]]
    notes += message.get("citations", {}).get("citations", [])
    return [message["content"][one["start_index"] : one["end_index"]] for one in notes]


async def told(guards: dict[str, Any], part: dict[str, Any], streamed: bool) -> dict[str, Any]:
    exchange = exchange_of(runtime_of(Config(guardrails=guards)), text=f"who is {MAIL}?")
    message = whole(SAID, **part)
    answer: Any = message
    if streamed:
        letters = [chunk({"content": SAID[at : at + 3]}, None) for at in range(0, len(SAID), 3)]
        parts = [one["choices"][0] for one in split(message.data)]
        rest = [chunk(one["delta"], one["finish_reason"]) for one in parts if not one["delta"].get("content")]
        answer = Stream(*letters, *rest)

    async def inner(_: Any) -> Any:
        return answer

    got: Any = await Guard()(exchange, inner)
    data = got.data if hasattr(got, "data") else assemble([one.data async for one in got])
    found: dict[str, Any] = data["choices"][0]["message"]
    return found


WORDS = [("Ask", 0), ("[EMAIL_1]", 0), ("the falcon of", 0), ("[EMAIL_1]", 1), ("is fast.", 0), ("A falcon flies.", 0)]


@pytest.mark.parametrize("streamed", [False, True])
async def test_values_that_are_put_back_move_what_follows(streamed: bool) -> None:
    place = note(SAID, "is fast.")["url_citation"]
    part = {
        "annotations": [note(SAID, *one) for one in WORDS],
        "citations": {"citations": [{"start_index": place["start_index"], "end_index": place["end_index"], "citation": {}}]},
    }  # fmt: skip
    message = await told({"personal": Pii()}, part, streamed)
    assert message["content"] == BACK
    assert cited(message) == [*(words.replace("[EMAIL_1]", MAIL) for words, _ in WORDS), "is fast."]


@pytest.mark.parametrize("streamed", [False, True])
async def test_words_that_are_taken_out_move_what_follows(streamed: bool) -> None:
    guards = {"personal": Pii(), "words": Blocklist(phrases=["falcon"], action="rewrite", replacement="…")}
    words = ["Ask", "is fast.", "the falcon of", "A falcon flies."]
    message = await told(guards, {"annotations": [note(SAID, one) for one in words]}, streamed)
    assert message["content"] == BACK.replace("falcon", "…")
    assert cited(message) == [one.replace("falcon", "…") for one in words]


def test_edits_move_places_as_the_words_moved() -> None:
    """Random texts, finds and replacements: a word that no edit touched is found where it is said to be."""
    rng = random.Random(5)
    for _ in range(300):
        words = [f"w{at}{'x' * rng.randrange(4)}" for at in range(12)]
        text = " ".join(words)
        gone = sorted(rng.sample(range(12), rng.randrange(5)))
        new = " ".join("*" * (at % 7) if at in gone else word for at, word in enumerate(words))
        spans = []
        for at in gone:
            start = len(" ".join([*words[:at], ""]))
            spans.append((start, start + len(words[at]), "*"))
        edits = positions.judged(text, [Verdict("rewrite", tuple(spans))], new)
        for at, word in enumerate(words):
            start = len(" ".join([*words[:at], ""]))
            place = {"start_index": start, "end_index": start + len(word)}
            found = positions.moved({"citations": {"citations": [place]}}, edits)["citations"]["citations"][0]
            expected = "*" * (at % 7) if at in gone else word
            assert new[found["start_index"] : found["end_index"]] == expected, (text, new, at)



class Falconer(Asking, frozen=True, kw_only=True):
    """Is asked, and takes falcons out."""

    async def ask(self, texts: Sequence[str], direction: Any, helpers: Any, scene: Scene) -> list[Verdict]:
        found = [tuple((*one.span(), "…") for one in re.finditer("falcon|Ask ", text)) for text in texts]
        return [Verdict("rewrite", spans) if spans else ALLOW for spans in found]


@pytest.mark.parametrize("window", [WHOLE, 12, 40])
@pytest.mark.parametrize("streamed", [False, True])
async def test_what_those_that_are_asked_take_out_moves_what_follows(streamed: bool, window: int) -> None:
    guards = {"personal": Pii(), "asked": Falconer(window=window)}
    words = ["is fast.", "the falcon of", "A falcon flies."]
    done = {"start_index": SAID.index("A falcon"), "thoughts": 0, "block": {"type": "server_tool_use", "id": "s", "name": "x", "input": {}}}
    message = await told(guards, {"annotations": [note(SAID, one) for one in words], "server_blocks": [done]}, streamed)
    assert "falcon" not in message["content"] and message["content"].startswith("…jane")
    left = "[falco]*…"  # of what is found in a window, some may have left
    for found, one in zip(cited(message), words, strict=True):
        assert re.fullmatch(re.escape(one).replace("falcon", left), found), (found, one)
    assert re.fullmatch(f"A {left} flies.", message["content"][message["server_blocks"][0]["start_index"] :])


async def test_what_ran_between_two_texts_stays_between_them() -> None:
    """What is held back of a text because it might become a find leaves before what ran behind it."""
    exchange = exchange_of(runtime_of(Config(guardrails={"personal": Pii()})), text=f"who is {MAIL}?")
    block = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "[EMAIL_1]"}}
    deltas: list[dict[str, Any]] = [{"content": "I look for [EMA"}, {"content": "IL_1] and [EM"},
              {"server_blocks": [{"index": 0, "start_index": 28, "thoughts": 0, "block": block}]}, {"content": "found."}]  # fmt: skip

    async def inner(_: Any) -> Any:
        return Stream(*(chunk(one, None) for one in deltas), chunk({}, "stop"))

    got: Any = await Guard()(exchange, inner)
    told = [one.data["choices"][0]["delta"] async for one in got]
    at = next(number for number, one in enumerate(told) if one.get("server_blocks"))
    assert "".join(one.get("content") or "" for one in told[: at + 1]) == f"I look for {MAIL} and [EM"
    assert "".join(one.get("content") or "" for one in told[at + 1 :]) == "found."
    (entry,) = told[at]["server_blocks"]
    assert entry["start_index"] == len(f"I look for {MAIL} and [EM") and entry["block"]["input"] == {"query": MAIL}
