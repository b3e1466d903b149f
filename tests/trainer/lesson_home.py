"""A data directory with captured calls in it, and the trainer's processes to break."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from migrated import migrated

from gateway.storage.commands import AddStudent, MoveStudent
from gateway.storage.engine import write_engine
from gateway.storage.home import Home
from gateway.storage.protocols import Writer
from gateway.storage.records import CallRecord, CallText, PairRecord, SpoolRecord
from gateway.storage.writing.ingest import ingest
from gateway.storage.writing.writer import SqlWriter
from gateway.storage.writing.writers import writer_lock
from optimizer.rollout import Stage, Student
from trainer.certify import Lineage

FINGERPRINT = "f" * 16
POLICIES = """
providers:
  teacher: {type: openai, base_url: http://127.0.0.1:9/v1, api_key: unused}
  students: {type: classifier}
policies:
  - {name: cost_first, strategy: cascade}
tasks:
  - name: triage
    policy: cost_first
    teacher: {provider: teacher, model: big, may_train_on_outputs: true}
    capture: {mask: true}
    learn: {approval: APPROVAL, min_calls: MIN_CALLS, min_new_calls: 200}
prices:
  teacher: {big: {input: 1, output: 1}}
"""


def policies(folder: Path, *, approval: str = "automatic", min_calls: int = 600, learn: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    text = POLICIES.replace("APPROVAL", approval).replace("MIN_CALLS", f"{min_calls}{learn}")
    (folder / "all.yaml").write_text(text)
    return folder


def store_records(home: Home, records: Sequence[SpoolRecord]) -> None:
    with writer_lock(home, wait_s=5):
        migrated(home)
        writer = SqlWriter(write_engine(home.database_url))
        with writer.transaction() as connection:
            ingest(connection, records, {})
        writer.close()


def captured(number: int, text: str, answer: str, at: float) -> CallRecord:
    request = {"model": "triage", "messages": [{"role": "user", "content": text}]}
    message = {"role": "assistant", "content": answer}
    choices = [{"index": 0, "finish_reason": "stop", "message": message}]
    body = CallText(
        request=msgspec.json.encode(request), answer=msgspec.json.encode({"id": "x", "choices": choices}),
        visible=True, trainable=True, mask=False, retention_days=30,
    )  # fmt: skip
    return CallRecord(
        id=f"chatcmpl-{number}", request_id="r", created_at=at, project="p", key_id="k", end_user="",
        session="", task="triage", fingerprint=FINGERPRINT, model_asked="triage", provider="teacher", model="big",
        student="", status="ok", http_status=200, error_code="", stream=False, latency_ms=1.0,
        first_byte_ms=None, overhead_ms=0.1, attempts=[], prompt_tokens=9, cached_tokens=0,
        completion_tokens=3, tokens_estimated=False, cost_usd=0.1, teacher_cost_usd=0.1, confidence=None,
        arm="teacher", propensity=1.0, reason="", config_digest="d", verdicts=[], metadata={}, text=body,
    )  # fmt: skip


def pair(student: Student, number: int, kind: str, *, agree: bool, epoch: int | None = None) -> PairRecord:
    return PairRecord(
        call_id=f"pair-{student.epoch}-{number}", kind=kind, created_at=float(number), project=student.project,  # type: ignore[arg-type]
        task=student.task, fingerprint=student.fingerprint, student=student.id,
        epoch=student.epoch if epoch is None else epoch, session="", answered=True, agree=agree,
        confidence=0.99, propensity=1.0, student_latency_ms=2.0, extra_cost_usd=None, teacher_text="a",
        student_text="a" if agree else "b",
        scores={"folded": float(agree), "token_f1": float(agree)},
    )  # fmt: skip


def with_calls(root: Path, pairs: Sequence[tuple[str, str]], *, at: float) -> Home:
    home = Home(root.resolve()).prepare()
    store_records(home, [captured(number, *one, at=at) for number, one in enumerate(pairs)])
    return home


def start_worker(home: Home, folder: Path) -> subprocess.Popen[bytes]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("UNDERSTUDY_")}
    command = [sys.executable, "-m", "trainer.worker", "--home", str(home.root), "--policies", str(folder)]
    return subprocess.Popen([*command, "--stale-s", "1"], env=kept, stderr=subprocess.DEVNULL)


def children(pid: int) -> list[int]:
    """The direct children of a process that run a program of their own: stop one before, and its parent waits for it."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found if _program(child) not in (b"", _program(pid))]


def _program(pid: int | str) -> bytes:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


Tickets = Callable[..., list[tuple[str, str]]]


def in_shadow(writer: Writer) -> Student:
    """A student of version 1, added at 1.0 and moved to shadow."""
    made = Student(
        id="triage-ffff-v1", project="p", task="triage", fingerprint=FINGERPRINT, version=1, recipe="classifier",
        round=1, threshold=0.9, artifact="a" * 64,
    )  # fmt: skip
    lineage = Lineage(dataset="d" * 64, seed=0, code_version="0", earlier_promotions=0)
    metrics = {"run": "r", "lineage": msgspec.to_builtins(lineage)}
    added = writer.execute(AddStudent(made, dataset="d" * 64, metrics=metrics, at=1.0))
    writer.execute(
        MoveStudent(
            student=made.id, to=Stage.SHADOW, paused=False, expected_epoch=added.epoch, actor="trainer", reason="",
            at=1.0, certificate="c" * 64, detail={},
        )
    )  # fmt: skip
    return made
