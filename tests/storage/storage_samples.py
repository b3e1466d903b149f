"""Records, and processes to break, for the storage tests."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
from migrated import migrated

from gateway.config import Spool as SpoolSettings
from gateway.storage.engine import write_engine
from gateway.storage.home import Home
from gateway.storage.protocols import Reader
from gateway.storage.reading.reader import open_reader
from gateway.storage.records import CallRecord, CallText, PairRecord, SpoolRecord
from gateway.storage.spooling.ingester import Ingester
from gateway.storage.spooling.spool import Spool
from gateway.storage.writing.writer import SqlWriter
from optimizer.rollout import Student


def text(question: str, answer: str, *, mask: bool = True, days: int = 30, visible: bool = True) -> CallText:
    request = {"model": "triage", "messages": [{"role": "user", "content": question}]}
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": answer}}
    return CallText(
        request=msgspec.json.encode(request),
        answer=msgspec.json.encode({"id": "x", "choices": [choice]}),
        visible=visible,
        trainable=True,
        mask=mask,
        retention_days=days,
    )


def call(call_id: str, *, at: float = 1000.0, body: CallText | None = None, **changes: Any) -> CallRecord:
    record = CallRecord(
        id=call_id, request_id=f"req-{call_id}", created_at=at, project="p", key_id="k", end_user="u",
        session="s", task="triage", fingerprint="f" * 16, model_asked="triage", provider="openai",
        model="gpt-4o", student="", status="ok", http_status=200, error_code="", stream=False, latency_ms=12.5,
        first_byte_ms=None, overhead_ms=0.4, attempts=[], prompt_tokens=10, cached_tokens=0,
        completion_tokens=2, tokens_estimated=False, cost_usd=0.25, teacher_cost_usd=0.25, confidence=None,
        arm="teacher", propensity=1.0, reason="", config_digest="d", verdicts=[], metadata={}, text=body,
    )  # fmt: skip
    return msgspec.structs.replace(record, **changes)


def pair(call_id: str, *, agree: bool = True, **changes: Any) -> PairRecord:
    record = PairRecord(
        call_id=call_id, kind="shadow", created_at=1000.0, project="p", task="triage", fingerprint="f" * 16,
        student="stu", epoch=1, session="s", answered=True, agree=agree, confidence=0.9, propensity=1.0,
        student_latency_ms=1.0, extra_cost_usd=0.5, teacher_text="billing", student_text="refund",
    )  # fmt: skip
    return msgspec.structs.replace(record, **changes)


def student(student_id: str = "stu", **changes: Any) -> Student:
    made = Student(
        id=student_id, project="p", task="triage", fingerprint="f" * 16, version=1, recipe="classifier",
        round=1, threshold=0.8,
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("UNDERSTUDY_")}
    return kept | {"PYTHONUNBUFFERED": "1"} | more


def start_ingester(home: Home, **more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "gateway.storage.spooling.ingester", "--home", str(home.root)]
    return subprocess.Popen(command, env=environment(**more), stderr=subprocess.DEVNULL)


def script(code: str, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    """Runs Python code in a process of its own, with the samples importable."""
    here = Path(__file__).parent
    places = [str(here), str(here.parent)]
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {places!r}\n{code}", *arguments]
    return subprocess.Popen(command, env=environment(), **options)


class Room:
    """A spool, an ingester, a writer and a reader over one home."""

    def __init__(self, home: Home) -> None:
        migrated(home)
        self.home = home
        self.engine = write_engine(home.database_url)
        self.writer = SqlWriter(self.engine)
        self.spool = Spool(home, SpoolSettings())
        self.stop = threading.Event()
        self.ingester = Ingester(home, self.writer, self.stop)
        self.reader: Reader = open_reader(home)

    def add(self, *records: SpoolRecord) -> None:
        for record in records:
            self.spool.append(record)
        self.ingester.drain()

    def close(self) -> None:
        self.spool.close()
        self.reader.close()
        self.writer.close()
