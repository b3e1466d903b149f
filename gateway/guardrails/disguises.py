"""Words that are hidden from the eye and not from a model: for rules that read words. Linear in the text.

:func:`smuggled` reads what no reader sees (tags, variation selectors), what is turned round, and lists of codes;
:func:`run_together` finds an order whose words are not kept apart by spaces, however they are kept apart.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

_TAGS = re.compile("[\U000e0020-\U000e007e]{4,}")
_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]{4,}")
_TURNED = re.compile("\u202e([^\u202c\n]{4,2000})")
_SIGN_OF_UNSEEN = re.compile("[\u202e\ufe00-\ufe0f\U000e0020-\U000e01ef]")
_BACKWARDS = ("snoitcurtsni", "suoiverp", "tpmorp metsys", "drowssap", "erongi", "dragersid")
_CODES = re.compile(r"(?:(?:0x|u\+00|=)?[0-9a-f]{2}[ ,;:]{0,2}){8,}", re.IGNORECASE)
_PAIR, FEW_CODES = re.compile(r"[0-9][0-9a-fA-F][ ,;:=]"), 4
"""The codes of ASCII letters begin with digits, and there are many of them: a look for both is cheap."""
_MARK = re.compile(r"0x|u\+00|[=,;: ]", re.IGNORECASE)
_DECIMAL = re.compile(r"(?:1?[0-9]{2}[ ,;]{1,2}){7,}1?[0-9]{2}")
_OCTAL = re.compile(r"(?:[01][0-7]{2}[ ,;]{1,2}){7,}[01][0-7]{2}")
_BASE32 = re.compile(r"[A-Z2-7]{24,}={0,6}")
_LINES = re.compile(r"(?:[A-Za-z0-9+/]{16,76}\r?\n[ \t]*)+[A-Za-z0-9+/]{2,76}={0,2}")
_BLANK = re.compile(r"\s+")

_SHOWN = re.compile(rb"<[^<>]{0,80}>")
_NO_DIGITS = bytes(set(range(256)) - set(b"0123456789"))
_NO_LETTERS = bytes(set(range(256)) - set(b"abcdefghijklmnopqrstuvwxyz"))
_MANY = rb"(?:all|any|every|each|of|the|your|my|our|these|those|and){0,4}"
_NOT_MINE = rb"(?:all|any|every|each|of|the|your|these|those|and){0,4}"
"""What a customer asked or bought before is hers to take back; a model's instructions are nobody's."""
_EARLIER = rb"(?:previous|prior|above|earlier|preceding|foregoing|former|initial|original|existing|past)(?:ly)?"
_DROP = rb"(?:ignor(?:e|ing)|disregard|forget|overrid(?:e|ing)|bypass)"
_ORDER = re.compile(
    _DROP + _MANY + _EARLIER + _MANY
    + rb"(?:given|system|user|safety)?(?:instruction|prompt|rules|direction|guideline|command)"
    rb"|" + _DROP + _NOT_MINE + _EARLIER + _NOT_MINE + rb"(?:given|system|user|safety)?(?:message|orders|context)"
    rb"|(?:reveal|leak|print|show|display|output|repeat|disclose)(?:me|us|to)?(?:your|the)[a-z]{0,10}systemprompt"
    rb"|doanythingnow(?!about|with|regard|that)|developermodeenabled"
)  # fmt: skip
_NEEDED = (b"ignor", b"disregard", b"forget", b"overrid", b"bypass", b"systemprompt", b"doanything", b"developermode")


def digits_in(text: str) -> int:
    return len(text.encode("ascii", "ignore").translate(None, _NO_DIGITS))


def run_together(folded: str) -> bool:
    """Whether the letters of a ``plain`` text, one after another, give an order to a model."""
    raw = folded.encode("ascii", "ignore")
    if b"<" in raw:
        raw = _SHOWN.sub(b"", raw)
    letters = raw.translate(None, _NO_LETTERS)
    return any(map(letters.__contains__, _NEEDED)) and _ORDER.search(letters) is not None


def smuggled(text: str) -> Iterator[str]:
    """What is hidden in ``text``, as far as it may be words."""
    if not text.isascii() and _SIGN_OF_UNSEEN.search(text) is not None:
        yield from _unseen(text)
    folded = text.lower()
    if any(map(folded.__contains__, _BACKWARDS)):
        yield text[::-1]
        yield " ".join(word[::-1] for word in text.split())
    yield from _listed(text)


def _unseen(text: str) -> Iterator[str]:
    for found in _TAGS.finditer(text):
        yield "".join(chr(ord(one) - 0xE0000) for one in found.group())
    for found in _SELECTORS.finditer(text):
        yield _words(bytes(_byte_of(one) for one in found.group()))
    for found in _TURNED.finditer(text):
        yield found.group(1)[::-1]
        yield f"{text[: found.start()]}{found.group(1)[::-1]}{text[found.end() :]}"


def _byte_of(selector: str) -> int:
    """Variation selectors number 1 to 256, so a byte can be written as one."""
    code = ord(selector)
    return code - 0xFE00 if code < 0xFE10 else code - 0xE0100 + 16


def _listed(text: str) -> Iterator[str]:
    if digits_in(text) >= FEW_CODES and len(_PAIR.findall(text)) >= FEW_CODES:
        yield from _numbered(text)
    for found in _BASE32.finditer(text):
        bare = found.group().rstrip("=")
        try:
            yield _words(base64.b32decode(bare + "=" * (-len(bare) % 8)))
        except (binascii.Error, ValueError):
            continue


def in_lines(text: str) -> Iterator[str]:
    """What stands in base64 over several lines, in one piece."""
    for found in _LINES.finditer(text):
        yield _BLANK.sub("", found.group())


def _numbered(text: str) -> Iterator[str]:
    for found in _CODES.finditer(text):
        digits = _MARK.sub("", found.group())
        yield _words(bytes.fromhex(digits[: len(digits) // 2 * 2]))
    for pattern, base in ((_DECIMAL, 10), (_OCTAL, 8)):
        for found in pattern.finditer(text):
            codes = [int(one, base) for one in re.findall(r"\d+", found.group())]
            yield _words(bytes(codes)) if max(codes) < 127 else ""


def _words(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return ""
