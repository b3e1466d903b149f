"""What stands in the place of personal data.

``placeholder``  [EMAIL_1]: numbered within a call; the client gets its own value back
``tokenize``     [EMAIL_482915730046]: the same for the same value in every call of a project; also put back
``hash``         EMAIL:9f0c2e41d7a85b36: keyed, the same in every call of a project, for good
``mask``         ************1111: the last characters left where asked for, for good
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Literal

Operator = Literal["placeholder", "tokenize", "hash", "mask"]
_DIGITS = 12


def _keyed(key: str, project: str, kind: str, value: str) -> bytes:
    """Project, kind and value are told apart by their lengths, so that none can pass for another."""
    said = b"".join(
        len(part).to_bytes(4, "big") + part for part in (one.encode() for one in (project, kind, value))
    )
    return hmac.digest(key.encode(), said, hashlib.sha256)


def token(key: str, project: str, kind: str, value: str) -> str:
    """A placeholder that is the same in every call. Twelve digits: two of a million values fall together once in
    some thousand times, and then the second is numbered within its call."""
    number = int.from_bytes(_keyed(key, project, kind, value)[:8], "big") % 10**_DIGITS
    return f"[{kind}_{number:0{_DIGITS}d}]"


def hashed(key: str, project: str, kind: str, value: str) -> str:
    return f"{kind}:{_keyed(key, project, kind, value).hex()[:16]}"


def starred(value: str, keep: int) -> str:
    """Letters and digits become ``*``, but for the last ``keep`` of them; never more than half is kept."""
    letters = [at for at, letter in enumerate(value) if letter.isalnum()]
    shown = set(letters[len(letters) - min(keep, len(letters) // 2) :])
    return "".join(letter if not letter.isalnum() or at in shown else "*" for at, letter in enumerate(value))
