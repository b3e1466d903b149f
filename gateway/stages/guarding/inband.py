"""The request field ``moderation``: input and answer are rated by the guardrails, and the answer says how.

OpenAI rates with a model of its own. Where the policies have ``/v1/moderations`` answered here, so is this, whoever
answers the call; otherwise the field goes to the provider, and is refused by those that do not know it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from msgspec import Struct

from gateway.context import Exchange, Finding
from gateway.errors import BadRequest, GatewayError
from gateway.guardrails import Place, Scene
from gateway.guardrails.verdict import Direction
from gateway.judges import Judges
from gateway.pipeline import Handler
from gateway.protocol.answer import Answer, Chunk, ChunkStream, WholeAnswer
from gateway.protocol.assemble import assemble
from gateway.protocol.lists import dicts
from gateway.stages.guarding.queued import QueuedStream
from gateway.stages.guarding.rating import moderated, moderators
from gateway.stages.guarding.request import Guards, note_finding, project_of
from gateway.stages.guarding.texts import said_by, said_in

Mode = Literal["score", "block"]
_ASKED_ABOUT = frozenset({"input", "tool_results", "context"})


class Wanted(Struct, frozen=True):
    """What a client asked for. ``model`` is repeated in the answer, as its own model is."""

    model: str
    input: Mode = "score"
    output: Mode = "score"


def wanted_of(exchange: Exchange) -> Wanted | None:
    """None where nothing is asked for, or somebody else answers it. Raises BadRequest."""
    given = exchange.body.get("moderation")
    if given is None or exchange.runtime.config.surface.moderations != "local":
        return None
    if not isinstance(given, dict) or not isinstance(given.get("model"), str):
        raise _wrong("'moderation' must be an object with a 'model'.", "moderation")
    policy = {} if given.get("policy") is None else given["policy"]
    if not isinstance(policy, dict):
        raise _wrong("'policy' must be an object.", "moderation.policy")
    return Wanted(given["model"], _mode(policy, "input"), _mode(policy, "output"))


def _mode(policy: dict[str, Any], side: str) -> Mode:
    mode = "score" if policy.get(side) is None else policy[side]
    if isinstance(mode, dict):
        mode = mode.get("mode")
    if mode not in ("score", "block"):
        raise _wrong(f"'mode' of '{side}' must be 'score' or 'block'.", f"moderation.policy.{side}.mode")
    return "block" if mode == "block" else "score"


def _wrong(message: str, param: str) -> BadRequest:
    return BadRequest(message, param=param, code="invalid_value")


async def answered(exchange: Exchange, wanted: Wanted, judges: Judges, inner: Handler) -> Answer:
    """The answer of ``inner``, with what was found. Raises BadRequest ``moderation_blocked``, Unavailable when no
    guardrail reads the call."""
    guards, readers = moderators(exchange), moderators(exchange, "output")
    exchange.body = {name: value for name, value in exchange.body.items() if name != "moderation"}
    said = said_in(exchange.body)
    exchange.scene = Scene(exchange.body, tuple(said), project_of(exchange))
    texts = [text for place, text in said if place in _ASKED_ABOUT]
    given = await _rated(exchange, guards, texts, judges, "in", wanted.input)
    rater = _Rater(exchange, wanted, judges, readers, given)
    answer = await inner(exchange)
    if not isinstance(answer, WholeAnswer):
        return _Rated(answer, rater)
    told = await rater.told(answer.data)
    return WholeAnswer({**answer.data, **told}, answer.text, answer.finish_reason, answer.usage)


async def _rated(
    exchange: Exchange, guards: Guards, texts: list[str], judges: Judges, direction: Direction, mode: Mode
) -> dict[str, Any]:
    """What was found, or, where only scores are wanted, that it cannot be said. Raises BadRequest for what is flagged
    and to be blocked, Unavailable when that cannot be said; the messages name categories and no text."""
    try:
        result = await moderated(exchange, guards, texts, judges, direction)
    except GatewayError as problem:
        if mode == "block":
            raise
        return {"type": "error", "code": problem.code or "moderation_failed", "message": problem.message}
    if mode == "block" and result["flagged"]:
        raise _stopped(exchange, result, "input" if direction == "in" else "output")
    return result


def _stopped(exchange: Exchange, result: dict[str, Any], place: Place) -> BadRequest:
    note_finding(exchange, Finding("moderation", "block", place, shadow=False, sample=""))
    what = "request" if place == "input" else "answer"
    found = ", ".join(sorted(name for name, hit in result["categories"].items() if hit))
    return BadRequest(f"The {what} was blocked by moderation, as you asked: {found}.", code="moderation_blocked")


class _Rater:
    """Rates one call's answer. ``given``: what was found in its input."""

    def __init__(
        self, exchange: Exchange, wanted: Wanted, judges: Judges, guards: Guards, given: dict[str, Any]
    ) -> None:
        self._exchange, self.wanted, self._judges, self._guards, self._given = exchange, wanted, judges, guards, given

    async def told(self, data: dict[str, Any]) -> dict[str, Any]:
        """``moderation`` as an answer has it. Raises BadRequest when the answer is to be blocked."""
        mode = self.wanted.output
        result = await _rated(self._exchange, self._guards, list(_texts(data)), self._judges, "out", mode)
        return {"moderation": {"input": self._shown(self._given), "output": self._shown(result)}}

    def _shown(self, result: dict[str, Any]) -> dict[str, Any]:
        if result.get("type") == "error":
            return result
        one = {**result, "model": self.wanted.model, "type": "moderation_result"}
        return {"model": self.wanted.model, "results": [one], "type": "moderation_results"}


def _texts(data: dict[str, Any]) -> Iterator[str]:
    for choice in dicts(data.get("choices")):
        message = choice.get("message")
        if isinstance(message, dict):
            yield from (text for _, text in said_by(message))


class _Rated(QueuedStream):
    """A stream with one more chunk at its end. One whose answer may be blocked is held until all of it is rated."""

    def __init__(self, inner: ChunkStream, rater: _Rater) -> None:
        super().__init__(inner)
        self._rater = rater
        self._held = rater.wanted.output == "block"
        self._seen: list[Chunk] = []

    async def _take(self, chunk: Chunk | None) -> None:
        if chunk is None:
            await self._end()
            return
        self._seen.append(chunk)
        if not self._held:
            self._ready.append(chunk)

    async def _end(self) -> None:
        if not self._seen:
            return
        told = await self._rater.told(assemble(chunk.data for chunk in self._seen))
        if self._held:
            self._ready.extend(self._seen)
        last = {name: value for name, value in self._seen[-1].data.items() if name != "usage"}
        self._ready.append(Chunk({**last, "choices": [], **told}))
