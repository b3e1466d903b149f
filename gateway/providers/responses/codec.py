"""OpenAI's Responses API as a provider (``api: responses``), for models that only answer there and for thoughts that
are kept over turns. The request's translation is in ``request``.

https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from gateway.catalog import Profile
from gateway.protocol import server_blocks
from gateway.protocol.answer import Chunk, WholeAnswer
from gateway.protocol.foreign_thoughts import XAI
from gateway.protocol.hints import AT_OPENAI, AT_XAI
from gateway.protocol.lists import dicts
from gateway.providers.codec import NOTHING, AttemptFailed, UpstreamRequest
from gateway.providers.cut_at_stops import CuttingWriter, cut_choice, kept_here
from gateway.providers.event_stream import EventStream
from gateway.providers.failures import nonsense, object_in
from gateway.providers.openai.codec import OpenAICodec
from gateway.providers.openai.models import fit_drawing, thinks
from gateway.providers.responses.calls import CALLS, call_of, given
from gateway.providers.responses.request import SIGNED, request_body
from gateway.providers.responses.said import Said, map_at, note_of
from gateway.providers.responses.xai_items import mended
from gateway.providers.translate_answer import Writer, choice, whole
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
            return _CUT.get(str(map_at(data, "incomplete_details").get("reason")), "length")
        return "tool_calls" if said.calls else "stop"

    def broken(self, data: Mapping[str, Any]) -> AttemptFailed:
        """What an answer's or an event's ``error`` stands for."""
        return self._inside(data) if data.get("error") else nonsense(self._name, "an answer without output")


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
            return self._begin(index, self._codec.mended(map_at(event, "item")))
        if kind == "response.output_item.done":
            return self._done(index, self._codec.mended(map_at(event, "item")))
        if kind == "response.refusal.delta":
            return self._writer.delta({"refusal": str(event.get("delta") or "")})
        if kind == f"{_TEXT}.annotation.added":
            start = self._starts.get((index, event.get("content_index")), 0)
            note = note_of(map_at(event, "annotation"), start, self._begun.get(index, 0))
            self._said.annotations += [note] if note else []
            return []
        if kind == "response.created":
            return self._start(map_at(event, "response"))
        if kind in ("response.completed", "response.incomplete"):
            return self._end(map_at(event, "response"))
        if kind == "response.failed":
            raise self._codec.broken(map_at(event, "response"))
        if kind == "error":
            raise self._codec.broken({"error": event.get("error") or event})
        return []

    def _start(self, response: dict[str, Any]) -> list[Chunk]:
        self._writer.id, self._writer.model = str(response.get("id") or ""), str(response.get("model") or "")
        return self._writer.open()

    def _text(self, event: dict[str, Any]) -> list[Chunk]:
        text, told = str(event.get("delta") or ""), dicts(event.get("logprobs"))
        between = self._said.between() if text else ""
        chunks = self._writer.delta({"content": between}) if between else []
        self._begun.setdefault(event.get("output_index"), self._said.length)
        self._starts.setdefault((event.get("output_index"), event.get("content_index")), self._said.length)
        logprobs = {"content": told, "refusal": None} if told else None
        self._said.length += len(text)
        return chunks + self._writer.delta({"content": text}, logprobs=logprobs) if text else []

    def _thought(self, event: dict[str, Any], index: Any) -> list[Chunk]:
        """Thoughts come in parts; an empty line stands between them."""
        part = (index, event.get("summary_index", event.get("content_index")))
        between = "\n\n" if self._parts and part not in self._parts else ""
        self._parts.add(part)
        text = between + str(event.get("delta") or "")
        return self._writer.delta({"reasoning_content": text}) if text else []

    def _begin(self, index: Any, item: dict[str, Any]) -> list[Chunk]:
        if item.get("type") not in CALLS:
            noted = self._said.begin(item) if item.get("type") == "message" else []
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
