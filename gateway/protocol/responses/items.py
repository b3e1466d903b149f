"""Items of the Responses API as chat turns. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from gateway.errors import BadRequest
from gateway.protocol.client_tools import BY_CALL, BY_OUTPUT, PREFIXES, arguments_of, told_by
from gateway.protocol.file_search import CALL, remembered, results_in
from gateway.protocol.foreign_thoughts import GOOGLE
from gateway.protocol.hints import CACHE_MARK
from gateway.protocol.mcp import ITEMS, blocks_of
from gateway.protocol.offered import ADDED, SEARCH, SEARCH_CALL, SEARCH_OUTPUT, flat_call, told_found
from gateway.protocol.phases import block_of
from gateway.protocol.server_blocks import NAME as SERVER_BLOCKS
from gateway.protocol.server_blocks import placed

ITEM_REFERENCE = "item_reference"
"""Stands for an item that is kept elsewhere; looked up before anything here reads it."""
_ROLES = frozenset({"user", "assistant", "system", "developer"})
_THOUGHTS = ("thinking_blocks", "reasoning_content")
REDACTED = "redacted:"
"""Begins the encrypted content of thoughts that came without a text."""
_DONE_THERE = frozenset({"web_search_call", "code_interpreter_call", "image_generation_call"})
_WITHOUT_STATUS = frozenset({
    "reasoning", "compaction", "mcp_list_tools", "mcp_approval_request", "mcp_approval_response", ADDED,
})  # fmt: skip
_CALLS = frozenset({"function_call", "custom_tool_call", *BY_CALL})
_OUTPUTS = frozenset({"function_call_output", "custom_tool_call_output", *BY_OUTPUT})
_TEXTS = frozenset({"input_text", "output_text", "text"})


def chat_messages(
    instructions: str | None,
    earlier: Sequence[dict[str, Any]],
    items: Sequence[dict[str, Any]],
    name: str = "input",
    *,
    passed_over: frozenset[str] = frozenset(),
) -> list[dict[str, Any]]:
    """The turns of a conversation. Calls beside an assistant's text become one turn with it, as chat wants it.

    ``passed_over``: items of these types are not told. Raises BadRequest that names the item of ``items`` (the
    parameter ``name``) at fault, or an answer to a call that nobody made.
    """
    turns: list[dict[str, Any]] = []
    if instructions:
        turns.append({"role": "system", "content": instructions})
    known = _Known(passed_over)
    for item in earlier:
        _add(turns, item, "input", known)
    for at, item in enumerate(items):
        _add(turns, item, f"{name}[{at}]", known)
    return [turn for turn in turns if not _only_thought(turn)]


class _Known:
    """What the items so far have in them: calls that may be answered, and passages that were found."""

    def __init__(self, passed_over: frozenset[str]) -> None:
        self.passed_over = _DONE_THERE | passed_over
        self.calls: set[str] = set()
        self.searches = self.passages = 0
        self.shown: dict[str, Any] | None = None
        """The turn with the pictures of the last results."""


def _add(turns: list[dict[str, Any]], item: dict[str, Any], where: str, known: _Known) -> None:
    kind = item.get("type", "message" if "role" in item else None)
    if kind == "message":
        turn = _message(item, where)
        if turns and _nothing_said(turns[-1]) and turn["role"] == "assistant":
            before = turns.pop()
            turn |= {name: before[name] for name in (*_THOUGHTS, SERVER_BLOCKS) if name in before}
        turns.append(turn)
        if turn["role"] == "assistant" and (phase := block_of(item)):
            place = placed(phase[0], 0, len(turn.get("thinking_blocks") or ()))
            turn[SERVER_BLOCKS] = [*turn.get(SERVER_BLOCKS, ()), place]
    elif kind in _CALLS:
        call = _call(item, where)
        known.calls.add(call["id"])
        _called(turns, call)
    elif kind in _OUTPUTS:
        _answered(turns, _output(item, where, known.calls), known)
    elif kind in (SEARCH_CALL, SEARCH_OUTPUT, ADDED):
        _looked_for_tools(turns, item, where, known)
    elif kind in ITEMS:
        _done(turns, blocks_of(item))
    elif kind in known.passed_over:
        pass  # the provider's own tools did it; what came of it stands in the text behind it
    elif kind == CALL:
        _searched(turns, item, known)
    elif kind == ITEM_REFERENCE:
        raise _unsupported(
            where, "References to items are not supported here. Send the item."
        )
    elif kind == "reasoning":
        _remember(turns, item)
    else:
        raise _unsupported(where, f"Items of type '{str(kind)[:60]}' are not supported by this gateway.")


def _call(item: dict[str, Any], where: str) -> dict[str, Any]:
    """What is called, as chat has it."""
    call_id, own = _text(item, "call_id", where), BY_CALL.get(item["type"])
    if own is not None:
        function = {"name": own.name, "arguments": arguments_of(item)}
        return {"id": call_id, "type": "function", "function": function}
    name = flat_call(item, _text(item, "name", where))
    if item["type"] == "custom_tool_call":
        return {"id": call_id, "type": "custom", "custom": {"name": name, "input": _text(item, "input", where)}}
    function = {"name": name, "arguments": _text(item, "arguments", where)}
    return {"id": call_id, "type": "function", "function": function}


def _called(turns: list[dict[str, Any]], call: dict[str, Any]) -> None:
    last = turns[-1] if turns else {}
    if last.get("role") == "assistant":
        last["tool_calls"] = [*last.get("tool_calls", ()), call]
    else:
        turns.append({"role": "assistant", "content": None, "tool_calls": [call]})


def _answered(turns: list[dict[str, Any]], answer: list[dict[str, Any]], known: _Known) -> None:
    """A result stands with the others of its round, because no provider takes anything between them: what is no text
    comes in one turn after all of them."""
    result, *others = answer
    if known.shown is None or not turns or turns[-1] is not known.shown:
        turns.extend(answer)
        known.shown = others[0] if others else None
        return
    turns.insert(-1, result)
    for other in others:
        known.shown["content"] += other["content"]


def _looked_for_tools(turns: list[dict[str, Any]], item: dict[str, Any], where: str, known: _Known) -> None:
    """A client's search for tools and what it found, as a call and its result. What OpenAI looked for itself, and tools
    that were added, need no turn: they are among those that the request offers."""
    call_id = item.get("call_id")
    if not isinstance(call_id, str):
        return
    if item.get("type") == SEARCH_CALL:
        known.calls.add(call_id)
        function = {"name": SEARCH, "arguments": _text(item, "arguments", where)}
        _called(turns, {"id": call_id, "type": "function", "function": function})
    elif item.get("type") == SEARCH_OUTPUT:
        _answered(turns, _output({"call_id": call_id, "output": told_found(item)}, where, known.calls), known)


def _searched(turns: list[dict[str, Any]], item: dict[str, Any], known: _Known) -> None:
    """A search with what it found; before calls that its client has still to answer, which must stand last."""
    known.searches += 1
    call, result = remembered(item, known.searches, known.passages + 1)
    known.passages += len(results_in(item))
    if turns and turns[-1].get("tool_calls"):
        turns[-1:-1] = [{"role": "assistant", "content": None, "tool_calls": [call]}, result]
    else:
        _called(turns, call)
        turns.append(result)


def _only_thought(turn: dict[str, Any]) -> bool:
    return _nothing_said(turn) and SERVER_BLOCKS not in turn


def _nothing_said(turn: dict[str, Any]) -> bool:
    """Whether a turn is thoughts and what the provider's own tools did, and what is said may follow."""
    begun = any(name in turn for name in (*_THOUGHTS, SERVER_BLOCKS))
    return begun and turn.get("content") is None and not turn.get("tool_calls")


def _done(turns: list[dict[str, Any]], blocks: list[dict[str, Any]]) -> None:
    """What the provider's own tools did and it wants to know again, where it stood."""
    last = turns[-1] if turns else {}
    if last.get("role") != "assistant":
        last = {"role": "assistant", "content": None}
        turns.append(last)
    said, thought = len(str(last.get("content") or "")), len(last.get("thinking_blocks") or ())
    last[SERVER_BLOCKS] = [*last.get(SERVER_BLOCKS, ()), *(placed(one, said, thought) for one in blocks)]


def _remember(turns: list[dict[str, Any]], item: dict[str, Any]) -> None:
    """A thought goes back to who signed it, with what was said or called after it; unsigned to vendors that want it."""
    secret = item.get("encrypted_content")
    parts = item.get("summary") if isinstance(item.get("summary"), list) else []
    text = "".join(str(part.get("text") or "") for part in parts or [] if isinstance(part, dict))
    if not isinstance(secret, str) or not secret:
        thought: dict[str, Any] = {"reasoning_content": text} if text else {}
    elif secret.startswith(REDACTED):
        thought = {"thinking_blocks": [{"type": "redacted_thinking", "data": secret.removeprefix(REDACTED)}]}
    else:
        thought = {"thinking_blocks": [{"type": "thinking", "thinking": text, "signature": secret}]}
    last = turns[-1] if turns else {}
    beside = isinstance(secret, str) and secret.startswith(REDACTED + GOOGLE) and last.get("role") == "assistant"
    if not beside and not _nothing_said(last):
        last = {"role": "assistant", "content": None}
        turns.extend([last] if thought else [])
    for name, value in thought.items():
        last[name] = last[name] + value if name in last else value


def _message(item: dict[str, Any], where: str) -> dict[str, Any]:
    role, content = item.get("role"), item.get("content")
    if role not in _ROLES:
        raise BadRequest(
            f"Invalid value: '{str(role)[:40]}'. Supported values are: 'assistant', 'system', 'developer', and 'user'.",
            param=f"{where}.role",
            code="invalid_value",
        )
    if isinstance(content, str):
        return {"role": role, "content": content}
    if role == "assistant":
        return _assistant(_parts(content, f"{where}.content"), where)
    parts = [
        _part(part, f"{where}.content[{at}]") for at, part in enumerate(_parts(content, f"{where}.content"))
    ]
    return {"role": role, "content": _plain(parts)}


def _assistant(parts: list[dict[str, Any]], where: str) -> dict[str, Any]:
    texts, refusals = [], []
    for at, part in enumerate(parts):
        if part.get("type") == "refusal":
            refusals.append(_text(part, "refusal", f"{where}.content[{at}]"))
        elif part.get("type") in _TEXTS:
            texts.append(_text(part, "text", f"{where}.content[{at}]"))
        else:
            raise _unsupported(f"{where}.content[{at}]", "An assistant's content is output_text or refusal.")
    turn: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts or not refusals else None}
    return turn | ({"refusal": "".join(refusals)} if refusals else {})


def _output(item: dict[str, Any], where: str, known: set[str]) -> list[dict[str, Any]]:
    """A tool's answer: its text, and what is no text in a user turn after it."""
    if item.get("type") in BY_OUTPUT:  # a local shell's has the call's id as its own
        named = item if item.get("call_id") is not None else {"call_id": item.get("id")}
        return [_answer(_text(named, "call_id", where), told_by(item), known)]
    call_id, output = _text(item, "call_id", where), item.get("output")
    if isinstance(output, str):
        return [_answer(call_id, output, known)]
    found = [
        _part(part, f"{where}.output[{at}]") for at, part in enumerate(_parts(output, f"{where}.output"))
    ]
    texts = [part["text"] for part in found if part["type"] == "text"]
    others = [part for part in found if part["type"] != "text"]
    content = "\n".join(texts) or ("See the next message." if others else "")
    turns = [_answer(call_id, content, known)]
    return turns + ([{"role": "user", "content": others}] if others else [])


def _answer(call_id: str, content: Any, known: set[str]) -> dict[str, Any]:
    """Raises BadRequest for an answer to a call that nobody made."""
    if call_id not in known:
        raise BadRequest(
            f"No tool call found for function call output with call_id {call_id[:80]}.", param="input"
        )
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def _parts(content: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise BadRequest(
            f"Invalid type for '{where}': expected text or a list of parts.", param=where, code="invalid_type"
        )
    return content


def _part(part: dict[str, Any], where: str) -> dict[str, Any]:
    kind = part.get("type")
    if kind in _TEXTS:
        return {"type": "text", "text": _text(part, "text", where)} | _marked(part)
    make = _PARTS.get(str(kind))
    if make is None:
        raise _unsupported(where, f"Content of type '{str(kind)[:60]}' is not supported by this gateway.")
    return make(part, where) | _marked(part)


def _marked(part: dict[str, Any]) -> dict[str, Any]:
    mark = part.get(CACHE_MARK)
    return {CACHE_MARK: mark} if isinstance(mark, dict) else {}


def _image(part: dict[str, Any], where: str) -> dict[str, Any]:
    if part.get("file_id") is not None:
        held = {"file_id": _text(part, "file_id", where), "kind": "image"}
        return {"type": "file", "file": held | _detail(part)}
    return {"type": "image_url", "image_url": {"url": _text(part, "image_url", where)} | _detail(part)}


def _detail(part: dict[str, Any]) -> dict[str, str]:
    return {"detail": part["detail"]} if isinstance(part.get("detail"), str) else {}


def _file(part: dict[str, Any], where: str) -> dict[str, Any]:
    names = ("filename", "file_data", "file_id", "file_url")
    file = {name: part[name] for name in names if isinstance(part.get(name), str)}
    if file.keys() <= {"filename"}:
        raise BadRequest(f"Missing required parameter: '{where}.file_data'.", param=f"{where}.file_data",
                         code="missing_required_parameter")  # fmt: skip
    return {"type": "file", "file": file}


def _audio(part: dict[str, Any], where: str) -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": part.get("input_audio")}


_PARTS: dict[str, Callable[[dict[str, Any], str], dict[str, Any]]] = {
    "input_image": _image,
    "input_file": _file,
    "input_audio": _audio,
}


def _plain(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """One part of text is that text: a student reads both the same, and every provider reads this one."""
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        return str(parts[0]["text"])
    return parts


def with_ids(items: Sequence[dict[str, Any]], seed: str) -> list[dict[str, Any]]:
    """Items as ``input_items`` lists them: every one has an id, text stands in parts."""
    prefixes = {
        "message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs", "compaction": "cmp",
        "web_search_call": "ws", "code_interpreter_call": "ci", "image_generation_call": "ig",
        CALL: "fs", "mcp_call": "mcp", "mcp_list_tools": "mcpl", "mcp_approval_request": "mcpr",
        "mcp_approval_response": "mcpa", "custom_tool_call": "ctc", "custom_tool_call_output": "ctco",
        SEARCH_CALL: "tsc", SEARCH_OUTPUT: "tso", ADDED: "at", **PREFIXES,
    }  # fmt: skip
    found = []
    for at, item in enumerate(items):
        kind = str(item.get("type", "message"))
        whole = {"id": f"{prefixes.get(kind, 'item')}_{seed}{at:04d}", "type": kind, **item}
        if kind == "message" and isinstance(item.get("content"), str):
            part = "output_text" if item.get("role") == "assistant" else "input_text"
            text: dict[str, Any] = {"type": part, "text": item["content"]}
            whole["content"] = [text | ({"annotations": []} if part == "output_text" else {})]
        if kind not in _WITHOUT_STATUS:
            whole.setdefault("status", "completed")
        found.append(whole)
    return found


def _text(value: dict[str, Any], name: str, where: str) -> str:
    found = value.get(name)
    if isinstance(found, dict) and name == "arguments":
        return msgspec.json.encode(found).decode()
    if not isinstance(found, str):
        raise BadRequest(
            f"Missing required parameter: '{where}.{name}'.",
            param=f"{where}.{name}",
            code="missing_required_parameter",
        )
    return found


def _unsupported(param: str, message: str) -> BadRequest:
    return BadRequest(message, param=param, code="unsupported_parameter")
