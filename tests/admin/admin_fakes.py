"""A Control and a Reader in memory, with a plausible state, and the app that serves the page from them."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

from admin_state import NOW, State, disagreement, entry, ledger, pair, plausible, student
from litestar import Litestar, Request, Response
from msgspec.structs import replace

import admin_ui
from gateway.access.second_factor import SecondFactor
from gateway.api.admin.caches import cache_routes
from gateway.api.admin.discovered import discovered_route
from gateway.api.admin.incidents import incidents
from gateway.api.admin.routes import admin_routes
from gateway.api.admin.savings import savings
from gateway.api.admin.watched import watched_route
from gateway.api.runs import run_routes
from gateway.caching.entries import Entry
from gateway.caching.flights import Exact
from gateway.caching.semantic import Semantic
from gateway.config import Config, Learn, SemanticCache, Server, Task, Teacher
from gateway.errors import GatewayError, NotFound
from gateway.providers import OpenAIProvider
from gateway.runtime import Runtime, build_runtime
from gateway.storage.answers import MemoryAnswers
from gateway.storage.commands import PauseRun, PrioritiseRun, Refused, ResumeRun
from gateway.storage.erasure_values import DatasetErasure
from gateway.storage.home import Home
from gateway.storage.values import (
    Dataset,
    Incident,
    JournalEntry,
    LedgerBucket,
    Pair,
    PromptTokens,
    Run,
    RunEvent,
    Snapshot,
    TaskVersion,
    TrainingTime,
    Wish,
)
from optimizer.reuse import trust
from optimizer.rollout import Stage, Student

KEY = "usk-admin-0123456789abcdef"
STATIC = Path(admin_ui.__file__).parent / "static"


class FakeClock:
    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class FakeReader:
    task = "support-triage"

    def __init__(self, state: State) -> None:
        self._state = state

    def _check(self) -> None:
        if self._state.broken:
            raise self._state.broken

    def generation(self) -> int:
        return self._state.generation

    def prompt_tokens(self, *, since: float) -> list[PromptTokens]:
        return list(self._state.prompts)

    def students(self, *, include_retired: bool = True) -> list[Student]:
        return list(self._state.students)

    def student_detail(self, student_id: str) -> dict[str, Any]:
        metrics = {"holdout_agreement": 0.96, "candidates": self._state.candidates}
        return {"dataset": "d" * 64, "metrics": metrics, "created_at": NOW - 400}

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
        return [one for one in self._state.runs if task in (None, one.task)][:limit]

    def training_times(self, *, since: float) -> list[TrainingTime]:
        return [
            TrainingTime(one.project, one.task, str(one.result.get("recipe", "")),
                         float(one.result.get("seconds", 0.0)), float(one.result.get("cpu_seconds", 0.0)))
            for one in self._state.runs if one.created_at >= since
        ]  # fmt: skip

    def run(self, run_id: str) -> Run | None:
        return next((one for one in self._state.runs if one.id == run_id), None)

    def run_events(self, run_id: str, *, after_seq: int = 0, limit: int = 500) -> list[RunEvent]:
        return [one for one in self._state.events if one.run_id == run_id]

    def datasets(self, *, task: str | None = None) -> list[Dataset]:
        return self._state.datasets

    def dataset_erasures(self) -> dict[str, DatasetErasure]:
        gone = self._state.erased_rows
        return {"d" * 64: DatasetErasure("d" * 64, gone + 2, gone, NOW)} if gone else {}

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

    def journal(self, *, limit: int = 100, kind: str | None = None, seals: bool = True) -> list[JournalEntry]:
        rows = [one for one in self._state.journal if kind is None or one.kind == kind]
        rows = [one for one in rows if seals or one.kind != "verdicts"]
        return sorted(rows, key=lambda one: -one.epoch)[:limit]

    def verify_journal(self) -> int | None:
        return self._state.broken_at

    def verify_verdicts(self, *, now: float, newest: int | None = None) -> int | None:
        return self._state.unsealed_at

    def disagreements(self, *, task: str, limit: int, before_seq: int | None) -> list[dict[str, Any]]:
        rows = [one for one in self._state.disagreements if before_seq is None or one["seq"] < before_seq]
        return sorted(rows, key=lambda one: -one["seq"])[:limit]

    def incidents(self, *, limit: int, **_: Any) -> list[Incident]:
        return sorted(self._state.incidents, key=lambda one: -one.id)[:limit]


class FakeRecorder:
    def stats(self) -> dict[str, float]:
        return {"degraded": 0.0}


class FakeControl:
    home = Home(Path("nowhere"))

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


class FakeWriter:
    """Carries out what is asked about runs."""

    def __init__(self, state: State) -> None:
        self._state = state

    def execute(self, command: Any) -> Any:
        found = next((one for one in self._state.runs if one.id == command.run_id), None)
        if found is None:
            raise Refused(f"There is no run {command.run_id!r}.")
        changes: dict[str, Any] = {"state": {PauseRun: "paused", ResumeRun: "queued"}.get(type(command), "cancelled")}
        if isinstance(command, PrioritiseRun):
            changes = {"priority": command.priority}
        self._state.runs = [replace(one, **changes) if one is found else one for one in self._state.runs]
        return found

    def close(self) -> None:
        """Nothing is open."""


def app_of(control: FakeControl, clock: Any, *, secure: bool = False, secret: bytes | None = None) -> Litestar:
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    handlers = admin_routes(
        control, admin_digest=digest, static=STATIC, secure_cookies=secure, clock=clock,
        second_factor=SecondFactor(secret, clock) if secret else None,
        more=[incidents, discovered_route(control.home), watched_route(control.home), savings, *_caches(control),
              *run_routes(FakeWriter(control.state))],  # type: ignore[arg-type]
    )  # fmt: skip
    return Litestar(route_handlers=handlers, exception_handlers={GatewayError: errors}, openapi_config=None)


def _caches(control: FakeControl) -> list[Any]:
    """Two kept answers, and how the semantic cache stands by ``state.standings``."""
    exact, semantic = Exact(MemoryAnswers(), lambda: 0.0), Semantic(random.Random(1), lambda: 0.0)
    for key, task in (("a" * 64, "plain-chat"), ("b" * 64, "support-triage")):
        entry = Entry(NOW, 60.0, "shop", task, "key_1", "sim", "teacher-large", None, b"{}")
        exact.put(key, entry, life=60.0, max_bytes=10_000)
    rules = SemanticCache()
    for scope in control.state.standings:
        semantic._lessons._trust[scope] = rules, trust.start(rules.delta, rules.alpha, rules.average_run_length)
    return cache_routes(semantic, exact, control, clock=lambda: NOW)  # type: ignore[arg-type]


__all__ = ["State", "disagreement", "entry", "ledger", "pair", "plausible", "student"]
