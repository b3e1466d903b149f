"""``file_search`` in the Responses API: the model asks, the gateway searches its own vector stores, the model goes on.

Each turn of the model is a call of its own through the whole pipeline: limited, guarded, routed, priced and recorded,
all within the deadline of the first; only as a request it counts once. The response adds them up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

from msgspec import structs

from gateway import errors
from gateway.api.ingress import new_id
from gateway.api.responses.rendering import ResponsesRendering
from gateway.api.vector_stores.shapes import Question, asked_of
from gateway.context import Answer, Chunk, ChunkStream, Exchange, Principal, Turns, WholeAnswer
from gateway.pipeline import Handler
from gateway.protocol import server_blocks
from gateway.protocol.assemble import assemble
from gateway.protocol.blocks import as_chunks, choice_at
from gateway.protocol.body import typed
from gateway.protocol.chat import ChatRequest, total_of
from gateway.protocol.file_search import NAME, Citing, FileSearch, Source, queries_of, result_turn, told
from gateway.protocol.lists import dicts
from gateway.protocol.responses.asked import Asked as Repeated
from gateway.protocol.responses.searching import STEP, Begun, Ended, NextTurn, SearchingWriter
from gateway.protocol.web_search import NAME as WEB_SEARCH
from gateway.retrieval.asking import Asked, Found, Library
from gateway.storage.records import LATER_TURN

_USUAL_MOST = 20
"""Passages of one search, where the client names no number: OpenAI's."""
_GOES_BACK = (
    "role", "content", "reasoning_content", "reasoning", "reasoning_details", "thinking_blocks", "extra_content",
    server_blocks.NAME,
)  # fmt: skip
_CUT = frozenset({"length", "content_filter"})


def checked(search: FileSearch) -> Asked:
    """What every search of a request has in common. Raises BadRequest that names the tool's parameter."""
    try:
        options = {"max_num_results": _USUAL_MOST, **search.options}
        return asked_of(typed({**options, "query": "-"}, Question))
    except errors.BadRequest as problem:
        raise errors.BadRequest(
            problem.message, param=f"tools[{search.at}].{problem.param}", code=problem.code
        ) from None


class SearchingRendering(ResponsesRendering):
    """``prepare`` first."""

    _turns: _Turns

    def prepare(self, search: FileSearch, asked: Asked, library: Library, sources: list[Source]) -> SearchingRendering:
        self._search, self._how, self._library, self._sources = search, asked, library, sources
        return self

    def new_writer(self, asked: Repeated) -> SearchingWriter:
        return SearchingWriter(asked)

    def agreed(self, exchange: Exchange) -> bool:
        return self._turns.now.agreed

    async def ask(self, pipeline: Handler, exchange: Exchange) -> Answer:
        assert self.principal is not None
        self._turns = turns = _Turns(self, pipeline, exchange, self.principal)
        answer = await turns.begin()
        if not isinstance(answer, WholeAnswer):
            return _Streamed(turns.chunks(answer), answer)
        writer = self.written(exchange)
        async with aclosing(turns.chunks(answer)) as chunks:
            async for data in chunks:
                writer.chunk(data)
        return WholeAnswer(data={}, text="", finish_reason=None, usage=exchange.usage)

    def kept(self, exchange: Exchange, response: dict[str, Any]) -> dict[str, Any]:
        writer = self.written(exchange)
        assert isinstance(writer, SearchingWriter)
        return writer.kept(response)

    @property
    def limit(self) -> int | None:
        """How often may be searched, where the client says so."""
        return self._asked.max_tool_calls

    @property
    def cites(self) -> bool:
        """Not where log-probabilities have to fit the text, token by token."""
        return not self.body.get("logprobs")

    async def find(self, queries: list[str], who: Principal) -> list[dict[str, Any]]:
        """The passages as an item shows them; their marks are known from now on. Raises GatewayError."""
        asked = structs.replace(self._how, questions=tuple(queries))
        found = await self._library.among(who, self._search.store_ids, asked)
        self._sources += [Source(one.file_id, one.filename) for one in found]
        return [_shown(one) for one in found]

    @property
    def sources(self) -> list[Source]:
        return self._sources


def _shown(one: Found) -> dict[str, Any]:
    return {"file_id": one.file_id, "filename": one.filename, "score": one.score, "attributes": one.attributes,
            "text": one.text}  # fmt: skip


class _Turns:
    """The turns of one response. ``exchange`` is never asked itself: it tells the client what all turns took."""

    def __init__(self, made: SearchingRendering, pipeline: Handler, exchange: Exchange, who: Principal) -> None:
        self._made, self._pipeline, self._exchange, self._who = made, pipeline, exchange, who
        self._body, self._number, self._searched = exchange.body, 0, 0
        self._lost: errors.GatewayError | None = None
        self.now, self._counted = exchange, Turns()

    async def begin(self) -> Answer:
        """The next turn's answer. Raises GatewayError."""
        first, mine = self._number == 0, self._exchange
        self._number += 1
        self.now = structs.replace(
            mine, call_id=mine.call_id if first else LATER_TURN + new_id(), body=self._body,
            request=typed(self._body, ChatRequest), attempts=[], verdicts=[], findings=[], placeholders={},
            response_headers={}, discarded=[], thoughts=[], later_turn=not first,
            turns=self._counted, lost=self._lost,
            **({} if first else {"started": time.monotonic(), "received_at": time.time(), "principal": self._who,
                                 "usage": None, "cost_usd": None, "teacher_cost_usd": None, "upstream_seconds": 0.0,
                                 "answered_by": None, "task": None, "target": None, "cache": "", "filled": frozenset(),
                                 "first_byte_at": None}),
        )  # fmt: skip
        answer = await self._pipeline(self.now)
        for name in ("principal", "task", "target", "answered_by", "cache"):
            setattr(mine, name, getattr(self.now, name))
        mine.response_headers = {**mine.response_headers, **self.now.response_headers}
        return answer

    def _add_up(self) -> None:
        """What the turn took goes to what the client is told."""
        mine, now = self._exchange, self.now
        mine.cost_usd = _sum(mine.cost_usd, now.cost_usd) if self._number > 1 else now.cost_usd
        mine.usage = total_of((mine.usage, now.usage))
        mine.upstream_seconds += now.upstream_seconds

    async def chunks(self, answer: Answer) -> AsyncGenerator[dict[str, Any]]:
        """Everything that is said and done, as chunks; :data:`STEP` tells of searches. Raises GatewayError."""
        status = "client_closed"
        try:
            async with aclosing(self._said(answer)) as said:
                async for data in said:
                    yield data
            status = "ok"
        except Exception:
            status = "error"
            raise
        finally:
            self._counted.over(self.now.call_id, status)

    async def _said(self, answer: Answer) -> AsyncGenerator[dict[str, Any]]:
        while True:
            turn = _Turn(self._made.sources, cites=self._made.cites)
            async with aclosing(_deltas(answer)) as deltas:
                async for data in deltas:
                    for one in turn.feed(data):
                        yield one
            self._add_up()
            for one in turn.end():
                yield one
            calls = turn.calls()
            if not calls or turn.finish in _CUT or self._number > self._most:
                return
            results: list[dict[str, Any]] = []
            for call in calls:
                async for step in self._answered(call, results):
                    yield {STEP: step}
            if turn.others:
                return
            self._body = self._next(turn.message(calls), results)
            yield {STEP: NextTurn()}
            await asyncio.sleep(0)  # what the turn reserved is settled
            answer = await self.begin()

    async def _answered(
        self, call: dict[str, Any], results: list[dict[str, Any]]
    ) -> AsyncIterator[Begun | Ended]:
        """Searches for one call; what the model is told of it is added to ``results``."""
        if self._spent:
            results.append(result_turn(call["id"], "Not searched: no more searches are possible. Answer now."))
            return
        self._searched += 1
        queries = queries_of(call["function"]["arguments"])
        yield Begun(queries)
        if not queries:
            results.append(result_turn(call["id"], 'Not searched: send {"queries": ["…"]}, with at least one text.'))
            yield Ended(None)
            return
        first = len(self._made.sources) + 1
        try:
            found = await self._made.find(queries, self._who)
        except Exception as problem:
            await self._lose(problem)
            raise
        results.append(result_turn(call["id"], told(found, first)))
        yield Ended(found)

    async def _lose(self, problem: Exception) -> None:
        """Has the turn recorded that cannot be asked: the ledger says why the request failed, and which turn paid.
        Raises GatewayError."""
        self._lost = problem if isinstance(problem, errors.GatewayError) else errors.Internal(repr(problem))
        await self.begin()

    @property
    def _most(self) -> int:
        return self._exchange.runtime.config.vector_stores.turns

    @property
    def _spent(self) -> bool:
        return self._made.limit is not None and self._searched >= self._made.limit

    def _next(self, message: dict[str, Any], results: list[dict[str, Any]]) -> dict[str, Any]:
        """A demand to call was met by now; who may search no more has to answer."""
        body = {**self._body, "messages": [*self._body["messages"], message, *results]}
        if body.get("tool_choice") is not None:
            body["tool_choice"] = "auto"
        if isinstance(wish := body.get(WEB_SEARCH), dict):
            body[WEB_SEARCH] = {name: value for name, value in wish.items() if name != "required"}
        if self._spent or self._number >= self._most:
            body["tool_choice"] = "none"
        return body


class _Turn:
    """One turn of the model while it arrives: calls of ours are kept back, marks become citations."""

    def __init__(self, sources: list[Source], *, cites: bool) -> None:
        self._citing = Citing(sources) if cites else None
        self._seen: list[dict[str, Any]] = []
        self._ours: set[int] = set()
        self._known: set[int] = set()
        self.finish = ""

    @property
    def others(self) -> bool:
        """Whether a function of the client's is called too."""
        return bool(self._known - self._ours)

    def feed(self, data: dict[str, Any]) -> Iterator[dict[str, Any]]:
        self._seen.append(data)
        choice = choice_at(data)
        delta = choice.get("delta") if choice is not None else None
        if choice is None or not isinstance(delta, dict):
            yield data
            return
        self.finish = str(choice.get("finish_reason") or self.finish)
        content = delta.get("content")
        if self._citing is not None and not content and any(value for name, value in delta.items() if name != "role"):
            yield from self.end()
        new = dict(delta)
        if self._citing is not None and isinstance(content, str) and content:
            new["content"], notes = self._citing.take(content)
            if notes:
                new["annotations"] = [*dicts(delta.get("annotations")), *notes]
        if delta.get("tool_calls"):
            new["tool_calls"] = [call for at, call in enumerate(dicts(delta["tool_calls"])) if not self._mine(call, at)]
        yield {**data, "choices": [{**choice, "delta": new}]}

    def _mine(self, call: dict[str, Any], at: int) -> bool:
        index = call["index"] if isinstance(call.get("index"), int) else at
        function = call.get("function")
        if index not in self._known:
            self._known.add(index)
            if isinstance(function, dict) and function.get("name") == NAME:
                self._ours.add(index)
        return index in self._ours

    def end(self) -> Iterator[dict[str, Any]]:
        """The rest of the text."""
        text, notes = self._citing.end() if self._citing is not None else ("", [])
        if text:
            yield {"choices": [{"index": 0, "delta": {"content": text, "annotations": notes}}]}

    def calls(self) -> list[dict[str, Any]]:
        """The calls of ours, each with an id."""
        found = [one for one in dicts(self._whole().get("tool_calls")) if one.get("function", {}).get("name") == NAME]
        ids = [str(one.get("id") or "") for one in found]
        return [
            {**one, "id": ids[at] if ids[at] and ids.index(ids[at]) == at else f"call_{new_id()}"}
            for at, one in enumerate(found)
        ]

    def message(self, calls: list[dict[str, Any]]) -> dict[str, Any]:
        """What was said, as the model's turn before the results."""
        message = self._whole()
        return {**{name: message[name] for name in _GOES_BACK if message.get(name)}, "tool_calls": calls}

    def _whole(self) -> dict[str, Any]:
        choice = choice_at(assemble(self._seen))
        return choice["message"] if choice is not None else {}


class _Streamed:
    """What the turns say, as a stream."""

    def __init__(self, chunks: AsyncGenerator[dict[str, Any]], first: ChunkStream) -> None:
        self._chunks, self._first = chunks, first

    def __aiter__(self) -> _Streamed:
        return self

    async def __anext__(self) -> Chunk:
        return Chunk(await anext(self._chunks))

    async def aclose(self) -> None:
        await self._chunks.aclose()
        await self._first.aclose()  # where nothing was read of it yet


async def _deltas(answer: Answer) -> AsyncGenerator[dict[str, Any]]:
    """An answer as chunks, freed at its end."""
    if isinstance(answer, WholeAnswer):
        yield {name: answer.data[name] for name in ("moderation",) if name in answer.data}
        for data in as_chunks(answer.data):
            yield data
        return
    try:
        async for chunk in answer:
            yield chunk.data
    finally:
        await answer.aclose()


def _sum(one: float | None, other: float | None) -> float | None:
    return one + other if one is not None and other is not None else None
