"""Commands about students and wishes, and the gateway's demotions, each inside an open write transaction."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from gateway.storage.commands import AddStudent, HandleWish, MoveStudent, NoteDrift, Refused
from gateway.storage.records import DemotionRecord, WishRecord
from gateway.storage.rows import storable, student_of, to_json
from gateway.storage.tables import RETRAIN_REQUESTS, STUDENTS, WISHES
from gateway.storage.writing.events import announce
from gateway.storage.writing.journal import append_journal, bump_generation
from optimizer.rollout import Stage, Student, can_move

_SERVING = (Stage.CANARY, Stage.LIVE)


def add_student(connection: sa.Connection, command: AddStudent) -> Student:
    known = _find(connection, command.student.id)
    if known is not None:
        return known
    student = command.student
    epoch = append_journal(
        connection, "rollout", at=command.at, actor="trainer", subject=student.id, action="added",
        reason=f"version {student.version} of {student.task}, recipe {student.recipe}",
        detail={"to": Stage.CANDIDATE.value, "dataset": command.dataset, "threshold": student.threshold},
    )  # fmt: skip
    stored = msgspec.structs.replace(
        student, stage=Stage.CANDIDATE, paused=False, epoch=epoch, certificate=None
    )
    row = msgspec.structs.asdict(stored) | {"stage": Stage.CANDIDATE.value, "created_at": command.at}
    row |= {"dataset": command.dataset, "metrics": to_json(command.metrics)}
    row |= {"slices": to_json(stored.slices), "deferred": to_json(stored.deferred)}
    connection.execute(sa.insert(STUDENTS).values(**storable(row)))
    bump_generation(connection)
    return stored


def move_student(connection: sa.Connection, command: MoveStudent) -> Student:
    student = _find(connection, command.student)
    if student is None:
        raise Refused(f"There is no student {command.student!r}.")
    _check_move(student, command)
    if command.to is Stage.LIVE and student.stage is not Stage.LIVE:
        _retire_live(connection, student, command)
    epoch = append_journal(
        connection, "rollout", at=command.at, actor=command.actor, subject=student.id, action=_verb(student, command),
        reason=command.reason,
        detail=command.detail | {
            "from": student.stage.value, "to": command.to.value, "paused": command.paused,
            "certificate": command.certificate,
        } | ({"deferred": list(command.deferred)} if command.deferred else {}),
    )  # fmt: skip
    certificate = command.certificate or student.certificate
    deferred = student.deferred if command.deferred is None else command.deferred
    _store(
        connection,
        student.id,
        stage=command.to.value,
        paused=command.paused,
        epoch=epoch,
        certificate=certificate,
        deferred=to_json(deferred),
    )
    bump_generation(connection)
    if command.to in _SERVING and command.to is not student.stage:
        _tell(connection, student, "promoted", command.at, epoch)
    return msgspec.structs.replace(
        student, stage=command.to, paused=command.paused, epoch=epoch, certificate=certificate, deferred=deferred
    )


def _check_move(student: Student, command: MoveStudent) -> None:
    if student.epoch != command.expected_epoch:
        raise Refused(
            f"Student {student.id} has moved since the decision was made (epoch {student.epoch}, expected "
            f"{command.expected_epoch}); decide again."
        )
    if command.to is not student.stage and not can_move(student.stage, command.to):
        raise Refused(f"Student {student.id} cannot go from {student.stage.value} to {command.to.value}.")
    if command.to is student.stage and command.paused == student.paused:
        raise Refused(f"Student {student.id} already is {student.stage.value}.")
    if command.to in _SERVING:
        needs_new = command.to is not student.stage
        if not (command.certificate if needs_new else command.certificate or student.certificate):
            raise Refused(f"Student {student.id} cannot become {command.to.value} without a certificate.")


def _verb(student: Student, command: MoveStudent) -> str:
    if command.to is student.stage:
        return "paused" if command.paused else "resumed"
    return "retired" if command.to is Stage.RETIRED else "promoted"


def _retire_live(connection: sa.Connection, student: Student, command: MoveStudent) -> None:
    rows = connection.execute(
        sa.select(STUDENTS).where(
            STUDENTS.c.project == student.project,
            STUDENTS.c.task == student.task,
            STUDENTS.c.fingerprint == student.fingerprint,
            STUDENTS.c.stage == Stage.LIVE.value,
            STUDENTS.c.id != student.id,
        )
    ).mappings()
    for row in rows.all():
        previous = student_of(row)
        epoch = append_journal(
            connection, "rollout", at=command.at, actor=command.actor, subject=previous.id, action="retired",
            reason=f"{student.id} became live", detail={"from": Stage.LIVE.value, "to": Stage.RETIRED.value},
        )  # fmt: skip
        _store(connection, previous.id, stage=Stage.RETIRED.value, paused=False, epoch=epoch)


def demote(connection: sa.Connection, record: DemotionRecord) -> None:
    """Applies a demotion that the gateway decided, unless the student has left that stage for good since."""
    student = _find(connection, record.student)
    applies = student is not None and student.stage is not Stage.RETIRED and (
        student.epoch == record.epoch or student.stage in _SERVING
    )  # fmt: skip
    detail: dict[str, Any] = {
        "at_epoch": record.epoch, "to": record.to, "numbers": record.numbers, "retrain": record.retrain,
        "applied": applies,
    }  # fmt: skip
    epoch = append_journal(
        connection, "rollout", at=record.at, actor=record.actor, subject=record.student,
        action="retired" if record.to == "retired" else "paused", reason=record.reason, detail=detail,
    )  # fmt: skip
    if student is None:
        return
    if applies:
        _tell(connection, student, "taken_back", record.at, epoch)
    if applies and record.to == "retired":
        _store(connection, student.id, stage=Stage.RETIRED.value, paused=False, epoch=epoch)
    elif applies:
        _store(connection, student.id, paused=True, epoch=epoch)
    if record.retrain:
        _ask_retrain(connection, _scope(student), record.at)
    bump_generation(connection)


def note_drift(connection: sa.Connection, command: NoteDrift) -> None:
    detail = {"measure": command.measure, "task": command.task, "numbers": command.numbers}
    epoch = append_journal(
        connection, "watch", at=command.at, actor="watch", subject=command.subject, action=command.measure,
        reason=command.reason, detail=detail,
    )  # fmt: skip
    announce(connection, command.project, command.event, command.subject, command.at, str(epoch))
    if command.retrain:
        _ask_retrain(connection, (command.project, command.task, command.fingerprint), command.at)


def _tell(connection: sa.Connection, student: Student, what: str, at: float, epoch: int) -> None:
    announce(connection, student.project, f"understudy.student.{what}", student.id, at, str(epoch))


def add_wish(connection: sa.Connection, record: WishRecord) -> None:
    row = msgspec.structs.asdict(record) | {"handled_at": None, "outcome": ""}
    connection.execute(sa.insert(WISHES).values(**storable(row)))
    append_journal(
        connection, "admin", at=record.at, actor=record.actor, subject=record.student, action=f"wish {record.action}",
        reason=record.reason,
    )  # fmt: skip
    student = _find(connection, record.student)
    if record.action == "retrain" and student is not None:
        _ask_retrain(connection, _scope(student), record.at)


def handle_wish(connection: sa.Connection, command: HandleWish) -> None:
    where = (WISHES.c.id == command.wish_id, WISHES.c.handled_at.is_(None))
    values = storable({"handled_at": command.at, "outcome": command.outcome})
    connection.execute(sa.update(WISHES).where(*where).values(**values))


def _scope(student: Student) -> tuple[str, str, str]:
    return student.project, student.task, student.fingerprint


def _ask_retrain(connection: sa.Connection, scope_of: tuple[str, str, str], at: float) -> None:
    table = RETRAIN_REQUESTS.c
    project, task, fingerprint = scope_of
    scope = (table.project == project, table.task == task, table.fingerprint == fingerprint)
    last = connection.execute(sa.select(table.at).where(*scope)).scalar()
    if last is None:
        row = {"project": project, "task": task, "fingerprint": fingerprint, "at": at}
        connection.execute(sa.insert(RETRAIN_REQUESTS).values(**row))
    elif last < at:
        connection.execute(sa.update(RETRAIN_REQUESTS).where(*scope).values(at=at))


def _find(connection: sa.Connection, student_id: str) -> Student | None:
    row = connection.execute(sa.select(STUDENTS).where(STUDENTS.c.id == student_id)).mappings().first()
    return student_of(row) if row is not None else None


def _store(connection: sa.Connection, student_id: str, **values: Any) -> None:
    connection.execute(sa.update(STUDENTS).where(STUDENTS.c.id == student_id).values(**values))
