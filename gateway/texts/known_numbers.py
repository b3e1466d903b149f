"""Payment cards, IBANs and US social security numbers: found by their shape, kept for their check digits. A leaf.

Every pattern is linear: check digits and lengths are left to code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

Span = tuple[int, int]

_GROUP = re.compile(r"[0-9]+")
_CARD_WORD = re.compile(r"(?i:card|visa|amex|kreditkarte|tarjeta)")
_DIGIT_RUN = re.compile(r"(?<![\w.])[0-9][0-9 -]{11,}(?<![ -])(?![\w])")


def cards(text: str) -> Iterator[Span]:
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


def ibans(text: str) -> Iterator[Span]:
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

_BARE_SSN = re.compile(r"(?<![\w-])([0-9]{3})([0-9]{2})([0-9]{4})(?![\w-])")
_SSN_WORD = re.compile(r"\b(?:ssn|social[ -]security)\b[^0-9\n]{0,24}\Z", re.IGNORECASE)


def ssns(text: str) -> Iterator[Span]:
    """Nine digits in a row may be anything, but for those right behind the word."""
    for found in _SSN.finditer(text):
        area, _, group, serial = found.groups()
        if _ssn_given_out(area, group, serial):
            yield found.span()
    for found in _BARE_SSN.finditer(text):
        said = _SSN_WORD.search(text[max(0, found.start() - 40) : found.start()]) is not None
        if said and _ssn_given_out(*found.groups()):
            yield found.span()


def _ssn_given_out(area: str, group: str, serial: str) -> bool:
    return area not in {"000", "666"} and area[0] != "9" and group != "00" and serial != "0000"
