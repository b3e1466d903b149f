"""What a text says once its disguises are taken off: for rules that read words.

:func:`plain` undoes compatibility forms, look-alike letters and invisible characters; :func:`hidden` decodes
what stands in base64, hexadecimal, binary, Morse or ROT13. Linear in the text.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
import unicodedata
from string import ascii_lowercase

from gateway.guardrails.disguises import FEW_CODES, digits_in, in_lines, smuggled

# Letters of other scripts that look like Latin ones (from Unicode TR 39's confusables, the common ones).
_LOOKALIKE = str.maketrans(
    "аеорсухіјѕԁԛԝһіɡɑαοριτυνκεıӏոօս",
    "aeopcyxijsdqwhigaaopituvkeilnou",
)
_LOOKALIKES = frozenset(map(chr, _LOOKALIKE))
_UNSEEN = frozenset({"Cf", "Mn"})
# Blanks that are no spaces to Unicode, small capitals, and the letters that flags are made of.
_STYLED: dict[int, str] = {
    **dict.fromkeys((0x115F, 0x1160, 0x3164, 0xFFA0, 0x2800), " "),
    **{ord(one): letter for one, letter in zip("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ", "abcdefghijklmnoprstuvwyz", strict=True)},
    **{0x1F1E6 + at: letter for at, letter in enumerate(ascii_lowercase)},
}
_LEET = str.maketrans("013457@$", "oieastas")
_WORD_BROKEN = re.compile(r"(?<=[a-z])(?:-|_)\s?(?=[a-z])|(?<=[a-z])\s-(?=[a-z])")
_SPACED = re.compile(r"(?<![^\W_])(?:[^\W\d_][ .*_-]){4,60}[^\W\d_](?![^\W_])")
_LEET_WORD = re.compile(r"(?<![^\W_])(?=[a-z@$]{0,20}[0-9@$])[a-z0-9@$]{4,24}(?![^\W_])")
_SPACES = re.compile(r"[^\S\n]{2,}|[^\S\n ]")
# What a reading cannot do without: a look for it is many times cheaper than the reading, and clean text has none.
_ODD_BLANK = re.compile("[\t\r\v\f\x1c-\x1f\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]")
_SINGLES = re.compile(r"[ .*_-][^\W\d_][ .*_-][^\W\d_][ .*_-]")
_LEET_SIGN = re.compile(r"[0-9@$]")
_LONG_WORD, _BINARY_DIGITS, _MORSE_GAPS = 16, 32, 7

# Greedy and without an end to look for: once long enough they cannot fail, so they stay linear.
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2}[ :]?){8,}")
_BINARY = re.compile(r"(?:[01]{8} ?){4,}")
_MOST = 64  # decodings that are looked into once more
_MORSE = re.compile(r"[.-]{1,6}(?: (?:/ )?[.-]{1,6}){7,}")
_MORSE_A_TO_M = ".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. --"
_MORSE_N_TO_Z = "-. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- --.."
_MORSE_CODE = dict(zip([*_MORSE_A_TO_M.split(), *_MORSE_N_TO_Z.split()], ascii_lowercase, strict=True))
# ROT13 is tried only where it turns nonsense into words: these, turned, are no words of a European language.
_ROTATED_WORDS = (
    "vtaber", "vafgehpgvba", "vafgehpgvbaf", "cerivbhf", "flfgrz", "cnffjbeq", "erirny", "qvfertneq", "cebzcg"
)  # fmt: skip
_ROTATED = re.compile(rf"\b(?:{'|'.join(_ROTATED_WORDS)})\b", re.IGNORECASE)


def plain(text: str) -> str:
    """Lower case, one kind of each letter, no invisible characters, single spaces, words in one piece."""
    if text.isascii():
        text = text.lower()
    else:
        text = _seen(unicodedata.normalize("NFKC", text)).lower().replace("’", "'")
        if not _LOOKALIKES.isdisjoint(set(text)):
            text = " ".join(_one_script(word) for word in text.split(" "))
    if "  " in text or _ODD_BLANK.search(text) is not None:
        text = _SPACES.sub(" ", text)
    return text if _SINGLES.search(text) is None else _SPACED.sub(_joined, text)


def variants(folded: str) -> list[str]:
    """Other readings of a :func:`plain` text: digits for letters (not in numbers, which have none), and words broken
    by hyphens. May be empty."""
    found = []
    if _LEET_SIGN.search(folded) is not None:
        leet = " ".join(map(_without_signs, folded.split(" ")))
        if leet != folded:
            found.append(leet)
    if "-" in folded or "_" in folded:
        whole = _WORD_BROKEN.sub("", folded)
        if whole != folded:
            found.append(whole)
    return found


def hidden(text: str) -> list[str]:
    """What ``text`` says in an encoding, already :func:`plain`; bytes that are no text are left out."""
    found: list[str] = []
    if max(map(len, text.split()), default=0) >= _LONG_WORD:
        runs = _BASE64.findall(text)
        for run in [*runs, *in_lines(text)] if len(runs) > 1 and "\n" in text else runs:
            found += _base64(run)
    digits = digits_in(text)
    for match in _HEX.finditer(text) if digits >= FEW_CODES else ():
        found += _readable(bytes.fromhex(re.sub(r"[ :]", "", match.group())))
    for match in _BINARY.finditer(text) if digits >= _BINARY_DIGITS else ():
        bits = match.group().replace(" ", "")
        found += _readable(bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits) - 7, 8)))
    for match in _MORSE.finditer(text) if text.count(" .") + text.count(" -") >= _MORSE_GAPS else ():
        letters = [_MORSE_CODE.get(sign, " ") for sign in match.group().split(" ")]
        found.append("".join(letters))
    folded = text.lower()
    if any(map(folded.__contains__, _ROTATED_WORDS)) and _ROTATED.search(text) is not None:
        found.append(codecs.decode(text, "rot13"))
    found += [reading for reading in smuggled(text) if reading]
    for reading in found[:_MOST]:
        if " " not in reading and _BASE64.fullmatch(reading) is not None:  # twice
            found += _base64(reading)
    return [plain(one) for one in found]


def _base64(text: str) -> list[str]:
    bare = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return _readable(base64.b64decode(bare + "=" * (-len(bare) % 4)))
    except (ValueError, binascii.Error):
        return []


def _readable(data: bytes) -> list[str]:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return []
    letters = sum(letter.isalpha() or letter == " " for letter in text)
    return [text] if len(text) >= 8 and letters >= 0.8 * len(text) else []


def _seen(text: str) -> str:
    """Letters and marks that are seen. A mark over a letter beyond Latin, Greek and Cyrillic is part of its writing."""
    signs = set(text)
    if not _STYLED.keys().isdisjoint(map(ord, signs)):
        text = text.translate(_STYLED)
    if _UNSEEN.isdisjoint(map(unicodedata.category, signs)):
        return text
    kept, before = [], ""
    for letter in text:
        kind = unicodedata.category(letter)
        if kind != "Cf" and (kind != "Mn" or before >= "\u0530"):
            kept.append(letter)
        before = before if kind == "Mn" else letter
    return "".join(kept)


def _one_script(word: str) -> str:
    """Look-alikes become Latin only beside Latin letters: a Russian word stays Russian."""
    if word.isascii() or not any("a" <= letter <= "z" for letter in word):
        return word
    return word.translate(_LOOKALIKE)


def _without_signs(words: str) -> str:
    return words if _LEET_SIGN.search(words) is None else _LEET_WORD.sub(_as_letters, words)


def _as_letters(word: re.Match[str]) -> str:
    said = word.group()
    return said.translate(_LEET) if said.islower() else said


def _joined(spaced: re.Match[str]) -> str:
    return re.sub(r"[ .*_-]", "", spaced.group())
