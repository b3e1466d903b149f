"""A TCP proxy that misbehaves on purpose: put it before any server. Loopback only, stdlib only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class FaultProxy:
    """Faults apply to bytes on their way from the server to its client, and may be changed at any time.

    ``hang``: take connections and pass nothing on. ``reset_after``/``cut_after``: that many bytes, then RST/FIN.
    ``drip``: one byte per so many seconds. ``corrupt_at``: flip the byte at this offset. ``target``: a port of
    loopback, or the path of a unix socket.
    """

    target: int | str
    hang: bool = False
    reset_after: int | None = None
    cut_after: int | None = None
    corrupt_at: int | None = None
    drip: float = 0.0
    port: int = 0
    accepted: int = 0
    server: asyncio.Server | None = None
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def start(self) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Closes the port: connections are refused until ``start``."""
        assert self.server is not None
        self.server.close()
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        here = asyncio.current_task()
        assert here is not None
        self.tasks.add(here)
        try:
            if self.hang:
                await reader.read(-1)  # until the other side gives up
                return
            out, back = await self._behind()
            up = asyncio.create_task(_copy(reader, back))
            try:
                await self._down(out, writer)
            finally:
                back.close()
                up.cancel()
                await asyncio.gather(up, return_exceptions=True)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.tasks.discard(here)
            writer.close()

    async def _behind(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self.target, str):
            return await asyncio.open_unix_connection(self.target)
        return await asyncio.open_connection("127.0.0.1", self.target)

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passed = 0
        limits = [one for one in (self.reset_after, self.cut_after) if one is not None]
        while data := await reader.read(65536):
            if self.corrupt_at is not None and passed <= self.corrupt_at < passed + len(data):
                at = self.corrupt_at - passed
                data = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
            if limits:
                data = data[: max(0, min(limits) - passed)]
            for part in [data[i : i + 1] for i in range(len(data))] if self.drip else [data]:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(self.drip)
            passed += len(data)
            if limits and passed >= min(limits):
                if self.reset_after is not None:
                    writer.transport.abort()
                return


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def faultproxy(target: int | str) -> AsyncIterator[FaultProxy]:
    """A running proxy before ``target``."""
    made = FaultProxy(target)
    await made.start()
    try:
        yield made
    finally:
        await made.refuse()
