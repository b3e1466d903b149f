"""A Control and a Reader in memory, with a plausible state, and the app that serves the page from them."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from litestar import Litestar, Request, Response
from msgspec.structs import replace

import admin_ui
from gateway.api.admin import admin_routes
from gateway.config import Config, Learn, Server, Task, Teacher
from gateway.errors import GatewayError, NotFound
from gateway.providers import OpenAIProvider
from gateway.runtime import Runtime, build_runtime
from gateway.storage.protocols import (
    Dataset,
    JournalEntry,
    LedgerBucket,
    Pair,
    Run,
    RunEvent,
    Snapshot,
    TaskVersion,
    Wish,
)
from optimizer.rollout import Stage, Student

KEY = "usk-admin-0123456789abcdef"
NOW = 1_800_000_000.0
STATIC = Path(admin_ui.__file__).parent / "static"
PRINT = "f" * 64


class FakeClock:
    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass
class State:
    """Everything a test may change."""

    students: list[Student] = field(default_factory=list)
    ledger: list[LedgerBucket] = field(default_factory=list)
    journal: list[JournalEntry] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    events: list[RunEvent] = field(default_factory=list)
    disagreements: list[dict[str, Any]] = field(default_factory=list)
    wishes: list[Wish] = field(default_factory=list)
    versions: list[TaskVersion] = field(default_factory=list)
    datasets: list[Dataset] = field(default_factory=list)
    audits: list[tuple[str, str, str, str]] = field(default_factory=list)
    broken_at: int | None = None
    students_off: bool = False
    generation: int = 1
    problem: str = ""
    broken: Exception | None = None


class FakeReader:
    task = "support-triage"

    def __init__(self, state: State) -> None:
        self._state = state

    def _check(self) -> None:
        if self._state.broken:
            raise self._state.broken

    def generation(self) -> int:
        return self._state.generation

    def students(self, *, include_retired: bool = True) -> list[Student]:
        return list(self._state.students)

    def student_detail(self, student_id: str) -> dict[str, Any]:
        return {"dataset": "d" * 64, "metrics": {"holdout_agreement": 0.96}, "created_at": NOW - 400}

    def pairs(
        self,
        *,
        student: str | None = None,
        task: str | None = None,
        kinds: tuple[str, ...] = (),
        epoch: int | None = None,
        after_seq: int = 0,
        limit: int = 100_000,
    ) -> list[Pair]:
        found = [
            one
            for one in self._state.pairs
            if one.seq > after_seq
            and (student is None or one.student == student)
            and task in (None, self.task)
            and (not kinds or one.kind in kinds)
        ]
        return found[:limit]

    def runs(self, *, task: str | None = None, limit: int = 50) -> list[Run]:
        return [one for one in self._state.runs if one.task == task][:limit]

    def run(self, run_id: str) -> Run | None:
        return next((one for one in self._state.runs if one.id == run_id), None)

    def run_events(self, run_id: str, *, after_seq: int = 0, limit: int = 500) -> list[RunEvent]:
        return [one for one in self._state.events if one.run_id == run_id]

    def datasets(self, *, task: str | None = None) -> list[Dataset]:
        return self._state.datasets

    def open_wishes(self) -> list[Wish]:
        return self._state.wishes

    def task_versions(self) -> list[TaskVersion]:
        return self._state.versions

    def ledger(self, *, since: float, bucket_s: int) -> list[LedgerBucket]:
        self._check()
        return [
            replace(one, start=one.start // bucket_s * bucket_s)
            for one in self._state.ledger
            if one.start >= since
        ]

    def journal(self, *, limit: int = 100, kind: str | None = None) -> list[JournalEntry]:
        rows = [one for one in self._state.journal if kind is None or one.kind == kind]
        return sorted(rows, key=lambda one: -one.epoch)[:limit]

    def verify_journal(self) -> int | None:
        return self._state.broken_at

    def disagreements(self, *, task: str, limit: int, before_seq: int | None) -> list[dict[str, Any]]:
        rows = [one for one in self._state.disagreements if before_seq is None or one["seq"] < before_seq]
        return sorted(rows, key=lambda one: -one["seq"])[:limit]


class FakeRecorder:
    def stats(self) -> dict[str, float]:
        return {"degraded": 0.0}


class FakeControl:
    def __init__(self, state: State, config: Config) -> None:
        self.state = state
        self.config = config
        self.reader: Any = FakeReader(state)
        self.recorder: Any = FakeRecorder()
        self._here = list(state.students)

    def runtime(self) -> Runtime:
        alive = tuple(one for one in self._here if one.stage is not Stage.RETIRED)
        state = self.state
        return build_runtime(self.config, Snapshot(state.generation, (), alive, state.students_off))

    def _find(self, student: str) -> Student:
        for one in self._here:
            if one.id == student and one.stage is not Stage.RETIRED:
                return one
        raise NotFound("There is no such student.")

    def take_back(self, student: str, to: str, *, actor: str, reason: str, retrain: bool = False) -> None:
        old = self._find(student)
        new = replace(old, paused=True) if to == "paused" else replace(old, stage=Stage.RETIRED)
        self._here = [new if one.id == student else one for one in self._here]
        self._journal(actor, student, to, reason)

    def wish(self, student: str, action: Any, *, actor: str, reason: str) -> None:
        self._find(student)
        self.state.wishes.append(Wish(len(self.state.wishes), student, action, actor, reason, NOW))
        self._journal(actor, student, action, reason)

    def switch_students(self, *, off: bool, actor: str, reason: str) -> None:
        self.state.students_off = off
        self._journal(actor, "students", "off" if off else "on", reason)

    def audit(self, actor: str, action: str, subject: str, reason: str) -> None:
        self.state.audits.append((actor, action, subject, reason))

    def watch_numbers(self, student: str) -> dict[str, float]:
        if student != "stu_live":
            return {}
        return {
            "reasks": 212,
            "agreement": 0.967,
            "agreement_low": 0.934,
            "agreement_high": 0.984,
            "evidence": 4.1,
            "alarm_at": 10_000,
            "error_rate": 0.0,
            "p95_ms": 3.2,
        }

    def config_status(self) -> dict[str, str]:
        return {"digest": "c" * 64, "loaded_at": "1800000000", "problem": self.state.problem}

    def _journal(self, actor: str, subject: str, action: str, reason: str) -> None:
        epoch = len(self.state.journal) + 1
        self.state.journal.append(entry(epoch, subject, action, reason, actor=actor, kind="admin"))


def entry(
    epoch: int,
    subject: str,
    action: str,
    reason: str,
    *,
    actor: str = "trainer",
    kind: Any = "rollout",
    detail: dict[str, Any] | None = None,
) -> JournalEntry:
    return JournalEntry(
        epoch, NOW - 600 + epoch * 20, kind, actor, subject, action, reason, detail or {}, "", f"{epoch:064x}"
    )


def student(ident: str, version: int, stage: Stage, epoch: int, **more: Any) -> Student:
    return Student(
        id=ident,
        project="default",
        task="support-triage",
        fingerprint=PRINT,
        version=version,
        recipe="classifier",
        round=version,
        threshold=0.873,
        stage=stage,
        epoch=epoch,
        certificate="9" * 64 if stage in (Stage.LIVE, Stage.CANARY) else None,
        **more,
    )


def pair(
    seq: int, student_id: str, epoch: int, kind: str, *, answered: bool = True, agree: bool = True
) -> Pair:
    return Pair(
        seq=seq,
        call_id=f"call_{seq}",
        kind=kind,
        created_at=NOW - 300,
        student=student_id,
        epoch=epoch,
        session="",
        answered=answered,
        agree=agree,
        confidence=0.91,
        propensity=0.5,
        student_latency_ms=2.0,
        extra_cost_usd=0.0001,
        teacher_text="billing",
        student_text="refund",
    )


def disagreement(
    seq: int, text: str = "My invoice from [EMAIL_1] shows two charges for March, please check."
) -> dict[str, Any]:
    row = {name: getattr(pair(seq, "stu_live", 4, "reask"), name) for name in Pair.__struct_fields__}
    return {**row, "agree": False, "input": text, "created_at": NOW - 1000 + seq}


def ledger() -> list[LedgerBucket]:
    rng = random.Random(7)
    rows = []
    for index in range(120):
        start = int(NOW) - 600 + index * 5
        taken = 0 if index < 60 else min(0.8, (index - 60) * 0.03)
        calls = 18 + rng.randrange(8)
        by_student = int(calls * taken)
        price = 0.00031
        common: dict[str, Any] = {
            "project": "default",
            "task": "support-triage",
            "errors": 0,
            "unpriced": 0,
            "prompt_tokens": calls * 90,
            "completion_tokens": calls * 3,
        }
        rows.append(
            LedgerBucket(
                start=start,
                party="teacher",
                calls=calls - by_student,
                cost_usd=(calls - by_student) * price,
                teacher_cost_usd=(calls - by_student) * price,
                extra_cost_usd=0.0,
                **common,
            )
        )
        if by_student:
            rows.append(
                LedgerBucket(
                    start=start,
                    party="student",
                    calls=by_student,
                    cost_usd=by_student * 1e-7,
                    teacher_cost_usd=by_student * price,
                    extra_cost_usd=by_student * 0.03 * price,
                    **common,
                )
            )
    return rows


def plausible() -> State:
    live = [pair(seq, "stu_live", 4, "canary", agree=seq % 35 != 0) for seq in range(1, 813)]
    held = [pair(seq, "stu_live", 4, "canary", answered=False) for seq in range(813, 1101)]
    fresh = [pair(seq, "stu_next", 6, "shadow", agree=seq % 11 != 0) for seq in range(1101, 1221)]
    self_pairs = [pair(seq, "", 0, "self", agree=seq % 60 != 0) for seq in range(1221, 1521)]
    run = Run(
        id="run_2",
        kind="train",
        project="default",
        task="support-triage",
        fingerprint=PRINT,
        state="running",
        attempt=1,
        params={},
        result={},
        error="",
        progress=0.62,
        step="calibrating the threshold",
        created_at=NOW - 60,
        started_at=NOW - 58,
        finished_at=None,
        heartbeat_at=NOW - 1,
        cancel_requested=False,
    )
    gates = {
        "certificate": "9" * 64,
        "to": "live",
        "results": [
            {
                "gate": "agreement",
                "verdict": "pass",
                "reason": "evidence 41.7 exceeds 20 on 812 answered calls",
                "numbers": {"e_value": 41.7},
            },
            {
                "gate": "latency",
                "verdict": "pass",
                "reason": "p95 3.1 ms is below 500 ms",
                "numbers": {"p95_ms": 3.1},
            },
        ],
    }
    return State(
        students=[
            student("stu_next", 3, Stage.SHADOW, 6),
            student("stu_live", 2, Stage.LIVE, 4),
            student("stu_old", 1, Stage.RETIRED, 5),
        ],
        ledger=ledger(),
        journal=[
            entry(1, "stu_old", "to shadow", "round 1 trained"),
            entry(2, "stu_old", "to live", "gates passed"),
            entry(3, "stu_live", "to canary", "gates passed"),
            entry(4, "stu_live", "to live", "every gate passed on 812 fresh pairs", detail=gates),
            entry(5, "stu_old", "to retired", "replaced by v2"),
            entry(6, "stu_next", "to shadow", "round 3 trained"),
        ],
        pairs=[*live, *held, *fresh, *self_pairs],
        runs=[
            run,
            replace(
                run,
                id="run_1",
                state="succeeded",
                progress=1.0,
                step="registered",
                created_at=NOW - 500,
                finished_at=NOW - 480,
            ),
        ],
        events=[
            RunEvent("run_2", 1, NOW - 58, "info", "claimed", {}),
            RunEvent("run_2", 2, NOW - 40, "info", "1,204 calls curated", {}),
        ],
        disagreements=[disagreement(seq) for seq in range(1, 26)],
        versions=[TaskVersion("default", "support-triage", PRINT, 1, NOW - 600, 1204)],
        datasets=[Dataset("d" * 64, "default", "support-triage", PRINT, 1, NOW - 450, {})],
    )


def configuration(
    *, simulated: bool = True, allowed: tuple[str, ...] = ("gate.example",), name: str = "support-triage"
) -> Config:
    teacher = Teacher(provider="sim", model="teacher-large", may_train_on_outputs=True)
    return Config(
        server=Server(allowed_hosts=list(allowed)),
        providers={"sim": OpenAIProvider(simulated=simulated)},
        tasks=[
            Task(name=name, teacher=teacher, learn=Learn(target=0.95, margin=0.02)),
            Task(name="plain-chat"),
        ],
    )


def errors(_: Request[Any, Any, Any], problem: GatewayError) -> Response[bytes]:
    return Response(
        problem.body(), status_code=problem.status, headers=problem.headers, media_type="application/json"
    )


def app_of(control: FakeControl, clock: Any, *, secure: bool = False) -> Litestar:
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    handlers = admin_routes(control, admin_digest=digest, static=STATIC, secure_cookies=secure, clock=clock)  # type: ignore[arg-type]
    return Litestar(route_handlers=handlers, exception_handlers={GatewayError: errors}, openapi_config=None)
