"""Fine-tuning jobs on the wire and in files: what a client orders, what its rows say, what the model is called.

A job is a run of the kind ``fine_tune`` whose parameters are an :class:`Order`. Pure; gateway and trainer share it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import msgspec
from msgspec import Struct

KIND = "fine_tune"
FEWEST_ROWS, MOST_ROWS, LONGEST_LINE = 10, 200_000, 1 << 20
CAPTURED = "dataset:"
VALIDATING = "validating"
"""The step of a run that looks at its files."""
_VERSION = re.compile(r"(?P<task>[^@]+)@(?P<version>[0-9]{1,9})")
_UNNAMED = re.compile(r"[^A-Za-z0-9._-]+")
_WORD = 40
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
    """One line of a training file: what the user wrote, what to answer, and what was found worse."""

    text: str
    answer: str
    rejected: tuple[str, ...] = ()


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
def rows_of(lines: Iterable[bytes], method: Method) -> Iterator[TuningRow]:
    """The rows of a JSONL file in OpenAI's shape, checked line by line; a row whose answer has weight 0 is left out.
    Raises BadRow for the first line that cannot be learnt from, and for a file with too few or too many rows."""
    seen, systems = 0, set()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        seen += 1
        if seen > MOST_ROWS:
            raise BadRow(f"the file has more than {MOST_ROWS} rows")
        try:
            system, row = _row(line, method)
        except BadRow as problem:
            raise BadRow(f"line {number}: {problem}") from None
        systems.add(system)
        if len(systems) > 1:
            raise BadRow(
                f"line {number}: its system message is not the one of the lines before. A student sees the user's "
                "text only, so all rows must share one system message, or have none"
            )
        if row is not None:
            yield row
    if seen < FEWEST_ROWS:
        raise BadRow(f"the file has {seen} rows; at least {FEWEST_ROWS} are needed")


def _row(line: bytes, method: Method) -> tuple[str, TuningRow | None]:
    """(system text, row; None when it carries no weight)."""
    if len(line) > LONGEST_LINE:
        raise BadRow(f"it is longer than {LONGEST_LINE} bytes")
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRow("it is not valid JSON") from None
    if not isinstance(value, dict):
        raise BadRow("it is not a JSON object")
    if method == "dpo":
        return _preference(value)
    turns = _turns(value.get("messages"), "messages")
    if turns[-1]["role"] != "assistant":
        raise BadRow("its last message must be the assistant's")
    system, text = _asked(turns[:-1], value)
    row = TuningRow(text, _said(turns[-1]))
    return system, None if turns[-1].get("weight") == 0 else row


def _preference(value: dict[str, Any]) -> tuple[str, TuningRow]:
    asked = value.get("input")
    if not isinstance(asked, dict):
        raise BadRow("'input' with 'messages' is missing")
    system, text = _asked(_turns(asked.get("messages"), "input.messages"), asked)
    better, worse = _one_answer(value, _PREFERRED), _one_answer(value, _WORSE)
    if better == worse:
        raise BadRow("the preferred and the other answer are the same")
    return system, TuningRow(text, better, (worse,))


def _one_answer(value: dict[str, Any], names: tuple[str, ...]) -> str:
    name = next((one for one in names if one in value), names[0])
    turns = _turns(value.get(name), name)
    if len(turns) != 1 or turns[0]["role"] != "assistant":
        raise BadRow(f"'{name}' must hold exactly one assistant message")
    return _said(turns[0])


def _turns(value: Any, name: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not value:
        raise BadRow(f"'{name}' must be a list of messages")
    for turn in value:
        if not isinstance(turn, dict) or not isinstance(turn.get("role"), str):
            raise BadRow(f"'{name}' must hold objects with a 'role'")
    return value


def _asked(turns: list[dict[str, Any]], around: dict[str, Any]) -> tuple[str, str]:
    """(system text, user text) of a single-turn conversation."""
    if around.get("tools") or around.get("functions"):
        raise BadRow("tools are not learnt; leave 'tools' out")
    *before, user = turns or [{"role": ""}]
    authors = [turn for turn in before if turn["role"] in ("system", "developer")]
    if user["role"] != "user" or len(authors) != len(before):
        raise BadRow(
            "it must be one user message, after system messages if any: students answer single turns"
        )
    return "\n".join(_text(turn) for turn in authors), _text(user)


def _said(turn: dict[str, Any]) -> str:
    if turn.get("tool_calls") or turn.get("function_call"):
        raise BadRow("tool calls are not learnt")
    return _text(turn)


def _text(turn: dict[str, Any]) -> str:
    content = turn.get("content")
    if isinstance(content, list) and all(
        isinstance(part, dict) and isinstance(part.get("text"), str) for part in content
    ):
        content = "".join(part["text"] for part in content)
    if not isinstance(content, str) or not content:
        raise BadRow(f"the {turn['role']} message has no text")
    return content
