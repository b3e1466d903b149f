"""Credentials in prompts, tool arguments and answers: by known shapes, and by what stands after a word for one."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Literal

from gateway.guardrails.guardrail import Guardrail
from gateway.guardrails.verdict import ALLOW, BLOCK, FLAG, WAIT, Change, Direction, Scope, Verdict
from gateway.texts.masking import find

_KIND = "SECRET"
_NAMED = re.compile(
    r"(?:key|token|secret|passw(?:or)?d|pwd|bearer|credential)s?[\"'`]?\s{0,4}"
    r"(?:[:=]|=>|:=|(?<=bearer)| is)\s{0,4}[\"'`]?"
    r"([A-Za-z0-9+/_.~!@#$%^&*-]{12,512}={0,2})",
    re.IGNORECASE,
)
_IN_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{0,64}:([^\s/:@]{8,128})@[\w\[]", re.IGNORECASE)
"""As programs are told where their database is."""
_BASIC = re.compile(r"\bbasic\s{1,4}([A-Za-z0-9+/]{12,512}={0,2})", re.IGNORECASE)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_PLACEHOLDER = re.compile(
    r"x{4,}|\*{3,}|\.{3}|your|example|changeme|placeholder|redacted|\$\{|<", re.IGNORECASE
)
_TAIL = re.compile(r"[A-Za-z0-9+/_.~!@#$%^&*-]{8,}\Z")
_PARTS = re.compile(r"[_./-]+")
_KEY = "-----BEGIN "
_REACH = 640
_LEAST_ENTROPY = 3.3  # bits a character: what twelve characters drawn by lot nearly always reach


class Secrets(Guardrail, frozen=True, tag="secrets", tag_field="type"):
    """``action``: block, mask (a placeholder goes on; the client's own values are put back) or flag."""

    action: Literal["block", "mask", "flag"] = "block"

    def check(self, text: str, direction: Direction, *, final: bool = True) -> Verdict:
        """Judges both directions. Unless ``final``, a run of characters at the very end may become a secret: wait.
        A private key in an answer is stopped at its first line, masking or not: it is longer than what is held back."""
        found = secrets(text)
        begun = direction == "out" and any(text.startswith(_KEY, start) for start, _, _ in found)
        if begun and self.action != "flag":
            return BLOCK
        if (
            not final
            and _TAIL.search(text[-_REACH:]) is not None
            and all(end == len(text) for _, end, _ in found)
        ):
            return WAIT
        if not found:
            return ALLOW
        if self.action == "mask":
            return Verdict("mask", tuple(found))
        return BLOCK if self.action == "block" else FLAG

    @property
    def scope(self) -> Scope:
        return "all"

    @property
    def changes_answers(self) -> bool:
        return self.action == "mask"

    def held(self, text: str) -> int:
        """What is masked has no white space in it."""
        tail = text[-_REACH:]
        return 0 if not tail or tail[-1].isspace() else len(tail.rsplit(None, 1)[-1])

    @property
    def reach(self) -> int:
        """Characters of an answer that have to be seen together: the longest value after a word, and the word."""
        return _REACH


def secrets(text: str) -> list[Change]:
    """Where credentials stand, in order and without overlap."""
    known = [change for change in find(text) if change[2] == _KIND]
    taken = [change[:2] for change in known]
    for start, end in _named(text):
        if all(end <= first or last <= start for first, last in taken):
            known.append((start, end, _KIND))
    return sorted(known)


def _named(text: str) -> Iterator[tuple[int, int]]:
    """What follows a word for a credential and looks drawn by lot: digits among letters, high entropy; passwords in
    addresses; a name and its password as HTTP's basic authentication writes them."""
    for match in _NAMED.finditer(text):
        value = match.group(1).rstrip(".")
        if _random(value):
            yield match.start(1), match.start(1) + len(value)
    if "://" in text:
        yield from (one.span(1) for one in _IN_ADDRESS.finditer(text) if _mixed(one.group(1)))
    if "asic" in text or "ASIC" in text:
        yield from (one.span(1) for one in _BASIC.finditer(text) if _is_pair(one.group(1)))


def _mixed(value: str) -> bool:
    digits = any(letter.isdigit() for letter in value)
    return digits and any(letter.isalpha() for letter in value) and _PLACEHOLDER.search(value) is None


def _is_pair(value: str) -> bool:
    """Whether it is base64 of a name, a colon and something."""
    bare = value.rstrip("=")
    try:
        said = base64.b64decode(bare + "=" * (-len(bare) % 4)).decode()
    except (ValueError, binascii.Error):
        return False
    return said.isprintable() and 0 < said.find(":") < len(said) - 1


def _random(value: str) -> bool:
    if _UUID.fullmatch(value) is not None or _PLACEHOLDER.search(value) is not None or value.startswith("/"):
        return False
    if all(part.isalpha() or part.isdigit() for part in _PARTS.split(value) if part):  # order_id_2024
        return False
    return _mixed(value) and entropy(value) >= _LEAST_ENTROPY


def entropy(value: str) -> float:
    """Shannon's entropy of the characters of ``value``, in bits a character (1948)."""
    count = len(value)
    return -sum(seen / count * math.log2(seen / count) for seen in Counter(value).values()) if count else 0.0
