"""Guardrails look at the less common parts of an answer too: thoughts, sources, transcripts and names."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
from small_fakes import Asking, Stream, chunk, exchange_of, runtime_of, whole

from gateway.config import Config
from gateway.errors import BadRequest
from gateway.guardrails import Blocklist, JsonSchema, Pii
from gateway.guardrails.guardrail import WHOLE, Scene
from gateway.guardrails.verdict import ALLOW, Verdict
from gateway.protocol.assemble import assemble, split
from gateway.stages.guard import Guard

MAIL = "jane@example.org"
NOTE = {"type": "url_citation", "url_citation": {
    "url": "https://example.org", "title": "All about falcon", "start_index": 0, "end_index": 2}}  # fmt: skip
THOUGHT = {"type": "thinking", "thinking": "a falcon it is", "signature": "sig"}
CALL = {"id": "1", "type": "function", "function": {"name": "falcon", "arguments": "{}"}}
PARTS: dict[str, dict[str, Any]] = {
    "annotations": {"annotations": [NOTE]},
    "citations": {"citations": [{"start_index": 0, "end_index": 1, "citation": {"cited_text": "a falcon"}}]},
    "thinking_blocks": {"thinking_blocks": [THOUGHT]},
    "audio": {"audio": {"id": "a", "data": "UklGRg==", "expires_at": 1, "transcript": "see the falcon"}},
    "name": {"tool_calls": [CALL]},
    "custom name": {"tool_calls": [{"id": "1", "type": "custom", "custom": {"name": "falcon", "input": "x"}}]},
    "function_call": {"function_call": {"name": "falcon", "arguments": "{}"}},
    "reasoning_details": {"reasoning_details": [{"type": "reasoning.text", "text": "falcon?"}]},
}


class Oracle(Asking, frozen=True, kw_only=True):
    """Asks others about ``falcon``."""

    rewrites: bool = False

    async def ask(self, texts: Sequence[str], direction: Any, helpers: Any, scene: Scene) -> list[Verdict]:
        return [self._said(text) for text in texts]

    def _said(self, text: str) -> Verdict:
        found = tuple((*one.span(), "***") for one in re.finditer("falcon", text))
        if not found:
            return ALLOW
        return Verdict("rewrite", found) if self.rewrites else Verdict("block")


GUARDS: dict[str, Any] = {
    "at once": lambda rewrites: Blocklist(phrases=["falcon"], action="rewrite" if rewrites else "block"),
    "asked, in windows": lambda rewrites: Oracle(rewrites=rewrites, window=40),
    "asked at the end": lambda rewrites: Oracle(rewrites=rewrites, window=WHOLE),
}


def answer_of(part: dict[str, Any], streamed: bool) -> Any:
    message = whole("so it is", **part)
    if not streamed:
        return message
    return Stream(*(chunk(one["choices"][0]["delta"], one["choices"][0]["finish_reason"]) for one in split(message.data)))


async def told(guard: Any, answer: Any, text: str = "hello", more: Any = None) -> Any:
    """The exchange, and the message of the answer as its client gets it."""
    exchange = exchange_of(runtime_of(Config(guardrails={"words": guard, **(more or {})})), text=text)

    async def inner(_: Any) -> Any:
        return answer

    got: Any = await Guard()(exchange, inner)
    data = got.data if hasattr(got, "data") else assemble([one.data async for one in got])
    return exchange, data["choices"][0]["message"]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("part", PARTS)
async def test_every_part_is_judged(part: str, guard: str, streamed: bool) -> None:
    with pytest.raises(BadRequest, match="answer was blocked by the guardrail 'words'"):
        await told(GUARDS[guard](False), answer_of(PARTS[part], streamed))


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("guard", GUARDS)
async def test_what_can_be_rewritten_is(guard: str, streamed: bool) -> None:
    for part in ("annotations", "citations", "reasoning_details"):
        _, message = await told(GUARDS[guard](True), answer_of(PARTS[part], streamed))
        assert json.dumps(message[part]) == json.dumps(PARTS[part][part]).replace("falcon", "***")


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("guard", GUARDS)
async def test_thoughts_that_are_rewritten_lose_what_was_signed(guard: str, streamed: bool) -> None:
    clean = {"type": "thinking", "thinking": "fine", "signature": "other"}
    part = {"reasoning_content": "a falcon it isfine", "thinking_blocks": [THOUGHT, clean]}
    _, message = await told(GUARDS[guard](True), answer_of(part, streamed))
    assert message["reasoning_content"] == "a *** it isfine" and message["thinking_blocks"] == [clean]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("guard", GUARDS)
async def test_names_and_speech_cannot_be_rewritten_and_are_stopped(guard: str, streamed: bool) -> None:
    for part in ("audio", "name", "custom name", "function_call"):
        with pytest.raises(BadRequest):
            await told(GUARDS[guard](True), answer_of(PARTS[part], streamed))


async def test_a_transcript_is_read_over_its_chunks() -> None:
    pieces = [chunk({"audio": {"id": "a"}}), *(chunk({"audio": {"transcript": one, "data": "AA=="}}) for one in "see falcon")]
    for action in ("block", "rewrite"):
        with pytest.raises(BadRequest):
            await told(Blocklist(phrases=["falcon"], action=action), Stream(*pieces, chunk({}, "stop")))  # type: ignore[arg-type]
    _, message = await told(Blocklist(phrases=["hawk"], action="rewrite"), Stream(*pieces, chunk({}, "stop")))
    assert message["audio"]["data"] == "AA=="


@pytest.mark.parametrize("streamed", [False, True])
async def test_values_are_put_back_but_not_into_what_is_signed(streamed: bool) -> None:
    part = {
        "annotations": [{"type": "url_citation", "url_citation": {"title": "On [EMAIL_1]", "url": "https://x.org"}}],
        "audio": {"id": "a", "data": "AA==", "transcript": "It is [EMAIL_1]."},
        "thinking_blocks": [{"type": "thinking", "thinking": "[EMAIL_1]?", "signature": "sig"}],
        "reasoning_content": "[EMAIL_1]?",
    }
    exchange, message = await told(Pii(), answer_of(part, streamed), f"I am {MAIL}")
    assert message["annotations"][0]["url_citation"]["title"] == f"On {MAIL}"
    assert message["audio"]["transcript"] == f"It is {MAIL}." and message["reasoning_content"] == f"{MAIL}?"
    assert message["thinking_blocks"] == part["thinking_blocks"] and exchange.verdicts == ["words:mask"]


async def test_a_thought_is_whole_before_its_signature() -> None:
    """What a guardrail that rewrites holds back of a thought comes before the signature on it, not at the end."""
    deltas = [{"reasoning_content": "it is "}, {"reasoning_content": "fine"}, {"thinking_blocks": [{
        "type": "thinking", "thinking": "it is fine", "signature": "sig"}]}, {"content": "Yes."}]  # fmt: skip
    exchange = exchange_of(runtime_of(Config(guardrails={"words": Blocklist(phrases=["falcon"], action="rewrite")})))

    async def inner(_: Any) -> Any:
        return Stream(*map(chunk, deltas), chunk({}, "stop"))

    said = ""
    async for one in await Guard()(exchange, inner):  # type: ignore[union-attr]
        delta = one.data["choices"][0]["delta"]
        said += delta.get("reasoning_content") or ""
        if delta.get("thinking_blocks"):
            break
    assert said == "it is fine"


async def test_names_in_requests_are_stopped_and_words_beside_them_rewritten() -> None:
    guard = Blocklist(phrases=["falcon"], action="rewrite")
    tool = {"type": "function", "function": {"name": "look_up", "description": "Finds a falcon."}}
    turn = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    named = {"type": "function", "function": {"name": "falcon"}}
    bodies: list[tuple[dict[str, Any], bool]] = [
        ({"tools": [tool]}, True), ({"tools": [named]}, False), ({"functions": [{"name": "falcon"}]}, False),
        ({"tools": [tool], "tool_choice": named}, False), ({"messages": [{"role": "user", "content": "x"}, turn]}, False),
    ]  # fmt: skip

    async def inner(_: Any) -> Any:
        return whole("fine")

    for body, passes in bodies:
        exchange = exchange_of(runtime_of(Config(guardrails={"words": guard})), body)
        if passes:
            await Guard()(exchange, inner)
            assert exchange.body["tools"][0]["function"]["description"] == "Finds a ***."
        else:
            with pytest.raises(BadRequest):
                await Guard()(exchange, inner)
            assert exchange.verdicts == ["words:block"]


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_schema_for_arguments_is_no_schema_for_names(streamed: bool) -> None:
    guard = JsonSchema(schema={"type": "object"}, directions=["tool_arguments"])
    _, message = await told(guard, answer_of({"tool_calls": [CALL]}, streamed))
    assert message["tool_calls"][0]["function"]["name"] == "falcon"
