"""Which requests one answer may serve: the keys of both caches, and whether a request may be cached at all.

A key is the SHA-256 of everything that can change an answer: project, the whole request body but the fields in
``_IRRELEVANT``, what of the policies and the students concerns its task (``cache_scope``), which of the task's rules
hold for the caller, and the ``x-understudy-*`` headers that steer the gateway.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec
from msgspec.structs import replace

from gateway.caching.semantic import Question, last_question
from gateway.config import Task
from gateway.context import Exchange
from gateway.stages.assign import task_of
from gateway.stages.cache_scope import scope_of
from gateway.stages.route import caller_of
from optimizer.routing.rules import mismatch

_encode = msgspec.json.Encoder(order="deterministic").encode
_IRRELEVANT = frozenset(
    {"stream", "stream_options", "metadata", "store", "user", "safety_identifier", "prompt_cache_key",
     "prompt_cache_retention", "prompt_cache_options"}
)  # fmt: skip
_STEERS = "x-understudy-"
_WHOLE = re.compile(rb"\.0[,\]}]")
"""Where JSON may have a float without a fraction; most requests have none, and are not looked through."""
_EXACT = 2**53
"""Below it every float without a fraction is one whole number."""


def cacheable(exchange: Exchange) -> bool:
    """Whether the policies and the request allow a cached answer."""
    return allowed(exchange, task_of(exchange.runtime, exchange.request)[0])


def allowed(exchange: Exchange, task: Task | None) -> bool:
    """A temperature above 0 (OpenAI's default is 1) asks for variety, so it is cached only where the task itself says
    ``cache: true`` or has a ``semantic_cache``."""
    if exchange.sealed is not None:
        return False  # what MCP servers tell is for whom they know
    if task is not None and task.cache is not None:
        return task.cache
    if task is not None and task.semantic_cache is not None:
        return True
    return exchange.runtime.config.cache.enabled and exchange.request.temperature == 0


def cache_key(exchange: Exchange, task: Task | None = None) -> str:
    """Sixty-four hex digits that are equal only for requests one answer may serve."""
    return key_of(exchange, exchange.body, task)


def question_of(exchange: Exchange, key: str, task: Task) -> Question | None:
    """What the semantic cache compares: the last user text, where everything else is the same. None: nothing."""
    assert exchange.principal is not None
    text = last_question(exchange.request)
    if text is None:
        return None
    turns = exchange.body["messages"]
    context = {**exchange.body, "messages": [*turns[:-1], {**turns[-1], "content": ""}]}
    return Question(key, key_of(exchange, context, task), (exchange.principal.project, task.name), text)


def key_of(exchange: Exchange, body: dict[str, Any], task: Task | None, *more: Any) -> str:
    assert exchange.principal is not None
    steering = [pair for pair in exchange.headers.items() if pair[0].startswith(_STEERS)]
    steering.sort()
    asked = {name: value for name, value in body.items() if name not in _IRRELEVANT}
    project, runtime = exchange.principal.project, exchange.runtime
    model = runtime.aliases.get(exchange.request.model, exchange.request.model)
    rules = _rules(exchange, task) if task is not None and task.rules else ()
    material = [project, asked, scope_of(runtime, project, task, model), steering, rules, *more]
    written = _encode(material)
    if _WHOLE.search(written):
        material[1] = _same(asked)
        written = _encode(material)
    return hashlib.sha256(written).hexdigest()


def _same(value: Any) -> Any:
    """``value`` with equal numbers in one writing: 0.0, -0.0 and 0 are the same temperature. Whole numbers keep all
    their digits; true is none."""
    if type(value) is float:
        return int(value) if value.is_integer() and abs(value) < _EXACT else value
    if type(value) is dict:
        return {name: _same(one) for name, one in value.items()}
    return [_same(one) for one in value] if type(value) is list else value


def _rules(exchange: Exchange, task: Task) -> list[bool]:
    """For each rule of the task whether its conditions on caller and time hold: under another policy another candidate
    may answer. Those on tokens follow from the body."""
    caller = caller_of(exchange, 0)
    return [
        not mismatch(when, replace(caller, tokens=when.min_tokens or 0))
        for when, _ in exchange.runtime.ways[task.name].rules
    ]
