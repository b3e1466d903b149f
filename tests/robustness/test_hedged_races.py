"""Two calls side by side: whichever order they end in, and whenever the client leaves, one answer is delivered and
every other one is closed. Each step is made by the test, so that no clock decides an order."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import UpstreamFailed
from gateway.providers.codec import AttemptFailed, failed
from gateway.resilience.hedging import race


class Answer:
    """What holds a place until it is closed."""

    def __init__(self, name: str, open_ones: set[str]) -> None:
        self.name, self._open = name, open_ones
        open_ones.add(name)

    async def aclose(self) -> None:
        await asyncio.sleep(0)
        self._open.discard(self.name)


class Calls:
    """Two calls that end when they are told to, and what is open of them."""

    def __init__(self) -> None:
        self.open: set[str] = set()
        self.ends = {name: asyncio.get_running_loop().create_future() for name in ("first", "second")}
        self.begun = {name: asyncio.Event() for name in self.ends}
        self.linger = {
            name: asyncio.Event() for name in self.ends
        }  # a call that is hung up on goes when this is set
        self.hung_up = {name: asyncio.Event() for name in self.ends}
        for event in self.linger.values():
            event.set()

    async def call(self, name: str) -> Answer:
        self.begun[name].set()
        try:
            await self.ends[name]
        except asyncio.CancelledError:
            self.hung_up[name].set()
            await self.linger[name].wait()
            raise
        return Answer(name, self.open)

    def end(self, name: str, problem: Exception | None = None) -> None:
        if problem is None:
            self.ends[name].set_result(None)
        else:
            self.ends[name].set_exception(problem)

    def start(self, *, allowed: bool = True) -> asyncio.Task[Answer]:
        return asyncio.ensure_future(race(
            lambda: self.call("first"), lambda: self.call("second"), after=0.0, allowed=lambda: allowed,
            discard=lambda answer: answer.aclose(),
        ))  # fmt: skip

    async def both(self) -> asyncio.Task[Answer]:
        racing = self.start()
        await soon(self.begun["second"])
        return racing


async def soon(event: asyncio.Event) -> None:
    await asyncio.wait_for(event.wait(), 30)


def failure(text: str) -> AttemptFailed:
    return failed("failed", UpstreamFailed(text))


@pytest.mark.parametrize("winner", ["first", "second"])
async def test_the_first_to_answer_is_delivered_and_the_other_is_hung_up_on(winner: str) -> None:
    calls = Calls()
    racing = await calls.both()
    calls.end(winner)
    answer = await asyncio.wait_for(racing, 30)
    assert answer.name == winner and calls.open == {winner}
    assert calls.hung_up["second" if winner == "first" else "first"].is_set()


async def test_of_two_that_answer_in_the_same_moment_one_is_closed() -> None:
    calls = Calls()
    racing = await calls.both()
    calls.end("second")
    calls.end("first")
    answer = await asyncio.wait_for(racing, 30)
    assert calls.open == {answer.name}


@pytest.mark.parametrize("order", [("first", "second"), ("second", "first")])
async def test_a_failure_counts_when_both_have_failed(order: tuple[str, str]) -> None:
    calls = Calls()
    racing = await calls.both()
    for name in order:
        calls.end(name, failure(name))
        await asyncio.sleep(0)
    with pytest.raises(AttemptFailed) as caught:
        await asyncio.wait_for(racing, 30)
    assert caught.value.error.message == "first" and not calls.open


@pytest.mark.parametrize("loser", ["first", "second"])
async def test_a_failure_beside_an_answer_is_forgotten(loser: str) -> None:
    calls = Calls()
    winner = "second" if loser == "first" else "first"
    racing = await calls.both()
    calls.end(loser, failure(loser))
    await asyncio.sleep(0)
    calls.end(winner)
    assert (await asyncio.wait_for(racing, 30)).name == winner
    assert calls.open == {winner}


async def test_a_fault_of_our_own_ends_the_race() -> None:
    calls = Calls()
    racing = await calls.both()
    calls.end("second", ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(racing, 30)
    assert calls.hung_up["first"].is_set() and not calls.open


async def test_nobody_is_asked_twice_where_it_is_not_allowed() -> None:
    calls = Calls()
    racing = calls.start(allowed=False)
    await soon(calls.begun["first"])
    await asyncio.sleep(0.01)
    calls.end("first")
    assert (await asyncio.wait_for(racing, 30)).name == "first" and not calls.begun["second"].is_set()


async def cancelled(racing: asyncio.Task[Answer]) -> None:
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(racing), 30)
    assert racing.cancelled()


async def test_a_client_that_leaves_while_both_are_asked_hangs_up_on_both() -> None:
    calls = Calls()
    racing = await calls.both()
    racing.cancel()
    await cancelled(racing)
    assert all(event.is_set() for event in calls.hung_up.values()) and not calls.open


@pytest.mark.parametrize("winner", ["first", "second"])
@pytest.mark.parametrize("ticks", range(6))
async def test_a_client_that_leaves_around_the_moment_of_the_answer(winner: str, ticks: int) -> None:
    """Between the end of the provider's first byte and the return are some turns of the loop; it may leave in each."""
    calls = Calls()
    racing = await calls.both()
    calls.end(winner)
    for _ in range(ticks):
        await asyncio.sleep(0)
    racing.cancel()
    await asyncio.wait([racing], timeout=30)
    if racing.cancelled():
        assert not calls.open
    else:
        assert calls.open == {racing.result().name}


@pytest.mark.parametrize("winner", ["first", "second"])
@pytest.mark.parametrize("times", [1, 3])
async def test_a_client_that_leaves_while_the_loser_is_hung_up_on(winner: str, times: int) -> None:
    """The answer is here, and nobody takes it any more: it is closed, or its place would be held for good."""
    calls, loser = Calls(), "second" if winner == "first" else "first"
    calls.linger[loser].clear()
    racing = await calls.both()
    calls.end(winner)
    await soon(calls.hung_up[loser])
    for _ in range(times):
        racing.cancel()
        await asyncio.sleep(0)
    assert not racing.done()  # both are over before it ends
    calls.linger[loser].set()
    await cancelled(racing)
    assert not calls.open


async def test_who_is_cancelled_twice_closes_what_came_too_late() -> None:
    calls = Calls()
    calls.linger["second"].clear()
    racing = await calls.both()
    calls.end("first")
    racing.cancel()
    await soon(calls.hung_up["second"])
    racing.cancel()
    await asyncio.sleep(0)
    calls.linger["second"].set()
    await cancelled(racing)
    assert not calls.open


async def test_a_loser_that_cannot_be_closed_does_not_keep_the_answer_open() -> None:
    calls = Calls()

    async def discard(answer: Answer) -> None:
        await answer.aclose()
        raise ConnectionError("gone")

    racing = asyncio.ensure_future(race(
        lambda: calls.call("first"), lambda: calls.call("second"), after=0.0, allowed=lambda: True, discard=discard,
    ))  # fmt: skip
    await soon(calls.begun["second"])
    calls.end("first")
    calls.end("second")
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(racing, 30)
    assert not calls.open
