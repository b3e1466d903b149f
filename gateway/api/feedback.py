"""POST /v1/feedback: what a client thinks of a call or of a whole session, at any time after it."""

from __future__ import annotations

import secrets
import time
from typing import Any

import msgspec
from litestar import Request, Response, post
from litestar.handlers import BaseRouteHandler

from gateway import errors
from gateway.api.http import Authenticator, read_body
from gateway.protocol.body import decode_object
from gateway.storage.protocols import Recorder
from gateway.storage.recent import RecentCalls
from gateway.storage.records import FeedbackRecord
from gateway.storage.values import StoredCompletion

_LONGEST_BODY, _LONGEST_TEXT, _LONGEST_ID = 256 * 1024, 64 * 1024, 200
_TEXTS = ("correction", "demonstration", "comment")
_KNOWN = frozenset({"call_id", "session_id", "rating", "passed", *_TEXTS})
Client = Request[Any, Any, Any]


def feedback_route(recorder: Recorder, recent: RecentCalls, who: Authenticator) -> BaseRouteHandler:
    """``who`` demands the scope ``data``."""

    @post("/v1/feedback", status_code=200)
    async def create_feedback(request: Client) -> Response[bytes]:
        principal = who({name.lower(): value for name, value in request.headers.items()})
        body = await read_body(request.scope, request.receive, limit=_LONGEST_BODY, idle=30.0)
        record = record_of(decode_object(body), principal.project, principal.key_id, time.time())
        recorder.append(record)
        if record.score is not None and record.call_id:
            _show(recent, record)
        return Response(msgspec.json.encode(_shown(record)), media_type="application/json")

    return create_feedback


def record_of(data: dict[str, Any], project: str, actor: str, at: float) -> FeedbackRecord:
    """Raises BadRequest. A correction without a rating says that the answer was wrong."""
    unknown = sorted(set(data) - _KNOWN)
    if unknown:
        name = unknown[0][:64]
        raise errors.BadRequest(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
    ids = {name: data[name] for name in ("call_id", "session_id") if data.get(name) is not None}
    if len(ids) != 1 or not all(isinstance(one, str) and 0 < len(one) <= _LONGEST_ID for one in ids.values()):
        raise errors.BadRequest(
            "Name either the 'call_id' (the header x-understudy-call-id, or the completion's id) or the 'session_id'.",
            param="call_id",
        )
    texts = {name: _text(data[name], name) for name in _TEXTS if data.get(name) is not None}
    score = _score(data)
    if score is None and "correction" in texts:
        score = 0.0
    if score is None and not texts:
        raise errors.BadRequest(
            "Say something: 'rating', 'passed', 'correction', 'demonstration' or 'comment'."
        )
    return FeedbackRecord(
        call_id=ids.get("call_id", ""), session=ids.get("session_id", ""), project=project, actor=actor, at=at,
        score=score, texts=texts,
    )  # fmt: skip


def _score(data: dict[str, Any]) -> float | None:
    rating, passed = data.get("rating"), data.get("passed")
    if rating is not None and (
        isinstance(rating, bool) or not isinstance(rating, int | float) or not 0 <= rating <= 1
    ):
        raise errors.BadRequest("'rating' must be a number from 0 to 1.", param="rating")
    if passed is not None and not isinstance(passed, bool):
        raise errors.BadRequest("'passed' must be true or false.", param="passed")
    if rating is not None:
        return float(rating)
    return None if passed is None else float(passed)


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
        raise errors.BadRequest(f"'{name}' must be text of at most {_LONGEST_TEXT} characters.", param=name)
    return value


def _show(recent: RecentCalls, record: FeedbackRecord) -> None:
    """The score shows at once on a completion that this worker remembers."""
    found = recent.get(record.project, record.call_id)
    if isinstance(found, StoredCompletion):
        score = f"{record.score:g}"
        recent.metadata(record.project, record.call_id, {**found.metadata, "feedback.score": score})


def _shown(record: FeedbackRecord) -> dict[str, Any]:
    return {
        "id": "fb_" + secrets.token_hex(12),
        "object": "feedback",
        "created_at": int(record.at),
        "call_id": record.call_id or None,
        "session_id": record.session or None,
        "score": record.score,
        **{name: record.texts.get(name) for name in _TEXTS},
    }
