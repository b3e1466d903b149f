"""The first schema."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _of(kind: TypeEngine[Any], name: str, nullable: bool) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=nullable)


def _string(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return _of(sa.String(), name, nullable)


def _text(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return _of(sa.Text(), name, nullable)


def _float(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return _of(sa.Float(), name, nullable)


def _integer(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return _of(sa.Integer(), name, nullable)


def _big(name: str) -> sa.Column[Any]:
    return _of(sa.BigInteger(), name, False)


def _bool(name: str) -> sa.Column[Any]:
    return _of(sa.Boolean(), name, False)


def _counted(name: str) -> sa.Column[Any]:
    """A counting primary key: SQLite wants it declared INTEGER."""
    kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column(name, kind, autoincrement=True, nullable=False)


def _many(column: Callable[..., sa.Column[Any]], *names: str, nullable: bool = False) -> list[sa.Column[Any]]:
    """Columns of one kind; ``nullable`` is passed on only where the kind knows it."""
    return [column(name, nullable=True) if nullable else column(name) for name in names]


def upgrade() -> None:
    _create_api_keys()
    _create_calls()
    _create_datasets()
    _create_feedback_log()
    _create_journal()
    _create_ledger_buckets()
    _create_meta()
    _create_pairs()
    _create_parked()
    _create_retrain_requests()
    _create_runs()
    _create_spool_cursors()
    _create_students()
    _create_task_versions()
    _create_wishes()
    _create_captures()
    _create_run_events()
    _create_capture_metadata()


def downgrade() -> None:
    for name in reversed(_TABLES):
        op.drop_table(name)


_TABLES = (
    "api_keys",
    "calls",
    "datasets",
    "feedback_log",
    "journal",
    "ledger_buckets",
    "meta",
    "pairs",
    "parked",
    "retrain_requests",
    "runs",
    "spool_cursors",
    "students",
    "task_versions",
    "wishes",
    "captures",
    "run_events",
    "capture_metadata",
)


def _create_api_keys() -> None:
    op.create_table(
        "api_keys",
        *_many(_string, "id", "name", "project", "digest", "hint", "scopes", "models"),
        _integer("requests_per_minute", nullable=True),
        _float("created_at"),
        *_many(_float, "expires_at", "revoked_at", nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest"),
        sa.UniqueConstraint("project", "name", name="uq_api_keys_project_name"),
    )


def _create_calls() -> None:
    op.create_table(
        "calls",
        *_many(_string, "id", "request_id"),
        _float("created_at"),
        *_many(
            _string,
            "project",
            "key_id",
            "end_user",
            "session",
            "task",
            "fingerprint",
            "model_asked",
            "provider",
            "model",
            "student",
            "status",
        ),
        _integer("http_status"),
        _string("error_code"),
        _bool("stream"),
        _float("latency_ms"),
        _float("first_byte_ms", nullable=True),
        _float("overhead_ms"),
        _text("attempts"),
        *_many(_big, "prompt_tokens", "cached_tokens", "completion_tokens"),
        _bool("tokens_estimated"),
        *_many(_float, "cost_usd", "teacher_cost_usd", "confidence", nullable=True),
        _string("arm"),
        _float("propensity"),
        *_many(_string, "reason", "config_digest"),
        _text("verdicts"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_calls_created_at", "calls", ["created_at"])
    op.create_index("ix_calls_scope", "calls", ["project", "task", "created_at"])


def _create_datasets() -> None:
    op.create_table(
        "datasets",
        *_many(_string, "digest", "project", "task", "fingerprint"),
        _integer("version"),
        _float("created_at"),
        _text("card"),
        sa.PrimaryKeyConstraint("digest"),
        sa.UniqueConstraint("project", "task", "version", name="uq_datasets_version"),
    )


def _create_feedback_log() -> None:
    op.create_table(
        "feedback_log",
        _counted("id"),
        *_many(_string, "call_id", "project", "actor"),
        _float("at"),
        *_many(_string, "name", "value"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_feedback_log_call", "feedback_log", ["call_id"])


def _create_journal() -> None:
    op.create_table(
        "journal",
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        _float("at"),
        *_many(_string, "kind", "actor", "subject", "action"),
        *_many(_text, "reason", "detail"),
        *_many(_string, "prev", "hash"),
        sa.PrimaryKeyConstraint("epoch"),
    )
    op.create_index("ix_journal_kind", "journal", ["kind", "epoch"])


def _create_ledger_buckets() -> None:
    op.create_table(
        "ledger_buckets",
        sa.Column("start", sa.BigInteger(), autoincrement=False, nullable=False),
        *_many(_string, "project", "task", "party"),
        *_many(_big, "calls", "errors"),
        *_many(_float, "cost_usd", "teacher_cost_usd"),
        _big("unpriced"),
        _float("extra_cost_usd"),
        *_many(_big, "prompt_tokens", "completion_tokens"),
        sa.PrimaryKeyConstraint("start", "project", "task", "party"),
    )


def _create_meta() -> None:
    op.create_table(
        "meta",
        *_many(_string, "name", "value"),
        sa.PrimaryKeyConstraint("name"),
    )


def _create_pairs() -> None:
    op.create_table(
        "pairs",
        _counted("seq"),
        *_many(_string, "call_id", "kind"),
        _float("created_at"),
        *_many(_string, "project", "task", "fingerprint", "student"),
        _big("epoch"),
        _string("session"),
        *_many(_bool, "answered", "agree"),
        *_many(_float, "confidence", "propensity", "student_latency_ms"),
        _float("extra_cost_usd", nullable=True),
        *_many(_text, "teacher_text", "student_text"),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index("ix_pairs_call", "pairs", ["call_id"])
    op.create_index("ix_pairs_created_at", "pairs", ["created_at"])
    op.create_index("ix_pairs_disagreement", "pairs", ["task", "agree", "seq"])
    op.create_index("ix_pairs_student", "pairs", ["student", "seq"])
    op.create_index("ix_pairs_task", "pairs", ["task", "seq"])


def _create_parked() -> None:
    op.create_table(
        "parked",
        _counted("id"),
        _string("call_id"),
        _float("at"),
        _text("record"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_parked_call", "parked", ["call_id"])


def _create_retrain_requests() -> None:
    op.create_table(
        "retrain_requests",
        *_many(_string, "project", "task", "fingerprint"),
        _float("at"),
        sa.PrimaryKeyConstraint("project", "task", "fingerprint"),
    )


def _create_runs() -> None:
    op.create_table(
        "runs",
        *_many(_string, "id", "kind", "project", "task", "fingerprint", "state"),
        _integer("attempt"),
        *_many(_text, "params", "result", "error"),
        _float("progress"),
        *_many(_string, "step", "worker"),
        _float("created_at"),
        *_many(_float, "started_at", "finished_at", "heartbeat_at", nullable=True),
        _bool("cancel_requested"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_runs_scope", "runs", ["project", "task", "fingerprint", "created_at"])
    op.create_index("ix_runs_state", "runs", ["state", "created_at"])
    op.create_index("ix_runs_task", "runs", ["task", "created_at"])
    op.create_index(
        "uq_runs_open",
        "runs",
        ["kind", "project", "task", "fingerprint"],
        unique=True,
        sqlite_where=sa.text("state IN ('queued', 'running')"),
        postgresql_where=sa.text("state IN ('queued', 'running')"),
    )


def _create_spool_cursors() -> None:
    op.create_table(
        "spool_cursors",
        _string("writer"),
        _integer("segment"),
        *_many(_big, "offset", "seq"),
        sa.PrimaryKeyConstraint("writer"),
    )


def _create_students() -> None:
    op.create_table(
        "students",
        *_many(_string, "id", "project", "task", "fingerprint"),
        _integer("version"),
        _string("recipe"),
        _integer("round"),
        _float("threshold"),
        _string("stage"),
        _bool("paused"),
        _big("epoch"),
        _string("certificate", nullable=True),
        _string("artifact"),
        _integer("max_answer_tokens"),
        _string("dataset"),
        _text("metrics"),
        _float("created_at"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_students_scope", "students", ["project", "task", "fingerprint", "stage"])


def _create_task_versions() -> None:
    op.create_table(
        "task_versions",
        *_many(_string, "project", "task", "fingerprint"),
        _integer("version"),
        _float("first_seen"),
        _big("trainable_calls"),
        sa.PrimaryKeyConstraint("project", "task", "fingerprint"),
    )


def _create_wishes() -> None:
    op.create_table(
        "wishes",
        _counted("id"),
        *_many(_string, "student", "action", "actor", "reason"),
        _float("at"),
        _float("handled_at", nullable=True),
        _string("outcome"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_wishes_open", "wishes", ["handled_at", "id"])


def _create_captures() -> None:
    op.create_table(
        "captures",
        *_many(_string, "call_id", "project", "task", "fingerprint"),
        _float("created_at"),
        *_many(_string, "model", "key_id", "end_user", "session"),
        *_many(_text, "request", "answer", nullable=True),
        *_many(_text, "last_user_text", "answer_text"),
        *_many(_string, "group_id", "finish_reason"),
        _big("completion_tokens"),
        _text("metadata_json"),
        *_many(_bool, "visible", "trainable", "lesson"),
        *_many(_float, "expires_at", "erased_at", nullable=True),
        _string("tombstone"),
        sa.ForeignKeyConstraint(
            ["call_id"],
            ["calls.id"],
        ),
        sa.PrimaryKeyConstraint("call_id"),
    )
    op.create_index("ix_captures_expiry", "captures", ["expires_at"])
    op.create_index(
        "ix_captures_lesson", "captures", ["project", "task", "fingerprint", "lesson", "created_at"]
    )
    op.create_index("ix_captures_listing", "captures", ["project", "visible", "created_at", "call_id"])


def _create_run_events() -> None:
    op.create_table(
        "run_events",
        _string("run_id"),
        _integer("seq"),
        _float("at"),
        _string("level"),
        *_many(_text, "message", "data"),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["runs.id"],
        ),
        sa.PrimaryKeyConstraint("run_id", "seq"),
    )


def _create_capture_metadata() -> None:
    op.create_table(
        "capture_metadata",
        *_many(_string, "call_id", "name", "value"),
        sa.ForeignKeyConstraint(
            ["call_id"],
            ["captures.call_id"],
        ),
        sa.PrimaryKeyConstraint("call_id", "name"),
    )
    op.create_index("ix_capture_metadata_entry", "capture_metadata", ["name", "value"])
