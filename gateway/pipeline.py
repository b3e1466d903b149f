"""A request's life, top to bottom: one fold of small stages over an :class:`Exchange`.

Each stage gets the exchange and the rest of the pipeline; it may answer itself, change the exchange on the way
in, wrap the answer on the way out, or raise a GatewayError. The order below is the order of the request.

    record        writes the call when its body has ended, disconnects included   (outermost)
    authenticate  who is this
    limit         may they, now
    guard         is the text fit to go out, and to come back
    cache         has this been answered already
    assign        which task is it, and may its student answer
    route         which candidates, in which order, with which propensity
    dispatch      attempts, retries, escalation from student to teacher           (innermost)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import reduce
from typing import Protocol

from gateway.context import Answer, Exchange

Handler = Callable[[Exchange], Awaitable[Answer]]


class Stage(Protocol):
    """A stage with nothing to do on the way back returns what ``inner`` does, which spares the call a coroutine."""

    def __call__(self, exchange: Exchange, inner: Handler) -> Awaitable[Answer]: ...


def fold(stages: Sequence[Stage], innermost: Handler) -> Handler:
    """The stages around ``innermost``, first stage outermost."""

    def wrap(inner: Handler, stage: Stage) -> Handler:
        call = stage.__call__

        def handler(exchange: Exchange) -> Awaitable[Answer]:
            return call(exchange, inner)

        return handler

    return reduce(wrap, reversed(stages), innermost)
