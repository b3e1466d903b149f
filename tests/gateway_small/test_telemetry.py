from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from small_fakes import exchange_of, runtime_of

from gateway.access.keys import new_key
from gateway.concurrency.telling import Ended
from gateway.config import Config, Task
from gateway.storage.records import Attempt, CallRecord, PairRecord
from gateway.telemetry.logs import SHOWN_ONCE, setup_logging
from gateway.telemetry.metrics import Metrics
from optimizer.rollout import Stage, Student
from optimizer.routing.plan import Candidate, Rung

RUNTIME = runtime_of(Config(tasks=[Task(name="triage")]))
RECORD = CallRecord(
    id="c", request_id="r", created_at=1.0, project="p1", key_id="key_secret", end_user="jane@example.org",
    session="s", task="triage", fingerprint="", model_asked="m", provider="students", model="x", student="st_1",
    status="ok", http_status=200, error_code="", stream=False, latency_ms=20.0, first_byte_ms=None,
    overhead_ms=0.4, attempts=[], prompt_tokens=10, cached_tokens=0, completion_tokens=2, tokens_estimated=False,
    cost_usd=0.25, teacher_cost_usd=1.0, confidence=0.9, arm="live", propensity=1.0, reason="",
    config_digest="", verdicts=[], metadata={"secret": "text"},
)  # fmt: skip


def finished(metrics: Metrics, role: Any = "student", **changes: Any) -> None:
    exchange = exchange_of(RUNTIME)
    if role is not None:
        exchange.answered_by = Rung(candidate=Candidate(provider="p", model="m"), role=role)
    exchange.cache = "miss"
    metrics.finished([Ended(exchange, msgspec.structs.replace(RECORD, **changes), "the answer's text")])


def test_calls_are_counted_by_known_names_only() -> None:
    metrics = Metrics()
    finished(metrics)
    escalated = Attempt(
        provider="p", model="m", role="student", outcome="escalated", status=200, latency_ms=1.0
    )
    finished(metrics, "teacher", attempts=[escalated], cost_usd=None)
    for number in range(50):
        finished(metrics, None, task=f"made-up-{number}", status="error")
    page = metrics.render().decode()
    for line in (
        'understudy_calls_total{party="student",status="ok",task="triage"} 1.0',
        'understudy_calls_total{party="none",status="error",task="other"} 50.0',
        'understudy_cost_usd_total{party="student",task="triage"} 0.25',
        'understudy_saved_usd_total{task="triage"} 0.75',
        'understudy_unpriced_calls_total{party="teacher",task="triage"} 1.0',
        'understudy_escalations_total{task="triage"} 1.0',
        'understudy_tokens_total{direction="input",party="student",task="triage"} 10.0',
        'understudy_cache_lookups_total{outcome="miss",task="other"} 50.0',
        "understudy_overhead_seconds_count 52.0",
        'understudy_latency_seconds_count{party="student",task="triage"} 1.0',
    ):
        assert line in page
    for private in ("made-up", "jane", "key_secret", "text", "st_1"):
        assert private not in page


def test_what_a_cache_spared_is_counted_by_task() -> None:
    metrics, exchange = Metrics(), exchange_of(RUNTIME)
    exchange.cache = "semantic"
    metrics.finished([Ended(exchange, msgspec.structs.replace(RECORD, cost_usd=0.0, teacher_cost_usd=0.5), "")])
    page = metrics.render().decode()
    assert 'understudy_cache_lookups_total{outcome="semantic",task="triage"} 1.0' in page
    assert 'understudy_cache_saved_usd_total{task="triage"} 0.5' in page


def test_pairs_and_gauges() -> None:
    class House:
        recorder = property(lambda self: self)

        def stats(self) -> dict[str, float]:
            return {"written": 7.0, "lost": 0.0}

        def runtime(self) -> Any:
            student = Student("s", "p1", "triage", "f", 1, "classifier", 1, 0.9, stage=Stage.LIVE)
            return runtime_of(students=[student])

        def config_status(self) -> dict[str, str]:
            return {"problem": "gateway.yaml:3: unknown field"}

    metrics = Metrics()
    metrics.follow(House())  # type: ignore[arg-type]
    pair = PairRecord(
        call_id="c", kind="shadow", created_at=1.0, project="p1", task="triage", fingerprint="", student="s",
        epoch=1, session="", answered=True, agree=False, confidence=0.9, propensity=1.0, student_latency_ms=1.0,
        extra_cost_usd=None, teacher_text="a", student_text="b",
    )  # fmt: skip
    metrics.pair(pair)
    metrics.pair(object())
    page = metrics.render().decode()
    for line in (
        'understudy_pairs_total{agree="no",answered="yes",kind="shadow"} 1.0',
        'understudy_recorder{name="written"} 7.0',
        'understudy_students{paused="no",stage="live"} 1.0',
        "understudy_students_off 0.0",
        "understudy_policies_ok 0.0",
    ):
        assert line in page


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    setup_logging(stream=stream, secrets=["hunter2-hunter2", "short"])
    yield stream
    root.handlers[:] = before
    root.setLevel(level)


def test_secrets_never_get_out(log: io.StringIO) -> None:
    key, admin = new_key("inference").text, new_key("admin").text
    logger = logging.getLogger("gateway.test")
    logger.info("key %s and %s", key, admin)
    logger.info("Authorization: Bearer abcdefgh, api_key='zzzzzzzz' hunter2-hunter2 sk-proj-abcdefghijklmnop")
    try:
        raise ValueError(f"bad key {key}")
    except ValueError:
        logger.exception("it failed")
    text = log.getvalue()
    for secret in (key[6:], admin[6:], "abcdefgh", "zzzzzzzz", "hunter2"):
        assert secret not in text
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["level"] for line in lines] == ["info", "info", "error"]
    assert "ValueError" in lines[2]["trace"] and "sk-us-****" in lines[0]["message"]


def test_a_new_key_may_be_shown_once(log: io.StringIO) -> None:
    key = new_key("admin").text
    logging.getLogger("gateway").warning("your key: %s", key, extra=SHOWN_ONCE)
    assert key in log.getvalue()


def test_a_line_stays_a_line(log: io.StringIO) -> None:
    logging.getLogger("gateway").info("a\r\nfake line\x1b[31m red\u2028")
    (line,) = log.getvalue().splitlines()
    assert json.loads(line)["message"] == "a\\r\\nfake line\\x1b[31m red\\u2028"


def test_access_lines_and_chatty_libraries_are_quiet(log: io.StringIO) -> None:
    for name in ("uvicorn.access", "httpx"):
        logging.getLogger(name).info("GET /v1?secret=1")
    assert log.getvalue() == ""


def test_a_terminal_gets_lines_for_people() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = Terminal()
    try:
        setup_logging(stream=stream)
        logging.getLogger("gateway").warning("policies changed\x07")
        try:
            raise ValueError("no")
        except ValueError:
            logging.getLogger("gateway").exception("trouble")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    first, *rest = stream.getvalue().splitlines()
    assert first.endswith("warning gateway: policies changed\\x07")
    assert rest[-1] == "  ValueError: no"
