"""Personal data and secrets in text: found, replaced by placeholders, put back. A leaf.

``mask("write to a@b.eu")`` gives ``write to [EMAIL_1]`` and the values to put back. Equal values share a
placeholder, and a placeholder that stands in the text already is left alone and never given out again, so
masking is safe to repeat and always reversible.

Every scan is linear in the text: regexes hold no nested repetition and leave checksums and grammar to code.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from msgspec import Struct

from gateway.texts.alike import alike
from gateway.texts.escapes import has_escapes, meanings, unescaped
from gateway.texts.json_places import Edit, Place, is_json, places
from gateway.texts.known_numbers import cards, ibans, ssns
from gateway.texts.known_secrets import may_hold, secrets
from gateway.texts.media import is_bytes, is_media
from gateway.texts.phones import phones
from gateway.texts.unmasking import PLACEHOLDER, Bare

Span = tuple[int, int]
Found = list[tuple[int, int, str]]
KINDS = ("SECRET", "EMAIL", "IBAN", "CARD", "SSN", "IP", "PHONE")
_LONGEST_KIND = 32
_BARE_KIND = "_NUMBER"


class Masked(Struct, frozen=True):
    """``values`` maps each placeholder to the text it stands for; {} when nothing was found."""

    text: str
    values: dict[str, str]


def mask(text: str) -> Masked:
    """``text`` with placeholders for what :data:`KINDS` names."""
    masker = Masker()
    masker.reserve(text)
    return Masked(text=masker.mask(text), values=masker.values)


class Masker:
    """Masks several texts under one numbering: the same address is ``[EMAIL_1]`` in all of them.

    ``values`` grows with what was found. Texts that may hold placeholders of their own are reserved first.
    ``found``: what was found in which text, where maskers of different numberings meet the same texts.
    """

    def __init__(self, found: dict[str, Found] | None = None) -> None:
        self._found: dict[str, Found] = {} if found is None else found
        self.values: dict[str, str] = {}
        self._placeholders: dict[tuple[str, str], str] = {}
        self._reserved: set[str] = set()
        self._counts: dict[str, int] = {}

    def reserve(self, text: str) -> None:
        """Never gives out a placeholder that stands in ``text`` already."""
        if "[" in text:
            self._reserved.update(PLACEHOLDER.findall(text))

    def mask(self, text: str) -> str:
        found = self.found_in(text)
        return self.written(text, [(start, end, True, kind) for start, end, kind in found]) if found else text

    def found_in(self, text: str) -> Found:
        known = self._found.get(text)
        if known is None:
            known = self._found[text] = find_meant(text) if has_escapes(text) else find(text)
        return known

    def written(
        self, text: str, edits: Sequence[Edit], *, in_json: bool | None = None, inside: bool = False
    ) -> str:
        """``text`` with ``edits``, in order and without overlap. ``in_json``: whether it is JSON, or a piece of it that
        begins ``inside`` a string; None: look. JSON stays JSON."""
        if in_json is None:
            in_json = is_json(text)
        pieces: list[str] = []
        at = 0
        for one in places(text, edits, inside=inside) if in_json else (Place(*edit) for edit in edits):
            said, what = text[one.start : one.end], one.what
            if one.undone and one.quote:
                what = self.bare(what, said)
            elif one.undone:
                what = self.placeholder(what, unescaped(said) if in_json else said)
            pieces += (text[at : one.start], one.quote, what, one.quote)
            at = one.end
        return "".join((*pieces, text[at:]))

    def bare(self, kind: str, value: str) -> str:
        """What stands for a bare value of JSON: another placeholder than for the same digits in a text, so that each
        is put back as it was."""
        name = self.placeholder(kind, value)
        cut = name.rindex("_")
        twin = f"[{name[1:cut][: _LONGEST_KIND - len(_BARE_KIND)]}{_BARE_KIND}{name[cut:]}"
        return self.placeholder(twin, Bare(value))

    def placeholder(self, kind: str, value: str) -> str:
        """What stands for ``value``; the same each time. ``kind``: capitals, digits and underscores, or a whole
        placeholder (``[EMAIL_7]``), which is used as it is unless it stands for something else."""
        if kind[0] == "[":
            if kind not in self._reserved and self.values.get(kind, value) == value:
                self.values[kind] = value
                return kind
            kind = kind[1 : kind.rindex("_")]
        known = self._placeholders.get((kind, value))
        if known is not None:
            return known
        while True:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            placeholder = f"[{kind}_{self._counts[kind]}]"
            if placeholder not in self._reserved:
                break
        self._placeholders[kind, value] = placeholder
        self.values[placeholder] = value
        return placeholder


# Fields whose strings are the protocol's own words or opaque bytes; nobody writes prose into them.
_OPAQUE = frozenset({
    "id", "object", "model", "role", "type", "url", "image_url", "file_data", "data", "tool_call_id",
    "call_id", "finish_reason", "encrypted_content", "encrypted_index", "encrypted_stdout", "format", "detail",
    "system_fingerprint", "service_tier", "bytes", "signature", "thought_signature",
})  # fmt: skip


_BYTES = frozenset({"data", "file_data"})


def is_word_field(name: str) -> bool:
    """Whether a field of this name holds one of the protocol's own words, which no text is."""
    return name in _OPAQUE and name not in _BYTES


def mask_value(value: Any, masker: Masker) -> Any:
    """A JSON-like value with every text in it masked; keys, numbers and the protocol's own words stay. The value
    itself where there is nothing to mask."""
    texts = texts_of(value)
    for text in texts:
        masker.reserve(text)
    return map_texts(value, masker.mask) if any(map(masker.found_in, texts)) else value


def map_texts(value: Any, change: Callable[[str], str]) -> Any:
    """A copy of a JSON-like value with ``change`` applied to its texts."""
    if isinstance(value, str):
        return value if value.startswith("data:") and is_media(value) else change(value)
    if isinstance(value, dict):
        return {
            name: item
            if name in _OPAQUE and isinstance(item, str) and (name not in _BYTES or is_bytes(item))
            else map_texts(item, change)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [map_texts(item, change) for item in value]
    return value


def texts_of(value: Any) -> list[str]:
    """The texts that :func:`map_texts` would change, in order."""
    texts: list[str] = []
    _collect(value, texts)
    return texts


def _collect(value: Any, texts: list[str]) -> None:
    """Texts are looked at where they stand: most of a body's values are, and a call for each costs more."""
    if isinstance(value, dict):
        for name, item in value.items():
            if isinstance(item, str):
                if name in _OPAQUE:
                    if name in _BYTES and not is_bytes(item):
                        texts.append(item)
                elif not item.startswith("data:") or not is_media(item):
                    texts.append(item)
            elif isinstance(item, dict | list):
                _collect(item, texts)
    elif isinstance(value, list):
        for item in value:
            _collect(item, texts)
    elif isinstance(value, str) and not (value.startswith("data:") and is_media(value)):
        texts.append(value)


# ------------------------------------------------------------------------------------------------- finding
def find(text: str) -> Found:
    """Where ``text`` holds what is to be masked: (start, end, kind), in order and without overlap."""
    found: list[tuple[int, int, str]] = []
    text = alike(text)
    for kind, finder in _needed(text):
        found += [(start, end, kind) for start, end in finder(text)]
    return _without_overlap(found) if len(found) > 1 else found


def find_meant(text: str) -> Found:
    """Where ``text`` holds it by what it says: also under JSON's escapes."""
    several = meanings(text)
    if not several:
        return find(text)
    plain = [] if is_json(text) else find(text)
    found = [(*several[0].snapped(start, end), kind) for start, end, kind in plain]
    for read in several:
        found += [(read.start(start), read.end(end), kind) for start, end, kind in find(read.text)]
    return _without_overlap(found)


def _needed(text: str) -> Iterator[tuple[str, Callable[[str], Iterable[Span]]]]:
    """The finders worth running: substring tests cost nanoseconds and clear most texts of most kinds."""
    if may_hold(text):
        yield "SECRET", secrets
    if "@" in text:
        yield "EMAIL", _emails
    if not _has_digit(text):
        return
    if _IBAN_SIGN.search(text) is not None:
        yield "IBAN", ibans
    if _NUMBER_SIGN.search(text) is not None:
        yield "CARD", cards
        yield "SSN", ssns
        yield "PHONE", phones
        if text.count(".") >= 3:
            yield "IP", _ipv4s
    if "::" in text or text.count(":") >= 7:
        yield "IP", _ipv6s


def _without_overlap(found: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """Overlapping finds are merged under the kind that ranks first: no part of either stays behind."""
    kept: list[tuple[int, int, str]] = []
    for start, end, kind in sorted(found):
        if kept and start < kept[-1][1]:
            before_start, before_end, before = kept[-1]
            kept[-1] = (before_start, max(before_end, end), min(before, kind, key=KINDS.index))
        else:
            kept.append((start, end, kind))
    return kept


def _has_digit(text: str) -> bool:
    """Ten looks for one letter are many times faster than one look for ten: most texts have none of them."""
    for digit in "1203456789":  # noqa: SIM110 - a generator costs as much as the looks
        if digit in text:
            return True
    return False


_NUMBER_SIGN = re.compile(r"[0-9][0-9 ()./-]{6}")  # the least that a card, a telephone or an address may be
_IBAN_SIGN = re.compile(r"[0-9]{2}[ -]?[A-Za-z0-9]{4}[ -]?[A-Za-z0-9]{4}")
_EMAIL = re.compile(r"(?<![\w.%+-])[\w.%+-]{1,64}@([\w.-]{3,253})")


def _emails(text: str) -> Iterator[Span]:
    for found in _EMAIL.finditer(text):
        domain = found.group(1).rstrip(".-_")
        labels = domain.split(".")
        if len(labels) > 1 and all(labels) and len(labels[-1]) > 1 and not labels[-1].isdigit():
            yield found.start(), found.start(1) + len(domain)


_IPV4 = re.compile(r"(?<![\w.])[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}(?!\w|\.[0-9])")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]{2,39}(?![\w:])")


def _ipv4s(text: str) -> Iterator[Span]:
    return _addresses(_IPV4.finditer(text))


def _ipv6s(text: str) -> Iterator[Span]:
    """Two short words around ``::`` may as well be code: three groups or a long one are asked for."""
    return _addresses(
        found
        for found in _IPV6.finditer(text)
        if found.group().count(":") > 2 or any(len(word) > 3 for word in found.group().split(":"))
    )


def _addresses(candidates: Iterable[re.Match[str]]) -> Iterator[Span]:
    """Those that parse; loopback and "any" addresses are nobody's."""
    for found in candidates:
        try:
            address = ipaddress.ip_address(found.group())
        except ValueError:
            continue
        if not address.is_loopback and not address.is_unspecified:
            yield found.span()
