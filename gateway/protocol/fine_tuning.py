"""Fine-tuning jobs on the wire and in files: what a client orders, what its rows say, what the model is called.

A job is a run of the kind ``fine_tune`` whose parameters are an :class:`Order`. Pure; gateway and trainer share it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import msgspec
from msgspec import Struct

from gateway.protocol.asked import asked_of
from gateway.protocol.called import ToolCall, calls_in, calls_text, parameters_of, read_calls
from gateway.protocol.chat import Message

KIND = "fine_tune"
FEWEST_ROWS, MOST_ROWS, LONGEST_LINE = 10, 200_000, 1 << 20
CAPTURED = "dataset:"
VALIDATING = "validating"
"""The step of a run that looks at its files."""
_VERSION = re.compile(r"(?P<task>[^@]+)@(?P<version>[0-9]{1,9})")
_UNNAMED = re.compile(r"[^A-Za-z0-9._-]+")
_WORD = 40
_AUTHORS = frozenset({"system", "developer"})
_PREFERRED = ("preferred_output", "preferred_completion")
_WORSE = ("non_preferred_output", "non_preferred_completion")

Method = Literal["supervised", "dpo"]


class Order(Struct, frozen=True, forbid_unknown_fields=True):
    """What a client asked for; ``hyperparameters`` hold numbers only, ``auto`` ones are absent."""

    model: str
    training_file: str
    key_id: str
    method: Method = "supervised"
    validation_file: str | None = None
    suffix: str | None = None
    seed: int = 0
    metadata: dict[str, str] | None = None
    hyperparameters: dict[str, float] = {}


class TuningRow(Struct, frozen=True):
    """One line of a training file: what a student reads (``asked.asked_of``), what to answer, in words or in calls
    (``called``), what was found worse, and the tools that were offered as JSON, "" for none."""

    text: str
    answer: str
    rejected: tuple[str, ...] = ()
    tools: bytes = b""


class BadRow(Exception):
    """A file cannot be learnt from; the text names the line and what is wrong there."""


def job_id(run_id: str) -> str:
    return "ftjob-" + run_id.removeprefix("run_")


def run_id(job: str) -> str | None:
    """None for a text that is no job's id."""
    return "run_" + job.removeprefix("ftjob-") if re.fullmatch(r"ftjob-[0-9a-f]{32}", job) else None


def model_name(base: str, project: str, suffix: str | None, run: str) -> str:
    """``ft:<base>:<project>:<suffix>:<id>``: a model's name, and its student's id and folder as well."""
    words = (_plain(base.rstrip("/").rsplit("/", 1)[-1]), _plain(project), _plain(suffix or ""))
    return ":".join(("ft", *words, run.removeprefix("run_")[:12]))


def _plain(text: str) -> str:
    return _UNNAMED.sub("-", text).strip("-")[:_WORD]


def captured(training_file: str) -> tuple[str, int | None] | None:
    """(task, dataset version or None for a new one) when a job learns from captured calls, not from a file."""
    if training_file.startswith(CAPTURED):
        return training_file.removeprefix(CAPTURED), None
    found = _VERSION.fullmatch(training_file)
    return (found["task"], int(found["version"])) if found else None


# ---------------------------------------------------------------- rows
def rows_of(
    lines: Iterable[bytes], method: Method, fault: Callable[[TuningRow], str] = lambda _: ""
) -> Iterator[TuningRow]:
    """The rows of a JSONL file in OpenAI's shape, checked line by line; a row whose answer has weight 0 is left out.
    ``fault`` says what else is wrong with a row. Raises BadRow for the first line that cannot be learnt from, and for a
    file with too few or too many rows."""
    seen, around = 0, set[tuple[str, bytes]]()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        seen += 1
        if seen > MOST_ROWS:
            raise BadRow(f"the file has more than {MOST_ROWS} rows")
        try:
            system, row, weight = _row(line, method)
            around.add((system, row.tools))
            _alike(around)
            if problem := fault(row):
                raise BadRow(problem)
        except BadRow as problem:
            raise BadRow(f"line {number}: {problem}") from None
        if weight:
            yield row
    if seen < FEWEST_ROWS:
        raise BadRow(f"the file has {seen} rows; at least {FEWEST_ROWS} are needed")


def _alike(around: set[tuple[str, bytes]]) -> None:
    """Raises BadRow when rows differ in what their author wrote."""
    for what, kinds in (
        ("system message", {one for one, _ in around}),
        ("list of tools", {one for _, one in around}),
    ):
        if len(kinds) > 1:
            raise BadRow(
                f"its {what} is not the one of the lines before. A student sees the user's text only, so all rows must "
                f"share one {what}, or have none"
            )


def _row(line: bytes, method: Method) -> tuple[str, TuningRow, bool]:
    """(system text, row, whether it carries weight)."""
    if len(line) > LONGEST_LINE:
        raise BadRow(f"it is longer than {LONGEST_LINE} bytes")
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRow("it is not valid JSON") from None
    if not isinstance(value, dict):
        raise BadRow("it is not a JSON object")
    if method == "dpo":
        return *_preference(value), True
    turns = _turns(value.get("messages"), "messages")
    if turns[-1]["role"] != "assistant":
        raise BadRow("its last message must be the assistant's")
    system, text, tools = _asked(turns[:-1], value)
    return system, TuningRow(text, _said(turns[-1], tools), (), tools), turns[-1].get("weight") != 0


def _preference(value: dict[str, Any]) -> tuple[str, TuningRow]:
    asked = value.get("input")
    if not isinstance(asked, dict):
        raise BadRow("'input' with 'messages' is missing")
    system, text, tools = _asked(_turns(asked.get("messages"), "input.messages"), asked)
    better, worse = _one_answer(value, _PREFERRED, tools), _one_answer(value, _WORSE, tools)
    if better == worse:
        raise BadRow("the preferred and the other answer are the same")
    return system, TuningRow(text, better, (worse,), tools)


def _one_answer(value: dict[str, Any], names: tuple[str, ...], tools: bytes) -> str:
    name = next((one for one in names if one in value), names[0])
    turns = _turns(value.get(name), name)
    if len(turns) != 1 or turns[0]["role"] != "assistant":
        raise BadRow(f"'{name}' must hold exactly one assistant message")
    return _said(turns[0], tools)


def _turns(value: Any, name: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not value:
        raise BadRow(f"'{name}' must be a list of messages")
    for turn in value:
        if not isinstance(turn, dict) or not isinstance(turn.get("role"), str):
            raise BadRow(f"'{name}' must hold objects with a 'role'")
    return value


def _asked(turns: list[dict[str, Any]], around: dict[str, Any]) -> tuple[str, str, bytes]:
    """(system text, what a student reads, the tools): one user's turn, and calls with their results after it."""
    start = next((at for at, turn in enumerate(turns) if turn["role"] not in _AUTHORS), len(turns))
    authors, asked = turns[:start], turns[start:]
    if not asked or asked[0]["role"] != "user" or not _is_followed(asked[1:]):
        raise BadRow(
            "it must be one user message, after system messages if any, and before tool calls with a result each if "
            "any: students answer single turns"
        )
    _text(asked[0])
    try:
        read = asked_of(msgspec.convert(asked, list[Message]))
    except msgspec.ValidationError as problem:
        raise BadRow(f"its messages are not OpenAI's: {problem}") from None
    return "\n".join(_text(turn) for turn in authors), read, _tools(around)


def _is_followed(turns: Sequence[dict[str, Any]]) -> bool:
    """Whether they are calls, and as many results."""
    calls = [call for turn in turns if turn["role"] == "assistant" for call in _calls(turn)]
    results = sum(turn["role"] == "tool" for turn in turns)
    spoken = sum(turn["role"] == "assistant" and bool(turn.get("tool_calls")) for turn in turns)
    last = turns[-1]["role"] if turns else "tool"
    return last == "tool" and results == len(calls) and results + spoken == len(turns)


def _tools(around: dict[str, Any]) -> bytes:
    """The functions a row offers as JSON in one spelling; b"" for none."""
    if around.get("functions"):
        raise BadRow("'functions' are not learnt; write them as 'tools'")
    tools = around.get("tools")
    if not tools:
        return b""
    if not isinstance(tools, list) or len(parameters_of(around)) != len(tools):
        raise BadRow("'tools' must be a list of functions with a name each")
    return msgspec.json.encode(tools, order="sorted")


def _calls(turn: dict[str, Any]) -> list[ToolCall]:
    calls = calls_in(turn.get("tool_calls"))
    if calls is None or turn.get("function_call"):
        raise BadRow("its tool calls must be calls of functions, each with a name and arguments as text")
    return calls


def _said(turn: dict[str, Any], tools: bytes) -> str:
    """An assistant's words, or its calls as one text."""
    calls = _calls(turn)
    if not calls:
        text = _text(turn)
        if tools and read_calls(text) is not None:
            raise BadRow("the assistant's text reads like tool calls; write them under 'tool_calls'")
        return text
    if turn.get("content"):
        raise BadRow("words beside tool calls are not learnt")
    offered = parameters_of({"tools": msgspec.json.decode(tools)}) if tools else {}
    for call in calls:
        if call.name not in offered:
            raise BadRow(f"it calls '{call.name[:80]}', which is not among its tools")
    return calls_text(calls)


def _text(turn: dict[str, Any]) -> str:
    content = turn.get("content")
    if isinstance(content, list) and all(
        isinstance(part, dict) and isinstance(part.get("text"), str) for part in content
    ):
        content = "".join(part["text"] for part in content)
    if not isinstance(content, str) or not content:
        raise BadRow(f"the {turn['role']} message has no text")
    return content
