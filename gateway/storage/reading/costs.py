"""Queries about money: what a budget's scope has spent, and costs by key, task, end user or metadata tag."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from gateway.storage.records import FOREIGN, LATER_TURN, SYNTHETIC
from gateway.storage.tables import CALLS, LEDGER_BUCKETS
from gateway.storage.tags import CALL_TAGS
from gateway.storage.values import CostLine, Made, PromptTokens

_BY = {"key": CALLS.c.key_id, "task": CALLS.c.task, "end_user": CALLS.c.end_user}
_FAILED = ("error", "upstream_cut")
_MOST_PROMPTS = 200


class CostQueries:
    _engine: sa.Engine

    def spent_usd(self, who: str, scope: str, since: float) -> float:
        """US dollars of calls since ``since`` by a key, project or task; a project's and a task's with what
        learning cost on top. An unknown price counts 0 here: budgets refuse such calls beforehand."""
        if who == "key":
            query = sa.select(sa.func.sum(CALLS.c.cost_usd)).where(
                CALLS.c.key_id == scope, CALLS.c.created_at >= since
            )
        else:
            sums = sa.func.sum(LEDGER_BUCKETS.c.cost_usd + LEDGER_BUCKETS.c.extra_cost_usd)
            query = sa.select(sums).where(LEDGER_BUCKETS.c[who] == scope, LEDGER_BUCKETS.c.start >= since)
        with self._engine.connect() as connection:
            return float(connection.execute(query).scalar() or 0.0)

    def costs(self, group_by: str, *, since: float, until: float, limit: int) -> list[CostLine]:
        """Sums of the calls in [``since``, ``until``), dearest first, at most ``limit`` of them. ``group_by``:
        key, task, end_user, or ``metadata.NAME`` (calls without that entry are summed under ""). A request counts once,
        however many turns of the model it took.
        """
        source: sa.FromClause = CALLS
        tag = group_by.removeprefix("metadata.") if group_by.startswith("metadata.") else ""
        if tag:
            joined = sa.and_(CALL_TAGS.c.call_id == CALLS.c.id, CALL_TAGS.c.name == tag)
            source = CALLS.outerjoin(CALL_TAGS, joined)
        group: sa.ColumnElement[Any] = sa.func.coalesce(CALL_TAGS.c.value, "") if tag else _BY[group_by]
        unpriced = sa.and_(CALLS.c.provider != "", CALLS.c.cost_usd.is_(None))
        spent = sa.func.coalesce(sa.func.sum(CALLS.c.cost_usd), 0.0)
        query = (
            sa.select(
                CALLS.c.project.label("project"),
                group.label("name"),
                _count(~CALLS.c.id.startswith(LATER_TURN, autoescape=True)).label("calls"),
                _count(CALLS.c.status.in_(_FAILED)).label("errors"),
                sa.func.sum(CALLS.c.prompt_tokens).label("prompt_tokens"),
                sa.func.sum(CALLS.c.cached_tokens).label("cached_tokens"),
                sa.func.sum(CALLS.c.completion_tokens).label("completion_tokens"),
                spent.label("cost_usd"),
                sa.func.coalesce(sa.func.sum(CALLS.c.teacher_cost_usd), 0.0).label("teacher_cost_usd"),
                _count(unpriced).label("unpriced"),
                sa.func.coalesce(sa.func.sum(CALLS.c.prompt_cache_usd), 0.0).label("prompt_cache_usd"),
            )
            .select_from(source)
            .where(CALLS.c.created_at >= since, CALLS.c.created_at < until, CALLS.c.arm != FOREIGN)
            .group_by(CALLS.c.project, group)
            .order_by(spent.desc(), CALLS.c.project, group)
            .limit(limit)
        )
        with self._engine.connect() as connection:
            rows = connection.execute(query).mappings()
            return [CostLine(**{name: _whole(name, row[name]) for name in row}) for row in rows]

    def prompt_tokens(self, *, since: float) -> list[PromptTokens]:
        """By task, provider and model, of the calls since ``since`` that providers counted; most cached first."""
        cached = sa.func.sum(CALLS.c.cached_tokens)
        by, spared = (CALLS.c.task, CALLS.c.provider, CALLS.c.model), CALLS.c.prompt_cache_usd
        query = (
            sa.select(
                *by,
                sa.func.count().label("calls"),
                sa.func.sum(CALLS.c.prompt_tokens).label("prompt_tokens"),
                cached.label("cached_tokens"),
                sa.case((_count(spared.is_(None)) == 0, sa.func.sum(spared))).label("saved_usd"),
            )
            .where(CALLS.c.created_at >= since, CALLS.c.provider != "", CALLS.c.student == "")
            .where(CALLS.c.tokens_estimated.is_(False), CALLS.c.arm != FOREIGN)
            .group_by(*by)
            .having(cached > 0)
            .order_by(cached.desc(), *by)
            .limit(_MOST_PROMPTS)
        )
        with self._engine.connect() as connection:
            rows = connection.execute(query).mappings()
            return [PromptTokens(**{name: _whole(name, row[name]) for name in row}) for row in rows]

    def synthetic_calls(self, project: str, task: str, *, since: float) -> Made:
        """What was asked for a task's synthetic calls, and what that cost since ``since``."""
        now = CALLS.c.created_at >= since
        query = sa.select(
            CALLS.c.reason,
            sa.func.count().label("tried"),
            _count(CALLS.c.fingerprint != "").label("kept"),
            _count(now).label("today"),
            sa.func.coalesce(sa.func.sum(sa.case((now, CALLS.c.cost_usd))), 0.0).label("usd"),
            _count(sa.and_(now, CALLS.c.cost_usd.is_(None))).label("unpriced"),
        ).where(
            CALLS.c.key_id == SYNTHETIC, CALLS.c.arm == FOREIGN, CALLS.c.project == project, CALLS.c.task == task
        )
        with self._engine.connect() as connection:
            rows = connection.execute(query.group_by(CALLS.c.reason)).mappings().all()
        return Made(
            kept=sum(int(row["kept"]) for row in rows),
            tried={row["reason"]: int(row["tried"]) for row in rows},
            today=sum(int(row["today"]) for row in rows),
            usd=sum(float(row["usd"]) for row in rows),
            unpriced=sum(int(row["unpriced"]) for row in rows),
        )


def _count(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.sum(sa.case((condition, 1), else_=0))


def _whole(name: str, value: Any) -> Any:
    """PostgreSQL sums integers into decimals."""
    return int(value) if name.endswith("tokens") else value
