"""A ledger line is built by position, so every field is held to its name here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from gateway.context import Exchange, Principal
from gateway.protocol.chat import ChatRequest, Message, Usage
from gateway.stages.dispatch import _note
from gateway.stages.record import record_of
from gateway.storage.records import Attempt, CallText
from optimizer.routing.plan import Candidate, Plan, Rung

STUDENT = Rung(Candidate("own", "student-1", "cold"), "student", "student-1", 0.9)


def exchange(**more: Any) -> Exchange:
    request = ChatRequest(
        model="asked", messages=[Message(role="user", content="hi")], stream=True, user="end-user",
        metadata={"session": "talk", "tag": "t"},
    )  # fmt: skip
    runtime: Any = SimpleNamespace(config=SimpleNamespace(digest="digest"))
    made = Exchange(
        call_id="call", request_id="request", received_at=11.0, started=20.0, deadline=99.0, headers={}, body={},
        request=request, runtime=runtime, endpoint="messages", batch="batch",
        principal=Principal("key", "project"), fingerprint="shape", confidence=0.97, verdicts=["pii:mask"],
        upstream_seconds=1.0, first_byte_at=24.0, cost_usd=0.5, teacher_cost_usd=2.5, prompt_cache_usd=0.25,
        usage=Usage(prompt=7, completion=3, cached=2, estimated=True),
    )  # fmt: skip
    for name, value in more.items():
        setattr(made, name, value)
    return made


def test_every_field_says_what_it_is_called() -> None:
    task: Any = SimpleNamespace(name="task")
    plan = Plan((STUDENT,), "ordered", "canary", 0.4, "why")
    attempt = Attempt("own", "student-1", "student", "ok", 200, 5.0)
    text = CallText(b"{}", b"{}", True, False, True, 30)
    made = exchange(task=task, plan=plan, answered_by=STUDENT, attempts=[attempt])
    record = record_of(made, "ok", 203, "a_code", now=30.0, text=text)
    found = {name: getattr(record, name) for name in record.__struct_fields__}
    assert found == {
        "id": "call", "request_id": "request", "created_at": 11.0, "project": "project", "key_id": "key",
        "end_user": "end-user", "session": "talk", "task": "task", "fingerprint": "shape", "model_asked": "asked",
        "provider": "own", "model": "student-1", "student": "student-1", "status": "ok", "http_status": 203,
        "error_code": "a_code", "stream": True, "latency_ms": 10_000.0, "first_byte_ms": 4_000.0,
        "overhead_ms": 3_000.0, "attempts": [attempt], "prompt_tokens": 7, "cached_tokens": 2,
        "completion_tokens": 3, "tokens_estimated": True, "cost_usd": 0.5, "teacher_cost_usd": 2.5,
        "confidence": 0.97, "arm": "canary", "propensity": 0.4, "reason": "why", "config_digest": "digest",
        "verdicts": ["pii:mask"], "metadata": {"session": "talk", "tag": "t"}, "text": text, "endpoint": "messages",
        "batch": "batch", "drawn": "own/student-1@cold", "cache": "", "source": "", "prompt_cache_usd": 0.25,
    }  # fmt: skip


def test_a_cached_answer_is_nobodys_and_a_refused_call_costs_nothing() -> None:
    hit = record_of(exchange(cache="hit"), "ok", 200, "", now=30.0)
    assert (hit.cache, hit.provider, hit.model, hit.student, hit.cost_usd) == ("hit", "", "", "", 0.0)
    assert (hit.teacher_cost_usd, hit.arm, hit.propensity, hit.drawn) == (2.5, "plain", 1.0, "")
    refused = record_of(exchange(usage=None, first_byte_at=None), "error", 429, "rate_limited", now=30.0)
    assert (refused.cost_usd, refused.teacher_cost_usd, refused.prompt_tokens) == (0.0, 0.0, 0)
    assert (refused.first_byte_ms, refused.latency_ms, refused.overhead_ms) == (None, 10_000.0, 9_000.0)


def test_an_attempt_says_who_and_how() -> None:
    made, found = exchange(), SimpleNamespace(confidence=0.8, fields={"a": 0.7})
    took = _note(made, STUDENT, 0.0, "deferred", 206, found)  # type: ignore[arg-type]
    (attempt,) = made.attempts
    assert (attempt.provider, attempt.model, attempt.variant, attempt.role) == ("own", "student-1", "cold", "student")
    assert (attempt.outcome, attempt.status, attempt.latency_ms) == ("deferred", 206, took)
    assert (attempt.confidence, attempt.fields) == (0.8, {"a": 0.7})
