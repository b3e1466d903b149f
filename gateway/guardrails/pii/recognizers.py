"""What else is personal data: recognizers of the operator's own, and national identifiers by country. Pure.

A pattern of the operator's runs in linear time (:mod:`gateway.schemas.patterns`): from each beginning of a word, for at
most :data:`LONGEST` characters. Those of the countries are this file's own and hold no nested repetition.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Annotated, Literal

from msgspec import Meta, Struct

from gateway.guardrails.pii.checksums import CHECKSUMS
from gateway.schemas.pattern_syntax import PatternRefused
from gateway.schemas.patterns import Pattern

LONGEST = 128
ENOUGH = 0.5
"""A find of this score is one."""
_CONTEXT, _BEFORE, _AFTER = 0.35, 48, 24
_START = re.compile(r"(?<!\w)(?=\S)")
_KIND = re.compile(r"[A-Z][A-Z0-9_]{0,31}\Z")

Found = tuple[int, int, str]
Checksum = Literal[
    "none", "luhn", "mod97", "mod11_10", "verhoeff", "nhs", "nir", "nif", "codice_fiscale", "bsn", "pesel", "cpf", "tfn"
]


class Recognizer(Struct, frozen=True, forbid_unknown_fields=True):
    """``name``: what stands in the placeholder, in capitals. A find is one at a score of 0.5: ``score`` is what the
    pattern alone is worth, a word of ``context`` nearby adds 0.35, and a check digit that fits makes it certain (one
    that does not is none)."""

    name: str
    pattern: str
    score: Annotated[float, Meta(gt=0, le=1)] = 1.0
    context: list[str] = []
    checksum: Checksum = "none"

    def __post_init__(self) -> None:
        if _KIND.match(self.name) is None:
            raise ValueError("'name' must be capitals, digits and underscores, such as EMPLOYEE_ID.")
        if self.score + (_CONTEXT if self.context else 0.0) < ENOUGH and self.checksum == "none":
            raise ValueError("'score' is too low: nothing would ever be found. Raise it or give 'context' words.")
        try:
            _compiled(self.pattern)
        except PatternRefused as problem:
            raise ValueError(f"'pattern' cannot be used: {problem}.") from None


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> Pattern:
    return Pattern(pattern)


def finds_of(recognizer: Recognizer, text: str) -> Iterator[Found]:
    """Where it finds something, in order."""
    pattern, at = _compiled(recognizer.pattern), 0
    for start in _START.finditer(text):
        if start.start() < at:
            continue
        end = pattern.match(text, start.start(), LONGEST)
        if end > start.start() and not _inside_word(text, end) and _enough(recognizer, text, start.start(), end):
            yield start.start(), end, recognizer.name
            at = end


def _inside_word(text: str, end: int) -> bool:
    return end < len(text) and text[end].isalnum() and text[end - 1].isalnum()


def _enough(recognizer: Recognizer, text: str, start: int, end: int) -> bool:
    if recognizer.checksum != "none":
        return CHECKSUMS[recognizer.checksum](text[start:end])
    near = f"{text[max(0, start - _BEFORE) : start]} {text[end : end + _AFTER]}".lower()
    told = any(word.lower() in near for word in recognizer.context)
    return recognizer.score + (_CONTEXT if told else 0.0) >= ENOUGH


# ------------------------------------------------------------------------------------------------- countries
Country = Literal["au", "br", "ca", "de", "es", "fr", "gb", "in", "it", "nl", "pl", "se"]


class _National(Struct, frozen=True):
    kind: str
    pattern: re.Pattern[str]
    checksum: Checksum = "none"
    context: re.Pattern[str] | None = None
    """Without a check digit, or where one in eleven numbers fits, a word nearby must say what it is."""


def _national(kind: str, pattern: str, checksum: Checksum = "none", context: str = "") -> _National:
    near = re.compile(context, re.IGNORECASE) if context else None
    return _National(kind, re.compile(rf"(?<![\w-])(?:{pattern})(?![\w-])"), checksum, near)


NATIONAL: dict[str, tuple[_National, ...]] = {
    "au": (_national("AU_TFN", r"\d{3} ?\d{3} ?\d{3}", "tfn", r"tfn|tax file"),),
    "br": (_national("BR_CPF", r"\d{3}\.?\d{3}\.?\d{3}-?\d{2}", "cpf"),),
    "ca": (_national("CA_SIN", r"\d{3}[- ]?\d{3}[- ]?\d{3}", "luhn", r"\bsin\b|social insurance|assurance sociale"),),
    "de": (
        _national("DE_TAX_ID", r"[1-9]\d ?\d{3} ?\d{3} ?\d{3}", "mod11_10", r"steuer|idnr|tax"),
        _national(
            "DE_SOCIAL_SECURITY", r"\d{2} ?[0-3]\d[01]\d{3} ?[A-Z] ?\d{3}", context=r"sozialvers|rentenvers|svnr"
        ),
    ),
    "es": (_national("ES_NIF", r"[XYZxyz]?-?\d{7,8}-?[A-Za-z]", "nif"),),
    "fr": (_national("FR_NIR", r"[12] ?\d{2} ?[01]\d ?(?:\d{2}|2[ABab]) ?\d{3} ?\d{3} ?\d{2}", "nir"),),
    "gb": (
        _national("GB_NHS", r"\d{3}[- ]?\d{3}[- ]?\d{4}", "nhs", r"nhs|health"),
        _national("GB_NINO", r"(?i:[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]) ?\d{2} ?\d{2} ?\d{2} ?[A-Da-d]"),
    ),
    "in": (
        _national("IN_AADHAAR", r"[2-9]\d{3}[- ]?\d{4}[- ]?\d{4}", "verhoeff", r"aadhaar|aadhar|uidai"),
        _national("IN_PAN", r"[A-Z]{3}[ABCFGHJLPT][A-Z]\d{4}[A-Z]"),
    ),
    "it": (
        _national("IT_FISCAL_CODE", r"(?i:[A-Z]{6}\d{2}[A-EHLMPR-T]\d{2}[A-Z]\d{3}[A-Z])", "codice_fiscale"),
    ),
    "nl": (_national("NL_BSN", r"\d{9}", "bsn", r"\bbsn\b|burgerservice|sofi"),),
    "pl": (_national("PL_PESEL", r"\d{4}[0-3]\d{6}", "pesel", r"pesel"),),
    "se": (_national("SE_PERSONNUMMER", r"\d{6}[-+]\d{4}", "luhn"),),
}  # fmt: skip


def national(countries: Sequence[str], text: str) -> Iterator[Found]:
    """The identifiers of ``countries`` in ``text``."""
    for country in countries:
        for one in NATIONAL[country]:
            for found in one.pattern.finditer(text):
                if not CHECKSUMS[one.checksum](found.group()):
                    continue
                around = text[max(0, found.start() - _BEFORE) : found.end() + _AFTER]
                if one.context is None or one.context.search(around):
                    yield found.start(), found.end(), one.kind
