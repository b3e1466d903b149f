"""OpenAI's chat completions, and everything that speaks them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from gateway.catalog import Profile
from gateway.protocol.answer import Chunk, WholeAnswer
from gateway.protocol.chat import Usage, usage_from_wire
from gateway.protocol.hints import ANTHROPIC, HINTS
from gateway.protocol.lists import dicts
from gateway.protocol.sse import Event, EventParser, EventTooLarge
from gateway.providers.codec import NOTHING, AttemptFailed, Enforcement, StreamDecoder, UpstreamRequest
from gateway.providers.cut_at_stops import CutStream, cut_choice, kept_here
from gateway.providers.failures import Complaint, lenient, nonsense, object_in, refusal, unkeyed
from gateway.providers.limit_headers import PASSED
from gateway.providers.openai.models import fit_chat, thinks
from gateway.providers.openai.plain_chunks import PlainChunks
from gateway.providers.openai.vendor_answers import (
    BROKEN_OFF,
    Called,
    CallIndexes,
    Sources,
    mend,
    told_cost,
    usual,
)
from gateway.providers.openai.vendors import Fitting
from gateway.providers.steps import Steps
from gateway.providers.translate_request import Reader

_encode = msgspec.json.encode
_NOT_SENT = frozenset({"stream", "stream_options", *HINTS})
_STATUS = {"rate_limit_exceeded": 429}
"""What an error under the status 200 would have had as its status, had it come before the answer began."""


class OpenAICodec:
    """Translation is (nearly) the identity: the whole map goes out with ``model`` replaced, and with what the
    vendor's profile says that it takes otherwise."""

    def __init__(
        self,
        name: str,
        url: str,
        headers: dict[str, str],
        profile: Profile,
        socket: str = "",
        *,
        drop: bool = False,
        without_files: frozenset[str] = frozenset(),
        thoughtless: frozenset[str] = frozenset(),
        cuts: Callable[[str], bool] | None = None,
    ) -> None:
        """``without_files``: the models that take none, whatever the profile says; ``thoughtless``: those that do not
        think; ``cuts``: at OpenAI, whether an answer is cut at stop sequences here, by the model that it names."""
        self._name, self._url, self._headers = name, url, headers
        self._profile, self._socket = profile, socket
        self._thoughtless, self._cuts = thoughtless, cuts
        at_openai = cuts is not None
        self._fit = Fitting(name, profile, drop=drop, without_files=without_files, any_arguments=at_openai)

    @property
    def takes_custom(self) -> bool:
        """Whether custom tools need no translation (``free_text.py``)."""
        return self._profile.custom_tools

    @property
    def takes_functions(self) -> bool:
        """Whether functions need not be told as tools (``old_functions.py``): who knows the one knows the other."""
        return self._profile.custom_tools

    def encode(self, body: Mapping[str, Any], model: str, *, stream: bool) -> UpstreamRequest:
        wire = dict(body)
        if not _NOT_SENT.isdisjoint(wire):
            wire = {key: value for key, value in body.items() if key not in _NOT_SENT}
        wire["model"] = model
        self._fit(wire)
        if self._cuts is not None and thinks(model):
            fit_chat(Reader(self._name, body, drop=self._fit.drop), wire, model)
        if ANTHROPIC in body:
            reader = Reader(self._name, body, drop=self._fit.drop)
            reader.cites_nothing()
            reader.stays_anywhere()
            if model in self._thoughtless and reader.only_wishes_thought():
                wire.pop("reasoning_effort", None)
        if not HINTS.isdisjoint(body):
            Reader(self._name, body, drop=self._fit.drop).runs_nothing()
        if stream:
            wire["stream"] = True
            if self._profile.usage_in_stream:  # the gateway prices every call, asked or not
                wire["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
        return UpstreamRequest(self._url, self._headers, _encode(wire), self._socket)

    def located(self, model: str) -> UpstreamRequest:
        """A chat request, for its address and headers: the provider's other endpoints stand beside it."""
        return self.encode({"messages": []}, model, stream=False)

    def decode(
        self, status: int, headers: Mapping[str, str], body: bytes, *, now: float, asked: Mapping[str, Any] = NOTHING
    ) -> WholeAnswer:
        if status != 200:
            raise self.refuse(status, headers, body, now=now)
        data = self._object(body)
        choices = data.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            if data.get("error"):
                raise self._inside(data)
            raise self._nonsense("an answer without choices")
        plain = usual(data, "message")
        if not plain:
            mend(data, "message")
            self.check_whole(choices)
        if self._cuts is not None and asked.get("stop") and self._cuts(str(data.get("model") or "")):
            stops = kept_here(asked)
            choices = data["choices"] = [_cut_whole(one, stops) for one in choices] if stops else choices
        if not plain:
            Called(asked).mend(data, "message")
        if self._profile.sources:
            Sources().whole(data)
        message = choices[0].get("message")
        content = message.get("content") if isinstance(message, dict) else None
        return WholeAnswer(
            data=data,
            text=content if isinstance(content, str) else "",
            finish_reason=choices[0].get("finish_reason"),
            usage=self.usage_of(data),
        )

    def refuse(self, status: int, headers: Mapping[str, str], body: bytes, *, now: float) -> AttemptFailed:
        limits = {name: headers[name] for name in PASSED if name in headers} if status == 429 else {}
        complaint = msgspec.structs.replace(_complaint(lenient(body), status), headers=limits)
        return refusal(self._name, status, headers, complaint, now=now, sent=self._headers)

    def _inside(self, data: Mapping[str, Any]) -> AttemptFailed:
        """An error that came under the status 200: what it says of itself counts."""
        error = data.get("error")
        code = error.get("code") if isinstance(error, dict) else None
        status = code if isinstance(code, int) and 400 <= code < 600 else _STATUS.get(str(code), 500)
        complaint = _complaint(data, status)
        problem = refusal(self._name, status, {}, complaint, now=0.0, sent=self._headers)
        if problem.failure.kind == "failed" and complaint.message:
            problem.error.message = unkeyed(complaint.message, self._headers)
            problem.error.code = complaint.code or "upstream_error"
        return problem

    def check_whole(self, choices: Sequence[Any]) -> None:
        """Raises AttemptFailed where the provider gave an answer up."""
        for one in dicts(choices):
            status = BROKEN_OFF.get(str(one.get("finish_reason")))
            if status is not None:
                told = f"The provider '{self._name}' broke its answer off ({one['finish_reason']})."
                raise self._inside({"error": {"message": told, "code": status}})

    def stream(self, asked: Mapping[str, Any] = NOTHING) -> StreamDecoder:
        decoder = OpenAIStream(self, self._profile, asked)
        if self._cuts is None or not asked.get("stop"):
            return decoder
        stops = kept_here(asked)
        return CutStream(decoder, stops, self._cuts) if stops else decoder

    def enforces(self, model: str) -> Enforcement:
        profile = self._profile
        return Enforcement(profile.structured, profile.json_mode, profile.strict_tools, settled=False)

    def most_choices(self) -> int:
        return self._profile.most_choices

    def usage_of(self, data: Mapping[str, Any]) -> Usage | None:
        told = data.get("usage")
        found = usage_from_wire(told, data.get("service_tier")) if told else None
        if found is None or not self._profile.tells_cost:
            return found
        return msgspec.structs.replace(found, told_usd=told_cost(told))

    def _object(self, body: bytes) -> dict[str, Any]:
        return object_in(self._name, body)

    def _nonsense(self, what: str) -> AttemptFailed:
        return nonsense(self._name, what)


class OpenAIStream(Steps):
    """Decodes a streamed answer wherever its bytes were cut."""

    def __init__(self, codec: OpenAICodec, profile: Profile, asked: Mapping[str, Any] = NOTHING) -> None:
        super().__init__()
        self._codec = codec
        self._events = EventParser()
        self._plain = PlainChunks()
        self._usual = True
        """Whether all that was read by itself was plain text, as OpenAI writes it."""
        self._calls = CallIndexes()
        self._called = Called(asked)
        self._sources = Sources() if profile.sources else None
        self._end_mark, self._finished = profile.end_mark, False

    def feed(self, data: bytes) -> list[Chunk]:
        chunks, data = self._plain.run(self._events, data)
        if not data:
            return chunks
        try:
            events = self._events.feed(data)
        except EventTooLarge:
            raise self._codec._nonsense("a stream event larger than 4 MiB") from None
        at = 0
        while at < len(events) and not self.done and self.problem is None:
            plain = self._plain.read(events, at)
            if plain is not None:
                chunks.append(plain)
                at += len(plain.literals)
            else:
                chunks += self._one(events[at], chunks)
                at += 1
        return chunks

    def _one(self, event: Event, before: list[Chunk]) -> list[Chunk]:
        """A wrong event is told after the chunks ``before`` it, which are not lost with it."""
        try:
            return self._step(event)
        except AttemptFailed as problem:
            if not before:
                raise
            self.problem = problem
            return []

    def finish(self) -> list[Chunk]:
        if self._finished and not self._end_mark and not self._events.pending:
            self.done = True
        self.ended(self._codec._name)
        return []

    def _step(self, event: Event) -> list[Chunk]:
        payload = event.data
        if payload.strip() == b"[DONE]":
            self.done = True
            return []
        return [self._plain.learnt(payload, self._chunk(payload))] if payload else []

    def _chunk(self, payload: bytes) -> Chunk:
        data = self._codec._object(payload)
        if data.get("error"):
            raise self._codec._inside(data)
        self._usual = self._usual and usual(data, "delta")
        if not self._usual:  # what was odd once may have to be ended by what is not
            mend(data, "delta")
            self._calls.mend(data)
            self._called.mend(data, "delta")
        if self._sources is not None:
            self._sources.chunk(data)
        choices = data.get("choices")
        text, finish = "", None
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            first = choices[0]
            delta = first.get("delta")
            content = delta.get("content") if isinstance(delta, dict) else None
            text = content if isinstance(content, str) and not first.get("index") else ""
            finish = first.get("finish_reason")
            if finish in BROKEN_OFF:
                self._codec.check_whole(choices)
            self._finished = self._finished or bool(finish)
        return Chunk(data, text, finish, self._codec.usage_of(data))


def _cut_whole(made: Any, stops: Sequence[str]) -> Any:
    """A choice up to a stop sequence; what is no choice stays."""
    message = made.get("message") if isinstance(made, dict) else None
    if not isinstance(message, dict) or not isinstance(message.get("content"), str):
        return made
    return cut_choice({"finish_reason": None, **made}, stops)


def _complaint(data: Any, status: int) -> Complaint:
    """What an error body says, in the shapes that compatible servers have: OpenAI's, its fields without the
    ``error`` around them, a text, or a list of what is wrong with which field."""
    error = data.get("error", data) if isinstance(data, dict) else None
    if isinstance(error, str):
        return Complaint(message=error[:2000])
    if not isinstance(error, dict):
        return Complaint()
    message, kind, param, code = (error.get(name) for name in ("message", "type", "param", "code"))
    details = message if isinstance(message, dict) else error
    wrong = details.get("detail")
    if isinstance(wrong, list) and wrong and isinstance(wrong[0], dict):
        place = [str(part) for part in wrong[0].get("loc") or () if part != "body"]
        message, param = wrong[0].get("msg"), param or ".".join(place) or None
    elif isinstance(wrong, str):
        message = wrong
    return Complaint(
        message=str(message or "")[:2000],
        kind=str(kind or ""),
        param=param if isinstance(param, str) else None,
        code=None if isinstance(code, int) or code in (None, str(status)) else str(code),
    )
