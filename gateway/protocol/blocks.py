"""A chat answer as a sequence of blocks, one open at a time: what item and block APIs (Responses, Messages) stream.

Chat chunks may interleave parallel tool calls; those APIs may not. A call is therefore closed once its arguments
are complete JSON, and what arrives for another block before that waits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec
from msgspec import Struct

from gateway.protocol import server_blocks
from gateway.protocol.assemble import REASONING, told_of
from gateway.protocol.foreign_thoughts import of_call
from gateway.protocol.gemini.shapes import signature_of
from gateway.protocol.hints import CONTAINER, CONTEXT
from gateway.protocol.lists import dicts
from gateway.protocol.phases import between

Kind = Literal["reasoning", "redacted", "text", "refusal", "call", "server"]


class Block(Struct, frozen=True):
    """``number`` counts blocks from 0 in the order they open. ``id``, ``name`` and ``signature`` (what a provider
    wants back with it) are a call's own; the signature of redacted thoughts is all there is of them. ``done`` is what
    the provider's own tools did, in Claude's words (``server_blocks``)."""

    number: int
    kind: Kind
    id: str = ""
    name: str = ""
    signature: str = ""
    done: dict[str, Any] = {}
    custom: bool = False
    """Of a call: of a custom tool, whose text is no JSON."""
    left_out: str = ""
    """Of a text: what stood before it in chat's, between two messages."""


class Open(Struct, frozen=True):
    block: Block


class More(Struct, frozen=True):
    """Text (a call's arguments) that a block grows by. ``signature`` ends signed thoughts; ``citations`` are Claude's
    own and end the text that rests on them."""

    block: Block
    text: str
    logprobs: list[Any] = []
    annotations: list[Any] = []
    signature: str = ""
    citations: list[Any] = []


class Close(Struct, frozen=True):
    """A block is over; ``text`` is all of it."""

    block: Block
    text: str
    logprobs: list[Any] = []
    annotations: list[Any] = []
    signature: str = ""
    citations: list[Any] = []


Step = Open | More | Close


class _Piece(Struct, frozen=True):
    key: tuple[Kind, int]
    text: str
    id: str = ""
    name: str = ""
    signature: str = ""
    logprobs: list[Any] = []
    annotations: list[Any] = []
    citations: list[Any] = []
    done: dict[str, Any] = {}
    custom: bool = False
    seals: bool = False
    """Whether this is what stands at the end of a block: a thought's signature, or the citations of a text."""


class _Growing:
    """The block that is open."""

    __slots__ = ("annotations", "block", "citations", "key", "logprobs", "signature", "texts")

    def __init__(self, key: tuple[Kind, int], block: Block) -> None:
        self.key, self.block = key, block
        self.texts: list[str] = []
        self.logprobs: list[Any] = []
        self.annotations: list[Any] = []
        self.citations: list[Any] = []
        self.signature = ""

    @property
    def unfinished(self) -> bool:
        """Whether more may come: a call whose arguments are no JSON yet, or are none at all."""
        if self.block.kind != "call" or self.block.custom:
            return self.block.custom
        try:
            msgspec.json.decode("".join(self.texts))
        except (msgspec.DecodeError, RecursionError):
            return True
        return False


class Blocks:
    """Feeds on chat chunks (one choice of them), yields steps. ``finish_reason`` and ``stop`` are known at the end;
    ``stop`` is the stop sequence that was met, where the provider says so, and "" where it does not say which.
    ``paused``: the provider wants to be asked again to go on. ``cited``: a text is parted where what it rests on begins
    or ends, as Claude does it; without, it is one, and pages are told as annotations where they were cited.
    ``runs_on``: the client puts all texts together, so what stands between two messages in chat stays there."""

    def __init__(self, index: int = 0, *, cited: bool = False, runs_on: bool = False) -> None:
        self._index, self._parts_texts, self._runs_on = index, cited, runs_on
        self._between = self._left_out = ""
        """What may be left out of the text that comes next, and what was."""
        self.paused = False
        self.container: dict[str, Any] | None = None
        self.cleared: dict[str, Any] | None = None
        """Where code ran at Anthropic."""
        self.finish_reason = ""
        self.stop: str | None = None
        self._count = 0
        self._open: _Growing | None = None
        self._waiting: list[_Piece] = []
        self._calls: dict[int, tuple[int, str]] = {}
        self._call_count = 0
        self._closed: set[tuple[Kind, int]] = set()
        self._sealed = 0
        self._cited = 0
        self._pages: set[tuple[Any, Any, Any] | None] = set()
        self._done = 0

    def feed(self, chunk: dict[str, Any]) -> list[Step]:
        steps: list[Step] = []
        for piece in self._pieces(chunk):
            steps.extend(self._take(piece))
        return steps

    def finish(self) -> list[Step]:
        """Closes what is open; what still waited comes block by block."""
        steps = self._close()
        while self._waiting:
            key = self._waiting[0].key
            mine = [piece for piece in self._waiting if piece.key == key]
            self._waiting = [piece for piece in self._waiting if piece.key != key]
            for piece in mine:
                steps.extend(self._grow(piece))
            steps.extend(self._close())
        return steps

    @property
    def begun(self) -> tuple[Kind | None, str]:
        """The kind of the block that is open, and its text by now."""
        return (self._open.block.kind, "".join(self._open.texts)) if self._open is not None else (None, "")

    # ------------------------------------------------------------------ order
    def _take(self, piece: _Piece) -> list[Step]:
        current = self._open
        if current is not None and current.key != piece.key and (self._waiting or current.unfinished):
            self._waiting.append(piece)
            return self._drain()
        steps = self._grow(piece)
        return steps + self._drain() if self._waiting else steps

    def _drain(self) -> list[Step]:
        """What waited goes on as far as the open block allows."""
        steps: list[Step] = []
        while self._waiting:
            piece = self._waiting[0]
            if self._open is not None and self._open.key != piece.key and self._open.unfinished:
                later = next((one for one in self._waiting if one.key == self._open.key), None)
                if later is None:
                    break
                piece = later
            self._waiting.remove(piece)
            steps.extend(self._grow(piece))
        return steps

    def _grow(self, piece: _Piece) -> list[Step]:
        steps: list[Step] = []
        current = self._open
        if current is None or current.key != piece.key:
            if piece.key in self._closed or (piece.seals and piece.key[0] == "text" and not piece.citations):
                return []  # a call that was complete: only space can follow; the end of a text that is over
            steps = self._close()
            current = self._open = _Growing(piece.key, self._block(piece))
            steps.append(Open(current.block))
        if piece.seals:
            current.signature, current.citations = piece.signature, piece.citations
            last = More(current.block, "", signature=piece.signature, citations=piece.citations)
            return [*steps, last, *self._close()]
        if piece.text or piece.annotations:
            current.texts.append(piece.text)
            current.logprobs.extend(piece.logprobs)
            current.annotations.extend(piece.annotations)
            steps.append(More(current.block, piece.text, piece.logprobs, piece.annotations))
        return steps

    def _block(self, piece: _Piece) -> Block:
        block = Block(self._count, piece.key[0], piece.id, piece.name, piece.signature, piece.done, piece.custom)
        self._count += 1
        if self._left_out and block.kind == "text":
            block, self._left_out = msgspec.structs.replace(block, left_out=self._left_out), ""
        return block

    def _close(self) -> list[Step]:
        current, self._open = self._open, None
        if current is None:
            return []
        if current.block.kind == "call":
            self._closed.add(current.key)
        text, signature = "".join(current.texts), current.signature
        return [Close(current.block, text, current.logprobs, current.annotations, signature, current.citations)]

    # ------------------------------------------------------------------ reading
    def _pieces(self, chunk: dict[str, Any]) -> Iterator[_Piece]:
        choice = choice_at(chunk, self._index)
        if choice is None:
            return
        if isinstance(choice.get("finish_reason"), str):
            self.finish_reason = choice["finish_reason"]
        if isinstance(choice.get("stop_reason"), str):
            self.stop = choice["stop_reason"]
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            return
        reasoning = next((delta[name] for name in REASONING if isinstance(delta.get(name), str)), "")
        if reasoning:
            yield _Piece(("reasoning", 0), reasoning)
        yield from self._seals(dicts(delta.get("thinking_blocks")))
        self.paused = self.paused or delta.get("paused") is True
        self.container = delta[CONTAINER] if isinstance(delta.get(CONTAINER), dict) else self.container
        self.cleared = delta[CONTEXT] if isinstance(delta.get(CONTEXT), dict) else self.cleared
        content, notes = self._own(delta.get("content")), self._news(dicts(delta.get("annotations")))
        if (isinstance(content, str) and content) or notes:
            found = choice.get("logprobs")
            logprobs = dicts(found.get("content")) if isinstance(found, dict) else []
            yield _Piece(
                ("text", 0), content if isinstance(content, str) else "", logprobs=logprobs, annotations=notes
            )
        if "citations" in delta:
            yield from self._sources(dicts(delta["citations"]))
        for entry in server_blocks.of(delta):
            self._done += 1
            self._between = "" if self._runs_on else between(entry["block"])
            yield _Piece(("server", self._done), "", done=entry["block"])
        if isinstance(delta.get("refusal"), str) and delta["refusal"]:
            yield _Piece(("refusal", 0), delta["refusal"])
        for at, call in enumerate(dicts(delta.get("tool_calls"))):
            piece = self._call(call, at)
            if piece.signature:  # has a block of its own, before the call: a call has no place for it
                yield _Piece(("redacted", -1 - piece.key[1]), "", signature=of_call(piece.id, piece.signature))
            yield piece

    def _own(self, content: Any) -> Any:
        """A text without what stands between two messages, however it was cut."""
        while self._between and isinstance(content, str) and content:
            if content[0] != self._between[0]:
                self._between = ""
            else:
                self._left_out += content[0]
                content, self._between = content[1:], self._between[1:]
        return content

    def _sources(self, told: list[dict[str, Any]]) -> Iterator[_Piece]:
        """What the text so far rests on: those that are new (a delta has them with their index, or all so far)."""
        fresh = [one for at, one in enumerate(told) if _index(one, at) >= self._cited]
        self._cited += len(fresh)
        pages = [_annotation(one) for one in fresh if _is_page(one)]
        if self._parts_texts:
            self._pages |= {_page(one) for one in pages}
            yield _Piece(("text", 0), "", citations=fresh, seals=True)
        elif pages := self._news(pages):
            yield _Piece(("text", 0), "", annotations=pages)

    def _news(self, notes: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Annotations that were not told as a citation already."""
        fresh = [one for one in notes if _page(one) not in self._pages] if self._pages else notes
        if self._cited:
            self._pages |= {page for one in fresh if (page := _page(one)) is not None}
        return fresh

    def _seals(self, blocks: list[dict[str, Any]]) -> Iterator[_Piece]:
        """The ends of thoughts that were signed since: a delta has each with its index, or all of them so far."""
        for at, block in enumerate(blocks):
            place = _index(block, at)
            if place < self._sealed:
                continue
            if isinstance(block.get("signature"), str) and block["signature"]:
                yield _Piece(("reasoning", 0), "", signature=block["signature"], seals=True)
            elif isinstance(block.get("data"), str):
                yield _Piece(("redacted", self._sealed), "", signature=block["data"])
            self._sealed = place + 1

    def _call(self, call: dict[str, Any], at: int) -> _Piece:
        """One tool call delta. A known index with another id is another call: some providers never count."""
        index = call["index"] if isinstance(call.get("index"), int) else at
        custom = isinstance(call.get("custom"), dict)
        function = call["custom"] if custom else call["function"] if isinstance(call.get("function"), dict) else {}
        given = call["id"] if isinstance(call.get("id"), str) else ""
        name = function["name"] if isinstance(function.get("name"), str) else ""
        known = self._calls.get(index)
        if known is None or (given and name and known[1] and given != known[1]):
            known = (self._call_count, given)
            self._call_count += 1
            self._calls[index] = known
        arguments = function.get("input" if custom else "arguments")
        text = arguments if isinstance(arguments, str) else ""
        return _Piece(("call", known[0]), text, id=given, name=name, signature=signature_of(call), custom=custom)


def _index(entry: dict[str, Any], at: int) -> int:
    """The number of an entry of a list that grows: its own, or its place in a list that is told again."""
    index = entry.get("index")
    return index if isinstance(index, int) else at


def _is_page(cited: dict[str, Any]) -> bool:
    """Whether what a text rests on has an address."""
    citation = cited.get("citation")
    return isinstance(citation, dict) and isinstance(citation.get("url"), str)


def _annotation(cited: dict[str, Any]) -> dict[str, Any]:
    """A page that Claude cites as OpenAI's annotation."""
    where, citation = {name: cited.get(name) for name in ("start_index", "end_index")}, cited["citation"]
    page = {**where, "url": citation["url"], "title": citation.get("title") or citation["url"]}
    return {"type": "url_citation", "url_citation": page}


def _page(note: dict[str, Any]) -> tuple[Any, Any, Any] | None:
    """What makes an annotation of a page one with another; None for one of anything else."""
    page = note.get("url_citation")
    return (page.get("start_index"), page.get("end_index"), str(page.get("url"))) if isinstance(page, dict) else None


def choice_at(data: dict[str, Any], index: int = 0) -> dict[str, Any] | None:
    """One choice of a chunk or a completion; one without an index is the first."""
    for choice in dicts(data.get("choices")):
        if (choice.get("index") or 0) == index:
            return choice
    return None


def as_chunks(completion: dict[str, Any], index: int = 0) -> Iterator[dict[str, Any]]:
    """One choice of a whole completion as the chunks a provider would have streamed, reasoning first."""
    choice = choice_at(completion, index) or {}
    message = choice["message"] if isinstance(choice.get("message"), dict) else {}
    calls = [{**call, "index": at} for at, call in enumerate(dicts(message.get("tool_calls")))]
    others = {name: message[name] for name in ("images", "extra_content", CONTAINER, CONTEXT) if message.get(name)}
    others |= {"paused": True} if message.get("paused") is True else {}
    for delta in (*told_of(message, _spoken), {"refusal": message.get("refusal")}, {"tool_calls": calls}, others):
        yield {"choices": [{"index": index, "delta": delta, "logprobs": choice.get("logprobs")}]}
    last = {name: choice.get(name) for name in ("finish_reason", "stop_reason")}
    yield {"choices": [{"index": index, "delta": {}, **last}]}


def _spoken(message: dict[str, Any], begin: int, end: int | None) -> Iterator[dict[str, Any]]:
    """The text between two places, in the parts that Claude's citations make of it: what rests on sources ends with
    them. Notes come with the end of all."""
    content, cited = message.get("content"), dicts(message.get("citations"))
    text = content if isinstance(content, str) else ""
    stop = len(text) if end is None else min(end, len(text))
    mine = [
        number for number, one in enumerate(cited) if begin <= server_blocks.place(one, "start_index") and
        (end is None or server_blocks.place(one, "start_index") < stop)
    ]  # fmt: skip
    at, told = begin, mine[0] if mine else 0
    for number in mine:
        start, upto = (min(stop, server_blocks.place(cited[number], name)) for name in ("start_index", "end_index"))
        if at < start:
            yield {"content": text[at:start]}
            yield {"citations": []}
        if at < upto:
            yield {"content": text[max(at, start) : upto]}
        at = max(at, upto)
        if number == mine[-1] or server_blocks.place(cited[number + 1], "end_index") > upto:
            yield {"citations": [{"index": one, **cited[one]} for one in range(told, number + 1)]}
            told = number + 1
    if end is None:
        yield {"content": text[at:] if at or cited else content, "annotations": message.get("annotations")}
    elif at < stop:
        yield {"content": text[at:stop]}
