"""One piece of work for all who want it at the same time."""

from __future__ import annotations

import asyncio
import gc

import pytest

from gateway.concurrency.together import Together


async def test_it_is_done_once_for_all_and_anew_for_the_next() -> None:
    together: Together[str, int] = Together()
    done, go = 0, asyncio.Event()

    async def work() -> int:
        nonlocal done
        done += 1
        await go.wait()
        return done

    waiting = [asyncio.create_task(together.once("a", work)) for _ in range(3)]
    other = asyncio.create_task(together.once("b", work))
    await asyncio.sleep(0)
    waiting[0].cancel()  # who leaves ends it for nobody
    await asyncio.sleep(0)
    go.set()
    assert [await one for one in waiting[1:]] == [2, 2] and await other == 2
    assert not together.tasks() and await together.once("a", work) == 3


async def test_what_it_raises_reaches_all_and_is_no_complaint_when_all_have_left() -> None:
    together: Together[int, None] = Together()
    heard: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: heard.append(about))

    async def work() -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    for outcome in await asyncio.gather(*(together.once(1, work) for _ in range(2)), return_exceptions=True):
        assert isinstance(outcome, ValueError)
    leaving = asyncio.create_task(together.once(1, work))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    while together.tasks():
        await asyncio.sleep(0)
    gc.collect()
    assert not heard
