"""The rows of a run: from a file, from the request itself, or from stored completions; and what a model is asked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from gateway.api.evals.captured import Opens, dataset_rows, response_rows
from gateway.api.evals.shapes import (
    Content,
    FileContent,
    FileId,
    Jsonl,
    Reference,
    ResponseRows,
    Responses,
    Sampled,
    StoredRows,
)
from gateway.protocol.body import typed
from gateway.protocol.chat import Message, text_of
from gateway.protocol.fine_tuning import captured
from gateway.protocol.responses.request import ResponsesRequest, chat_body
from gateway.schemas.compile import Validator
from gateway.storage.files import FileStore
from gateway.storage.protocols import Reader
from gateway.storage.values import StoredCompletion
from optimizer.graders import Fault, Scene, scene
from optimizer.graders.kinds import InputText, OutputText
from optimizer.graders.templates import fill

MOST = 50_000
_PAGE, _USUAL = 500, 1000
_LONGEST_LINE = 1024 * 1024
_content = msgspec.json.Decoder(Content).decode


class BadRows(Exception):
    """Why a run cannot begin, for its client."""


class Row(Struct, frozen=True):
    """``number`` counts from 0. ``output``: the answer that came with the row; None when there is none."""

    number: int
    item: dict[str, Any]
    output: str | None
    user: str | None


def rows_of(
    source: Jsonl | Sampled, project: str, wanted: dict[str, str], schema: Validator | None,
    reader: Reader, files: FileStore, opens: Opens,
) -> list[Row]:  # fmt: skip
    """``wanted``: metadata of stored completions and responses, which ``opens`` opens. Blocking. Raises BadRows."""
    contents: Iterator[tuple[Content, str | None]]
    match source.source:
        case FileContent(content):
            contents = ((one, None) for one in content)
        case FileId(name):
            contents = ((one, None) for one in _from_file(name, project, reader, files))
        case StoredRows() as rows:
            contents = ((_stored(one), _user_of(one.request)) for one in _completions(rows, project, wanted, reader))
        case ResponseRows() as rows:
            contents = response_rows(rows, project, wanted, reader, opens, time.time())
    found = [_row(number, one, user, schema) for number, (one, user) in enumerate(contents)]
    if not found:
        raise BadRows("There are no rows to evaluate.")
    return found


def _row(number: int, one: Content, user: str | None, schema: Validator | None) -> Row:
    if number >= MOST:
        raise BadRows(f"A run takes at most {MOST} rows.")
    faults = schema.faults(one.item, len(msgspec.json.encode(one.item))) if schema is not None else []
    if faults:
        where = faults[0].at or "#"
        raise BadRows(f"Row {number + 1} does not fit the eval's item_schema: {where}: {faults[0].message}.")
    return Row(number, one.item, _output(one.sample), user or _user_of(one.item))


def _from_file(name: str, project: str, reader: Reader, files: FileStore) -> Iterator[Content]:
    captures = captured(name)
    known = reader.file(project, name) if captures is None else None
    try:
        if captures is not None and captures[1] is not None:
            yield from dataset_rows(reader, files.datasets, project, captures[0], captures[1])
            return
        if known is None:
            raise FileNotFoundError
        with files.path(known.id).open("rb") as source:
            for number, text in enumerate(iter(lambda: source.readline(_LONGEST_LINE), b""), 1):
                if text.strip():
                    yield _line(text, number)
    except FileNotFoundError:
        raise BadRows(f"There is no file '{name[:80]}' in this project.") from None


def _line(text: bytes, number: int) -> Content:
    try:
        return _content(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        raise BadRows(f'Line {number} is no object {{"item": {{...}}, "sample"?}}: {str(problem)[:200]}') from None


def _output(sample: dict[str, Any] | None) -> str | None:
    """``output_text``, or the text of the first choice, as a chat completion has it."""
    if sample is None:
        return None
    if isinstance(sample.get("output_text"), str):
        return str(sample["output_text"])
    try:
        text = sample["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        return None
    return text if isinstance(text, str) else None


# ---------------------------------------------------------------- stored completions
def _completions(rows: StoredRows, project: str, wanted: dict[str, str], reader: Reader) -> Iterator[StoredCompletion]:
    """Newest first."""
    left, after = min(rows.limit or _USUAL, MOST), None
    after_s, before_s = rows.created_after or 0, rows.created_before or 2**62
    entries = wanted | (rows.metadata or {})
    while left > 0:
        page = reader.completions(
            project, model=rows.model, metadata=entries, after=after, limit=_PAGE, descending=True
        )
        for one in page:
            if after_s <= one.created_at <= before_s and left > 0:
                left -= 1
                yield one
        if len(page) < _PAGE or page[-1].created_at < after_s:
            return
        after = page[-1].id


def _stored(one: StoredCompletion) -> Content:
    answer = _output(one.answer)
    item = {
        "id": one.id, "input": one.request.get("messages", []), "output_text": answer or "", "model": one.model,
        "metadata": one.metadata,
    }  # fmt: skip
    return Content(item, {"output_text": answer} if answer is not None else None)


def _user_of(said: dict[str, Any]) -> str | None:
    found = said.get("safety_identifier") or said.get("user")
    return found if isinstance(found, str) else None


# ---------------------------------------------------------------- what a model is asked
def question(source: Sampled, row: Row) -> dict[str, Any]:
    """The body of the chat completion that a row asks for. Raises Fault for a path that leads nowhere, BadRequest for
    parameters of the Responses API that chat has no words for."""
    given = msgspec.to_builtins(source.sampling_params)
    if isinstance(source, Responses):
        effort = given.pop("reasoning_effort", None)
        asked = {"model": source.model, "input": "", **given} | ({"reasoning": {"effort": effort}} if effort else {})
        most = asked.pop("max_completion_tokens", None)
        asked |= {"max_output_tokens": most} if most else {}
        return chat_body(asked, typed(asked, ResponsesRequest), ()) | {"messages": _messages(source, row)}
    return {"model": source.model, "messages": _messages(source, row), **given}


def _messages(source: Sampled, row: Row) -> list[dict[str, Any]]:
    where = scene(row.item, "")
    if source.input_messages is None or isinstance(source.input_messages, Reference):
        path = source.input_messages.item_reference if source.input_messages else "item.input"
        return _referred(path, where)
    found = []
    for turn in source.input_messages.template:
        content = turn.content.text if isinstance(turn.content, InputText | OutputText) else turn.content
        if not isinstance(content, str):
            raise Fault("invalid_variable_error", "The content of a template's message must be a text.")
        found.append({"role": turn.role, "content": fill(content, where)})
    return found


def _referred(path: str, where: Scene) -> list[dict[str, Any]]:
    value = where.item
    for step in path.split(".")[1:]:
        value = value.get(step) if isinstance(value, dict) else None
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    if not isinstance(value, list) or not value or not all(isinstance(one, dict) for one in value):
        raise Fault("invalid_variable_error", f"'{path}' is no list of messages.")
    return value


def as_texts(messages: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Messages as an output item shows them."""
    shown = []
    for one in messages:
        try:
            text = text_of(msgspec.convert(one, Message))
        except msgspec.ValidationError:
            text = ""
        shown.append({"role": str(one.get("role", "")), "content": text})
    return shown
