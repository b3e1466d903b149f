"""Personal data and secrets in text: found, replaced by placeholders, put back. A leaf.

``mask("write to a@b.eu")`` gives ``write to [EMAIL_1]`` and the values to put back. Equal values share a
placeholder, and a placeholder that stands in the text already is left alone and never given out again, so
masking is safe to repeat and always reversible.

Every scan is linear in the text: regexes hold no nested repetition and leave checksums and grammar to code.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from gateway.known_secrets import may_hold, secrets
from gateway.media import is_bytes, is_media
from gateway.phones import phones

Span = tuple[int, int]
Found = list[tuple[int, int, str]]
KINDS = ("SECRET", "EMAIL", "IBAN", "CARD", "SSN", "IP", "PHONE")
_PLACEHOLDER = re.compile(r"\[[A-Z][A-Z0-9_]{0,31}_[0-9]{1,12}\]")


class Masked(Struct, frozen=True):
    """``values`` maps each placeholder to the text it stands for; {} when nothing was found."""

    text: str
    values: dict[str, str]


def mask(text: str) -> Masked:
    """``text`` with placeholders for what :data:`KINDS` names."""
    masker = Masker()
    masker.reserve(text)
    return Masked(text=masker.mask(text), values=masker.values)


def unmask(text: str, values: Mapping[str, str], *, in_json: bool = False) -> str:
    """``text`` with its placeholders' values. ``in_json``: the text is JSON, so values are escaped for it."""
    if not values or "[" not in text:
        return text

    def value_of(found: re.Match[str]) -> str:
        value = values.get(found.group())
        if value is None:
            return found.group()
        return json.dumps(value, ensure_ascii=False)[1:-1] if in_json else value

    return _PLACEHOLDER.sub(value_of, text)


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
            self._reserved.update(_PLACEHOLDER.findall(text))

    def mask(self, text: str) -> str:
        found = self.found_in(text)
        if not found:
            return text
        pieces: list[str] = []
        at = 0
        for start, end, kind in found:
            pieces += (text[at:start], self.placeholder(kind, text[start:end]))
            at = end
        return "".join((*pieces, text[at:]))

    def found_in(self, text: str) -> Found:
        known = self._found.get(text)
        if known is None:
            known = self._found[text] = find(text)
        return known

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
    "call_id", "finish_reason", "encrypted_content", "format", "detail", "system_fingerprint",
    "service_tier", "bytes", "signature", "thought_signature",
})  # fmt: skip


_BYTES = frozenset({"data", "file_data"})


def mask_value(value: Any, masker: Masker) -> Any:
    """A JSON-like value with every text in it masked; keys, numbers and the protocol's own words stay. The value
    itself where there is nothing to mask."""
    texts = texts_of(value)
    for text in texts:
        masker.reserve(text)
    return map_texts(value, masker.mask) if any(map(masker.found_in, texts)) else value


def unmask_value(value: Any, values: Mapping[str, str]) -> Any:
    """The inverse of :func:`mask_value`."""
    return map_texts(value, lambda text: unmask(text, values))


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


class Unmasker:
    """Puts values back into a stream. Only a tail that may become a known placeholder waits for more."""

    def __init__(self, values: Mapping[str, str], *, in_json: bool = False) -> None:
        self._values = values
        self._in_json = in_json
        self._held = ""

    def feed(self, text: str) -> str:
        """What can go out now."""
        text = self._held + text
        self._held = ""
        start = text.rfind("[")
        if start >= 0:
            tail = text[start:]
            if any(len(tail) < len(name) and name.startswith(tail) for name in self._values):
                text, self._held = text[:start], tail
        return unmask(text, self._values, in_json=self._in_json)

    def finish(self) -> str:
        """What was held back when the stream ended: it was no placeholder after all."""
        held, self._held = self._held, ""
        return held


# ------------------------------------------------------------------------------------------------- finding
def find(text: str) -> Found:
    """Where ``text`` holds what is to be masked: (start, end, kind), in order and without overlap."""
    found: list[tuple[int, int, str]] = []
    for kind, finder in _needed(text):
        found += [(start, end, kind) for start, end in finder(text)]
    return _without_overlap(found) if len(found) > 1 else found


def _needed(text: str) -> Iterator[tuple[str, Callable[[str], Iterable[Span]]]]:
    """The finders worth running: substring tests cost nanoseconds and clear most texts of most kinds."""
    if may_hold(text):
        yield "SECRET", secrets
    if "@" in text:
        yield "EMAIL", _emails
    if not _has_digit(text):
        return
    if _IBAN_SIGN.search(text) is not None:
        yield "IBAN", _ibans
    if _NUMBER_SIGN.search(text) is not None:
        yield "CARD", _cards
        yield "SSN", _ssns
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


_GROUP = re.compile(r"[0-9]+")
_CARD_WORD = re.compile(r"(?i:card|visa|amex|kreditkarte|tarjeta)")
_DIGIT_RUN = re.compile(r"(?<![\w.])[0-9][0-9 -]{11,}(?<![ -])(?![\w])")


def _cards(text: str) -> Iterator[Span]:
    """Windows of digit groups (single separators, groups of three or more) that are card numbers.

    Right after a word for cards the check digit is enough; elsewhere the issuer must be known as well.
    """
    for run in _DIGIT_RUN.finditer(text):
        said = _CARD_WORD.search(text, max(0, run.start() - 40), run.start()) is not None
        groups = [(one.start(), one.end()) for one in _GROUP.finditer(text, run.start(), run.end())]
        first = 0
        while first < len(groups):
            last = _card_from(text, groups, first, said)
            if last is None:
                first += 1
            else:
                yield groups[first][0], groups[last][1]
                first = last + 1


def _card_from(text: str, groups: list[Span], first: int, said: bool) -> int | None:
    digits = ""
    for at in range(first, min(first + 6, len(groups))):
        start, end = groups[at]
        if at > first and start - groups[at - 1][1] != 1:
            return None
        digits += text[start : min(end, start + 20)]
        if len(digits) > 19:
            return None
        if len(digits) >= 13 and (_card_number(digits) or (said and luhn(digits))):
            return at
        if end - start < 3:
            return None
    return None


def _card_number(digits: str) -> bool:
    """Issuer ranges and lengths as ISO/IEC 7812 registers them for the large networks, then Luhn."""
    size, two, four = len(digits), int(digits[:2]), int(digits[:4])
    known = (
        (digits[0] == "4" and size in {13, 16, 19})
        or (size == 16 and (51 <= two <= 55 or 2221 <= four <= 2720))
        or (size == 15 and two in {34, 37})
        or (size >= 14 and (300 <= four // 10 <= 305 or two in {36, 38, 39}))
        or (size >= 16 and (3528 <= four <= 3589 or two in {50, 62, 64, 65} or 56 <= two <= 69))
    )
    return known and luhn(digits)


def luhn(digits: str) -> bool:
    """The Luhn check (ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


# Lengths from the IBAN registry (ISO 13616).
_IBANS = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 "
    "EE20 EG29 ES24 FI18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 "
    "KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 "
    "OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 "
    "TN24 TR26 UA29 VA22 VG24 XK20"
)
_IBAN_SIZES = {code[:2]: int(code[2:]) for code in _IBANS.split()}
_IBAN_START = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[0-9]{2}(?=[ -]?[A-Za-z0-9])")


def _ibans(text: str) -> Iterator[Span]:
    for found in _IBAN_START.finditer(text):
        size = _IBAN_SIZES.get(found.group()[:2].upper())
        if size is None:
            continue
        at, letters = found.start(), ""
        while at < len(text) and len(letters) < size:
            if text[at].isascii() and text[at].isalnum():
                letters += text[at]
            elif text[at] not in " -" or text[at - 1] in " -":
                break
            at += 1
        ends = at == len(text) or not text[at].isalnum()
        if len(letters) == size and ends and iban_valid(letters):
            yield found.start(), at


def iban_valid(letters: str) -> bool:
    """ISO 7064 MOD 97-10 over the rearranged IBAN (letters count from A = 10)."""
    moved = letters[4:] + letters[:4]
    return int("".join(str(int(letter, 36)) for letter in moved)) % 97 == 1


_SSN = re.compile(r"(?<![\w-])([0-9]{3})([- ])([0-9]{2})\2([0-9]{4})(?![\w-])")


def _ssns(text: str) -> Iterator[Span]:
    for found in _SSN.finditer(text):
        area, _, group, serial = found.groups()
        if area not in {"000", "666"} and area[0] != "9" and group != "00" and serial != "0000":
            yield found.span()


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
