"""Is the text fit to go out, and to come back: runs the guardrails around everything inside.

On the way in texts are masked or rewritten in the body that goes upstream, on the way out the client's own values
are put back, in whole answers and in streams, tool calls included. A guardrail that fails blocks.
"""

from __future__ import annotations

import msgspec

from gateway.context import Answer, Exchange, WholeAnswer
from gateway.guardrails.verdict import Verdict, changed
from gateway.masking import Masker, unmask
from gateway.pipeline import Handler
from gateway.protocol.assemble import answer_text
from gateway.protocol.chat import ChatRequest
from gateway.stages.guard_request import Guards, closed, guards_for, judged, masked_prose, settle
from gateway.stages.guard_stream import Channel, GuardedStream, is_json, map_delta
from gateway.stages.guard_texts import dicts, said_by

# What says who is calling is not prose: a session or an end user keeps its name.
_IDENTITY = frozenset({"metadata", "user", "safety_identifier", "prompt_cache_key"})


class Guard:
    """The stage. Raises BadRequest ``guardrail_blocked``, or Unavailable when a guardrail itself fails."""

    async def __call__(self, exchange: Exchange, inner: Handler) -> Answer:
        if not exchange.runtime.config.guardrails:
            return await inner(exchange)
        guards = closed(exchange, lambda: guards_for(exchange))
        closed(exchange, lambda: check_request(exchange, guards))
        answer = await inner(exchange)
        in_json = _wants_json(exchange.request)
        if not isinstance(answer, WholeAnswer):
            return GuardedStream(answer, exchange, guards, content_is_json=in_json)
        whole = answer
        return closed(exchange, lambda: check_answer(exchange, guards, whole, content_is_json=in_json))


def check_request(exchange: Exchange, guards: Guards) -> None:
    """Judges every text of the request, and masks body and typed request when a guardrail asks for it."""
    prose = {name: value for name, value in exchange.body.items() if name not in _IDENTITY}
    masked = masked_prose(exchange, guards, prose)
    if masked is None:
        return
    model = exchange.request.model
    identity = {name: value for name, value in exchange.body.items() if name in _IDENTITY}
    exchange.body = {**masked, **identity}
    exchange.request = msgspec.convert(exchange.body, ChatRequest)
    assert exchange.request.model == model


def check_answer(
    exchange: Exchange, guards: Guards, answer: WholeAnswer, *, content_is_json: bool
) -> WholeAnswer:
    """Judges a whole answer, changes what is to be changed, and puts the client's own values back into it."""
    choices = answer.data.get("choices")
    changes = _judged_answer(exchange, guards, answer)
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
        return unmask(text, values, in_json=is_json(channel, content_is_json))

    new = [
        {**choice, "message": map_delta(at, choice["message"], restored)}
        if isinstance(choice.get("message"), dict)
        else choice
        for at, choice in enumerate(dicts(choices))
    ]
    data = {**answer.data, "choices": new}
    return WholeAnswer(data, answer_text(data), answer.finish_reason, answer.usage)


def _judged_answer(exchange: Exchange, guards: Guards, answer: WholeAnswer) -> dict[str, list[Verdict]]:
    """What is to be changed, by text. Raises BadRequest for what is blocked."""
    messages = [choice.get("message") for choice in dicts(answer.data.get("choices"))]
    said = [one for message in messages if isinstance(message, dict) for one in said_by(message)]
    changes: dict[str, list[Verdict]] = {}
    for name, guard in guards.items():
        verdicts = [
            (place, text, judged(exchange, name, guard, text, "out"))
            for place, text in said
            if guard.reads(place)
        ]
        settle(exchange, name, guard, verdicts, "out", changes)
    return changes


def _wants_json(request: ChatRequest) -> bool:
    kind = (request.response_format or {}).get("type")
    return kind in ("json_object", "json_schema")
