"""``file_search`` of the Responses API as a function that every model can call: how it is offered, asked for, answered
and cited. Pure; ``gateway.api.responses.file_search`` searches.

Every passage that is found has a mark such as 【3】, numbered through the conversation. The model is asked to put it
behind what rests on the passage; there it becomes a ``file_citation`` and leaves the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from gateway.errors import BadRequest
from gateway.protocol.hints import RETRIEVED

KIND, CALL, NAME = "file_search", "file_search_call", "file_search"
RESULTS = "file_search_call.results"
"""What a request's ``include`` says to be told what was found."""
MOST_QUERIES = 16
_LONGEST_QUERY = 4_000
_LOST = "What was found is no longer part of this conversation. Search again if you need it."
_NOTHING = "Nothing was found."
_FUNCTION: dict[str, Any] = {
    "name": NAME,
    "description": (
        "Searches the files of this application, by meaning and by words, and returns passages. Ask with one or more "
        "full questions or phrases. Each passage has a mark, such as 【3】: put it, as it is, directly behind every "
        "statement that rests on the passage."
    ),
    "parameters": {
        "type": "object",
        "properties": {
            "queries": {"type": "array", "items": {"type": "string"}, "description": "What to search for."}
        },
        "required": ["queries"],
        "additionalProperties": False,
    },
}
_MARK = re.compile(r"【\s*(\d{1,5}(?:\s*[,、]\s*\d{1,5}){0,9})\s*(?:†[^【】\n]{0,40})?】")
_BEGUN = re.compile(r"【[^【】\n]{0,100}\Z")


class Source(Struct, frozen=True):
    """The file that a mark stands for."""

    file_id: str
    filename: str


class FileSearch(Struct, frozen=True):
    """What a client's tool says: where to search, and how (``options``: ``filters``, ``max_num_results`` and
    ``ranking_options`` as they were written)."""

    store_ids: tuple[str, ...]
    options: dict[str, Any]
    at: int


def function_tool() -> dict[str, Any]:
    """The tool in chat's form."""
    return {"type": "function", "function": _FUNCTION}


def file_search_in(tools: Sequence[Mapping[str, Any]] | None) -> FileSearch | None:
    """The tool of a request, None without one. Raises BadRequest."""
    found = [(at, tool) for at, tool in enumerate(tools or ()) if tool.get("type") == KIND]
    if not found:
        return None
    at, tool = found[0]
    if len(found) > 1:
        message = f"One tool of the type '{KIND}' is enough: it takes several 'vector_store_ids'."
        raise BadRequest(message, param=f"tools[{found[1][0]}]", code="invalid_value")
    ids, where = tool.get("vector_store_ids"), f"tools[{at}].vector_store_ids"
    if not isinstance(ids, list) or not 0 < len(ids) <= 10 or not all(isinstance(one, str) for one in ids):
        raise BadRequest(f"'{where}' must list the ids of 1 to 10 vector stores.", param=where, code="invalid_value")
    for other, one in enumerate(tools or ()):
        if one.get("type") == "function" and one.get("name") == NAME:
            message = f"A function beside the tool '{KIND}' cannot have its name. Give it another."
            raise BadRequest(message, param=f"tools[{other}].name", code="invalid_value")
    names = ("filters", "max_num_results", "ranking_options")
    return FileSearch(tuple(dict.fromkeys(ids)), {name: tool[name] for name in names if tool.get(name) is not None}, at)


# ------------------------------------------------------------------------------------------------ calls and results
def queries_of(arguments: str) -> list[str]:
    """What a model asks for; empty when its arguments are none."""
    try:
        said = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError):
        return []
    asked = said.get("queries", said.get("query")) if isinstance(said, dict) else None
    listed = asked if isinstance(asked, list) else [asked]
    texts = [one.strip()[:_LONGEST_QUERY] for one in listed if isinstance(one, str) and one.strip()]
    return list(dict.fromkeys(texts))[:MOST_QUERIES]


def result_turn(call_id: str, text: str) -> dict[str, Any]:
    """What the model is told. Guardrails see that it is retrieved text."""
    part = {"type": "text", "text": text, RETRIEVED: True}
    return {"role": "tool", "tool_call_id": call_id, "content": [part]}


def told(results: Sequence[Mapping[str, Any]], first: int) -> str:
    """Passages as a model reads them; ``first``: the number of the first one's mark."""
    parts = [f"【{at}】 {one.get('filename')}\n{one.get('text')}" for at, one in enumerate(results, first)]
    return "\n\n".join(parts) or _NOTHING


def sources_of(items: Iterable[Mapping[str, Any]]) -> list[Source]:
    """The sources that items of a conversation tell, in the order of their marks."""
    return [
        Source(str(one.get("file_id")), str(one.get("filename")))
        for item in items
        if item.get("type") == CALL
        for one in results_in(item)
    ]


def results_in(item: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = item.get("results")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def remembered(item: Mapping[str, Any], number: int, first: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """A ``file_search_call`` item of a conversation as a model's call, and its result."""
    queries = item.get("queries") if isinstance(item.get("queries"), list) else []
    arguments = msgspec.json.encode({"queries": queries}).decode()
    call_id = str(item.get("id") or f"fs_{number}")
    call = {"id": call_id, "type": "function", "function": {"name": NAME, "arguments": arguments}}
    lost = not isinstance(item.get("results"), list)
    return call, result_turn(call_id, _LOST if lost else told(results_in(item), first))


def without_results(items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Items as they are shown to who did not ask for what was found."""
    return [{**item, "results": None} if item.get("type") == CALL else item for item in items]


# ------------------------------------------------------------------------------------------------ citations
class Citing:
    """Takes the marks out of a text that arrives in pieces. ``sources`` may grow while it does."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._held = ""
        self._length = 0

    def take(self, piece: str, *, last: bool = False) -> tuple[str, list[dict[str, Any]]]:
        """What of the text is certain by now, and its citations in chat's form: ``index`` is the place in the text, in
        characters, where each belongs."""
        text, self._held = self._held + piece, ""
        begun = None if last else _BEGUN.search(text)
        if begun is not None:
            text, self._held = text[: begun.start()], text[begun.start() :]
        parts, notes, at = list[str](), list[dict[str, Any]](), 0
        for mark in _MARK.finditer(text):
            numbers = [int(one) for one in re.findall(r"\d+", mark[1])]
            known = [self._sources[one - 1] for one in numbers if 0 < one <= len(self._sources)]
            if known:
                parts.append(text[at : mark.start()])
                self._length += len(parts[-1])
                at = mark.end()
                notes += [self._note(one) for one in known]
        parts.append(text[at:])
        self._length += len(parts[-1])
        return "".join(parts), notes

    def end(self) -> tuple[str, list[dict[str, Any]]]:
        """What was still held back; the next text begins anew."""
        rest = self.take("", last=True)
        self._length = 0
        return rest

    def _note(self, source: Source) -> dict[str, Any]:
        cited = {"index": self._length, "file_id": source.file_id, "filename": source.filename}
        return {"type": "file_citation", "file_citation": cited}
