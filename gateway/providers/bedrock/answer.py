"""What Converse answers, whole and streamed, in the places that OpenAI has for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.protocol.chat import PRICED_TIERS, Usage
from gateway.protocol.lists import dicts
from gateway.providers.cited import Cited
from gateway.providers.failures import Complaint, nonsense, text_field
from gateway.providers.translate_answer import count, tool_call
from gateway.providers.translate_request import met_stop

_FINISH = {
    "end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls",
    "model_context_window_exceeded": "length", "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
}  # fmt: skip
SERVERS_OWN = "server_tool_use"
"""The type of a tool that AWS runs itself: nobody has to answer its calls."""
_PLACES = {
    "documentChar": ("char_location", "document_index", "start_char_index", "end_char_index"),
    "documentPage": ("page_location", "document_index", "start_page_number", "end_page_number"),
    "documentChunk": ("content_block_location", "document_index", "start_block_index", "end_block_index"),
    "searchResultLocation": ("search_result_location", "search_result_index", "start_block_index", "end_block_index"),
}  # fmt: skip


class Said(Cited):
    """The content blocks of one answer as they arrive."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[dict[str, Any]] = []
        self.thoughts: list[dict[str, Any]] = []
        self.images: list[dict[str, Any]] = []

    def whole(self, block: dict[str, Any]) -> None:
        """Blocks of a kind born after this file are passed over."""
        text, used, reasoning = block.get("text"), block.get("toolUse"), block.get("reasoningContent")
        cited, image = block.get("citationsContent"), block.get("image")
        if isinstance(text, str):
            self.add_text(text)
        if isinstance(cited, dict):
            start = self.length
            self.add_text("".join(text_field(one, "text") for one in dicts(cited.get("content"))))
            for one in dicts(cited.get("citations")):
                self.cite(citation(one), start)
        if isinstance(used, dict) and used.get("type") != SERVERS_OWN:
            arguments = msgspec.json.encode(used.get("input") or {}).decode()
            self.calls.append(tool_call(str(used.get("toolUseId")), str(used.get("name")), arguments))
        if isinstance(reasoning, dict):
            self.thoughts.append(_thought(reasoning))
        if isinstance(image, dict):
            self.picture(text_field(image, "format"), text_field(image, "source", "bytes"))

    def picture(self, kind: str, data: str) -> None:
        if data:
            url = f"data:image/{kind or 'png'};base64,{data}"
            self.images.append({"type": "image_url", "image_url": {"url": url}})

    def extra(self) -> dict[str, Any]:
        reasoning = "".join(str(one.get("thinking") or "") for one in self.thoughts)
        return {"reasoning_content": reasoning, "thinking_blocks": self.thoughts, "citations": self.citations,
                "images": self.images}  # fmt: skip


def citation(told: Mapping[str, Any]) -> dict[str, Any]:
    """A source as Claude tells it at home; a page of the web as one with an address."""
    location = told.get("location")
    kind, place = next(iter(location.items())) if isinstance(location, dict) and location else ("", {})
    place = place if isinstance(place, dict) else {}
    said = "".join(text_field(one, "text") for one in dicts(told.get("sourceContent")))
    if kind == "web":
        return {"url": place.get("url"), "title": told.get("title")}
    name, index, start, end = _PLACES.get(kind, _PLACES["documentChar"])
    number = place.get("searchResultIndex", place.get("documentIndex"))
    found = {"type": name, "cited_text": said, index: count(number), start: count(place.get("start")),
             end: count(place.get("end"))}  # fmt: skip
    if name == "search_result_location":
        return {**found, "source": str(told.get("source") or ""), "title": told.get("title")}
    return {**found, "document_title": told.get("title"), "file_id": None}


def usage_of(value: Any, tier: Any = None) -> Usage | None:
    """OpenAI counts cached tokens inside the prompt, AWS beside it. ``tier`` is the ``serviceTier`` of the answer."""
    if not isinstance(value, dict):
        return None
    read, written = count(value.get("cacheReadInputTokens")), count(value.get("cacheWriteInputTokens"))
    hours = (count(one.get("inputTokens")) for one in dicts(value.get("cacheDetails")) if one.get("ttl") == "1h")
    kind = tier_of(tier)
    return Usage(
        prompt=count(value.get("inputTokens")) + read + written,
        completion=count(value.get("outputTokens")),
        cached=read,
        written=written,
        written_hour=min(written, sum(hours)),
        tier=kind if kind in PRICED_TIERS else "",
    )


def tier_of(tier: Any) -> str | None:
    """The service tier that answered, where it is told."""
    return text_field(tier, "type") or None


def _thought(reasoning: dict[str, Any]) -> dict[str, Any]:
    """In Anthropic's form, so that a conversation may move between Claude's hosts."""
    if isinstance(reasoning.get("redactedContent"), str):
        return {"type": "redacted_thinking", "data": reasoning["redactedContent"]}
    return {
        "type": "thinking",
        "thinking": text_field(reasoning, "reasoningText", "text"),
        "signature": text_field(reasoning, "reasoningText", "signature"),
    }


def met(holder: Mapping[str, Any], asked: Mapping[str, Any]) -> str | None:
    """The stop sequence that was met. Claude says which, because the request asks for it; others only that one was."""
    told = text_field(holder, "additionalModelResponseFields", "stop_sequence")
    return told or (met_stop(asked) if holder.get("stopReason") == "stop_sequence" else None)


def reason(provider: str, told: Any) -> str:
    if str(told).startswith("malformed_"):
        raise nonsense(provider, f"an answer that it called broken itself ({told})")
    return _FINISH.get(str(told), "stop")


def complaint(status: int, kind: str, message: str) -> Complaint:
    lower, name = message.lower(), kind.lower()
    if name in ("unrecognizedclientexception", "expiredtokenexception", "invalidsignatureexception"):
        return Complaint(message=message, blame="operator")
    if name in ("servicequotaexceededexception", "throttlingexception"):
        return Complaint(message=message, blame="throttle")
    if status == 424:  # the model itself failed
        return Complaint(message=message, blame="provider")
    if "too long" in lower or "too many input tokens" in lower:
        return Complaint(message=message, code="context_length_exceeded", param="messages")
    if status == 404 or "model identifier is invalid" in lower:
        return Complaint(message=message, code="model_not_found", param="model")
    return Complaint(message=message)
