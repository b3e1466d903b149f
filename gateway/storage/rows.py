"""Database rows as the values of ``gateway.storage.protocols``, and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from gateway.storage.thoughts import thoughts_in
from gateway.storage.values import (
    Dataset,
    JournalEntry,
    Key,
    Pair,
    Run,
    RunEvent,
    StoredCompletion,
    TrainingCall,
    Wish,
)
from optimizer.rollout import Student

_decode = msgspec.json.decode
_encode = msgspec.json.Encoder(order="deterministic").encode
_LARGEST = 2**63 - 1
Row = Mapping[Any, Any]


def to_json(value: Any) -> str:
    return _encode(value).decode()


def storable(row: dict[str, Any]) -> dict[str, Any]:
    """``row`` as every backend takes it: no NUL in text (PostgreSQL refuses it), integers within 64 bits, no
    NaN or infinity. Clients and models write such things; a ledger line must not be lost over them."""
    return {
        name: value if type(value) is str and "\0" not in value else _storable(value)
        for name, value in row.items()
    }


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "�") if "\0" in value else value
    if isinstance(value, float):
        return value if math.isfinite(value) else 0.0
    if isinstance(value, int) and not isinstance(value, bool):
        return max(-_LARGEST, min(_LARGEST, value))
    return value


def key_row(key: Key) -> dict[str, Any]:
    row = msgspec.structs.asdict(key)
    return row | {"scopes": to_json(key.scopes), "models": to_json(key.models)}


def key_of(row: Row) -> Key:
    values = dict(row) | {"scopes": tuple(_decode(row["scopes"])), "models": tuple(_decode(row["models"]))}
    return Key(**values)


def student_of(row: Row) -> Student:
    fields = {name: row[name] for name in Student.__struct_fields__}
    lists = {name: _decode(row[name]) for name in ("slices", "deferred")}
    return msgspec.convert(fields | lists, Student)


def run_of(row: Row) -> Run:
    values = {name: row[name] for name in Run.__struct_fields__}
    return Run(**values | {"params": _decode(row["params"]), "result": _decode(row["result"])})


def event_of(row: Row) -> RunEvent:
    return RunEvent(**dict(row) | {"data": _decode(row["data"])})


def dataset_of(row: Row) -> Dataset:
    return Dataset(**dict(row) | {"card": _decode(row["card"])})


def wish_of(row: Row) -> Wish:
    return Wish(**{name: row[name] for name in Wish.__struct_fields__})


def journal_of(row: Row) -> JournalEntry:
    return JournalEntry(**dict(row) | {"detail": _decode(row["detail"])})


def pair_of(row: Row) -> Pair:
    fields = {name: row[name] for name in Pair.__struct_fields__}
    return Pair(**fields | {"scores": msgspec.json.decode(row["scores"]) if row["scores"] else {}})


def completion_of(row: Row) -> StoredCompletion:
    return StoredCompletion(
        id=row["call_id"],
        project=row["project"],
        created_at=row["created_at"],
        model=row["model"],
        request=_decode(row["request"]),
        answer=_decode(row["answer"]),
        metadata=_decode(row["metadata_json"]),
    )


def lessons() -> Callable[[Row], TrainingCall]:
    """Reads rows into calls that share what they have in common, because a million of them lie in memory at once."""
    shared: dict[str, str] = {}
    said: dict[str, dict[str, str]] = {}

    def one(text: str) -> str:
        return shared.setdefault(text, text)

    def read(row: Row) -> TrainingCall:
        metadata = row["metadata_json"]
        if metadata not in said:
            said[metadata] = _decode(metadata)
        return TrainingCall(
            call_id=row["call_id"],
            created_at=row["created_at"],
            group=row["group_id"],
            key_id=one(row["key_id"]),
            end_user=one(row["end_user"]),
            session=one(row["session"]),
            text=row["last_user_text"],
            answer=one(row["answer_text"]),
            finish_reason=one(row["finish_reason"]),
            completion_tokens=row["completion_tokens"],
            metadata=said[metadata],
            logprobs=thoughts_in(row["answer"]),
            source=one(row["source"]),
            rejected=tuple(_decode(row["rejected"])) if row["rejected"] else (),
            label=one(row["label"]),
            label_share=row["label_share"],
            votes=row["votes"],
            judged=bool(row["judged"]),
        )

    return read
