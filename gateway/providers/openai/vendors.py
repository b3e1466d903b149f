"""What compatible vendors do otherwise than OpenAI, as data, and a request brought into a vendor's form."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec

from gateway.catalog import Profile, vendor
from gateway.protocol.hints import CACHE_MARK, CONTAINER, CONTEXT, ON_PARTS, held_image
from gateway.protocol.web_search import NAME as WEB_SEARCH
from gateway.providers.end_users import shorten
from gateway.providers.openai.vendor_files import part_as
from gateway.providers.searching import fit
from gateway.providers.translate_request import INVALID, Reader, type_of

_FOREIGN = frozenset(
    {"server_blocks", "citations", "paused", "thinking_blocks", "reasoning_content", "reasoning", "reasoning_details",
     "extra_content", "images", "cache_control", "is_error", CONTAINER, CONTEXT}
)  # fmt: skip
"""Fields of a message that some vendors write or want back, and that others refuse."""
_OPENAIS = frozenset({"text", "image_url", "input_audio"})
_ON_CALLS = frozenset({"extra_content", "cache_control"})
_EMPTY = ("refusal", "annotations", "audio", "function_call")
"""Fields that clients send back as they got them, empty: OpenAI takes that, not everybody does."""
_IDLE: dict[str, tuple[Any, ...]] = {
    "n": (1,), "logprobs": (False,), "top_logprobs": (0,), "logit_bias": ({},), "frequency_penalty": (0,),
    "presence_penalty": (0,), "tools": ([],), "tool_choice": ("auto",), "verbosity": ("medium",),
    "service_tier": ("auto", "default"), "parallel_tool_calls": (True,), "modalities": ([], ["text"]),
}  # fmt: skip
"""Values that ask for nothing: leaving them out changes no answer."""
_SHORT_ID = re.compile(r"[A-Za-z0-9]{9}\Z")
_OFFICE = "application/vnd.openxmlformats-officedocument"
_MEDIA_TYPES = {
    "pdf": "application/pdf", "docx": f"{_OFFICE}.wordprocessingml.document",
    "pptx": f"{_OFFICE}.presentationml.presentation", "xlsx": f"{_OFFICE}.spreadsheetml.sheet",
}  # fmt: skip
Documents = frozenset[str] | None
"""Media types of files that are taken; None: nobody says."""
_NO_DOCUMENTS = frozenset[str]()
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


_CLAUDES = {"cache_control", "is_error", "server_blocks", "citations", "paused", CONTAINER, CONTEXT}
TRANSPARENT = sorted(_FOREIGN - _CLAUDES | {CACHE_MARK})
"""``keeps`` of a server that nothing is known about: it gets what the client sent, but for what only Claude reads."""


def foreign(profile: Profile) -> frozenset[str]:
    """The fields of a message that this vendor is not sent."""
    return _FOREIGN - {*profile.keeps, profile.thoughts_as}


def profile_of(name: str) -> Profile | None:
    """How a vendor that speaks OpenAI's dialect does so; None when there is none of this name."""
    found = vendor(name)
    return found.wire if found is not None and found.dialect == "openai" else None


class Fitting:
    """Brings requests into one vendor's form. Made once per provider."""

    def __init__(
        self, provider: str, profile: Profile, *, drop: bool, without_files: frozenset[str] = frozenset(),
        any_arguments: bool = True,
    ) -> None:  # fmt: skip
        """``any_arguments``: calls of earlier turns may have arguments that are no JSON, as at OpenAI."""
        self._any_arguments = any_arguments
        self._provider, self._profile, self.drop = provider, profile, drop
        lacks = [*profile.lacks, *(["n"] if profile.most_choices == 1 else [])]
        self._lacks = {name: _IDLE.get(name, ()) for name in lacks}
        self._silent = (*lacks, *profile.leaves_out)
        self._foreign = foreign(profile)
        self._off_parts = ON_PARTS if CACHE_MARK in profile.keeps else ON_PARTS | {CACHE_MARK}
        listed = profile.documents
        self._documents = None if listed is None else frozenset(_MEDIA_TYPES[one] for one in listed)
        self._without_files = without_files
        self._picky = profile.short_call_ids or not profile.developer_role or not profile.empty_fields

    def __call__(self, wire: dict[str, Any]) -> None:
        """Changes ``wire`` in place. Raises AttemptFailed for a parameter that the vendor does not have."""
        if self._silent:
            Reader(self._provider, wire, drop=self.drop).without(self._lacks)
            for name in self._silent:
                wire.pop(name, None)
        if WEB_SEARCH in wire:
            fit(Reader(self._provider, wire, drop=self.drop), wire, self._profile.web_search)
        shorten(wire)
        for name, own in self._profile.renames.items():
            if name in wire:
                wire[own] = wire.pop(name)
        if "stop" in wire and self._profile.most_stops is not None:
            self._no_more_stops(wire, self._profile.most_stops)
        tools = wire.get("tools")
        if "cache_control" in self._foreign and isinstance(tools, list):
            wire["tools"] = [_plain_tool(tool) for tool in tools]
        messages = wire.get("messages")
        if isinstance(messages, list):
            documents = _NO_DOCUMENTS if wire.get("model") in self._without_files else self._documents
            wire["messages"] = self._messages(messages, documents)

    def _no_more_stops(self, wire: dict[str, Any], most: int) -> None:
        """One is sent as it was written. Raises AttemptFailed for too many."""
        if isinstance(wire["stop"], list) and len(wire["stop"]) > most:
            Reader(self._provider, wire, drop=self.drop).cannot("stop", f"at most {most} stop sequences are possible.")
            wire["stop"] = wire["stop"][:most]

    def _messages(self, messages: list[Any], documents: Documents) -> list[Any]:
        """Most hold a text and nothing else: those need no second look."""
        if self._picky:
            return [self._message(one, documents) for one in messages]
        foreign, fitted = self._foreign, []
        for one in messages:
            plain = type(one) is dict and type(one.get("content")) is str and "tool_calls" not in one
            fitted.append(one if plain and foreign.isdisjoint(one) else self._message(one, documents))
        return fitted

    def _message(self, message: Any, documents: Documents) -> Any:
        if not isinstance(message, dict):
            return message
        if not self._foreign.isdisjoint(message):
            message = self._without_foreign(message)
        content, calls = message.get("content"), message.get("tool_calls")
        if type(content) is list:
            self._no_addresses(content, documents)
            if self._profile.files_as:
                message = {**message, "content": (content := self._files(content))}
            if "cache_control" in self._foreign:
                message = {**message, "content": _uncached_parts(content, self._off_parts)}
        if calls and type(calls) is list and "extra_content" in self._foreign:
            message = {**message, "tool_calls": (calls := [_unsigned(call) for call in calls])}
        if calls and type(calls) is list and not self._any_arguments:
            message = {**message, "tool_calls": [_readable(call) for call in calls]}
        return self._fitted(message) if self._picky else message

    def _no_addresses(self, parts: list[Any], documents: Documents) -> None:
        """Chat has no place for a file by its address, nor for what only Claude takes. Raises AttemptFailed."""
        for part in parts:
            if not isinstance(part, dict) or part.get("type") in _OPENAIS:
                continue
            reader, file = Reader(self._provider, {}, drop=self.drop), part.get("file")
            if isinstance(file, dict) and file.get("file_url") and not self._profile.files_as:
                raise reader.refused("file_url", "Files by address are not supported here. Send 'file_data'.")
            if documents is not None and isinstance(file, dict) and isinstance(file.get("file_data"), str):
                self._no_foreign_type(reader, file["file_data"], documents)
            reader.not_claudes(part)
            if held_image(part):
                raise reader.refused("file_id", "Images by their id are not supported here. Send 'image_url'.")

    def _files(self, parts: list[Any]) -> list[Any]:
        """Parts with files in the vendor's own words. Raises AttemptFailed."""
        reader, form = Reader(self._provider, {}, drop=self.drop), self._profile.files_as
        return [part_as(form, part, reader) if isinstance(part, dict) else part for part in parts]

    def _no_foreign_type(self, reader: Reader, file_data: str, documents: frozenset[str]) -> None:
        """Raises DocumentRefused for a file that the vendor, or this model, is known not to take."""

        def takes(media_type: str) -> bool:
            """What nobody says the type of is the vendor's to judge, if it takes any."""
            return media_type in documents if media_type else bool(documents)

        if not takes(type_of(file_data)):
            some = ", ".join(self._profile.documents or ()) if documents else ""
            why = f"Of files only {some} is taken in chat here." if some else "Files are not taken in chat here."
            raise reader.no_document("file_data", why, takes)

    def _without_foreign(self, message: dict[str, Any]) -> dict[str, Any]:
        kept = {name: value for name, value in message.items() if name not in self._foreign}
        own = self._profile.thoughts_as
        if own == "reasoning" and message.get("reasoning_content"):
            kept.setdefault(own, message["reasoning_content"])
        return kept

    def _fitted(self, message: dict[str, Any]) -> dict[str, Any]:
        message = dict(message)
        profile = self._profile
        if not profile.developer_role and message.get("role") == "developer":
            message["role"] = "system"
        if not profile.empty_fields:
            for name in _EMPTY:
                if not message.get(name):
                    message.pop(name, None)
        if profile.short_call_ids:
            if isinstance(message.get("tool_call_id"), str):
                message["tool_call_id"] = short_id(message["tool_call_id"])
            calls = message.get("tool_calls")
            if isinstance(calls, list):
                message["tool_calls"] = [_shortened(call) for call in calls]
        return message


def short_id(id_: str) -> str:
    """Nine letters and digits for a call's id, always the same ones; an id of that form stays."""
    if _SHORT_ID.match(id_):
        return id_
    number = int.from_bytes(hashlib.sha256(id_.encode()).digest()[:8], "big")
    letters = []
    for _ in range(9):
        number, at = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[at])
    return "".join(letters)


def _shortened(call: Any) -> Any:
    if isinstance(call, dict) and isinstance(call.get("id"), str):
        return {**call, "id": short_id(call["id"])}
    return call


def _uncached_parts(parts: list[Any], off: frozenset[str]) -> Any:
    """One text that was a part because of its mark alone is a text again: every chat template reads that."""
    if not any(isinstance(part, dict) and not off.isdisjoint(part) for part in parts):
        return parts
    plain = [_uncached(part, off) for part in parts]
    return plain[0]["text"] if len(plain) == 1 and plain[0].get("type") == "text" else plain


def _uncached(part: Any, off: frozenset[str] = ON_PARTS) -> Any:
    if isinstance(part, dict) and not off.isdisjoint(part):
        return {name: value for name, value in part.items() if name not in off}
    return part


def _unsigned(call: Any) -> Any:
    if isinstance(call, dict) and not _ON_CALLS.isdisjoint(call):
        return {name: value for name, value in call.items() if name not in _ON_CALLS}
    return call


def _readable(call: Any) -> Any:
    """Servers that write a conversation by a template read arguments as JSON, and refuse it for good when a model once
    wrote what is none."""
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return call
    text = function.get("arguments")
    if not text or not isinstance(text, str) or _is_object(text):
        return call
    return {**call, "function": {**function, "arguments": msgspec.json.encode({INVALID: text}).decode()}}


def _is_object(text: str) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return text.lstrip().startswith("{")


def _plain_tool(tool: Any) -> Any:
    function = tool.get("function") if isinstance(tool, dict) else None
    return {**tool, "function": _uncached(function)} if isinstance(function, dict) else tool
