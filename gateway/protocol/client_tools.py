"""OpenAI's tools that a client runs with its own hands: shells, patches, a computer. Pure.

Its models have learnt them, so they need no schema there: ``{"type": "apply_patch"}`` is all. In chat, and at every
other provider, each is a function under its own name, so its calls are limited, guarded, kept and answered as those of
functions are; where OpenAI's Responses API answers it is told the tool, the calls and what came of them in its own
words. A computer is OpenAI's alone: what others call by that name is asked for in other coordinates.
https://platform.openai.com/docs/guides/tools-shell, …/tools-apply-patch, …/tools-local-shell, …/tools-computer-use
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec
from msgspec import Struct

COMPUTER = "computer"
_COMPUTERS = frozenset({COMPUTER, "computer_use_preview", "computer_use"})
_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}
_MILLISECONDS = {"type": "integer", "description": "How long one command may take, in milliseconds."}


class ClientTool(Struct, frozen=True):
    """One of them. ``call`` and ``output``: the types of its items; ``prefix``: how the ids of its calls begin."""

    name: str
    call: str
    output: str
    prefix: str
    about: str = ""
    parameters: dict[str, Any] = {}
    unfinished: str = "incomplete"
    """The status of a call that was cut."""


_SHELL = ClientTool(
    "shell", "shell_call", "shell_call_output", "sh",
    "Runs commands in a shell at the user's side, each by itself, and tells what each wrote and how it ended.",
    {"type": "object", "required": ["commands"], "properties": {
        "commands": _TEXTS, "timeout_ms": _MILLISECONDS,
        "max_output_length": {"type": "integer", "description": "The most characters of output that are told."}}},
)  # fmt: skip
_LOCAL = ClientTool(
    "local_shell", "local_shell_call", "local_shell_call_output", "lsh",
    "Runs one command at the user's side, without a shell around it, and tells what it wrote.",
    {"type": "object", "required": ["command"], "properties": {
        "command": {**_TEXTS, "description": "The program and its arguments."}, "timeout_ms": _MILLISECONDS,
        "working_directory": _TEXT, "user": _TEXT,
        "env": {"type": "object", "additionalProperties": _TEXT}}},
)  # fmt: skip
_PATCH = ClientTool(
    "apply_patch", "apply_patch_call", "apply_patch_call_output", "apc",
    "Creates, updates or deletes one file at the user's side. The 'diff' of a new file is its lines, each behind '+'. "
    "That of an update is one or more sections: a line '@@', behind which the function or class may be named in which "
    "the section stands; then lines of the file, each behind ' ' where it stays, '-' where it goes, '+' where it is "
    "new, with about three lines that stay before and after. There are no line numbers.",
    {"type": "object", "required": ["type", "path"], "properties": {
        "type": {"type": "string", "enum": ["create_file", "update_file", "delete_file"]},
        "path": _TEXT, "diff": {"type": "string", "description": "Needed unless the file is deleted."}}},
    "in_progress",
)  # fmt: skip
_SCREEN = ClientTool(COMPUTER, "computer_call", "computer_call_output", "cu", parameters={"type": "object"})
_ALL = (_SHELL, _LOCAL, _PATCH, _SCREEN)
_BY_NAME = {one.name: one for one in _ALL} | dict.fromkeys(_COMPUTERS, _SCREEN)
BY_CALL = {one.call: one for one in _ALL}
BY_OUTPUT = {one.output: one for one in _ALL}
KINDS = frozenset(_BY_NAME)
"""Types of these tools."""
PREFIXES = {one.call: one.prefix for one in _ALL} | {one.output: f"{one.prefix}o" for one in _ALL}


def known(tool: Mapping[str, Any]) -> ClientTool | None:
    """Which of them a tool, or a choice of one, is."""
    kind = tool.get("type")
    return _BY_NAME.get(kind) if isinstance(kind, str) else None


def runs_at_openai(tool: Mapping[str, Any]) -> bool:
    """Whether a shell runs in a container of OpenAI's, and at nobody's side."""
    where = tool.get("environment")
    return isinstance(where, dict) and where.get("type") not in (None, "local")


def function_of(tool: ClientTool) -> dict[str, Any]:
    """It as a function of the Responses API."""
    told = {"name": tool.name, "description": tool.about, "parameters": tool.parameters}
    return {"type": "function", **told, "strict": False}


def calls_in(items: Sequence[Mapping[str, Any]], earlier: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Names of such tools by the ids of their calls, in a conversation."""
    return {
        str(one.get("call_id")): BY_CALL[str(one["type"])].name
        for one in chain(earlier, items)
        if one.get("type") in BY_CALL
    }


# ------------------------------------------------------------------------------------------------ items to chat
def arguments_of(item: Mapping[str, Any]) -> str:
    """What a call asks for, as a function's arguments."""
    kind = item.get("type")
    if kind == _PATCH.call:
        told = _map(item, "operation")
    elif kind == _SCREEN.call:
        names = ("action", "actions", "pending_safety_checks")
        told = {name: item[name] for name in names if item.get(name)}
    else:
        told = {name: value for name, value in _map(item, "action").items() if name != "type" and value is not None}
    return msgspec.json.encode(told).decode()


def told_by(item: Mapping[str, Any]) -> str | list[dict[str, Any]]:
    """What came of a call, as a tool's content."""
    kind, output = item.get("type"), item.get("output")
    if kind == _SCREEN.output:
        return _screenshot(item)
    if kind == _LOCAL.output and isinstance(output, str):
        return output
    names = ("status", "output") if kind == _PATCH.output else ("output", "max_output_length")
    told = {name: item[name] for name in names if item.get(name) is not None}
    return msgspec.json.encode(told).decode()


def _screenshot(item: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A picture, and which warnings its client has taken note of."""
    seen, parts = _map(item, "output"), list[dict[str, Any]]()
    detail = {"detail": seen["detail"]} if isinstance(seen.get("detail"), str) else {}
    if isinstance(seen.get("file_id"), str):
        parts.append({"type": "file", "file": {"file_id": seen["file_id"], "kind": "image", **detail}})
    else:
        parts.append({"type": "image_url", "image_url": {"url": str(seen.get("image_url") or ""), **detail}})
    checks = item.get("acknowledged_safety_checks")
    if checks:
        parts.append({"type": "text", "text": msgspec.json.encode({"acknowledged_safety_checks": checks}).decode()})
    return parts


# ------------------------------------------------------------------------------------------------ chat to items
def call_item(tool: ClientTool, call_id: str, arguments: str, id_: str, status: str) -> dict[str, Any]:
    """The item of a call. What a model that has not learnt the tool left out, or wrote otherwise, is made to fit: a
    client's types have no place for it."""
    told = _object(arguments)
    item: dict[str, Any] = {"id": id_, "type": tool.call, "status": status, "call_id": call_id}
    if tool is _PATCH:
        return {**item, "operation": _operation(told)}
    if tool is _SHELL:
        most = {name: told.get(name) if isinstance(told.get(name), int) else None
                for name in ("max_output_length", "timeout_ms")}  # fmt: skip
        return {**item, "action": {"commands": _texts(told.get("commands")), **most}}
    if tool is _LOCAL:
        env = {name: value for name, value in _map(told, "env").items() if isinstance(value, str)}
        more = {name: told[name] for name in ("timeout_ms", "user", "working_directory") if told.get(name) is not None}
        return {**item, "action": {"type": "exec", "command": _texts(told.get("command")), "env": env, **more}}
    more = {name: told[name] for name in ("action", "actions") if told.get(name) is not None}
    return {**item, "pending_safety_checks": told.get("pending_safety_checks") or [], **more}


def sent_call(name: str, call_id: str, arguments: str) -> dict[str, Any]:
    """A call on its way back to OpenAI, which demands ids there and has kept none."""
    tool = _BY_NAME[name]
    id_ = f"{tool.prefix}_{hashlib.sha256(call_id.encode()).hexdigest()[:40]}"
    return call_item(tool, call_id, arguments, id_, "completed")


def sent_output(name: str, call_id: str, text: str, pictures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What came of a call, likewise. ``pictures``: parts of the Responses API."""
    tool = _BY_NAME[name]
    item: dict[str, Any] = {"type": tool.output, "call_id": call_id}
    told = _object(text)
    if tool is _LOCAL:
        return {**item, "output": text}
    if tool is _SHELL:
        if isinstance(told.get("output"), list):
            return {**item, **told}
        return {**item, "output": [{"stdout": text, "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}]}
    if tool is _PATCH:
        plain = {"status": "completed", "output": text}
        return {**item, **(told if told.get("status") in ("completed", "failed") else plain)}
    seen = pictures[0] if pictures else {}
    shot = {name: seen[name] for name in ("image_url", "file_id", "detail") if seen.get(name)}
    if shot.get("detail") == "auto":
        del shot["detail"]
    checks = {name: told[name] for name in ("acknowledged_safety_checks",) if name in told}
    return {**item, "output": {"type": "computer_screenshot", **shot}, **checks}


def _operation(told: Mapping[str, Any]) -> dict[str, Any]:
    kind = told.get("type")
    path = {"path": str(told.get("path") or "")}
    if kind == "delete_file":
        return {"type": kind, **path}
    return {"type": kind if kind == "create_file" else "update_file", **path, "diff": str(told.get("diff") or "")}


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _object(text: str) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(text or "{}")
    except (msgspec.DecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _map(holder: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = holder.get(name)
    return value if isinstance(value, dict) else {}
