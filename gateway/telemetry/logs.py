"""Logging: lines for a person on a terminal, JSON lines otherwise; no secret and no control character gets out.

Redaction happens at the sink, on the finished text of every record, whoever wrote it: by the shape of keys and by
the known values of secrets. The one line that shows a new key is marked ``extra=SHOWN_ONCE``.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Iterable
from typing import IO, Any

import msgspec

SHOWN_ONCE = {"shown_once": True}
_encode = msgspec.json.encode
_SECRET = re.compile(
    r"\b([sa]k-[A-Za-z]{0,8}-?)[A-Za-z0-9_-]{8,512}"
    r"|(?i:\b(bearer)\s+)[^\s\"',;]{4,4096}"
    r"|(?i:\b(api[-_]?key|authorization|cookie|password|secret)([\"']?\s*[:=]\s*[\"']?(?:(?:bearer|basic)\s+)?))[^\s\"',;]{4,4096}"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_QUIET = ("uvicorn.access", "httpx", "httpcore", "aiohttp.access", "asyncio")


class Redactor:
    """Takes secrets out of text, by shape and by value. Values shorter than eight characters are too common."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self.values = frozenset(value for value in values if len(value) >= 8)
        known = sorted(self.values, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub("[redacted]", text)
        return _SECRET.sub(_masked, text)


def _masked(found: re.Match[str]) -> str:
    prefix, scheme, name, between = found.groups()
    if prefix is not None:
        return f"{prefix}****"
    return f"{scheme} ****" if scheme is not None else f"{name}{between}****"


def escape(text: str) -> str:
    """Control characters as ``\\xNN``: a log line stays one line and cannot steer a terminal."""
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


class _Formatter(logging.Formatter):
    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def keep_secret(self, values: Iterable[str]) -> None:
        """Beside those that are known already: calls that began with them may still be under way."""
        self._redact = Redactor(self._redact.values.union(values))

    def said(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        return text if getattr(record, "shown_once", False) else self._redact(text)

    def trace(self, record: logging.LogRecord) -> str:
        return self._redact(self.formatException(record.exc_info)) if record.exc_info else ""


class JsonLines(_Formatter):
    """One JSON object a line: ``at`` (unix seconds), ``level``, ``logger``, ``message``, ``event`` and ``trace`` if
    any. An event says again what its message does, field by field."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": escape(self.said(record)),
        }
        event = getattr(record, "event", None)
        if event is not None:
            line["event"] = {name: self._shown(value) for name, value in event.items()}
        trace = self.trace(record)
        if trace:
            line["trace"] = trace
        return _encode(line).decode()

    def _shown(self, value: str | int) -> str | int:
        return escape(self._redact(value)) if isinstance(value, str) else value


class Human(_Formatter):
    """``12:30:45 warning gateway.live: message``, a traceback below it."""

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = f"{clock} {record.levelname.lower()} {record.name}: {escape(self.said(record))}"
        trace = self.trace(record)
        return "\n".join([line, *(f"  {escape(row)}" for row in trace.splitlines())])


def keep_secret(values: Iterable[str]) -> None:
    """From now on these values do not get out either, wherever ``setup_logging`` has set logging up."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, _Formatter):
            handler.formatter.keep_secret(values)


def setup_logging(
    *, level: int = logging.INFO, stream: IO[str] | None = None, secrets: Iterable[str] = ()
) -> None:
    """Replaces all handlers by one on ``stream`` (standard error). ``secrets``: values that never get out."""
    out = stream if stream is not None else sys.stderr
    redact = Redactor(secrets)
    handler = logging.StreamHandler(out)
    handler.setFormatter(Human(redact) if out.isatty() else JsonLines(redact))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", *_QUIET):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
