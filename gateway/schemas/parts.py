"""Checks that are made of checks: what a compiled schema runs."""

from __future__ import annotations

from typing import Any

from gateway.schemas.patterns import Pattern
from gateway.schemas.problems import place
from gateway.schemas.running import Check, Run, every


def joined(checks: list[Check]) -> Check:
    if len(checks) == 1:
        only = checks[0]

        def alone(value: Any, at: str, run: Run) -> bool:
            run.spend(1)
            return only(value, at, run)

        return alone

    def check(value: Any, at: str, run: Run) -> bool:
        run.spend(1 + len(checks))
        fits = True
        for one in checks:
            if not one(value, at, run):
                if run.quiet:
                    return False
                fits = False
        return fits

    return check


def anything(value: Any, at: str, run: Run) -> bool:
    return True


def nothing(path: str) -> Check:
    def check(value: Any, at: str, run: Run) -> bool:
        return run.fault(at, path, "nothing is allowed here")

    return check


def properties(
    named: dict[str, Check], patterns: list[tuple[Pattern, Check]], rest: Check | None, closed: str
) -> Check:
    """``closed``: where the schema forbids properties that it does not name, else ""."""

    def check(value: Any, at: str, run: Run) -> bool:
        if not isinstance(value, dict):
            return True
        fits = True
        for name, item in value.items():
            run.spend(1)
            one, there = named.get(name), place(at, name)
            known = one is not None
            if one is not None:
                fits = one(item, there, run) and fits
            for pattern, other in patterns:
                if matches(pattern, name, run):
                    known = True
                    fits = other(item, there, run) and fits
            if known or rest is None:
                continue
            if closed:
                fits = run.fault(there, closed, "is a property that the schema does not name")
            else:
                fits = rest(item, there, run) and fits
        return fits

    return check


def items(inner: Check, skip: int) -> Check:
    def check(value: Any, at: str, run: Run) -> bool:
        if not isinstance(value, list):
            return True
        return every(inner(value[one], place(at, one), run) for one in range(skip, len(value)))

    return check


def condition(test: Check, then: Check, otherwise: Check) -> Check:
    def check(value: Any, at: str, run: Run) -> bool:
        return (then if run.fits(test, value, at) else otherwise)(value, at, run)

    return check


def matches(pattern: Pattern, text: str, run: Run) -> bool:
    run.spend(1 + len(text))
    return pattern.found_in(text)
