"""What a job tells its worker: one JSON object a line on its standard output."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct


class Report(Struct, frozen=True, tag="report"):
    """``progress`` in [0, 1]. A ``message`` becomes an event of the run."""

    progress: float
    step: str
    message: str = ""
    data: dict[str, Any] = {}


class Done(Struct, frozen=True, tag="done"):
    result: dict[str, Any]


class Failed(Struct, frozen=True, tag="failed"):
    """The run cannot succeed; ``error`` is for people."""

    error: str
    result: dict[str, Any] = {}


Message = Report | Done | Failed
encode = msgspec.json.encode
decode = msgspec.json.Decoder(Message).decode
