"""Guardrails judge what a text says, also where JSON's escapes spell it, and change it where it is spelt. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.guardrails.verdict import SEVERITY, Change, Verdict, spelled_out
from gateway.texts.escapes import Reading, has_escapes, meanings
from gateway.texts.json_places import escaped, is_json

Say = Callable[[str], Verdict]


def meant(text: str, say: Say, *, in_json: bool | None = None, final: bool = True) -> Verdict:
    """What ``say`` says of ``text``: as it stands, and with its escapes taken off. ``in_json``: whether it is JSON, or
    a piece of it; None: look. ``final`` as in ``Guardrail.check``."""
    verdict = spelled_out(say(text), text)
    if not has_escapes(text):
        return verdict
    read = meanings(text, final=final)
    return together(text, verdict, read, [say(one.text) for one in read], in_json=in_json)


def together(
    text: str, verdict: Verdict, read: Sequence[Reading], said: Sequence[Verdict], *, in_json: bool | None = None
) -> Verdict:
    """One verdict on ``text``: of ``verdict``, about it as it stands, and of what was ``said`` of its readings. The
    worst counts; all of their changes are made. How JSON is spelt is nobody's find: there only readings change it."""
    if not read:
        return verdict
    json = is_json(text) if in_json is None else in_json
    every = [Verdict(verdict.action) if json else _snapped(read[0], verdict)]
    every += [
        _spelt(one, spelled_out(found, one.text), 0 if json else one.depth)
        for one, found in zip(read, said, strict=True)
    ]
    worst = max(every, key=lambda one: (SEVERITY[one.action], one.action == "wait")).action
    if worst in ("mask", "rewrite") and not any(one.changes or one.puts for one in every):
        return Verdict("allow")
    changes = tuple(change for one in every if one.action == worst for change in one.changes)
    puts = [change for one in every for change in one.puts]
    if worst == "mask":
        puts += [change for one in every if one.action == "rewrite" for change in one.changes]
    return Verdict(worst, changes, tuple(puts))


def _snapped(read: Reading, verdict: Verdict) -> Verdict:
    def whole(changes: tuple[Change, ...]) -> tuple[Change, ...]:
        return tuple((*read.snapped(start, end), what) for start, end, what in changes)

    return Verdict(verdict.action, whole(verdict.changes), whole(verdict.puts))


def _spelt(read: Reading, verdict: Verdict, depth: int) -> Verdict:
    """A verdict on a reading as one on the text; new words are escaped ``depth`` times."""
    undone = verdict.action == "mask"
    return Verdict(
        verdict.action,
        tuple(
            (read.start(start), read.end(end), what if undone else escaped(what, depth))
            for start, end, what in verdict.changes
        ),
        tuple((read.start(start), read.end(end), escaped(what, depth)) for start, end, what in verdict.puts),
    )
