"""A JSON body, decoded once and completely.

msgspec skips what a Struct does not name without checking it, so broken UTF-8 or ``1e999`` in an unknown field
would reach the provider unseen. Everything is therefore decoded, and only what was decoded is re-encoded and
forwarded. Duplicate keys are refused: two readers of one document could otherwise see two documents.
"""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

import msgspec

from gateway.errors import BadRequest
from gateway.protocol.expected import IN_JSON, in_words

T = TypeVar("T")
_decode, _encode = msgspec.json.decode, msgspec.json.encode
_DEEPEST = 100
"""Levels of lists and objects in one body."""
_NOTHING = re.compile(rb"\s*\[\s*\]\s*")
_PATH = re.compile(r" - at `\$\.?(.*)`$")

_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
"""How gzip, zstd and zlib begin, and no JSON does."""


def decode_object(body: bytes) -> dict[str, Any]:
    """``body`` as a map. Raises BadRequest for anything but one JSON object with unique keys."""
    try:
        value = _decode(body)
    except RecursionError:
        raise BadRequest(f"The JSON body is nested too deeply. Send at most {_DEEPEST} levels.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        if body.startswith(_COMPRESSED):
            raise _compressed() from None
        raise BadRequest(f"The body is not valid JSON: {_reason(problem)}.") from None
    if not isinstance(value, dict):
        raise BadRequest("The body must be one JSON object.")
    if body.count(b"{") + body.count(b"[") > _DEEPEST:
        _check_depth(value)
    if _lost_keys(body, value):
        _refuse_duplicates(body)
    return value


def decode_optional(body: bytes) -> dict[str, Any]:
    """``body`` as a map, of which nothing is required: PHP, whose empty list and empty map are the same, writes ``[]``.
    Raises BadRequest."""
    return {} if _NOTHING.fullmatch(body) else decode_object(body)


def check_encoding(named: str) -> None:
    """``named``: what a request's Content-Encoding says. Bodies are taken as they are alone: what is inflated may be a
    thousand times larger than what was sent, and has to be waited for. Raises BadRequest, a 415."""
    if named and named.strip().lower() != "identity":
        raise _compressed(named)


def _compressed(named: str = "") -> BadRequest:
    how = f"'{''.join(letter for letter in named[:40] if letter.isprintable())}'" if named else "compressed"
    return BadRequest(
        f"The body's encoding is {how}, and only 'identity' is accepted. Send it as it is, without Content-Encoding.",
        status=415,
        code="unsupported_content_encoding",
        headers={"accept-encoding": "identity"},
    )


def _lost_keys(body: bytes, value: dict[str, Any]) -> bool:
    """Whether ``value`` may have fewer keys than ``body``. A colon stands after each key, or is a string's own, and
    those are as many however the value is written, unless a string spells one as ``\\u003a``; so a key that is there
    twice is told by counting, which costs a fraction of looking at every key."""
    if body.find(b"\\") >= 0 and (b"\\u003a" in body or b"\\u003A" in body):  # "in" costs three times as much
        return True
    return body.count(b":") != _encode(value).count(b":")


def _reason(problem: Exception) -> str:
    if isinstance(problem, UnicodeDecodeError):
        return "it is not UTF-8"
    return str(problem).removeprefix("JSON is malformed: ")


def _check_depth(value: Any) -> None:
    """Level by level: a call per value would cost more than decoding did. Raises BadRequest."""
    depth = 0
    level: list[Any] = [value]
    while level:
        if depth > _DEEPEST:
            raise BadRequest(f"The JSON body is nested too deeply. Send at most {_DEEPEST} levels.")
        below: list[Any] = []
        for one in level:
            items = one if type(one) is list else one.values()
            below += [item for item in items if type(item) is dict or type(item) is list]
        level, depth = below, depth + 1


def _refuse_duplicates(body: bytes) -> None:
    def unique(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise BadRequest(f"The key {key[:64]!r} appears twice in one JSON object. Send it once.")
            seen.add(key)

    json.loads(body, object_pairs_hook=unique)


def typed(value: dict[str, Any], kind: type[T]) -> T:
    """The typed view of a decoded body. Raises BadRequest that names the parameter at fault."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as problem:
        text = str(problem)
        found = _PATH.search(text)
        param = found.group(1).replace("[...]", "") if found else None
        reason = text[: found.start()] if found else text
        missing = re.search(r"missing required field `(\w+)`", reason)
        if missing:
            name = f"{param}.{missing.group(1)}" if param else missing.group(1)
            raise BadRequest(
                f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter"
            ) from None
        name = param or "body"
        told = f"Invalid value for '{name}': {in_words(reason, IN_JSON)}."
        raise BadRequest(told, param=param, code="invalid_type") from None
