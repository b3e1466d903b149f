"""A bounded wait does not count the time in which the loop itself stood still."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest
import uvloop

from gateway.concurrency.patience import Patience

LOOPS = pytest.mark.parametrize("loops", [asyncio.new_event_loop, uvloop.new_event_loop])


@LOOPS
def test_an_answer_that_came_while_the_loop_stood_still_is_taken(loops: type[asyncio.AbstractEventLoop]) -> None:
    ours, theirs = socket.socketpair()

    async def asked() -> bytes:
        reader, writer = await asyncio.open_connection(sock=ours)
        loop = asyncio.get_running_loop()
        loop.call_soon(theirs.send, b"answer")
        loop.call_soon(time.sleep, 0.3)
        try:
            async with Patience(0.05):
                return await reader.readexactly(6)
        finally:
            writer.close()

    with asyncio.Runner(loop_factory=loops) as runner, theirs:
        assert runner.run(asked()) == b"answer"


@LOOPS
@pytest.mark.parametrize("stalls", [False, True])
def test_who_never_answers_is_given_up(loops: type[asyncio.AbstractEventLoop], stalls: bool) -> None:
    """Also by a loop that stands still all the time."""

    async def asked() -> None:
        loop = asyncio.get_running_loop()

        def stall() -> None:
            time.sleep(0.03)
            loop.call_soon(stall)

        if stalls:
            loop.call_soon(stall)
        with pytest.raises(TimeoutError):
            async with Patience(0.02):
                await loop.create_future()

    with asyncio.Runner(loop_factory=loops) as runner:
        began = time.monotonic()
        runner.run(asyncio.wait_for(asked(), 30))
        assert time.monotonic() - began >= 0.02
