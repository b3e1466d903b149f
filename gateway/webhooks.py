"""Tells webhooks what became of jobs and batches: at least once, signed, and under the same id each time.

The messages are signed as Standard Webhooks prescribes (standardwebhooks.com), which is what OpenAI's own webhooks
use: ``client.webhooks.unwrap(body, headers, secret=...)`` accepts them.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

import msgspec

from gateway.config import Webhook
from gateway.storage.away import database_errors
from gateway.storage.commands import Refused, WriterAway
from gateway.storage.data_values import AddEvent, ClaimEvent, Event, SettleEvent
from gateway.storage.protocols import Reader, Writer

if TYPE_CHECKING:
    import aiohttp

_log = logging.getLogger("understudy.webhooks")
PATIENCE_S = 10.0
_LOOK_S = 0.5
_LEASE_S = 120.0
_LONGEST_WAIT_S = 3600.0


def sign(secret: str, message_id: str, at: int, body: bytes) -> dict[str, str]:
    """The three headers of Standard Webhooks, with the content type. ``secret``: ``whsec_`` and base64, or any text."""
    key = secret.encode()
    if secret.startswith("whsec_"):
        try:
            key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            key = secret.encode()
    signed = hmac.digest(key, f"{message_id}.{at}.".encode() + body, hashlib.sha256)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
        "content-type": "application/json",
        "user-agent": "understudy",
    }


async def opened() -> aiohttp.ClientSession:
    """For deliveries. aiohttp is loaded here, in a thread: most gateways have nobody to tell."""
    module = await asyncio.to_thread(import_module, "aiohttp")
    timeout = module.ClientTimeout(total=PATIENCE_S)
    session: aiohttp.ClientSession = module.ClientSession(timeout=timeout, trust_env=False)
    return session


async def post(session: aiohttp.ClientSession, url: str, body: bytes, headers: Mapping[str, str]) -> str:
    """One delivery; "" when it was taken, else why not. A redirect is not followed."""
    from aiohttp import ClientError

    try:
        async with session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
            return "" if answer.status < 300 else f"status {answer.status}"
    except (ClientError, TimeoutError, OSError, ValueError) as error:
        return type(error).__name__


def body_of(event: Event) -> bytes:
    return msgspec.json.encode({
        "id": event.id, "object": "event", "created_at": int(event.at), "type": event.type,
        "data": {"id": event.subject},
    })  # fmt: skip


def wanting(event: Event, webhooks: Sequence[Webhook]) -> list[Webhook]:
    """Who is still to be told of an event."""
    return [
        one
        for one in webhooks
        if one.project in (None, event.project)
        and (not one.events or event.type in one.events)
        and _name(one) not in event.done
    ]


def _name(webhook: Webhook) -> str:
    """How an endpoint that took an event is remembered: its address may hold a secret."""
    return hashlib.sha256(webhook.url.encode()).hexdigest()[:16]


Announce = Callable[[str, str, str], None]
"""Told (project, type of event, id of its subject)."""


class Deliveries:
    """``settings`` are read anew for each event, so that a reload takes effect. Several gateways share the work: an
    event is claimed for two minutes, and offered again when nobody has settled it by then."""

    def __init__(
        self, settings: Callable[[], Sequence[Webhook]], reader: Reader, writer: Writer,
        clock: Callable[[], float] = time.time, wait_s: float = 5.0,
    ) -> None:  # fmt: skip
        self._settings, self._reader, self._writer = settings, reader, writer
        self._clock, self._wait = clock, wait_s
        self._announcing: set[asyncio.Task[None]] = set()

    def announce(self, project: str, type: str, subject: str) -> None:
        """Queues an event of something that is in no table. Never blocks; lost while the database cannot be written."""
        if not self._settings():
            return
        command = AddEvent(project, type, subject, self._clock())

        async def add() -> None:
            try:
                await asyncio.to_thread(self._writer.execute, command)
            except (WriterAway, Refused) as problem:
                _log.warning("%s of %s is told to nobody: %s", type, subject, problem)

        task = asyncio.create_task(add())
        self._announcing.add(task)
        task.add_done_callback(self._announcing.discard)

    async def run(self) -> None:
        session: aiohttp.ClientSession | None = None
        try:
            while True:
                busy = False
                try:
                    if self._settings():
                        session = session or await opened()
                        busy = await self._one(session)
                except database_errors(WriterAway, Refused):
                    pass  # events wait for the database
                if not busy:
                    await asyncio.sleep(_LOOK_S)
        finally:
            if session is not None:
                await session.close()

    async def _one(self, session: aiohttp.ClientSession) -> bool:
        """Tells one event that is due; whether there was one."""
        if not await asyncio.to_thread(self._reader.event_waiting, self._clock()):
            return False
        claim = ClaimEvent(at=self._clock(), lease_s=_LEASE_S)
        event: Event | None = await asyncio.to_thread(self._writer.execute, claim)
        if event is None:
            return False
        told = await asyncio.gather(
            *(self._tell(session, event, one) for one in wanting(event, self._settings()))
        )
        next_at = None
        if not all(taken for _, taken in told):
            next_at = self._clock() + min(_LONGEST_WAIT_S, self._wait * 2 ** min(20, event.tries - 1))
        done = (*event.done, *(name for name, taken in told if taken))
        await asyncio.to_thread(self._writer.execute, SettleEvent(event.id, done, next_at))
        return True

    async def _tell(self, session: aiohttp.ClientSession, event: Event, webhook: Webhook) -> tuple[str, bool]:
        body = body_of(event)
        headers = sign(webhook.secret, event.id, int(self._clock()), body)
        problem = await post(session, webhook.url, body, headers)
        if problem:
            _log.warning("a webhook did not take %s (%s), try %d", event.type, problem, event.tries)
        return _name(webhook), not problem
