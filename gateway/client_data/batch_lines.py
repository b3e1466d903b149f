"""The lines of a batch: what is wrong with an input file, what an answered line looks like, what is done already.

Outputs are appended a whole line at a time under the ids that their files will have, so a process that was killed
leaves at most one torn line, which its successor cuts off with all that follows; what was written is not asked again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from gateway.errors import GatewayError
from gateway.storage.data_values import BatchUsage, LineError
from gateway.storage.settled import write_all

MOST_LINES = 50_000
LONGEST_LINE = 16 * 1024 * 1024
_MOST_ERRORS = 100
_LONGEST_ID = 512
_decode = msgspec.json.decode
_encode = msgspec.json.encode


class Line(msgspec.Struct, frozen=True):
    custom_id: str
    body: dict[str, Any]


class Found(msgspec.Struct, frozen=True):
    """What stands in an input file: how many requests, the model that all of them name (None: several, or none), and
    what is wrong, the first hundred mistakes."""

    count: int
    model: str | None
    errors: tuple[LineError, ...]


def under_v1(path: Any) -> Any:
    """A line's or a batch's path as it is served here: Azure's clients leave the version out."""
    return f"/v1{path}" if isinstance(path, str) and path.startswith("/") and not path.startswith("/v1/") else path


def validate(path: Path, endpoint: str) -> Found:
    found: list[LineError] = []
    seen: set[str] = set()
    models: set[str | None] = set()
    count = 0
    for number, text in numbered(path):
        count += 1
        if count > MOST_LINES:
            found.append(LineError("too_many_requests", f"A batch takes at most {MOST_LINES} requests."))
            break
        wrong = _wrong(text, endpoint, seen, models, number)
        if wrong is not None:
            found.append(wrong)
            if len(found) >= _MOST_ERRORS:
                break
    if not count:
        found.append(LineError("empty_file", "The input file holds no requests."))
    return Found(count, models.pop() if len(models) == 1 else None, tuple(found))


def numbered(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, counted from one as they stand in the file."""
    with path.open("rb") as source:
        number = 0
        while text := source.readline(LONGEST_LINE + 1):
            number += 1
            if text.strip():
                yield number, text
            if len(text) > LONGEST_LINE:
                return


def _wrong(
    text: bytes, endpoint: str, seen: set[str], models: set[str | None], number: int
) -> LineError | None:
    def error(code: str, message: str, param: str | None = None) -> LineError:
        return LineError(code, message, number, param)

    if len(text) > LONGEST_LINE:
        return error("line_too_long", f"The line is longer than {LONGEST_LINE} bytes.")
    try:
        data = _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return error("invalid_json_line", "This line is not parseable as valid JSON.")
    if not isinstance(data, dict):
        return error("invalid_json_line", "This line is no JSON object.")
    custom_id = data.get("custom_id")
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= _LONGEST_ID:
        return error(
            "missing_required_parameter", "'custom_id' must be a text of 1 to 512 characters.", "custom_id"
        )
    if custom_id in seen:
        return error(
            "duplicate_custom_id", "The custom_id of this line was used before in this file.", "custom_id"
        )
    seen.add(custom_id)
    if data.get("method") != "POST":
        return error("invalid_method", "'method' must be 'POST'.", "method")
    if under_v1(data.get("url")) != endpoint:
        return error("mismatched_url", f"'url' must be the batch's endpoint, '{endpoint}'.", "url")
    body = data.get("body")
    if not isinstance(body, dict):
        return error("missing_required_parameter", "'body' must be a JSON object.", "body")
    model = body.get("model")
    if (model is not None or endpoint != "/v1/moderations") and not isinstance(model, str):
        return error("missing_required_parameter", "'body.model' must be a text.", "body.model")
    models.add(model)
    if body.get("stream"):
        return error("invalid_parameter", "A line of a batch cannot be streamed.", "body.stream")
    return None


def read_line(text: bytes) -> Line:
    """A line that was found valid."""
    data = _decode(text)
    return Line(custom_id=data["custom_id"], body=data["body"])


class _Told(msgspec.Struct):
    usage: Any = None


_decode_told = msgspec.json.Decoder(_Told).decode


def usage_in(body: bytes) -> BatchUsage:
    """What an answer says that it used."""
    return _usage(_decode_told(body).usage)


def _usage(told: Any) -> BatchUsage:
    """Chat's words or those of responses; nothing where it does not say."""
    if not isinstance(told, dict):
        return BatchUsage()

    def count(of: Any, *names: str) -> int:
        values = (of.get(name) for name in names) if isinstance(of, dict) else ()
        return next((value for value in values if isinstance(value, int) and value >= 0), 0)

    asked = told.get("prompt_tokens_details") or told.get("input_tokens_details")
    said = told.get("completion_tokens_details") or told.get("output_tokens_details")
    return BatchUsage(
        input=count(told, "prompt_tokens", "input_tokens"), cached=count(asked, "cached_tokens"),
        output=count(told, "completion_tokens", "output_tokens"), reasoning=count(said, "reasoning_tokens"),
    )  # fmt: skip


def answered(line_id: str, custom_id: str, request_id: str, body: bytes) -> bytes:
    response = {"status_code": 200, "request_id": request_id, "body": msgspec.Raw(body)}
    return _line(line_id, custom_id, response, None)


def refused(line_id: str, custom_id: str, request_id: str, error: GatewayError) -> bytes:
    response = {"status_code": error.status, "request_id": request_id, "body": error.payload()}
    return _line(line_id, custom_id, response, None)


def expired(line_id: str, custom_id: str) -> bytes:
    message = "This request could not be executed before the completion window expired."
    return _line(line_id, custom_id, None, {"code": "batch_expired", "message": message})


def _line(line_id: str, custom_id: str, response: Any, error: Any) -> bytes:
    return _encode({"id": line_id, "custom_id": custom_id, "response": response, "error": error}) + b"\n"


class _Response(msgspec.Struct):
    body: msgspec.Raw


class _Written(msgspec.Struct):
    custom_id: str
    response: _Response | None


_decode_written = msgspec.json.Decoder(_Written).decode


def _written(text: bytes) -> _Written | None:
    """A line of an output; None for one that is torn: cut short by a kill, or by a power cut anywhere (what a disk
    never wrote reads as zeros)."""
    if not text.endswith(b"\n") or b"\0" in text:
        return None
    try:
        return _decode_written(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


class Outputs:
    """The two files a batch writes. Opening them tells which lines are done. Blocking, and quick."""

    def __init__(self, output: Path, error: Path) -> None:
        self.done: set[str] = set()
        self.completed = self.failed = 0
        self.usage = BatchUsage()
        self._paths = (output, error)
        self._descriptors: list[int] = []

    def open(self) -> Outputs:
        """Raises OSError."""
        for at, path in enumerate(self._paths):
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._descriptors.append(descriptor)
            whole, count, used = 0, 0, BatchUsage()
            with path.open("rb") as source:
                for text in source:
                    line = _written(text)
                    if line is None:
                        break
                    whole, count = whole + len(text), count + 1
                    self.done.add(line.custom_id)
                    if at == 0 and line.response is not None:
                        used += usage_in(line.response.body)
            os.ftruncate(descriptor, whole)
            if at == 0:
                self.completed, self.usage = count, used
            else:
                self.failed = count
        return self

    def add(self, custom_id: str, text: bytes, *, ok: bool, used: BatchUsage | None = None) -> None:
        """Raises OSError; a line that was written in part is cut off again."""
        descriptor = self._descriptors[0 if ok else 1]
        size = os.fstat(descriptor).st_size
        try:
            write_all(descriptor, text)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
        self.done.add(custom_id)
        if used is not None:
            self.usage += used
        if ok:
            self.completed += 1
        else:
            self.failed += 1

    def sync(self) -> None:
        for descriptor in self._descriptors:
            os.fsync(descriptor)

    def close(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.pop())
