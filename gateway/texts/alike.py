"""Signs that are written otherwise and mean the same: what a web page, a word processor or a Japanese keyboard makes of
spaces, hyphens and digits. A leaf. One sign stands for one, so that places stay where they are.
"""

from __future__ import annotations

import re
import unicodedata

_SPACES = "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_HYPHENS = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63"
_DIGITS = "".join(
    chr(zero + digit) for zero in (0x0660, 0x06F0, 0x0966, 0x09E6, 0x0E50) for digit in range(10)
)
"""Arabic, Persian, Hindi, Bengali and Thai."""
_WIDE = "".join(map(chr, range(0xFF01, 0xFF5F)))
_OTHER = re.compile(f"[{_SPACES}{_HYPHENS}{_DIGITS}{_WIDE}]")
_PLAIN = {
    **dict.fromkeys(map(ord, _SPACES), " "),
    **dict.fromkeys(map(ord, _HYPHENS), "-"),
    **{ord(digit): str(unicodedata.digit(digit)) for digit in _DIGITS},
    **{ord(wide): chr(ord(wide) - 0xFEE0) for wide in _WIDE},
}


def alike(text: str) -> str:
    """``text`` with the plain sign in the place of each of those; the same text where there is none."""
    return text if text.isascii() or _OTHER.search(text) is None else text.translate(_PLAIN)
