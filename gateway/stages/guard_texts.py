"""The guardrails of calls that are not chat: their texts on the way in, and what of an answer is text on the way out.

Answers are passed on as they are: pictures and sounds are not looked at. Where a guardrail reads answers, or the
client's own values have to be put back, one in JSON (a transcript, the prompt that a picture was made from), in plain
text or in events is read to its end first.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from typing import Any

import msgspec

from gateway.context import Answer, Exchange
from gateway.guardrails.verdict import Verdict, changed
from gateway.judges import Judges
from gateway.pipeline import Handler
from gateway.protocol.answer import Chunk
from gateway.stages.guarding.answers import judge_said
from gateway.stages.guarding.odd import judge_labels
from gateway.stages.guarding.prose import masked_prose
from gateway.stages.guarding.request import FailClosed, Guards, guards_for
from gateway.stages.guarding.sessions.session import SessionGuard, TwoWay
from gateway.stages.guarding.texts import Said
from gateway.texts.json_places import is_json
from gateway.texts.masking import Masker, map_texts, texts_of
from gateway.texts.media import is_bytes
from gateway.texts.unmasking import unmask
from gateway.upstreams.passing import PassedStream, Piece

PROSE = frozenset({"input", "prompt", "instructions"})
"""The fields of a request that hold what a person wrote."""
# What says who is calling, and whom to ask, is no prose.
_LABELS = frozenset({"user", "metadata", "safety_identifier"})
_OTHERS = _LABELS | {"model"}
_WORDS = ("application/json", "text/", "application/x-subrip")
_LONGEST_WORD = 256
_EVENTS = "text/event-stream"
_PICTURE = "b64_json"


class GuardTexts:
    """The guardrails of a request without messages: blocks its texts, or masks them before they go out."""

    def __init__(self, judges: Judges) -> None:
        self._judges = judges

    async def __call__(self, exchange: Exchange, inner: Handler) -> Answer:
        if not exchange.runtime.config.guardrails:
            return await inner(exchange)
        if exchange.endpoint == "realtime":
            return await self._in_session(exchange, inner)
        with FailClosed(exchange, "input"):
            guards = guards_for(exchange)
            await guard_texts(exchange, guards, self._judges)
        answer = await inner(exchange)
        if not isinstance(answer, PassedStream) or not answer.content_type.startswith(_WORDS):
            return answer
        if exchange.placeholders or any(guard.reach or guard.asked_reach for guard in guards.values()):
            return JudgedPass(answer, exchange, guards, self._judges)
        return answer

    async def _in_session(self, exchange: Exchange, inner: Handler) -> Answer:
        """A session is opened first: what is said in it is judged event by event."""
        with FailClosed(exchange, "input"):
            guards = guards_for(exchange)
        session = await inner(exchange)
        if guards:
            assert isinstance(session, TwoWay)
            session.guard = SessionGuard(exchange, guards, self._judges)
        return session


async def guard_texts(exchange: Exchange, guards: Guards, judges: Judges) -> None:
    """Judges and masks the texts of ``exchange.body``. Raises BadRequest, Unavailable."""
    prose = {name: value for name, value in exchange.body.items() if _is_prose(name, value)}
    judge_labels(exchange, guards, {name: exchange.body[name] for name in _LABELS & exchange.body.keys()})
    masked = await masked_prose(exchange, guards, prose, judges)
    if masked is not None:
        exchange.body = {**exchange.body, **masked}


def _is_prose(name: str, value: Any) -> bool:
    """The bytes of a picture in a field that is not known to hold prose are none; a word may be a secret."""
    if name in PROSE or not name.isidentifier():
        return True
    return name not in _OTHERS and not (isinstance(value, str) and len(value) > _LONGEST_WORD and is_bytes(value))


class JudgedPass:
    """An answer in words, read to its end and judged before it leaves. Raises BadRequest with its first piece."""

    def __init__(self, inner: PassedStream, exchange: Exchange, guards: Guards, judges: Judges) -> None:
        self._inner, self._exchange, self._guards, self._judges = inner, exchange, guards, judges

    async def __aiter__(self) -> AsyncIterator[Chunk]:
        pieces = [piece.raw async for piece in self._inner if isinstance(piece, Piece)]
        with FailClosed(self._exchange, "output"):
            judged = await self._judged(b"".join(pieces))
        yield Piece(own={}, raw=judged)

    async def _judged(self, body: bytes) -> bytes:
        kind, values = self._inner.content_type, self._exchange.placeholders
        text = body.decode("utf-8", "replace")
        if kind.startswith(_EVENTS):
            await self._changes([("output", one) for one in _said_in_events(text)], fixed=True)
            return body
        if not is_json(text):
            changes = await self._changes([("output", text)])
            new = unmask(_new(text, changes), values)
            return body if new == text else new.encode()
        data = msgspec.json.decode(text)
        changes = await self._changes([("output", one) for one in texts_of(_without_pictures(data))])
        if not changes and not values:
            return body
        return msgspec.json.encode(map_texts(data, lambda one: unmask(_new(one, changes), values)))

    async def _changes(self, said: list[Said], *, fixed: bool = False) -> Mapping[str, list[Verdict]]:
        def all_fixed() -> Collection[Said]:
            return said if fixed else ()

        return await judge_said(self._exchange, self._guards, said, self._judges, all_fixed)

    async def aclose(self) -> None:
        await self._inner.aclose()


def _new(text: str, changes: Mapping[str, list[Verdict]]) -> str:
    return changed(text, changes[text], Masker()) if text in changes else text


def _without_pictures(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_pictures(one) for name, one in value.items() if name != _PICTURE}
    return [_without_pictures(one) for one in value] if isinstance(value, list) else value


def _said_in_events(text: str) -> Iterator[str]:
    """What the deltas of a stream of events say together, and whatever else each of them says."""
    deltas: list[str] = []
    for line in text.splitlines():
        found = line.removeprefix("data:").strip()
        if not line.startswith("data:") or found == "[DONE]":
            continue
        if not is_json(found):
            yield found
            continue
        event = _without_pictures(msgspec.json.decode(found))
        if isinstance(event, dict) and isinstance(event.get("delta"), str):
            deltas.append(event.pop("delta"))
        yield from texts_of(event)
    yield "".join(deltas)
