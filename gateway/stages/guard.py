"""Is the text fit to go out, and to come back: runs the guardrails around everything inside.

On the way in texts are masked or rewritten in the body that goes upstream, on the way out the client's own values
are put back, in whole answers and in streams, tool calls included. A guardrail that fails blocks.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import msgspec

from gateway.context import Answer, Exchange, WholeAnswer
from gateway.guardrails import Scene
from gateway.guardrails.verdict import Verdict, changed
from gateway.judges import Judges
from gateway.pipeline import Handler
from gateway.protocol.assemble import answer_text
from gateway.protocol.chat import ChatRequest
from gateway.protocol.lists import dicts
from gateway.retrieval.enclosed_documents import EnclosedDocuments
from gateway.stages.guarding import positions
from gateway.stages.guarding.answers import judged_answer
from gateway.stages.guarding.asked_stream import AskedStream
from gateway.stages.guarding.documents import with_documents
from gateway.stages.guarding.inband import answered, wanted_of
from gateway.stages.guarding.odd import judge_labels
from gateway.stages.guarding.parts import COMPLETE, Channel, is_json, map_delta
from gateway.stages.guarding.prose import masked_prose
from gateway.stages.guarding.request import FailClosed, Guards, guards_for
from gateway.stages.guarding.stream import GuardedStream
from gateway.stages.guarding.texts import said_by, said_in, with_whole_thoughts
from gateway.texts import json_places
from gateway.texts.enclosed import closed_again, opened
from gateway.texts.masking import Masker
from gateway.texts.unmasking import unmask

# What says who is calling is not prose: a session or an end user keeps its name.
_IDENTITY = frozenset({"metadata", "user", "safety_identifier", "prompt_cache_key"})


class Guard:
    """The stage. Raises BadRequest ``guardrail_blocked``, or Unavailable when a guardrail itself fails."""

    def __init__(self, judges: Judges | None = None, documents: EnclosedDocuments | None = None) -> None:
        self._judges = judges if judges is not None else Judges()
        self._documents = documents if documents is not None else EnclosedDocuments()

    def __call__(self, exchange: Exchange, inner: Handler) -> Awaitable[Answer]:
        if not exchange.runtime.config.guardrails:
            return inner(exchange)
        if exchange.body.get("moderation") is not None and (wanted := wanted_of(exchange)) is not None:
            return answered(exchange, wanted, self._judges, lambda one: self._guarded(one, inner))
        return self._guarded(exchange, inner)

    async def _guarded(self, exchange: Exchange, inner: Handler) -> Answer:
        judges = self._judges
        with FailClosed(exchange, "input"):
            guards = guards_for(exchange)
            await check_request(exchange, guards, judges, self._documents)
        answer = await inner(exchange)
        in_json = _wants_json(exchange.request)
        if not isinstance(answer, WholeAnswer):
            asking = {name: guard for name, guard in guards.items() if guard.asks and guard.asked_reach}
            stream = AskedStream(answer, exchange, asking, judges, content_is_json=in_json) if asking else answer
            if not exchange.placeholders and not any(guard.reach for guard in guards.values()):
                return stream  # nobody else looks at it, and nothing has to be put back
            return GuardedStream(stream, exchange, guards, content_is_json=in_json)
        with FailClosed(exchange, "output"):
            return await check_answer(exchange, guards, answer, judges, content_is_json=in_json)


async def check_request(exchange: Exchange, guards: Guards, judges: Judges, documents: EnclosedDocuments) -> None:
    """Judges every text of the request, masks body and typed request when a guardrail asks for it, and has the
    guardrails prepare it that do."""
    prose = {name: value for name, value in exchange.body.items() if name not in _IDENTITY}
    if len(prose) < len(exchange.body):
        judge_labels(exchange, guards, {name: exchange.body[name] for name in _IDENTITY & exchange.body.keys()})
    found: list[str] = []
    words = opened(prose, found)
    if found:
        words = await with_documents(exchange, guards, words, found, documents, judges)
    masked = await masked_prose(exchange, guards, words, judges)
    new = prose if masked is None else closed_again(prose, words, masked)
    new = with_whole_thoughts(prose, new)
    for guard in guards.values():
        if guard.prepares and not guard.shadow:
            new = guard.prepared(new)
    if new is prose:
        return
    if exchange.scene is not None:
        inside = [one for one in said_in(masked or words) if one[1] in exchange.documents]
        exchange.scene = Scene(new, (*said_in(new), *inside), exchange.scene.project)
    model = exchange.request.model
    identity = {name: value for name, value in exchange.body.items() if name in _IDENTITY}
    exchange.body = {**new, **identity}
    exchange.request = msgspec.convert(exchange.body, ChatRequest)
    assert exchange.request.model == model


async def check_answer(
    exchange: Exchange, guards: Guards, answer: WholeAnswer, judges: Judges, *, content_is_json: bool
) -> WholeAnswer:
    """Judges a whole answer, changes what is to be changed, and puts the client's own values back into it."""
    choices = answer.data.get("choices")
    changes = await judged_answer(exchange, guards, answer, judges)
    values = exchange.placeholders
    if not values and not changes:
        return answer
    masker = Masker()
    for name in values:
        masker.reserve(name)

    def restored(channel: Channel, text: str) -> str:
        if text in changes:
            masker.reserve(text)
            text = changed(text, changes[text], masker)
        return unmask(text, values, in_json=is_json(channel, content_is_json) or json_places.is_json(text))

    def complete(text: str) -> str:
        return restored((0, COMPLETE, 0), text)

    def signed(text: str) -> str:
        """Thoughts go back as they were signed: with placeholders."""
        return text if text not in changes else ""

    def placed(message: dict[str, Any], said: Any) -> dict[str, Any]:
        """The message with citations that point where they did in what was ``said``."""
        if not isinstance(said, str) or not positions.cites(message):
            return message
        meant = said
        if said in changes:
            meant = changed(said, changes[said], masker)
            message = positions.moved(message, positions.judged(said, changes[said], meant))
        return positions.moved(message, positions.restored(meant, values))

    new = [
        _spoken_for(
            {**choice, "message": placed(
                map_delta(at, choice["message"], restored, complete, signed), choice["message"].get("content")
            )},
            choice["message"], changes,
        )
        if isinstance(choice.get("message"), dict)
        else choice
        for at, choice in enumerate(dicts(choices))
    ]
    data = {**answer.data, "choices": new}
    return WholeAnswer(data, answer_text(data), answer.finish_reason, answer.usage)


def _spoken_for(
    choice: dict[str, Any], said: dict[str, Any], changes: dict[str, list[Verdict]]
) -> dict[str, Any]:
    """Log-probabilities spell the text that was taken out, so they go with it."""
    if choice.get("logprobs") and any(text in changes for _, text in said_by(said)):
        choice["logprobs"] = None
    return choice


def _wants_json(request: ChatRequest) -> bool:
    kind = (request.response_format or {}).get("type")
    return kind in ("json_object", "json_schema")
