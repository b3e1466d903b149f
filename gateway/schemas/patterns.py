"""Patterns in linear time: a set of states walks through the text once, and never back.

Thompson, "Regular Expression Search Algorithm", CACM 11(6), 1968, with the states that were met kept as a table
(a lazy DFA). A text of n characters costs O(n · states) whatever the pattern, so no pattern can hang the gateway.
"""

from __future__ import annotations

from bisect import bisect_right

from gateway.schemas.pattern_syntax import (
    Anchor,
    Chars,
    Either,
    Node,
    PatternRefused,
    Ranges,
    Repeat,
    Sequence,
    parse,
)

MAX_STATES = 2000
_MOST_KNOWN, _KEPT = 20_000, 300
"""States in the table of transitions: while a text is read, and from one text to the next."""

_States = frozenset[int]


class Pattern:
    """A compiled pattern. ``states`` is its size."""

    def __init__(self, pattern: str) -> None:
        """Raises PatternRefused."""
        self._builder = built = _Builder()
        built.accept = built.add()
        built.begin = built.build(parse(pattern), built.accept)
        self.states = len(built.ranges)
        self._first = built.closure({built.begin}, first=True)
        self._later = built.closure({built.begin}, first=False)
        self._known: dict[tuple[_States, str], _States] = {}
        self._straight: dict[tuple[_States, str], _States] = {}
        self._size = 0

    def found_in(self, text: str) -> bool:
        """Whether any part of ``text`` matches, as JSON Schema asks."""
        found = self._walk(text)
        if self._size > _KEPT:
            self._forget()
        return found

    def _walk(self, text: str) -> bool:
        built, known, here = self._builder, self._known, self._first
        for char in text:
            if built.accept in here:
                return True
            then = known.get((here, char))
            if then is None:
                then = built.after(here, ord(char)) | self._later
                self._size += len(then)
                if self._size > _MOST_KNOWN:
                    self._forget()
                known[here, char] = then
            here = then
        if built.accept in here:
            return True
        return built.accept in built.closure(set(here), first=not text, last=True)

    def match(self, text: str, start: int, most: int) -> int:
        """Where the longest match that begins at ``start`` ends, of at most ``most`` characters; -1: none does."""
        built, end, best = self._builder, min(len(text), start + most), -1
        here = self._first if start == 0 else self._later
        for at in range(start, end + 1):
            last = at == len(text)
            if built.accept in here or (last and built.accept in built.closure(set(here), first=not text, last=True)):
                best = at
            if at == end or not here:
                break
            then = self._straight.get((here, text[at]))
            if then is None:
                then = built.after(here, ord(text[at]))
                self._size += len(then)
                if self._size > _MOST_KNOWN:
                    self._forget()
                self._straight[here, text[at]] = then
            here = then
        return best

    def _forget(self) -> None:
        self._known.clear()
        self._straight.clear()
        self._size = 0


class _Builder:
    """The automaton: state ``n`` goes to ``to[n]`` on a character in ``ranges[n]``, and freely to ``free[n]``;
    ``first[n]`` and ``last[n]`` are free only at the ends of the text."""

    def __init__(self) -> None:
        self.ranges: list[Ranges] = []
        self.lows: list[list[int]] = []
        self.to: list[int] = []
        self.free: list[list[int]] = []
        self.first: list[list[int]] = []
        self.last: list[list[int]] = []
        self.begin = self.accept = self.steps = 0

    def add(self) -> int:
        if len(self.ranges) >= MAX_STATES:
            raise PatternRefused(f"a pattern may have {MAX_STATES} states; repeat less", hostile=True)
        for table in (self.free, self.first, self.last, self.lows):
            table.append([])
        self.ranges.append(())
        self.to.append(-1)
        return len(self.ranges) - 1

    def build(self, node: Node, then: int) -> int:
        """The state from which ``node`` leads to ``then``."""
        self.steps += 1
        if self.steps > 4 * MAX_STATES:  # repeated nothings make work without states
            raise PatternRefused("a pattern's repetitions multiply; repeat less", hostile=True)
        if isinstance(node, Sequence):
            for item in reversed(node.items):
                then = self.build(item, then)
            return then
        if isinstance(node, Repeat):
            return self._repeat(node, then)
        state = self.add()
        if isinstance(node, Chars):
            self.ranges[state] = tuple(sorted(node.ranges))
            self.lows[state] = [low for low, _ in self.ranges[state]]
            self.to[state] = then
        elif isinstance(node, Anchor):
            (self.last if node.end else self.first)[state].append(then)
        elif isinstance(node, Either):
            self.free[state] = [self.build(item, then) for item in node.items]
        return state

    def _repeat(self, node: Repeat, then: int) -> int:
        if node.most is None:
            loop = self.add()
            self.free[loop] = [self.build(node.item, loop), then]
            then = loop
        else:
            end = then
            for _ in range(node.most - node.least):
                state = self.add()
                self.free[state] = [self.build(node.item, then), end]
                then = state
        for _ in range(node.least):
            then = self.build(node.item, then)
        return then

    def closure(self, states: set[int], *, first: bool, last: bool = False) -> _States:
        """``states`` and all that are free from them."""
        found, left = set(states), list(states)
        while left:
            state = left.pop()
            ways = self.free[state]
            if first:
                ways = ways + self.first[state]
            if last:
                ways = ways + self.last[state]
            for way in ways:
                if way not in found:
                    found.add(way)
                    left.append(way)
        return frozenset(found)

    def after(self, states: _States, code: int) -> _States:
        reached = {self.to[state] for state in states if self._takes(state, code)}
        return self.closure(reached, first=False)

    def _takes(self, state: int, code: int) -> bool:
        """Ranges of one state may overlap where a client wrote them so; then all that begin early enough count."""
        at = bisect_right(self.lows[state], code)
        return any(high >= code for _, high in self.ranges[state][:at])
