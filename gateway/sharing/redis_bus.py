"""A bus over Redis' publish and subscribe. Messages are sealed under the spool's key: they may hold clients' text,
and whoever can write to that Redis can tell the workers nothing.

A question reaches every worker; Redis says how many that were, so the asker knows when all have replied. A worker
that comes, or comes back after Redis was away, says hello, and the others introduce themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import uuid
from collections.abc import Callable
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag

from gateway.concurrency.patience import Patience
from gateway.sharing.bus import Handler
from gateway.sharing.link import Away, Link
from gateway.storage.spooling.format import SpoolCipher

_log = logging.getLogger("understudy.sharing")
_PATIENCE = 5
"""An answer of another worker may take so many times as long as one of Redis: a quarter of a second."""
_AGAIN_S = 0.25
_MENTION_S = 0.1
_MOST_MENTIONED = 10_000
_BEAT_S = 1.0
_DEAF_BEATS = 3
_encode = msgspec.msgpack.Encoder().encode


class _Message(msgspec.Struct, array_like=True, frozen=True):
    """``number`` is 0 for what nobody needs to answer. ``values`` of a reply: its one value."""

    sender: str
    kind: str
    number: int
    topic: str
    values: list[Any]


_decode = msgspec.msgpack.Decoder(_Message).decode


class RedisBus:
    """Also listens and beats in the background between ``start`` and ``close``; ``link`` is the caller's."""

    def __init__(self, link: Link, cipher: SpoolCipher) -> None:
        self._link, self._cipher, self._patience = link, cipher, _PATIENCE * link.patience
        self._me = uuid.uuid4().hex
        self._all = f"understudy:{cipher.key_id.hex()}:bus"
        self._mine = f"{self._all}:{self._me}"
        self._handlers: dict[str, Handler] = {}
        self._introduce: list[Callable[[], None]] = []
        self._numbers = itertools.count(1)
        self._asked: dict[int, tuple[list[Any], asyncio.Event]] = {}
        self._mentioned: list[tuple[str, tuple[Any, ...]]] = []
        self._beats = 0
        """How many Redis has taken."""
        self._closed = False
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        listening = asyncio.Event()
        self._tasks = [asyncio.create_task(self._listen(listening)), asyncio.create_task(self._beat())]
        with contextlib.suppress(TimeoutError):  # else it goes on in the background
            await asyncio.wait_for(listening.wait(), self._patience)

    async def close(self) -> None:
        self._closed = True
        self._say_mentioned()
        pending = set(self._tasks)
        while pending:
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=0.1)

    # ------------------------------------------------------------------ Bus
    def hear(self, topic: str, handler: Handler) -> None:
        self._handlers[topic] = handler

    def greet(self, introduce: Callable[[], None]) -> None:
        self._introduce.append(introduce)

    def tell(self, topic: str, *values: Any) -> None:
        self._link.tell("PUBLISH", self._all, self._sealed("tell", 0, topic, list(values)))

    def mention(self, topic: str, *values: Any) -> None:
        if not self._mentioned:
            asyncio.get_running_loop().call_later(_MENTION_S, self._say_mentioned)
        if len(self._mentioned) < _MOST_MENTIONED:
            self._mentioned.append((topic, values))

    async def ask(self, topic: str, *values: Any) -> list[Any]:
        number = next(self._numbers)
        replies: list[Any] = []
        news = asyncio.Event()
        self._asked[number] = replies, news
        try:
            message = self._sealed("ask", number, topic, list(values))
            others = int(await self._link.ask("PUBLISH", self._all, message)) - 1
            async with Patience(self._patience):
                while len(replies) < others:
                    news.clear()
                    await news.wait()
        except (Away, TimeoutError):
            pass  # a worker that does not answer is as good as gone
        finally:
            del self._asked[number]
        return [one for one in replies if one is not None]

    # ------------------------------------------------------------------ saying
    def _sealed(self, kind: str, number: int, topic: str, values: list[Any]) -> bytes:
        return self._cipher.seal(_encode(_Message(self._me, kind, number, topic, values)))

    def _say_mentioned(self) -> None:
        said, self._mentioned = self._mentioned, []
        if said:
            self.tell("mentions", [[topic, *values] for topic, values in said])

    async def _beat(self) -> None:
        """A beat that Redis has taken and that does not come back means that the connection is dead, whatever the
        kernel thinks."""
        while not self._closed:
            await asyncio.sleep(_BEAT_S)
            with contextlib.suppress(Away):
                await self._link.ask("PUBLISH", self._all, self._sealed("tell", 0, "beat", []))
                self._beats += 1

    # ------------------------------------------------------------------ hearing
    async def _listen(self, listening: asyncio.Event) -> None:
        while not self._closed:
            try:
                async with self._link.redis.pubsub() as channel:
                    await asyncio.wait_for(channel.subscribe(self._all, self._mine), 1.0)
                    listening.set()
                    self._say_hello()
                    await self._follow(channel)
            except self._link.failures:
                await asyncio.sleep(_AGAIN_S)

    async def _follow(self, channel: Any) -> None:
        """Until the connection fails or falls silent. Raises what the link may fail with.

        Silence is told by beats and not by the clock: a process that stands still, or gets its turn rarely, neither
        sends them nor hears them, and whoever is asked while it connects again does not ask it.
        """
        heard = self._beats
        while self._beats - heard < _DEAF_BEATS:
            message = await channel.get_message(ignore_subscribe_messages=True, timeout=_BEAT_S)
            if message is not None:
                heard = self._beats
                self._take(message["data"])

    def _say_hello(self) -> None:
        self.tell("hello")
        self._introduce_all()

    def _introduce_all(self) -> None:
        for introduce in self._introduce:
            introduce()

    def _take(self, sealed: bytes) -> None:
        try:
            message = _decode(self._cipher.open(sealed))
        except (InvalidTag, msgspec.DecodeError, ValueError):
            return  # not one of ours
        if message.kind == "reply":
            self._replied(message)
        elif message.sender != self._me:
            self._others_say(message)

    def _replied(self, message: _Message) -> None:
        waiting = self._asked.get(message.number)
        if waiting is not None:
            waiting[0].append(message.values[0])
            waiting[1].set()

    def _others_say(self, message: _Message) -> None:
        if message.topic == "hello":
            self._introduce_all()
        elif message.topic == "mentions":
            for topic, *values in message.values[0]:
                self._handle(topic, values)
        else:
            reply = self._handle(message.topic, message.values)
            if message.kind == "ask":
                answer = self._sealed("reply", message.number, message.topic, [reply])
                self._link.tell("PUBLISH", f"{self._all}:{message.sender}", answer)

    def _handle(self, topic: str, values: list[Any]) -> Any:
        handler = self._handlers.get(topic)
        if handler is None:
            return None
        try:
            return handler(*values)
        except Exception:  # another worker's mistake must not silence this one
            _log.exception("what another worker said about '%s' could not be used", topic)
            return None
