"""Queries over captured calls: stored completions, and the trainer's view of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from gateway.storage.rows import completion_of, lessons
from gateway.storage.tables import CAPTURE_METADATA, CAPTURES, FEEDBACK_LOG
from gateway.storage.values import StoredCompletion, TrainingCall
from gateway.storage.writing.truths import CORRECTION

CHUNK = 20_000
_LESSON = [
    *(
        CAPTURES.c[name]
        for name in (
            "call_id", "created_at", "group_id", "key_id", "end_user", "session", "last_user_text", "answer_text",
            "finish_reason", "completion_tokens", "metadata_json", "source", "rejected",
            "label", "label_share", "votes", "judged",
        )
    ),
    sa.case(
        (CAPTURES.c.answer.contains('"top_logprobs"', autoescape=True), CAPTURES.c.answer)
    ).label("answer"),
]  # fmt: skip
"""What a lesson needs: the whole request and answer, which are most of a captured call, stay where they are."""


class CaptureQueries:
    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def completions(
        self,
        project: str,
        *,
        model: str | None,
        metadata: dict[str, str],
        after: str | None,
        limit: int,
        descending: bool,
    ) -> list[StoredCompletion]:
        """A page of stored completions, ordered by time and id. An unknown ``after`` gives an empty page."""
        where = [*_shown(project)]
        if model is not None:
            where.append(CAPTURES.c.model == model)
        for name, value in metadata.items():
            entry = sa.select(CAPTURE_METADATA.c.call_id).where(
                CAPTURE_METADATA.c.name == name, CAPTURE_METADATA.c.value == value
            )
            where.append(CAPTURES.c.call_id.in_(entry))
        with self._engine.begin() as connection:
            if after is not None:
                mark = connection.execute(
                    sa.select(CAPTURES.c.created_at, CAPTURES.c.call_id).where(
                        CAPTURES.c.project == project, CAPTURES.c.call_id == after
                    )
                ).first()
                if mark is None:
                    return []
                where.append(_beyond(mark.created_at, mark.call_id, descending))
            order = (CAPTURES.c.created_at, CAPTURES.c.call_id)
            query = sa.select(CAPTURES).where(*where).limit(limit)
            query = query.order_by(*(column.desc() if descending else column.asc() for column in order))
            return [completion_of(row) for row in connection.execute(query).mappings()]

    def completion_place(self, project: str, call_id: str) -> tuple[float, str] | None:
        """Where a completion stands in the list, or stood before it was deleted; None for one that never was there."""
        mine = (CAPTURES.c.project == project, CAPTURES.c.visible.is_(True), CAPTURES.c.call_id == call_id)
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(CAPTURES.c.created_at, CAPTURES.c.call_id).where(*mine)).first()
            return (row.created_at, row.call_id) if row is not None else None

    def completion(self, project: str, call_id: str) -> StoredCompletion | None:
        query = sa.select(CAPTURES).where(*_shown(project), CAPTURES.c.call_id == call_id)
        with self._engine.connect() as connection:
            row = connection.execute(query).mappings().first()
            return completion_of(row) if row is not None else None

    def training_calls(
        self,
        project: str,
        task: str,
        fingerprint: str,
        *,
        limit: int,
        tick: Callable[[int], None] | None = None,
    ) -> list[TrainingCall]:
        """The newest ``limit`` trainable, successful, teacher-answered calls, oldest first; read ``CHUNK`` at a
        time, and ``tick(read so far)`` after each."""
        query = _lessons(project, task, fingerprint, _LESSON).limit(limit)
        calls: list[TrainingCall] = []
        lesson_of = lessons()
        with self._engine.connect() as connection:
            found = connection.execution_options(yield_per=CHUNK).execute(query)
            for rows in found.mappings().partitions(CHUNK):
                calls += map(lesson_of, rows)
                if tick is not None:
                    tick(len(calls))
        calls.reverse()
        return calls

    def corrections(self, project: str, task: str, fingerprint: str) -> dict[str, str]:
        """By trainable call, the first correction by the key that made it."""
        log, lessons = FEEDBACK_LOG.c, CAPTURES.c
        query = (
            sa.select(log.call_id, log.value)
            .join(CAPTURES, sa.and_(lessons.call_id == log.call_id, lessons.key_id == log.actor))
            .where(
                log.name == CORRECTION, lessons.project == project, lessons.task == task,
                lessons.fingerprint == fingerprint, lessons.lesson.is_(True), lessons.erased_at.is_(None),
            )
            .order_by(log.id.desc())  # of several the first stays
        )  # fmt: skip
        with self._engine.connect() as connection:
            return {row.call_id: row.value for row in connection.execute(query)}

    def training_request(self, project: str, task: str, fingerprint: str) -> dict[str, Any] | None:
        """The newest request that ``training_calls`` reads from; None when there is none."""
        own = sa.case((CAPTURES.c.source == "", 0), else_=1)
        query = _lessons(project, task, fingerprint, [CAPTURES.c.request]).order_by(None)
        query = query.order_by(own, CAPTURES.c.created_at.desc(), CAPTURES.c.call_id.desc()).limit(1)
        with self._engine.connect() as connection:
            text = connection.execute(query).scalar()
        request = msgspec.json.decode(text) if text else None
        return request if isinstance(request, dict) else None


def _lessons(
    project: str, task: str, fingerprint: str, columns: Sequence[sa.ColumnElement[Any]]
) -> sa.Select[tuple[Any, ...]]:
    return (
        sa.select(*columns)
        .where(
            CAPTURES.c.project == project,
            CAPTURES.c.task == task,
            CAPTURES.c.fingerprint == fingerprint,
            CAPTURES.c.lesson.is_(True),
        )
        .order_by(CAPTURES.c.created_at.desc(), CAPTURES.c.call_id.desc())
    )


def _shown(project: str) -> tuple[sa.ColumnElement[bool], ...]:
    return CAPTURES.c.project == project, CAPTURES.c.visible.is_(True), CAPTURES.c.erased_at.is_(None)


def _beyond(at: float, call_id: str, descending: bool) -> sa.ColumnElement[bool]:
    time, name = CAPTURES.c.created_at, CAPTURES.c.call_id
    if descending:
        return sa.or_(time < at, sa.and_(time == at, name < call_id))
    return sa.or_(time > at, sa.and_(time == at, name > call_id))
