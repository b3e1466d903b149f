"""What a row says: which conversation was answered, and how. Rows of OpenAI's files are known by their fields; of
other tables the two columns that matter are found by their names, or by what they hold. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import Struct

Kind = Literal["chat", "preference", "batch output", "stored completion", "logged call", "columns"]

INPUTS = (
    "input", "text", "prompt", "question", "query", "message", "utterance", "instruction", "sentence", "ticket",
    "email", "body", "document", "content", "request", "title", "frage", "eingabe",
)  # fmt: skip
ANSWERS = (
    "answer", "label", "output", "completion", "response", "target", "intent", "category", "class", "expected",
    "reply", "queue", "tag", "result", "antwort", "ausgabe",
)  # fmt: skip
_PREFERRED = ("preferred_output", "preferred_completion")
_WORSE = ("non_preferred_output", "non_preferred_completion")
_PARAMETERS = (
    "tools", "tool_choice", "response_format", "functions", "function_call", "parallel_tool_calls",
)  # fmt: skip
_LONGEST_NAME, _LONGEST_VALUE, _MOST = 64, 512, 15


class BadRow(Exception):
    """A row cannot be taken in; the text says why, for a person."""


class Sample(Struct, frozen=True):
    """One answered request. ``request``: its messages and what else shaped the answer; ``message``: the
    assistant's; ``rejected``: answers to the same that were found worse."""

    kind: Kind
    request: dict[str, Any]
    message: dict[str, Any]
    finish: str = "stop"
    model: str = ""
    end_user: str = ""
    metadata: dict[str, str] = {}
    rejected: tuple[str, ...] = ()


class Columns(Struct, frozen=True):
    """Which columns hold what was asked and what was answered."""

    input: str
    answer: str


def columns_of(
    rows: Sequence[Mapping[str, Any]], *, input: str | None = None, answer: str | None = None
) -> Columns | None:
    """None when the rows are not a plain table. Raises BadRow when nobody can tell which columns matter."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    for wanted in (input, answer):
        if wanted is not None and wanted not in names:
            raise BadRow(f"there is no column '{wanted}'; there are {', '.join(names)}")
    if input is None and answer is None and any(_of_openai(row) for row in rows):
        return None
    found = Columns(input or _named(names, INPUTS, answer), answer or _named(names, ANSWERS, input))
    if found.input and found.answer and found.input != found.answer:
        return found
    if len(names) == 2 and rows:
        longer = max(names, key=lambda name: sum(len(str(row.get(name, ""))) for row in rows))
        return Columns(input or longer, answer or next(name for name in names if name != (input or longer)))
    raise BadRow(
        f"which of the columns {', '.join(names)} was asked and which was answered? Say --input and --answer"
    )


_FIELDS = ("messages", "input", "response", "request", "choices")


def _of_openai(row: Mapping[str, Any]) -> bool:
    return any(isinstance(row.get(name), dict | list) for name in _FIELDS)


def _named(names: Sequence[str], known: Sequence[str], taken: str | None) -> str:
    """The column with the best known name, ``user_text`` for ``text`` too; "" for none."""
    folded = {name: name.casefold().replace("-", "_").replace(" ", "_") for name in names if name != taken}
    for word in known:
        for name, plain in folded.items():
            if plain == word:
                return name
    for word in known:
        for name, plain in folded.items():
            if word in plain.split("_"):
                return name
    return ""


def sample_of(
    row: Mapping[str, Any], columns: Columns | None, requests: Mapping[str, dict[str, Any]]
) -> Sample | None:
    """None for a row that was given no weight. ``requests``: of a batch, by custom id. Raises BadRow."""
    if columns is not None:
        return _table_row(row, columns)
    if "custom_id" in row:
        return _batch_line(row, requests)
    if any(name in row for name in _PREFERRED):
        return _preference(row)
    if isinstance(row.get("choices"), list):
        return _completion("stored completion", row, row)
    if isinstance(row.get("request"), dict):
        answer = next((row[name] for name in ("response", "answer") if isinstance(row.get(name), dict)), None)
        if answer is None:
            raise BadRow("its 'request' has no 'response' beside it")
        return _completion("logged call", row["request"], answer)
    return _chat(row)


def _table_row(row: Mapping[str, Any], columns: Columns) -> Sample:
    asked, answered = row.get(columns.input), row.get(columns.answer)
    if not isinstance(asked, str) or not asked.strip():
        raise BadRow(f"its '{columns.input}' is empty")
    if answered is None or (isinstance(answered, str) and not answered.strip()):
        raise BadRow(f"its '{columns.answer}' is empty")
    said = answered if isinstance(answered, str) else msgspec.json.encode(answered).decode()
    messages = [{"role": "user", "content": asked}]
    return Sample("columns", {"messages": messages}, _assistant(said), end_user=_user(row))


def _chat(row: Mapping[str, Any]) -> Sample | None:
    messages = _messages(row.get("messages"), "messages")
    last = messages[-1]
    if last["role"] != "assistant":
        raise BadRow("its last message must be the assistant's")
    if row["messages"][-1].get("weight") == 0:
        return None
    finish = "tool_calls" if last.get("tool_calls") else "stop"
    return Sample("chat", _request(row, messages[:-1]), last, finish, end_user=_user(row))


def _preference(row: Mapping[str, Any]) -> Sample:
    asked = row.get("input")
    if not isinstance(asked, dict):
        raise BadRow("its 'input' with 'messages' is missing")
    better, worse = (_said(row, names) for names in (_PREFERRED, _WORSE))
    if better == worse:
        raise BadRow("its preferred and its other answer are the same")
    request = _request(asked, _messages(asked.get("messages"), "input.messages"))
    return Sample("preference", request, _assistant(better), rejected=(worse,), end_user=_user(asked))


def _batch_line(row: Mapping[str, Any], requests: Mapping[str, dict[str, Any]]) -> Sample:
    response = row.get("response")
    if "response" not in row:
        raise BadRow("it is a batch's request: import the batch's output, and name this file with --requests")
    body = response.get("body") if isinstance(response, dict) else None
    if not isinstance(body, dict) or not isinstance(response, dict) or response.get("status_code") != 200:
        raise BadRow("the batch had no answer to it")
    request = requests.get(str(row["custom_id"]))
    if request is None:
        raise BadRow("nobody knows what was asked: name the batch's input file with --requests")
    return _completion("batch output", request, body)


def _completion(kind: Kind, request: Mapping[str, Any], answer: Mapping[str, Any]) -> Sample:
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise BadRow("its answer has no message")
    messages = _messages(request.get("messages"), "messages")
    return Sample(
        kind, _request(request, messages), {"role": "assistant", **message}, str(choice.get("finish_reason") or "stop"),
        model=str(answer.get("model") or ""), end_user=_user(request), metadata=_metadata(answer),
    )  # fmt: skip


# ---------------------------------------------------------------- parts
def _messages(value: Any, name: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not value:
        raise BadRow(f"its '{name}' is not a list of messages")
    kept = []
    for turn in value:
        if not isinstance(turn, dict) or not isinstance(turn.get("role"), str):
            raise BadRow(f"its '{name}' must hold objects with a 'role'")
        kept.append({key: one for key, one in turn.items() if key not in ("id", "content_parts", "weight")})
    return kept


def _request(around: Mapping[str, Any], messages: list[dict[str, Any]]) -> dict[str, Any]:
    if not any(turn["role"] == "user" for turn in messages):
        raise BadRow("nobody asks anything in it: there is no user message")
    return {"messages": messages, **{name: around[name] for name in _PARAMETERS if around.get(name) is not None}}


def _said(row: Mapping[str, Any], names: Sequence[str]) -> str:
    name = next((one for one in names if one in row), names[0])
    turns = _messages(row.get(name), name)
    content = turns[0].get("content")
    if len(turns) != 1 or turns[0]["role"] != "assistant" or not isinstance(content, str) or not content:
        raise BadRow(f"its '{name}' must hold exactly one assistant message with text")
    return content


def _assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def _user(around: Mapping[str, Any]) -> str:
    found = around.get("safety_identifier") or around.get("user")
    return found if isinstance(found, str) else ""


def _metadata(answer: Mapping[str, Any]) -> dict[str, str]:
    value = answer.get("metadata")
    if not isinstance(value, dict):
        return {}
    fits = [(name, text) for name, text in value.items() if _fits(name, _LONGEST_NAME) and _fits(text, _LONGEST_VALUE)]
    return dict(fits[:_MOST])


def _fits(text: Any, longest: int) -> bool:
    return isinstance(text, str) and len(text) <= longest
