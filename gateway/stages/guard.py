"""Is the text fit to go out, and to come back: runs the guardrails around everything inside.

On the way in personal data is masked in the body that goes upstream, on the way out the client's own values
are put back, in whole answers and in streams, tool calls included. A guardrail that fails blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from gateway.context import Answer, Exchange, WholeAnswer
from gateway.errors import GatewayError
from gateway.guardrails import GuardrailSettings
from gateway.guardrails.verdict import Scope
from gateway.masking import Masker, mask_value, texts_of, unmask
from gateway.pipeline import Handler
from gateway.protocol.assemble import answer_text
from gateway.protocol.chat import ChatRequest
from gateway.runtime import Runtime
from gateway.stages.guard_stream import Channel, GuardedStream, blocked, guard_failed, is_json, map_delta

T = TypeVar("T")
Guards = Mapping[str, GuardrailSettings]
# What says who is calling is not prose: a session or an end user keeps its name.
_IDENTITY = frozenset({"metadata", "user", "safety_identifier", "prompt_cache_key"})
_SEVERITY = {"allow": 0, "wait": 0, "flag": 1, "mask": 2, "block": 3}
_OPERATORS = frozenset({"system", "developer"})
# What else in a body is written by whoever built the application, and says nothing of who talks to it.
_DEFINITIONS = frozenset({"tools", "functions", "response_format", "tool_choice", "stop", "text"})


def guards_for(runtime: Runtime, model: str) -> Guards:
    """The guardrails of a call: those its task names, else every configured one."""
    configured = runtime.config.guardrails
    task = runtime.tasks.get(model)
    if task is None or not task.guardrails:
        return configured
    return {name: configured[name] for name in task.guardrails}


class Guard:
    """The stage. Raises BadRequest ``guardrail_blocked``, or Unavailable when a guardrail itself fails."""

    async def __call__(self, exchange: Exchange, inner: Handler) -> Answer:
        if not exchange.runtime.config.guardrails:
            return await inner(exchange)
        guards = _closed(exchange, lambda: guards_for(exchange.runtime, exchange.request.model))
        _closed(exchange, lambda: check_request(exchange, guards))
        answer = await inner(exchange)
        in_json = _wants_json(exchange.request)
        if not isinstance(answer, WholeAnswer):
            return GuardedStream(answer, exchange, guards, content_is_json=in_json)
        whole = answer
        return _closed(exchange, lambda: check_answer(exchange, guards, whole, content_is_json=in_json))


def check_request(exchange: Exchange, guards: Guards) -> None:
    """Judges every text of the request, and masks body and typed request when a guardrail asks for it."""
    prose = {name: value for name, value in exchange.body.items() if name not in _IDENTITY}
    texts: Mapping[Scope, list[str]] = {
        "all": texts_of(prose),
        "untrusted": untrusted_texts(prose)
        if any(one.scope == "untrusted" for one in guards.values())
        else [],
    }
    to_mask = False
    for name, guard in guards.items():
        actions = [guard.check(text, "in").action for text in texts[guard.scope]]
        action = max(actions, key=_SEVERITY.__getitem__, default="allow")
        if action != "allow":
            exchange.verdicts.append(f"{name}:{action}")
        if action == "block":
            raise blocked(name, "in")
        to_mask = to_mask or action == "mask"
    if to_mask:
        _mask(exchange, prose)


def untrusted_texts(prose: Mapping[str, Any]) -> list[str]:
    """What users, tools and documents say, and the user's turns once more as one text: an instruction that is
    split over messages is whole there."""
    said: list[Any] = []
    users: list[str] = []
    for message in _dicts(prose.get("messages")):
        if message.get("role") in _OPERATORS:
            continue
        said.append(message)
        if message.get("role") == "user":
            users += texts_of(message)
    others = {name: value for name, value in prose.items() if name != "messages" and name not in _DEFINITIONS}
    return [*texts_of([said, others]), *([" ".join(users)] if len(users) > 1 else [])]


def check_answer(
    exchange: Exchange, guards: Guards, answer: WholeAnswer, *, content_is_json: bool
) -> WholeAnswer:
    """Judges a whole answer and puts the client's own values back into it."""
    choices = answer.data.get("choices")
    texts = texts_of([choice.get("message") for choice in _dicts(choices)])
    for name, guard in guards.items():
        if any(guard.check(text, "out").action == "block" for text in texts):
            exchange.verdicts.append(f"{name}:block")
            raise blocked(name, "out")
    values = exchange.placeholders
    if not values:
        return answer

    def put_back(channel: Channel, text: str) -> str:
        return unmask(text, values, in_json=is_json(channel, content_is_json))

    restored = [
        {**choice, "message": map_delta(at, choice["message"], put_back)}
        if isinstance(choice.get("message"), dict)
        else choice
        for at, choice in enumerate(_dicts(choices))
    ]
    data = {**answer.data, "choices": restored}
    return WholeAnswer(data, answer_text(data), answer.finish_reason, answer.usage)


def _mask(exchange: Exchange, prose: dict[str, Any]) -> None:
    masker = Masker()
    masked = mask_value(prose, masker)
    request = exchange.request
    identity = {name: value for name, value in exchange.body.items() if name in _IDENTITY}
    exchange.body = {**masked, **identity}
    exchange.request = msgspec.convert(exchange.body, ChatRequest)
    assert exchange.request.model == request.model
    exchange.placeholders = masker.values


def _closed(exchange: Exchange, check: Callable[[], T]) -> T:
    try:
        return check()
    except GatewayError:
        raise
    except Exception as problem:
        exchange.verdicts.append("error:block")
        raise guard_failed(problem) from problem


def _wants_json(request: ChatRequest) -> bool:
    kind = (request.response_format or {}).get("type")
    return kind in ("json_object", "json_schema")


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
