"""The grammar of patterns: ECMA-262 without what needs backtracking (look-around, back references) or Unicode
tables. A pattern becomes a small tree; ``gateway.schemas.patterns`` runs it in linear time."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

MAX_LENGTH = 1000
_DEEPEST = 50
_MOST_REPEATS = 1000
_SPACE = "\t\n\v\f\r \u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff" + "".join(
    map(chr, range(0x2000, 0x200B))
)
_CONTROL = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "0": "\0"}
_LAST = 0x10FFFF

Ranges = tuple[tuple[int, int], ...]


class PatternRefused(Exception):
    """``hostile``: past a bound, else a mistake or a feature that is not taken."""

    def __init__(self, message: str, *, hostile: bool = False) -> None:
        super().__init__(message)
        self.hostile = hostile


class Chars(Struct, frozen=True):
    """One character in any of the ranges (code points, both ends included)."""

    ranges: Ranges


class Anchor(Struct, frozen=True):
    """The beginning or the end of the text."""

    end: bool


class Sequence(Struct, frozen=True):
    items: tuple[Node, ...]


class Either(Struct, frozen=True):
    items: tuple[Node, ...]


class Repeat(Struct, frozen=True):
    """``most`` None: without end."""

    item: Node
    least: int
    most: int | None


Node = Chars | Anchor | Sequence | Either | Repeat


def inverted(ranges: Ranges) -> Ranges:
    """Every character that is in none of the ranges."""
    found, begin = [], 0
    for low, high in sorted(ranges):
        if low > begin:
            found.append((begin, low - 1))
        begin = max(begin, high + 1)
    if begin <= _LAST:
        found.append((begin, _LAST))
    return tuple(found)


_DIGIT: Ranges = ((48, 57),)
_WORD: Ranges = ((48, 57), (65, 90), (95, 95), (97, 122))
_BLANK: Ranges = tuple((ord(one), ord(one)) for one in _SPACE)
_SETS: dict[str, Ranges] = {
    "d": _DIGIT, "w": _WORD, "s": _BLANK, "D": inverted(_DIGIT), "W": inverted(_WORD), "S": inverted(_BLANK),
}  # fmt: skip
_ANY = Chars(inverted(tuple((ord(one), ord(one)) for one in "\n\r\u2028\u2029")))


def parse(pattern: str) -> Node:
    """The tree of a pattern. Raises PatternRefused."""
    if len(pattern) > MAX_LENGTH:
        raise PatternRefused(f"a pattern may have {MAX_LENGTH} characters", hostile=True)
    parser = _Parser(pattern)
    tree = parser.either(0)
    if parser.more():
        raise PatternRefused("a ')' has no '('")
    return tree


class _Parser:
    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0

    def more(self) -> bool:
        return self._at < len(self._text)

    def _peek(self) -> str:
        return self._text[self._at] if self.more() else ""

    def _next(self) -> str:
        if not self.more():
            raise PatternRefused("it ends in the middle")
        self._at += 1
        return self._text[self._at - 1]

    def _skip(self, text: str) -> bool:
        if not self._text.startswith(text, self._at):
            return False
        self._at += len(text)
        return True

    def either(self, depth: int) -> Node:
        if depth > _DEEPEST:
            raise PatternRefused(f"groups may be {_DEEPEST} deep", hostile=True)
        branches = [self._sequence(depth)]
        while self._skip("|"):
            branches.append(self._sequence(depth))
        return branches[0] if len(branches) == 1 else Either(tuple(branches))

    def _sequence(self, depth: int) -> Node:
        items: list[Node] = []
        while self.more() and self._peek() not in "|)":
            items.append(self._repeated(self._atom(depth)))
        return Sequence(tuple(items))

    def _repeated(self, item: Node) -> Node:
        sign = self._peek()
        if sign and sign in "*+?":
            self._at += 1
            least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}[sign]
        elif sign == "{":
            self._at += 1
            least, most = self._bounds()
        else:
            return item
        self._skip("?")  # lazy or greedy: whether a text matches does not depend on it
        if self._peek() and self._peek() in "*+?{":
            raise PatternRefused("one repetition follows another")
        if isinstance(item, Anchor):
            raise PatternRefused("an anchor cannot be repeated")
        return Repeat(item, least, most)

    def _bounds(self) -> tuple[int, int | None]:
        least = self._number()
        most: int | None = least
        if self._skip(","):
            most = None if self._peek() == "}" else self._number()
        if not self._skip("}"):
            raise PatternRefused("a '{' begins no repetition; write '\\{'")
        if most is not None and most < least:
            raise PatternRefused("a repetition's bounds are the wrong way round")
        return least, most

    def _number(self) -> int:
        begin = self._at
        while self._peek() and self._peek() in "0123456789":
            self._at += 1
        digits = self._text[begin : self._at]
        if not digits:
            raise PatternRefused("a '{' begins no repetition; write '\\{'")
        if len(digits) > 6 or int(digits) > _MOST_REPEATS:
            raise PatternRefused(f"a repetition may count to {_MOST_REPEATS}", hostile=True)
        return int(digits)

    def _atom(self, depth: int) -> Node:
        sign = self._next()
        simple: dict[str, Callable[[], Node]] = {
            "^": lambda: Anchor(end=False),
            "$": lambda: Anchor(end=True),
            ".": lambda: _ANY,
            "[": self._class,
            "\\": lambda: Chars(self._escape(in_class=False)),
        }
        if sign in simple:
            return simple[sign]()
        if sign == "(":
            return self._group(depth)
        if sign in "*+?{}]":
            raise PatternRefused(f"'{sign}' stands where it means nothing; write '\\{sign}'")
        return Chars(((ord(sign), ord(sign)),))

    def _group(self, depth: int) -> Node:
        if self._skip("?") and not self._skip(":"):
            raise PatternRefused("only '(...)' and '(?:...)' groups are taken: no look-around, no names")
        inner = self.either(depth + 1)
        if not self._skip(")"):
            raise PatternRefused("a '(' has no ')'")
        return inner

    def _class(self) -> Node:
        negated = self._skip("^")
        ranges: list[tuple[int, int]] = []
        while not self._skip("]"):
            low = self._member()
            if self._peek() == "-" and not self._text.startswith("-]", self._at):
                self._at += 1
                high = self._member()
                if len(low) != 1 or len(high) != 1 or low[0][0] != low[0][1] or low[0][0] > high[0][1]:
                    raise PatternRefused("a range in brackets is the wrong way round")
                low = ((low[0][0], high[0][1]),)
            ranges += low
        return Chars(inverted(tuple(ranges)) if negated else tuple(ranges))

    def _member(self) -> Ranges:
        sign = self._next()
        return self._escape(in_class=True) if sign == "\\" else ((ord(sign), ord(sign)),)

    def _escape(self, *, in_class: bool) -> Ranges:
        sign = self._next()
        if sign in _SETS:
            return _SETS[sign]
        if sign in "xu":
            return self._code(2 if sign == "x" else 4)
        if in_class and sign == "b":
            return ((8, 8),)
        if sign in _CONTROL:
            sign = _CONTROL[sign]
        elif sign.isalnum():
            raise PatternRefused(
                f"'\\{sign}' is not taken: no back references, word boundaries or Unicode classes"
            )
        return ((ord(sign), ord(sign)),)

    def _code(self, digits: int) -> Ranges:
        text = self._text[self._at : self._at + digits]
        if len(text) != digits or any(one not in "0123456789abcdefABCDEF" for one in text):
            raise PatternRefused("a character's number needs two (\\x) or four (\\u) hexadecimal digits")
        self._at += digits
        return ((int(text, 16), int(text, 16)),)
