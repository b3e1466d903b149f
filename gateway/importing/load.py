"""Samples become captured calls: masked as all are, marked with where they come from, and each there once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from gateway.config import Config
from gateway.importing.report import Report
from gateway.importing.shapes import BadRow, Columns, Sample, columns_of, sample_of
from gateway.importing.tables import Line, NotReadable, layout_of, lines_of
from gateway.protocol.chat import ChatRequest
from gateway.protocol.fingerprint import fingerprint
from gateway.storage.commands import AddForeign
from gateway.storage.protocols import Reader
from gateway.storage.records import FOREIGN, CallRecord, CallText
from gateway.storage.writing.capture import capture_row

_LOOK, _AT_ONCE, _BYTES_AT_ONCE = 200, 200, 4 << 20
_MOST_KNOWN = 2_000_000
_OF_ONE_CALL = frozenset({"user", "safety_identifier", "metadata", "store", "n", "stream", "stream_options"})
"""What a request says of itself, and not of its kind."""
_encode = msgspec.json.Encoder(order="deterministic").encode
Write = Callable[[AddForeign], int]


class NoPlace(Exception):
    """The task cannot take imports in; the text says why, for a person."""


class Place(Struct, frozen=True):
    """Where imported calls go. ``like``: a request of the task's own, with its ``fingerprint``, for rows that say
    nothing but what was asked; ``versions``: the shapes of request the task has seen."""

    project: str
    task: str
    mask: bool
    retention_days: int
    like: dict[str, Any] | None
    fingerprint: str
    versions: frozenset[str]


class Loader:
    """Takes samples into one task. ``write`` None: nothing is kept, only told."""

    def __init__(self, place: Place, reader: Reader, write: Write | None, now: Callable[[], float]) -> None:
        self._place, self._write, self._now = place, write, now
        self._known = _known(reader, place)
        self._seen: set[str] = set()

    @property
    def scope(self) -> str:
        """Whose and for what: what is remembered of an import belongs to it."""
        return f"{self._place.project}/{self._place.task}"

    def take(self, samples: Iterable[tuple[int, Sample]], report: Report) -> None:
        """``samples`` with their line numbers. Raises Refused, WriterAway."""
        report.dry = self._write is None
        held: list[CallRecord] = []
        size = 0
        for number, sample in samples:
            try:
                record = self._fresh(sample, f"{report.source}:{number}", report)
            except BadRow as problem:
                report.wrong(number, str(problem))
                continue
            if record is None:
                continue
            held.append(record)
            size += len(_encode(record.text)) if record.text is not None else 0
            if len(held) >= _AT_ONCE or size >= _BYTES_AT_ONCE:
                self._put(held, report)
                held, size = [], 0
        self._put(held, report)

    def _fresh(self, sample: Sample, source: str, report: Report) -> CallRecord | None:
        """The call, or None for one that is there already. Raises BadRow."""
        report.kinds[sample.kind] += 1
        record = record_of(sample, self._place, source, self._now())
        if record.id in self._seen:
            report.repeated += 1
            return None
        self._seen.add(record.id)
        assert record.text is not None
        row = capture_row(record, record.text)
        report.show(row["last_user_text"], row["answer_text"] or str(sample.message.get("tool_calls", "")))
        said = _said(row["last_user_text"], row["answer_text"])
        if said in self._known:
            report.known += 1
            return None
        self._known.add(said)
        report.fingerprints[record.fingerprint] += 1
        if record.fingerprint not in self._place.versions:
            report.unknown.add(record.fingerprint)
        return record

    def _put(self, records: list[CallRecord], report: Report) -> None:
        if not records:
            return
        added = len(records) if self._write is None else self._write(AddForeign(tuple(records)))
        report.new += added
        report.known += len(records) - added


def load_file(
    path: Path, loader: Loader, *, name: str, input: str | None = None, answer: str | None = None,
    requests: Path | None = None, most: int | None = None,
) -> Report:  # fmt: skip
    """One file. ``name`` is what the calls' source says. Raises NotReadable, OSError, Refused, WriterAway."""
    report = Report(name)
    report.layout = layout = layout_of(path)
    asked = requests_of(requests) if requests is not None else {}
    lines = lines_of(path, layout)
    first = list(islice(lines, _LOOK))
    try:
        report.columns = columns_of([line.row for line in first if line.row is not None], input=input, answer=answer)
    except BadRow as problem:
        raise NotReadable(str(problem)) from None
    loader.take(samples_of(islice(chain(first, lines), most), report, report.columns, asked), report)
    return report


def samples_of(
    lines: Iterable[Line], report: Report, columns: Columns | None, requests: Mapping[str, dict[str, Any]]
) -> Iterator[tuple[int, Sample]]:
    """What can be used, and notes what cannot."""
    for line in lines:
        report.read += 1
        if line.row is None:
            report.wrong(line.number, line.problem)
            continue
        try:
            sample = sample_of(line.row, columns, requests)
        except BadRow as problem:
            report.wrong(line.number, str(problem))
            continue
        if sample is None:
            report.weightless += 1
        else:
            yield line.number, sample


def requests_of(path: Path) -> dict[str, dict[str, Any]]:
    """A batch's requests by custom id. Raises NotReadable, OSError."""
    rows = (line.row for line in lines_of(path, layout_of(path)) if line.row is not None)
    return {
        str(row["custom_id"]): row["body"]
        for row in rows
        if "custom_id" in row and isinstance(row.get("body"), dict)
    }


def place_of(config: Config, reader: Reader, project: str, name: str) -> Place:
    """Raises NoPlace when the policies do not let the task learn."""
    task = next((one for one in config.tasks if one.name == name), None)
    if task is None:
        raise NoPlace(f"there is no task '{name}' in the policies")
    if task.capture is None or task.learn is None:
        raise NoPlace(f"the task '{name}' does not learn: it needs 'capture' and 'learn'")
    mine = [one for one in reader.task_versions() if (one.project, one.task) == (project, name)]
    most = max(mine, key=lambda one: one.trainable_calls, default=None)
    like = reader.training_request(project, name, most.fingerprint) if most is not None else None
    return Place(
        project=project, task=name, mask=task.capture.mask, retention_days=task.capture.retention_days,
        like=like if like is not None and single(like) else None,
        fingerprint=most.fingerprint if most is not None else "",
        versions=frozenset(one.fingerprint for one in mine if one.trainable_calls),
    )  # fmt: skip


def record_of(sample: Sample, place: Place, source: str, now: float) -> CallRecord:
    """A sample as a captured call whose id follows from what it says. Raises BadRow."""
    own = place.like is not None and _says_only_what_was_asked(sample.request)
    asked = as_asked(sample.request, place.like) if own and place.like is not None else sample.request
    body = {**asked, "model": place.task}
    try:
        request = msgspec.convert(body, ChatRequest)
    except msgspec.ValidationError as problem:
        raise BadRow(f"it is no request that could be asked: {problem}") from None
    choice = {"index": 0, "message": sample.message, "finish_reason": sample.finish}
    answer = {"object": "chat.completion", "model": sample.model, "choices": [choice]}
    material = _encode([place.project, place.task, body, sample.message])
    call_id = "chatcmpl-" + hashlib.sha256(material).hexdigest()[:40]
    text = CallText(
        request=_encode(body), answer=_encode({**answer, "id": call_id}), visible=True, trainable=True,
        mask=place.mask, retention_days=place.retention_days, rejected=sample.rejected,
    )  # fmt: skip
    said = sample.message.get("content")
    return CallRecord(
        id=call_id, request_id="", created_at=now, project=place.project, key_id="import",
        end_user=sample.end_user, session="", task=place.task,
        fingerprint=place.fingerprint if own else fingerprint(request),
        model_asked=place.task, provider="", model=sample.model, student="", status="ok", http_status=200,
        error_code="", stream=False, latency_ms=0.0, first_byte_ms=None, overhead_ms=0.0, attempts=[],
        prompt_tokens=0, cached_tokens=0, completion_tokens=_tokens(said), tokens_estimated=True, cost_usd=None,
        teacher_cost_usd=None, confidence=None, arm=FOREIGN, propensity=0.0, reason="", config_digest="",
        verdicts=[], metadata=sample.metadata, text=text, source=source[:200],
    )  # fmt: skip


def _says_only_what_was_asked(request: dict[str, Any]) -> bool:
    turns = request["messages"]
    return set(request) == {"messages"} and len(turns) == 1 and isinstance(turns[0].get("content"), str)


def as_asked(request: dict[str, Any], like: dict[str, Any]) -> dict[str, Any]:
    """As if it had been asked of the task, in its own kind of request."""
    kept = {name: value for name, value in like.items() if name not in _OF_ONE_CALL}
    return {**kept, "messages": [*like["messages"][:-1], request["messages"][0]], "stream": False}


def single(request: dict[str, Any]) -> bool:
    """Whether an end user said one thing in it, in words, after what its author wrote."""
    turns = request.get("messages")
    if not isinstance(turns, list) or not turns:
        return False
    *before, last = turns
    authors = all(turn.get("role") in ("system", "developer") for turn in before)
    return authors and last.get("role") == "user" and isinstance(last.get("content"), str)


def _known(reader: Reader, place: Place) -> set[bytes]:
    """What the task's captured calls say, as short hashes."""
    found: set[bytes] = set()
    for version in reader.task_versions():
        if (version.project, version.task) == (place.project, place.task):
            calls = reader.training_calls(place.project, place.task, version.fingerprint, limit=_MOST_KNOWN)
            found.update(_said(call.text, call.answer) for call in calls)
    return found


def _said(text: str, answer: str) -> bytes:
    return hashlib.blake2b(f"{text}\0{answer}".encode(), digest_size=10).digest()


def _tokens(said: Any) -> int:
    return max(1, -(-len(said) // 4)) if isinstance(said, str) else 1
