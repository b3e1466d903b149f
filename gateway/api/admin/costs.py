"""GET /admin/api/costs: what calls cost, by key, task, end user or a metadata entry. Behind the admin's session.

``?group_by=key|task|end_user|metadata.NAME&since=&until=&format=json|csv`` → ``{"group_by", "since", "until",
"lines": [storage.values.CostLine], "truncated"}``, dearest first. Times are unix seconds or ISO 8601 (UTC unless it
says otherwise), from ``since`` on and before ``until``; without them, the calendar month so far.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal, cast

from litestar import Response, get
from msgspec import Struct
from msgspec.structs import asdict, replace

from gateway.api.admin.desk import DeskHere, Plain
from gateway.config.limits import yaml_name
from gateway.errors import BadRequest
from gateway.money.shown import shown
from gateway.storage.protocols import Reader
from gateway.storage.values import CostLine

MOST = 1000
"""Lines in an answer; ``truncated`` (in CSV the header ``x-understudy-truncated: true``) says that there are more."""

_GROUPS = ("key", "task", "end_user")
_TAG = "metadata."
_LONGEST_TAG = 64  # what OpenAI's API allows a metadata key
_LATEST = 253_402_300_800.0  # the year 10000
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Asked(Struct, frozen=True):
    group_by: str
    since: float
    until: float
    format: Literal["json", "csv"]


class Costs(Struct, frozen=True):
    group_by: str
    since: float
    until: float
    lines: list[CostLine]
    truncated: bool


@get("/api/costs", include_in_schema=False)
async def costs(desk: DeskHere, request: Plain) -> Response[Any]:
    """For ``admin_routes(more=...)``, which holds the door."""
    asked = read(request.query_params, now=desk.clock())
    reader = desk.control.reader
    found = await desk.read(lambda: _found(reader, asked))
    lines, truncated = found[:MOST], len(found) > MOST
    if asked.format == "json":
        return Response(Costs(asked.group_by, asked.since, asked.until, lines, truncated))
    headers = {
        "content-disposition": 'attachment; filename="costs.csv"',
        "x-understudy-truncated": str(truncated).lower(),
    }
    return Response(table(lines).encode(), media_type="text/csv", headers=headers)


def _found(reader: Reader, asked: Asked) -> list[CostLine]:
    lines = reader.costs(asked.group_by, since=asked.since, until=asked.until, limit=MOST + 1)
    if asked.group_by != "key":
        return lines
    stored = reader.keys()  # those that have ended, too
    names = {key.id: key.name for key in stored}
    return [replace(line, key_name=names.get(line.name) or yaml_name(line.name)) for line in lines]


_SPACE = re.compile(r"(\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?) (\d\d(?::?\d\d)?)\Z")
"""The offset of a time whose ``+`` was written into a query as it is, where it means a space."""


def read(query: Any, *, now: float) -> Asked:
    """``query``: the parameters by name; ``now``: unix seconds. Raises BadRequest that names the one at fault."""
    group, kind = str(query.get("group_by", "key")), str(query.get("format", "json"))
    tag = group.removeprefix(_TAG) if group.startswith(_TAG) else ""
    if group not in _GROUPS and not 0 < len(tag) <= _LONGEST_TAG:
        message = (
            "'group_by' must be key, task, end_user or metadata.NAME, with NAME of at most 64 characters."
        )
        raise BadRequest(message, param="group_by")
    if kind not in {"json", "csv"}:
        raise BadRequest("'format' must be json or csv.", param="format")
    until = moment(query.get("until"), "until", default=now)
    month = datetime.fromtimestamp(until, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    since = moment(query.get("since"), "since", default=month.timestamp())
    if since >= until:
        raise BadRequest("'since' must be before 'until'.", param="since")
    return Asked(group, since, until, cast("Literal['json', 'csv']", kind))


def moment(text: str | None, name: str, *, default: float) -> float:
    """Unix seconds of a number or an ISO 8601 time. Raises BadRequest."""
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = _iso(text)
    if not 0 <= value < _LATEST:
        raise BadRequest(f"'{name}' must be unix seconds or a time such as 2026-11-01T00:00:00Z.", param=name)
    return value


def _iso(text: str) -> float:
    try:
        found = datetime.fromisoformat(_SPACE.sub(r"\1+\2", text))
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return math.nan


def table(lines: Sequence[CostLine]) -> str:
    """CSV with a header. Names come from clients, so none of them may begin what a spreadsheet takes for a formula."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(CostLine.__struct_fields__)
    for line in lines:
        writer.writerow([_cell(value) for value in asdict(shown(line)).values()])
    return out.getvalue()


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
