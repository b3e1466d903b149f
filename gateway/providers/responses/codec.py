"""OpenAI's Responses API as a provider (``api: responses``), for models that only answer there and for thoughts that
are kept over turns. The request's translation is in ``request``.

https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from gateway.catalog import Profile
from gateway.protocol import phases, server_blocks
from gateway.protocol.answer import Chunk, WholeAnswer
from gateway.protocol.chat import PRICED_TIERS, Usage
from gateway.protocol.file_search import CALL as FILE_SEARCH
from gateway.protocol.foreign_thoughts import XAI
from gateway.protocol.hints import AT_OPENAI, AT_XAI
from gateway.protocol.lists import dicts
from gateway.protocol.mcp import ITEMS, blocks_of
from gateway.providers.codec import NOTHING, AttemptFailed, UpstreamRequest
from gateway.providers.cut_at_stops import CuttingWriter, cut_choice, kept_here
from gateway.providers.event_stream import EventStream
from gateway.providers.failures import nonsense, object_in
from gateway.providers.openai.codec import OpenAICodec
from gateway.providers.openai.models import fit_drawing, thinks
from gateway.providers.responses.calls import CALLS, call_of, given
from gateway.providers.responses.request import SIGNED, request_body
from gateway.providers.responses.xai_items import mended, searched, ticks
from gateway.providers.translate_answer import Writer, choice, count, url_citation, whole
from gateway.providers.translate_request import Reader

_encode = msgspec.json.encode
_CUT = {"max_output_tokens": "length", "content_filter": "content_filter"}
_TEXT = "response.output_text"
_THOUGHTS = ("response.reasoning_summary_text.delta", "response.reasoning_text.delta")
_PIECES = ("response.function_call_arguments.delta", "response.custom_tool_call_input.delta")


class ResponsesCodec(OpenAICodec):
    """OpenAI's other API; everything that is not chat stays where it is at an OpenAI provider."""

    seal = SIGNED
    """How the signatures of its own thoughts begin."""

    def __init__(
        self, name: str, url: str, headers: dict[str, str], profile: Profile, *, drop: bool = False,
        here: str = AT_OPENAI, thoughtless: frozenset[str] = frozenset(),
        cuts: Callable[[str], bool] | None = None,
    ) -> None:  # fmt: skip
        """``here``: whose own tools run here; "" for a vendor that has none."""
        super().__init__(name, url, headers, profile, drop=drop, thoughtless=thoughtless, cuts=cuts)
        self._here = here
        if here == AT_XAI:
            self.seal = XAI

    @property
    def searches_stores(self) -> bool:
        """Whether vector stores of the provider's own may be named."""
        return self._here == AT_OPENAI

    def mended(self, item: dict[str, Any]) -> dict[str, Any]:
        """An item of an answer as OpenAI writes it."""
        return mended(item) if self._here == AT_XAI else item

    @property
    def takes_custom(self) -> bool:
        return True

    @property
    def takes_functions(self) -> bool:
        return False

    def encode(self, body: Mapping[str, Any], model: str, *, stream: bool) -> UpstreamRequest:
        reader = Reader(self._name, body, drop=self._fit.drop)
        wire = request_body(reader, model, self._here, self.seal)
        if self._cuts is not None and thinks(model):
            fit_drawing(reader, wire, model)
        if model in self._thoughtless and reader.only_wishes_thought():
            wire.pop("reasoning", None)
        if stream:
            wire["stream"] = True
        url = self._url.removesuffix("/chat/completions") + "/responses"
        return UpstreamRequest(url=url, headers=self._headers, body=_encode(wire))

    def most_choices(self) -> int:
        return 1  # this API has no ``n``

    def located(self, model: str) -> UpstreamRequest:
        return OpenAICodec.encode(self, {"messages": []}, model, stream=False)

    def decode(
        self, status: int, headers: Mapping[str, str], body: bytes, *, now: float, asked: Mapping[str, Any] = NOTHING
    ) -> WholeAnswer:
        if status != 200:
            raise self.refuse(status, headers, body, now=now)
        data = object_in(self._name, body)
        if not isinstance(data.get("output"), list):
            raise self.broken(data)
        said = Said(self.seal)
        for item in dicts(data["output"]):
            said.take(self.mended(item))
        made = choice(
            0, "".join(said.texts), self.reason(data, said), calls=said.calls, refusal="".join(said.refusals) or None,
            annotations=said.annotations, extra=said.extra(),
            logprobs={"content": said.logprobs, "refusal": None} if said.logprobs else None,
        )  # fmt: skip
        stops = kept_here(asked)
        made = cut_choice(made, stops) if stops else made
        return whole(
            [made], said.usage(data.get("usage"), data.get("service_tier")),
            id_=str(data.get("id") or ""), model=str(data.get("model") or ""), now=now,
            service_tier=data.get("service_tier"),
        )  # fmt: skip

    def stream(self, asked: Mapping[str, Any] = NOTHING) -> ResponsesStream:
        return ResponsesStream(self, self._name, asked)

    def reason(self, data: Mapping[str, Any], said: Said) -> str:
        """Raises AttemptFailed for an answer that failed."""
        if data.get("status") in ("failed", "cancelled") or data.get("error"):
            raise self.broken(data)
        if data.get("status") == "incomplete":
            return _CUT.get(str(_map(data, "incomplete_details").get("reason")), "length")
        return "tool_calls" if said.calls else "stop"

    def broken(self, data: Mapping[str, Any]) -> AttemptFailed:
        """What an answer's or an event's ``error`` stands for."""
        return self._inside(data) if data.get("error") else nonsense(self._name, "an answer without output")


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
        self.done: list[dict[str, Any]] = []

    def take(self, item: dict[str, Any]) -> None:
        kind = item.get("type")
        if kind == "message":
            self.begun = self.length
            self.note(phases.block_of(item))
            for part in dicts(item.get("content")):
                self._part(part)
        elif kind in CALLS:
            self.calls.append(call_of(item, given(item)))
        elif kind == "reasoning":
            self.thoughts.append(_thought(item))
            self.sign(item)
        else:
            self.beside(item)

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
        self.signed.append({"type": "thinking", "thinking": _thought(item), "signature": signature})
        return True

    def _part(self, part: dict[str, Any]) -> None:
        if part.get("type") == "refusal":
            self.refusals.append(str(part.get("refusal") or ""))
            return
        start = self.length
        self.texts.append(str(part.get("text") or ""))
        self.length += len(self.texts[-1])
        self.logprobs += dicts(part.get("logprobs"))
        self.annotations += [note for one in dicts(part.get("annotations")) if (note := _note(one, start, self.begun))]

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


class ResponsesStream(EventStream):
    """Response events as chat chunks, wherever the bytes were cut."""

    def __init__(self, codec: ResponsesCodec, provider: str, asked: Mapping[str, Any] = NOTHING) -> None:
        super().__init__(provider)
        self._codec = codec
        stops = kept_here(asked)
        self._writer = CuttingWriter(stops) if stops else Writer()
        self._said = Said(codec.seal)
        self._at: dict[Any, int] = {}
        self._told: set[Any] = set()
        self._parts: set[tuple[Any, Any]] = set()
        self._starts: dict[tuple[Any, Any], int] = {}
        """Where in the text each part of a message begins."""
        self._begun: dict[Any, int] = {}
        """Where in the text each message begins."""

    def _event(self, event: dict[str, Any]) -> list[Chunk]:
        """Events of a kind born after this file are passed over."""
        kind, index = str(event.get("type")), event.get("output_index")
        if kind == f"{_TEXT}.delta":
            return self._text(event)
        if kind in _PIECES and index in self._at:
            self._told.add(index)
            return self._piece(self._at[index], str(event.get("delta") or ""))
        if kind in _THOUGHTS:
            return self._thought(event, index)
        if kind == "response.output_item.added":
            return self._begin(index, self._codec.mended(_map(event, "item")))
        if kind == "response.output_item.done":
            return self._done(index, self._codec.mended(_map(event, "item")))
        if kind == "response.refusal.delta":
            return self._writer.delta({"refusal": str(event.get("delta") or "")})
        if kind == f"{_TEXT}.annotation.added":
            start = self._starts.get((index, event.get("content_index")), 0)
            note = _note(_map(event, "annotation"), start, self._begun.get(index, 0))
            self._said.annotations += [note] if note else []
            return []
        if kind == "response.created":
            return self._start(_map(event, "response"))
        if kind in ("response.completed", "response.incomplete"):
            return self._end(_map(event, "response"))
        if kind == "response.failed":
            raise self._codec.broken(_map(event, "response"))
        if kind == "error":
            raise self._codec.broken({"error": event.get("error") or event})
        return []

    def _start(self, response: dict[str, Any]) -> list[Chunk]:
        self._writer.id, self._writer.model = str(response.get("id") or ""), str(response.get("model") or "")
        return self._writer.open()

    def _text(self, event: dict[str, Any]) -> list[Chunk]:
        text, told = str(event.get("delta") or ""), dicts(event.get("logprobs"))
        self._begun.setdefault(event.get("output_index"), self._said.length)
        self._starts.setdefault((event.get("output_index"), event.get("content_index")), self._said.length)
        logprobs = {"content": told, "refusal": None} if told else None
        self._said.length += len(text)
        return self._writer.delta({"content": text}, logprobs=logprobs) if text else []

    def _thought(self, event: dict[str, Any], index: Any) -> list[Chunk]:
        """Thoughts come in parts; an empty line stands between them."""
        part = (index, event.get("summary_index", event.get("content_index")))
        between = "\n\n" if self._parts and part not in self._parts else ""
        self._parts.add(part)
        text = between + str(event.get("delta") or "")
        return self._writer.delta({"reasoning_content": text}) if text else []

    def _begin(self, index: Any, item: dict[str, Any]) -> list[Chunk]:
        if item.get("type") not in CALLS:
            noted = self._said.note(phases.block_of(item)) if item.get("type") == "message" else []
            return self._writer.delta({server_blocks.NAME: noted}) if noted else []
        at = self._at[index] = len(self._said.calls)
        call = call_of(item, "")
        self._said.calls.append(call)
        return self._writer.delta({"tool_calls": [{"index": at, **call}]})

    def _done(self, index: Any, item: dict[str, Any]) -> list[Chunk]:
        if item.get("type") in CALLS:
            return self._called(index, item)
        if item.get("type") == "reasoning" and self._said.sign(item):
            signed = self._said.signed
            return self._writer.delta({"thinking_blocks": [{"index": len(signed) - 1, **signed[-1]}]})
        ran = self._said.beside(item)
        return self._writer.delta({server_blocks.NAME: ran}) if ran else []

    def _called(self, index: Any, item: dict[str, Any]) -> list[Chunk]:
        """A call is complete: all of it, where its deltas did not come."""
        chunks = [] if index in self._at else self._begin(index, item)
        whole = "" if index in self._told else given(item)
        self._told.add(index)
        return chunks + self._piece(self._at[index], whole)

    def _piece(self, at: int, text: str) -> list[Chunk]:
        custom = self._said.calls[at]["type"] == "custom"
        grown = {"custom": {"input": text}} if custom else {"function": {"arguments": text}}
        return self._writer.delta({"tool_calls": [{"index": at, **grown}]}) if text else []

    def _end(self, response: dict[str, Any]) -> list[Chunk]:
        reason = self._codec.reason(response, self._said)
        self._writer.tier = response.get("service_tier") or self._writer.tier
        late = {"annotations": self._said.annotations, "images": self._said.images}
        late = {name: value for name, value in late.items() if value}
        chunks = self._writer.delta(late) if late else []
        chunks += self._writer.finish(reason)
        usage = self._said.usage(response.get("usage"), self._writer.tier)
        self.done = True
        return [*chunks, self._writer.usage(usage)] if usage is not None else chunks


def usage_of(value: Any, tier: Any = None, searches: int = 0, file_searches: int = 0) -> Usage | None:
    if not isinstance(value, dict):
        return None
    read, written = _map(value, "input_tokens_details"), _map(value, "output_tokens_details")
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
    id_, action = str(item.get("id") or ""), _map(item, "action")
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


def _thought(item: Mapping[str, Any]) -> str:
    parts = dicts(item.get("summary")) or dicts(item.get("content"))
    return "\n\n".join(str(one.get("text") or "") for one in parts)


def _note(note: Mapping[str, Any], start: int, begun: int) -> dict[str, Any] | None:
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


def _map(holder: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = holder.get(name)
    return value if isinstance(value, dict) else {}
