"""Message batches of Anthropic's API over the batches that are kept here: what a request for one asks, how one is told,
and its results. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway.errors import BadRequest
from gateway.protocol.messages.answer import kind_of
from gateway.storage.data_values import Batch

ENDPOINT = "/v1/messages"
PATH = f"{ENDPOINT}/batches"
_OURS, _THEIRS = "batch_", "msgbatch_"
_CUSTOM_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_OVER = frozenset({"completed", "failed", "expired", "cancelled"})
_encode, _decode = msgspec.json.encode, msgspec.json.decode


def shown_id(batch_id: str) -> str:
    return _THEIRS + batch_id.removeprefix(_OURS)


def own_id(text: str) -> str:
    """The id here of what a client calls ``text``; "" for what can be none of ours."""
    return _OURS + text.removeprefix(_THEIRS) if text.startswith(_THEIRS) else ""


def lines_of(data: dict[str, Any], most: int) -> bytes:
    """The lines that a request for a batch asks for, as those of an input file. Raises BadRequest."""
    requests = data.get("requests")
    if not isinstance(requests, list) or not requests:
        raise BadRequest("requests: a list of at least one request is required.", param="requests")
    if len(requests) > most:
        raise BadRequest(f"requests: a batch takes at most {most} of them.", param="requests")
    seen: set[str] = set()
    return b"".join([_line(one, f"requests.{at}", seen) for at, one in enumerate(requests)])


def _line(one: Any, where: str, seen: set[str]) -> bytes:
    custom_id = one.get("custom_id") if isinstance(one, dict) else None
    if not isinstance(custom_id, str) or _CUSTOM_ID.fullmatch(custom_id) is None:
        problem = "must be 1 to 64 letters, digits, '-' or '_'."
        raise BadRequest(f"{where}.custom_id: {problem}", param=f"{where}.custom_id")
    if custom_id in seen:
        raise BadRequest(f"{where}.custom_id: '{custom_id}' was used before.", param=f"{where}.custom_id")
    seen.add(custom_id)
    params, param = one.get("params"), f"{where}.params"
    if not isinstance(params, dict) or not isinstance(params.get("model"), str):
        raise BadRequest(f"{param}: must be a request for a message, with its model.", param=param)
    if params.get("stream"):
        raise BadRequest(f"{param}.stream: a batch's answers cannot be streamed.", param=f"{param}.stream")
    return _encode({"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": params}) + b"\n"


def over(batch: Batch) -> bool:
    return batch.status in _OVER


def shown(batch: Batch, expired: int = 0) -> dict[str, Any]:
    """``expired``: how many of the failed ones were never asked, of a batch that is over."""
    ended, name = over(batch), shown_id(batch.id)
    left = max(0, batch.total - batch.completed - batch.failed)
    state = "ended" if ended else "canceling" if batch.status == "cancelling" else "in_progress"
    ended_at = batch.completed_at or batch.failed_at or batch.expired_at or batch.cancelled_at
    return {
        "id": name,
        "type": "message_batch",
        "processing_status": state,
        "request_counts": {
            "processing": 0 if ended else left,
            "succeeded": batch.completed,
            "errored": batch.failed - expired,
            "canceled": left if batch.status == "cancelled" else 0,
            "expired": expired,
        },
        "created_at": _moment(batch.created_at),
        "expires_at": _moment(batch.expires_at),
        "ended_at": _moment(ended_at) if ended else None,
        "cancel_initiated_at": _moment(batch.cancelling_at),
        "archived_at": None,
        "results_url": f"{PATH}/{name}/results" if ended else None,
    }


def _moment(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class _Response(msgspec.Struct):
    status_code: int
    request_id: str
    body: msgspec.Raw


class _Written(msgspec.Struct):
    custom_id: str
    response: _Response | None = None


_written = msgspec.json.Decoder(_Written).decode


def is_expired(text: bytes) -> bool:
    """Whether a line of an error file tells of a request that was never asked."""
    return _written(text).response is None


def result_of(text: bytes) -> bytes:
    """A line of an output or an error file as a result of Anthropic's."""
    line = _written(text)
    told: dict[str, Any]
    if line.response is None:
        told = {"type": "expired"}
    elif line.response.status_code == 200:
        told = {"type": "succeeded", "message": line.response.body}
    else:
        status, said = line.response.status_code, _decode(line.response.body)
        error = {"type": kind_of(status), "message": str(said["error"]["message"])}
        wrapped = {"type": "error", "error": error, "request_id": line.response.request_id}
        told = {"type": "errored", "error": wrapped}
    return _result(line.custom_id, told)


def cancelled(lines: Iterator[bytes], done: set[str]) -> Iterator[bytes]:
    """The results of those ``lines`` of an input file that are not ``done``: nobody asked them any more."""
    for text in lines:
        custom_id = _written(text).custom_id
        if custom_id not in done:
            yield _result(custom_id, {"type": "canceled"})


def named_in(result: bytes) -> str:
    """The custom id of a line."""
    return _written(result).custom_id


def _result(custom_id: str, result: dict[str, Any]) -> bytes:
    return _encode({"custom_id": custom_id, "result": result}) + b"\n"
