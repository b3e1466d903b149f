"""Gemini's ``contents`` as chat turns.

A function's result names its call by id or, where the client has none, by the function's name: it then answers the
oldest open call of that name. Calls without an id get one from their place, so the same conversation is always the
same chat.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.errors import BadRequest
from gateway.protocol import server_blocks
from gateway.protocol.foreign_thoughts import from_gemini
from gateway.protocol.gemini.code import PARTS, code_block
from gateway.protocol.gemini.shapes import fields, listed, signed, text, unsupported

_AUDIO = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mp3": "mp3", "audio/mpeg": "mp3"}
_ROLES = ("user", "model", "function", "tool")
_OURS = ("text", "inlineData", "fileData", "functionCall", "functionResponse", *PARTS)
_BESIDE = ("thought", "thoughtSignature", "partMetadata")


def chat_messages(system: Any, contents: Any) -> list[dict[str, Any]]:
    """Raises BadRequest that names the place at fault."""
    conversation = _Conversation()
    turns = [
        turn
        for at, content in enumerate(listed(contents or [], "contents"))
        for turn in conversation.take(content, f"contents[{at}]")
    ]
    if not turns:
        raise BadRequest("'contents' is required, with at least one part.", param="contents")
    written = _instruction(system) if system is not None else ""
    return [{"role": "system", "content": written}, *turns] if written else turns


def _instruction(system: Any) -> str | list[dict[str, Any]]:
    if isinstance(system, str):
        return system
    return _plain(parts_of(fields(system, "systemInstruction"), "systemInstruction"))


def parts_of(content: dict[str, Any], where: str) -> list[dict[str, Any]]:
    """A content's parts as chat has them. Raises BadRequest."""
    parts = listed(content.get("parts") or [], f"{where}.parts")
    return [_part(part, f"{where}.parts[{at}]") for at, part in enumerate(parts)]


class _Thoughts:
    """The thoughts of a turn: those that somebody other than Gemini signed, and the text of those nobody signed."""

    def __init__(self) -> None:
        self._text = ""
        self._blocks: list[dict[str, Any]] = []

    def take(self, part: dict[str, Any]) -> None:
        self._text += str(part.get("text") or "")
        block = from_gemini(str(part.get("thoughtSignature") or ""), self._text)
        if block is not None:
            self._blocks.append(block)
            self._text = self._text if "data" in block else ""

    def told(self) -> dict[str, Any]:
        found = {"thinking_blocks": self._blocks, "reasoning_content": self._text}
        return {name: value for name, value in found.items() if value}


class _Conversation:
    """Turns so far, as far as results need them: the calls that nobody has answered yet."""

    def __init__(self) -> None:
        self._open: list[tuple[str, str]] = []
        self._made = 0

    def take(self, content: dict[str, Any], where: str) -> list[dict[str, Any]]:
        role = content.get("role", "user")
        if role not in _ROLES:
            raise BadRequest(f"'{where}.role' must be 'user' or 'model'.", param=f"{where}.role")
        parts = listed(content.get("parts") or [], f"{where}.parts")
        places = [(part, f"{where}.parts[{at}]") for at, part in enumerate(parts)]
        return self._model(places) if role == "model" else self._user(places)

    def _user(self, parts: list[tuple[dict[str, Any], str]]) -> list[dict[str, Any]]:
        turns: list[dict[str, Any]] = []
        said: list[dict[str, Any]] = []
        for part, where in parts:
            if "functionResponse" not in part:
                said.append(_part(part, where))
                continue
            result = fields(part["functionResponse"], f"{where}.functionResponse")
            answer = msgspec.json.encode(result.get("response") or {}).decode()
            turns.append({"role": "tool", "tool_call_id": self._answered(result, where), "content": answer})
            beside = listed(result.get("parts") or [], f"{where}.functionResponse.parts")
            said += [_part(one, f"{where}.functionResponse.parts[{at}]") for at, one in enumerate(beside)]
        if said:
            turns.append({"role": "user", "content": _plain(said)})
        return turns

    def _model(self, parts: list[tuple[dict[str, Any], str]]) -> list[dict[str, Any]]:
        texts: list[str] = []
        calls: list[dict[str, Any]] = []
        done: list[dict[str, Any]] = []
        thoughts = _Thoughts()
        signature = ""
        for part, where in parts:
            kind = _kind(part, where)
            if kind == "functionCall":
                calls.append(self._call(part, where))
            elif part.get("thought") is True:
                thoughts.take(part)  # what it thought is not part of what it said
            elif kind in PARTS:
                block = code_block(part, f"code{len(done) // 2}") or {}
                done.append(server_blocks.placed(block, len("".join(texts)), 0))
            elif kind in ("text", ""):
                texts.append(str(part.get("text") or ""))
                signature = str(part.get("thoughtSignature") or "") or signature
            else:
                raise unsupported(
                    where, "turns of the model can hold text and function calls only at this gateway."
                )
        if not (any(texts) or calls or done):
            return []
        turn: dict[str, Any] = {"role": "assistant", "content": "".join(texts) or None, **signed(signature)}
        turn |= thoughts.told() | ({server_blocks.NAME: done} if done else {})
        if calls:
            turn["tool_calls"] = calls
        return [turn]

    def _call(self, part: dict[str, Any], where: str) -> dict[str, Any]:
        told = fields(part["functionCall"], f"{where}.functionCall")
        name, given = text(told, "name", f"{where}.functionCall"), told.get("id")
        self._made += 1
        id_ = given if isinstance(given, str) and given else f"call_{self._made}"
        self._open.append((id_, name))
        arguments = msgspec.json.encode(told.get("args") or {}).decode()
        signature = str(part.get("thoughtSignature") or "")
        function = {"name": name, "arguments": arguments}
        return {"id": id_, "type": "function", "function": function, **signed(signature)}

    def _answered(self, result: dict[str, Any], where: str) -> str:
        id_, name = result.get("id"), result.get("name")
        for one in self._open:
            if one[0] == id_ or (not id_ and one[1] == name):
                self._open.remove(one)
                return one[0]
        param = f"{where}.functionResponse"
        raise BadRequest(
            f"'{param}' answers no earlier functionCall: its id or name must be that of a call still open.",
            param=param,
        )


def _kind(part: dict[str, Any], where: str) -> str:
    """The one field that says what a part is; "" for an empty one."""
    kinds = [name for name in part if name not in _BESIDE]
    for name in kinds:
        if name not in _OURS:
            raise unsupported(f"{where}.{name}", "parts of this kind are not supported by this gateway.")
    return kinds[0] if kinds else ""


def _part(part: dict[str, Any], where: str) -> dict[str, Any]:
    kind = _kind(part, where)
    if kind == "text":
        return {"type": "text", "text": text(part, "text", where)}
    if kind == "inlineData":
        blob = fields(part["inlineData"], f"{where}.inlineData")
        mime, data = (text(blob, name, f"{where}.inlineData") for name in ("mimeType", "data"))
        if mime in _AUDIO:
            return {"type": "input_audio", "input_audio": {"data": data, "format": _AUDIO[mime]}}
        return _media(mime, f"data:{mime};base64,{_plain_base64(data)}", blob.get("displayName"))
    if kind == "fileData":
        file = fields(part["fileData"], f"{where}.fileData")
        uri = text(file, "fileUri", f"{where}.fileData")
        return _media(str(file.get("mimeType") or "image/*"), uri, file.get("displayName"), by="file_url")
    if kind in PARTS:
        raise unsupported(f"{where}.{kind}", "code that ran stands in turns of the model.")
    raise BadRequest(f"'{where}' must hold text, inlineData or fileData.", param=where)


def _media(mime: str, url: str, name: Any, *, by: str = "file_data") -> dict[str, Any]:
    if mime.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": url}}
    file = {"filename": name if isinstance(name, str) else "document", by: url}
    return {"type": "file", "file": file | ({"format": mime} if by == "file_url" else {})}


def _plain_base64(data: str) -> str:
    """Google takes the URL-safe alphabet too; nobody else does."""
    plain = data.replace("-", "+").replace("_", "/")
    return plain + "=" * (-len(plain) % 4)


def _plain(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """One part of text is that text: a student reads both the same, and every provider reads this one."""
    if len(parts) == 1 and parts[0]["type"] == "text":
        return str(parts[0]["text"])
    return parts
