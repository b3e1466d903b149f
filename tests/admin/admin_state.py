"""What the fake gateway knows: a plausible house after a quarter of an hour."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from gateway.storage.values import (
    Dataset,
    Incident,
    JournalEntry,
    LedgerBucket,
    Pair,
    PromptTokens,
    Run,
    RunEvent,
    TaskVersion,
    Wish,
)
from optimizer.rollout import Stage, Student

NOW = 1_800_000_000.0
PRINT = "f" * 64


@dataclass
class State:
    """Everything a test may change."""

    students: list[Student] = field(default_factory=list)
    ledger: list[LedgerBucket] = field(default_factory=list)
    journal: list[JournalEntry] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    events: list[RunEvent] = field(default_factory=list)
    erased_rows: int = 0
    candidates: list[dict[str, Any]] = field(default_factory=list)
    disagreements: list[dict[str, Any]] = field(default_factory=list)
    wishes: list[Wish] = field(default_factory=list)
    versions: list[TaskVersion] = field(default_factory=list)
    datasets: list[Dataset] = field(default_factory=list)
    audits: list[tuple[str, str, str, str]] = field(default_factory=list)
    standings: list[tuple[str, str]] = field(default_factory=list)
    prompts: list[PromptTokens] = field(default_factory=list)
    broken_at: int | None = None
    unsealed_at: int | None = None
    students_off: bool = False
    generation: int = 1
    problem: str = ""
    broken: Exception | None = None


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
