"""What an answer of OpenAI's Responses API says, does and costs, in the places that chat has for it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.protocol import phases, server_blocks
from gateway.protocol.chat import PRICED_TIERS, Usage
from gateway.protocol.file_search import CALL as FILE_SEARCH
from gateway.protocol.lists import dicts
from gateway.protocol.mcp import ITEMS, blocks_of
from gateway.providers.responses.calls import CALLS, call_of, given
from gateway.providers.responses.xai_items import searched, ticks
from gateway.providers.translate_answer import count, url_citation


class Said:
    """Output items, in the places that chat has for them."""

    def __init__(self, seal: str) -> None:
        """``seal``: how signatures of thoughts begin."""
        self._seal = seal
        self.texts: list[str] = []
        self.refusals: list[str] = []
        self.calls: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.logprobs: list[dict[str, Any]] = []
        self.thoughts: list[str] = []
        self.signed: list[dict[str, Any]] = []
        self.images: list[dict[str, Any]] = []
        self.searches = self.file_searches = 0
        self.coded = False
        """Whether code ran, in a container that costs apart and has no price here."""
        self.length = self.begun = 0
        """Characters of the text by now, and before the message that is open."""
        self._parted = False
        """Whether the message that is open comes after another, and has said nothing yet."""
        self.done: list[dict[str, Any]] = []

    def take(self, item: dict[str, Any]) -> None:
        kind = item.get("type")
        if kind == "message":
            self.begin(item)
            for part in dicts(item.get("content")):
                self._part(part)
        elif kind in CALLS:
            self.calls.append(call_of(item, given(item)))
        elif kind == "reasoning":
            self.thoughts.append(thought_of(item))
            self.sign(item)
        else:
            self.beside(item)

    def begin(self, message: Mapping[str, Any]) -> list[dict[str, Any]]:
        """A message begins. → what is told of it, as a delta has it."""
        self.begun, self._parted = self.length, self.length > 0
        return self.note(phases.block_of(message, parted=self._parted))

    def between(self) -> str:
        """What stands before the first words of a message: chat has one text, in which two would run together."""
        told = phases.BETWEEN if self._parted else ""
        self._parted = False
        self.length += len(told)
        self.begun += len(told)
        return told

    def beside(self, item: dict[str, Any]) -> list[dict[str, Any]]:
        """What OpenAI's own tools did: a search costs apart, a picture is part of the answer. → what of it is told
        where it stands, as a delta has it."""
        if item.get("type") == "web_search_call":
            self.searches += 1
        elif item.get("type") == FILE_SEARCH:
            self.file_searches += 1
        elif item.get("type") == "code_interpreter_call":
            self.coded = True
        elif item.get("type") == "image_generation_call" and isinstance(item.get("result"), str):
            kind = str(item.get("output_format") or "png")
            url = f"data:image/{kind};base64,{item['result']}"
            self.images.append({"type": "image_url", "image_url": {"url": url}})
        return self.note(_ran(item))

    def note(self, blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Keeps blocks that chat has no place for where they stand. → them as a delta has them."""
        known = len(self.done)
        self.done += [server_blocks.placed(one, self.length, len(self.signed)) for one in blocks]
        return [{"index": at, **self.done[at]} for at in range(known, len(self.done))]

    def sign(self, item: dict[str, Any]) -> bool:
        """Keeps what OpenAI wants back of a thought; whether there is anything."""
        secret = item.get("encrypted_content")
        if not isinstance(secret, str) or not secret:
            return False
        signature = f"{self._seal}{item.get('id')}:{secret}"
        self.signed.append({"type": "thinking", "thinking": thought_of(item), "signature": signature})
        return True

    def _part(self, part: dict[str, Any]) -> None:
        if part.get("type") == "refusal":
            self.refusals.append(str(part.get("refusal") or ""))
            return
        text = str(part.get("text") or "")
        between = self.between() if text else ""
        start = self.length
        self.texts.append(between + text)
        self.length += len(text)
        self.logprobs += dicts(part.get("logprobs"))
        notes = (note_of(one, start, self.begun) for one in dicts(part.get("annotations")))
        self.annotations += [note for note in notes if note]

    def usage(self, value: Any, tier: Any) -> Usage | None:
        """What was used by the answer's own ``value``; the tokens of a picture may not be among them."""
        found = usage_of(value, tier, self.searches, self.file_searches)
        if found is None or not (self.coded or (self.images and not found.image_output)):
            return found
        return msgspec.structs.replace(found, unpriced=True)

    def extra(self) -> dict[str, Any]:
        thought = "\n\n".join(one for one in self.thoughts if one)
        return {"reasoning_content": thought, "thinking_blocks": self.signed, "images": self.images,
                server_blocks.NAME: self.done}  # fmt: skip


def usage_of(value: Any, tier: Any = None, searches: int = 0, file_searches: int = 0) -> Usage | None:
    if not isinstance(value, dict):
        return None
    read, written = map_at(value, "input_tokens_details"), map_at(value, "output_tokens_details")
    searches, file_searches = searched(value) or (searches, file_searches)
    return Usage(
        prompt=count(value.get("input_tokens")),
        completion=count(value.get("output_tokens")),
        cached=count(read.get("cached_tokens")),
        reasoning=count(written.get("reasoning_tokens")),
        written=count(read.get("cache_write_tokens")),
        tier=tier if tier in PRICED_TIERS else "",
        image_input=count(read.get("image_tokens")),
        image_output=count(written.get("image_tokens")),
        searches=searches,
        file_searches=file_searches,
        told_usd=ticks(value),
    )


def _ran(item: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A search or code as Claude's blocks; [] for anything else, and for pages that were opened after a search."""
    id_, action = str(item.get("id") or ""), map_at(item, "action")
    if item.get("type") == "web_search_call" and action.get("type") == "search":
        told = action.get("queries")
        queries = [one for one in told if isinstance(one, str)] if isinstance(told, list) else []
        urls = [str(one["url"]) for one in dicts(action.get("sources")) if one.get("url")]
        return server_blocks.search(id_, queries or [str(action.get("query") or "")], [(url, url) for url in urls])
    if item.get("type") == "code_interpreter_call":
        logs = "".join(str(one.get("logs") or "") for one in dicts(item.get("outputs")))
        failed = item.get("status") == "failed"
        ran = server_blocks.code(id_, str(item.get("code") or ""))
        return [ran, server_blocks.code_result(id_, logs, failed=failed)]
    if item.get("type") == FILE_SEARCH:
        told = item.get("queries")
        queries = [one for one in told if isinstance(one, str)] if isinstance(told, list) else []
        found = dicts(item["results"]) if isinstance(item.get("results"), list) else None
        return server_blocks.files_searched(id_, queries, found, failed=item.get("status") == "failed")
    return blocks_of(item) if item.get("type") in ITEMS else []


def thought_of(item: Mapping[str, Any]) -> str:
    parts = dicts(item.get("summary")) or dicts(item.get("content"))
    return "\n\n".join(str(one.get("text") or "") for one in parts)


def note_of(note: Mapping[str, Any], start: int, begun: int) -> dict[str, Any] | None:
    """An annotation as chat writes it: pages, and files by their place in the message, which began after ``begun``
    characters of the text; its part after ``start``."""
    if note.get("type") == "file_citation":
        cited = {name: note[name] for name in ("file_id", "filename") if isinstance(note.get(name), str)}
        return {"type": "file_citation", "file_citation": {"index": count(note.get("index")) + start - begun, **cited}}
    url = note.get("url")
    if note.get("type") != "url_citation" or not isinstance(url, str):
        return None
    begin, end = count(note.get("start_index")) + start, count(note.get("end_index")) + start
    return url_citation(begin, end, url, str(note.get("title") or url))


def map_at(holder: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = holder.get(name)
    return value if isinstance(value, dict) else {}
