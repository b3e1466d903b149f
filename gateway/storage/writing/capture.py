"""A call's text as the database may hold it: masked, with what a student reads and writes taken out of it. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.protocol.asked import asked_of
from gateway.protocol.assemble import finish_reason
from gateway.protocol.called import spoken
from gateway.protocol.chat import Message
from gateway.protocol.fingerprint import group_of
from gateway.storage.records import CallRecord, CallText, PairRecord
from gateway.storage.rows import to_json
from gateway.texts.enclosed import closed_again, opened
from gateway.texts.masking import Found, Masker, mask_value

_DAY_S = 86_400.0


def capture_row(record: CallRecord, text: CallText) -> dict[str, Any]:
    """The ``captures`` row of a call. Text that is not the JSON it should be is kept as nothing, not refused:
    the ledger line matters more."""
    request, answer = _object(text.request), _object(text.answer)
    asked = asked_of(_messages(request))
    answered, finish = spoken(answer, request), finish_reason(answer) or ""
    rejected: tuple[str, ...] = text.rejected
    if text.mask:
        plain = asked, answered
        found: dict[str, Found] = {}  # the same texts come again below, under another numbering
        asked, answered, *worse = mask_together(asked, answered, *rejected, found=found)
        rejected = tuple(worse)
        if plain != (asked, answered):
            answer = _without_logprobs(answer)  # their tokens hold in pieces what was masked as a whole
        words = opened(request)
        document = mask_value({"request": words, "answer": answer}, Masker(found))
        request, answer = closed_again(request, words, document["request"]), document["answer"]
    lesson = text.trainable and record.status == "ok" and not record.student
    return {
        "call_id": record.id, "project": record.project, "task": record.task, "fingerprint": record.fingerprint,
        "created_at": record.created_at, "model": record.model_asked, "key_id": record.key_id,
        "end_user": record.end_user, "session": record.session, "request": to_json(request),
        "answer": to_json(answer), "last_user_text": asked, "answer_text": answered,
        "group_id": group_of(asked), "finish_reason": finish,
        "completion_tokens": record.completion_tokens, "metadata_json": to_json(record.metadata),
        "visible": text.visible, "trainable": text.trainable, "lesson": lesson,
        "expires_at": record.created_at + text.retention_days * _DAY_S, "erased_at": None, "tombstone": "",
        "source": record.source, "rejected": to_json(rejected) if rejected else "",
    }  # fmt: skip


def _without_logprobs(answer: dict[str, Any]) -> dict[str, Any]:
    choices = answer.get("choices")
    if not isinstance(choices, list):
        return answer
    silent = [
        {**one, "logprobs": None} if isinstance(one, dict) and one.get("logprobs") else one for one in choices
    ]
    return {**answer, "choices": silent}


def mask_together(*texts: str, found: dict[str, Found] | None = None) -> tuple[str, ...]:
    """Question and answers under one numbering, the question's values first, which is how a student is served:
    it reads the masked question, and the question's values are put back into its answer."""
    masker = Masker(found)
    for text in texts:
        masker.reserve(text)
    return tuple(masker.mask(text) for text in texts)


def pair_texts(record: PairRecord) -> tuple[str, str]:
    """(teacher's, student's) text of a pair, masked when the record says so."""
    if not record.mask:
        return record.teacher_text, record.student_text
    teacher, student = mask_together(record.teacher_text, record.student_text)
    return teacher, student


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _messages(request: dict[str, Any]) -> list[Message]:
    try:
        return msgspec.convert(request.get("messages", []), list[Message])
    except msgspec.ValidationError:
        return []

