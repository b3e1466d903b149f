"""How many tokens a call will take, before it is made: enough to reserve by, learnt from what calls took."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import OrderedDict, deque

import msgspec

from gateway.protocol.chat import ChatRequest, text_length

UNKNOWN_OUTPUT = 1024
"""Tokens of output reserved for a model that has not answered often enough, when the client names no limit."""

PER_CHAR = 0.25
_PER_MESSAGE = 4
_PER_PART = 1000  # an image, a file or a sound beside the text
_REMEMBERED = 200
_ENOUGH = 20
_WEIGHT = 0.05
_MOST_NAMES = 10_000


class _Learnt:
    """The last outputs of one name, sorted beside their order, and its tokens per character of input."""

    __slots__ = ("order", "per_char", "values")

    def __init__(self) -> None:
        self.order: deque[int] = deque()
        self.values: list[int] = []
        self.per_char = PER_CHAR

    def add(self, output: int) -> None:
        if len(self.order) >= _REMEMBERED:
            del self.values[bisect_left(self.values, self.order.popleft())]
        self.order.append(output)
        insort(self.values, output)

    def p99(self) -> int | None:
        """The 99th percentile (nearest rank) of the outputs, None while there are too few of them."""
        if len(self.values) < _ENOUGH:
            return None
        return self.values[math.ceil(0.99 * len(self.values)) - 1]


class Estimator:
    """Learns by name (a task, or the model as the client asks for it); forgets the names idle longest."""

    def __init__(self) -> None:
        self._learnt: OrderedDict[str, _Learnt] = OrderedDict()

    def tokens(self, name: str, request: ChatRequest) -> tuple[int, int]:
        """(input, output) tokens to reserve. Output: the client's limit, or the p99 of the name's answers when
        that is lower, for each of ``n`` choices."""
        learnt = self._learnt.get(name)
        per_char = learnt.per_char if learnt is not None else PER_CHAR
        output = learnt.p99() if learnt is not None else None
        asked = request.token_limit
        if output is None:
            output = asked if asked is not None else UNKNOWN_OUTPUT
        elif asked is not None:
            output = min(asked, output)
        return math.ceil(characters(request) * per_char) + extras(request), max(1, output) * (request.n or 1)

    def learn(self, name: str, request: ChatRequest, prompt: int, completion: int) -> None:
        """Takes in what a finished call was counted to have used."""
        learnt = self._learnt.get(name)
        if learnt is None:
            learnt = self._learnt[name] = _Learnt()
            if len(self._learnt) > _MOST_NAMES:
                self._learnt.popitem(last=False)
        else:
            self._learnt.move_to_end(name)
        learnt.add(completion // (request.n or 1))
        chars = characters(request)
        if chars >= 100:  # below that the fixed tokens of a turn drown the ratio
            ratio = min(4.0, prompt / chars)
            # upwards at once, downwards slowly: to reserve too little lets a budget run over
            learnt.per_char = max(ratio, learnt.per_char + _WEIGHT * (ratio - learnt.per_char))


def characters(request: ChatRequest) -> int:
    """Characters of the text turns and of the tools and schemas that are counted as input too."""
    found = text_length(request.messages)
    for beside in (request.tools, request.functions, request.response_format):
        if beside:
            found += len(msgspec.json.encode(beside))
    return found


def extras(request: ChatRequest) -> int:
    """Tokens for the frame of each turn, and for parts that are not text."""
    parts = sum(
        part.get("type") not in ("text", "refusal")
        for message in request.messages
        if isinstance(message.content, list)
        for part in message.content
    )
    return _PER_MESSAGE * len(request.messages) + _PER_PART * parts
