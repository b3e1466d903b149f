"""``calculate_output`` of a multi-grader: numbers, names of graders, ``+ - * / ^``, parentheses and a few functions.

A recursive descent into postfix steps; the steps are then worked off on a stack. Nothing in a formula is executed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import NoReturn

from msgspec import Struct

from optimizer.graders.faults import Fault

LONGEST, DEEPEST = 2000, 50
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_]\w*)|(?P<sign>[-+*/^(),]))",
    re.ASCII,
)
_ONE: Mapping[str, Callable[[float], float]] = {
    "abs": abs, "floor": math.floor, "ceil": math.ceil, "sqrt": math.sqrt, "log": math.log, "exp": math.exp,
    "negate": lambda value: -value,
}  # fmt: skip
_MANY: Mapping[str, Callable[[list[float]], float]] = {"min": min, "max": max}
_TWO: Mapping[str, Callable[[float, float], float]] = {
    "+": lambda one, other: one + other,
    "-": lambda one, other: one - other,
    "*": lambda one, other: one * other,
    "/": lambda one, other: one / other,
    "^": math.pow,
}
_FUNCTIONS = tuple(name for name in (*_ONE, *_MANY) if name != "negate")


class Apply(Struct, frozen=True):
    """Takes ``count`` values off the stack and puts one back."""

    name: str
    count: int


class Formula(Struct, frozen=True):
    """Postfix: a number, a grader's name, or what is done to the values before."""

    steps: tuple[float | str | Apply, ...]

    @property
    def names(self) -> frozenset[str]:
        return frozenset(step for step in self.steps if isinstance(step, str))

    def value(self, scores: Mapping[str, float]) -> float:
        """``scores`` by name hold all ``names``. Raises Fault where there is no finite number."""
        stack: list[float] = []
        try:
            for step in self.steps:
                if isinstance(step, Apply):
                    values = stack[-step.count :]
                    stack[-step.count :] = [_applied(step.name, values)]
                else:
                    stack.append(scores[step] if isinstance(step, str) else step)
        except (ArithmeticError, ValueError) as problem:
            raise Fault("other_error", f"The formula has no value for these scores: {problem}.") from None
        if not math.isfinite(stack[0]):
            raise Fault("other_error", "The formula has no finite value for these scores.")
        return stack[0]


def parse(text: str) -> Formula:
    """Raises Fault (``formula_parse_error``) that says where."""
    return _Parser(text).formula()


def _applied(name: str, values: list[float]) -> float:
    if name in _MANY:
        return _MANY[name](values)
    return float(_ONE[name](values[0]) if name in _ONE else _TWO[name](values[0], values[1]))


class _Parser:
    def __init__(self, text: str) -> None:
        if len(text) > LONGEST:
            raise Fault("formula_parse_error", f"A formula has at most {LONGEST} characters.")
        self._text, self._at, self._depth = text.rstrip(), 0, 0
        self._steps: list[float | str | Apply] = []

    def formula(self) -> Formula:
        self._sum()
        if self._at < len(self._text):
            self._wrong("an operator")
        return Formula(tuple(self._steps))

    def _sum(self) -> None:
        self._depth += 1
        if self._depth > DEEPEST:
            raise Fault("formula_parse_error", f"A formula is nested at most {DEEPEST} deep.")
        self._product()
        while sign := self._take("+", "-"):
            self._product()
            self._steps.append(Apply(sign, 2))
        self._depth -= 1

    def _product(self) -> None:
        self._signed()
        while sign := self._take("*", "/"):
            self._signed()
            self._steps.append(Apply(sign, 2))

    def _signed(self) -> None:
        """Signs bind less than powers: -2^2 is -4."""
        negative = False
        while sign := self._take("+", "-"):
            negative ^= sign == "-"
        self._atom()
        if self._take("^"):
            self._power()
        if negative:
            self._steps.append(Apply("negate", 1))

    def _power(self) -> None:
        """From the right: 2^3^2 is 2^9."""
        self._depth += 1
        if self._depth > DEEPEST:
            raise Fault("formula_parse_error", f"A formula is nested at most {DEEPEST} deep.")
        self._signed()
        self._depth -= 1
        self._steps.append(Apply("^", 2))

    def _atom(self) -> None:
        token = _TOKEN.match(self._text, self._at)
        if token is None or (token["sign"] and token["sign"] != "("):
            self._wrong("a number, a grader's name or '('")
        self._at = token.end()
        if token["number"]:
            number = float(token["number"])
            if not math.isfinite(number):
                raise Fault("formula_parse_error", "A number in the formula is too large.")
            self._steps.append(number)
        elif token["name"] and not self._take("("):
            self._steps.append(token["name"])
        elif token["name"]:
            self._call(token["name"])
        else:
            self._sum()
            self._close()

    def _call(self, name: str) -> None:
        if name not in _FUNCTIONS:
            known = ", ".join(_FUNCTIONS)
            raise Fault("formula_parse_error", f"There is no function '{name[:40]}'. Known are {known}.")
        self._sum()
        count = 1
        while name in _MANY and self._take(","):
            self._sum()
            count += 1
        self._close()
        self._steps.append(Apply(name, count))

    def _close(self) -> None:
        if not self._take(")"):
            self._wrong("')'")

    def _take(self, *signs: str) -> str:
        token = _TOKEN.match(self._text, self._at)
        if token is None or token["sign"] not in signs:
            return ""
        self._at = token.end()
        return str(token["sign"])

    def _wrong(self, wanted: str) -> NoReturn:
        raise Fault("formula_parse_error", f"The formula lacks {wanted} at character {self._at + 1}.")
