"""What clients keep here between calls: stored responses and conversations. Readable at once from the bounded memory of
the worker that answered, later from the database; sealed under the spool's key in both spool and database; scoped to a
project; gone after 30 days.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from msgspec import Struct

from gateway import errors
from gateway.control import Control
from gateway.sharing.bus import ALONE, Bus
from gateway.storage.away import database_errors
from gateway.storage.records import STATE_TTL_S, ClientStateRecord, StateDeletionRecord

_LONGEST_CHAIN = 1000
_Place = tuple[str, str]  # project, id


class ResponseState(Struct, frozen=True):
    """A stored response: its own input items, what it answered, and the response it continued ("" for none)."""

    id: str
    project: str
    previous: str
    input: list[dict[str, Any]]
    response: dict[str, Any]

    @property
    def owner(self) -> str:
        """Whose it is, as far as its request said."""
        return str(self.response.get("safety_identifier") or self.response.get("user") or "")


class Cipher(Protocol):
    def seal(self, record: bytes) -> bytes: ...
    def open(self, body: bytes) -> bytes: ...


class ConversationState(Struct, frozen=True):
    """A conversation: its items, oldest first, each with its id. ``created_at`` is in unix seconds."""

    id: str
    project: str
    created_at: float
    metadata: dict[str, str]
    items: list[dict[str, Any]]
    end_user: str = ""
    """Whose it is: the first end user whose response continued it."""
    gone: dict[str, str] = {}
    """The ids of items that were deleted, each with that of the item before it then ("" for none): who lists them goes
    on behind it."""

    @property
    def owner(self) -> str:
        return self.end_user


State = ResponseState | ConversationState
S = TypeVar("S", ResponseState, ConversationState)
_KINDS = {ResponseState: "response", ConversationState: "conversation"}
_encode = msgspec.msgpack.Encoder().encode


class ClientStates:
    """At most ``max_count`` documents and ``max_bytes`` stay in memory; the oldest leave it first."""

    def __init__(
        self,
        control: Control,
        cipher: Cipher,
        *,
        max_count: int = 2000,
        max_bytes: int = 64 * 1024 * 1024,
        now: Callable[[], float] = time.time,
        bus: Bus = ALONE,
    ) -> None:
        self._control, self._cipher, self._now = control, cipher, now
        self._max_count, self._max_bytes = max_count, max_bytes
        self._recent: OrderedDict[_Place, bytes] = OrderedDict()
        self._bytes = 0
        self._bus = bus
        bus.hear("state", lambda project, state_id: self._recent.get((project, state_id)))
        bus.hear("state changed", lambda project, state_id: self._forget((project, state_id)))
        bus.hear("state deleted", lambda project, state_id: self._remember((project, state_id), b""))

    def keep(self, state: State) -> None:
        """Remembers a state in the place of what it was before, and appends it to the spool."""
        at, document = self._now(), _encode(state)
        self._control.recorder.append(
            ClientStateRecord(
                id=state.id,
                project=state.project,
                kind=_KINDS[type(state)],
                created_at=at,
                expires_at=at + STATE_TTL_S,
                sealed=self._cipher.seal(document),
                end_user=state.owner,
            )
        )
        self._remember((state.project, state.id), document)
        if isinstance(state, ConversationState):
            self._bus.tell("state changed", state.project, state.id)

    async def get(self, project: str, state_id: str) -> ResponseState | None:
        """None when unknown, deleted, expired, or another project's. Raises Unavailable."""
        return await self.find(project, state_id, ResponseState)

    async def find(self, project: str, state_id: str, kind: type[S]) -> S | None:
        """As :meth:`get`, for any kind of state."""
        known = self._recent.get((project, state_id))
        if known is None:
            elsewhere = await self._bus.ask("state", project, state_id)
            read = min(elsewhere) if elsewhere else await self._read(project, state_id)  # b"": deleted
            known = self._recent.get((project, state_id), read)  # somebody may have written meanwhile
        if not known:
            return None
        try:
            state = msgspec.msgpack.decode(known, type=kind)
        except msgspec.DecodeError:
            return None  # a state of another kind
        return state if (state.project, state.id) == (project, state_id) else None

    async def _read(self, project: str, state_id: str) -> bytes:
        """The document as the database has it; b"" when it has none that can be opened."""
        reader, now = self._control.reader, self._now()
        try:
            sealed = await asyncio.to_thread(lambda: reader.client_state(project, state_id, now=now))
        except database_errors() as problem:
            raise errors.Unavailable(
                "What is stored for clients cannot be read at the moment. Try again shortly.",
                headers={"retry-after": "1"},
                detail=repr(problem),
            ) from problem
        try:
            return self._cipher.open(sealed) if sealed else b""
        except InvalidTag:
            return b""  # written under another key

    async def delete(self, project: str, state_id: str) -> None:
        """Returns when every worker knows."""
        self._control.recorder.append(StateDeletionRecord(id=state_id, project=project, at=self._now()))
        self._remember((project, state_id), b"")
        await self._bus.ask("state deleted", project, state_id)

    def forget_people(self, project: str, erased: Callable[[str], bool]) -> None:
        """Forgets the documents of a project's end users for whom ``erased`` is true."""
        for place, document in list(self._recent.items()):
            state = _opened(document) if place[0] == project else None
            if state is not None and state.owner and erased(state.owner):
                self._remember(place, b"")

    def opened(self, sealed: bytes) -> ResponseState | None:
        """A stored response as it lies in the database; None for what is none, or was sealed under another key."""
        try:
            state = _opened(self._cipher.open(sealed)) if sealed else None
        except InvalidTag:
            return None
        return state if isinstance(state, ResponseState) else None

    def sealed(self, project: str, text: str) -> str:
        """A text that a client keeps for us and cannot read, for one project."""
        return base64.b64encode(self._cipher.seal(_encode((project, text)))).decode()

    def unsealed(self, project: str, sealed: str) -> str | None:
        """The text; None for what was not sealed here for this project."""
        try:
            owner, text = msgspec.msgpack.decode(
                self._cipher.open(base64.b64decode(sealed, validate=True)), type=tuple[str, str]
            )
        except (ValueError, InvalidTag):
            return None
        return text if owner == project else None

    async def conversation(self, project: str, state_id: str) -> list[dict[str, Any]] | None:
        """The items of a response and of everything it continues, oldest first; None when a part is missing."""
        turns: list[list[dict[str, Any]]] = []
        while state_id and len(turns) < _LONGEST_CHAIN:
            state = await self.get(project, state_id)
            if state is None:
                return None
            turns.append([*state.input, *state.response.get("output", ())])
            state_id = state.previous
        return [item for turn in reversed(turns) for item in turn]

    def stats(self) -> dict[str, int]:
        """``entries`` in memory and their ``bytes``."""
        return {"entries": len(self._recent), "bytes": self._bytes}

    def _remember(self, place: _Place, document: bytes) -> None:
        """An empty document stands for a deleted one until the database knows."""
        self._forget(place)
        self._bytes += len(document)
        self._recent[place] = document
        while len(self._recent) > self._max_count or (
            self._bytes > self._max_bytes and len(self._recent) > 1
        ):
            _, gone = self._recent.popitem(last=False)
            self._bytes -= len(gone)

    def _forget(self, place: _Place) -> None:
        self._bytes -= len(self._recent.pop(place, b""))


def _opened(document: bytes) -> State | None:
    """None for an empty document."""
    if not document:
        return None
    try:
        return msgspec.msgpack.decode(document, type=ResponseState)
    except msgspec.ValidationError:
        return msgspec.msgpack.decode(document, type=ConversationState)
