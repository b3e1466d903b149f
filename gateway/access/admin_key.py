"""The operator's key: taken from ``UNDERSTUDY_ADMIN_KEY``, else made on the first start and shown once.

Of one that was made here (256 random bits) the SHA-256 is kept. One that a person chose may be guessed by whoever has
its hash and time, however slow the hash: nothing of it is ever written down, so a stolen data directory has nothing to
guess at. It opens the admin page; it is no inference key and calls no model.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

from gateway.access.keys import digest_of, new_key
from gateway.storage.home import Home
from gateway.storage.settled import write_whole

VARIABLE = "UNDERSTUDY_ADMIN_KEY"
LEAST_LENGTH = 16
_LEAST_DISTINCT = 6
_WORDS = (
    "changeme", "change-me", "change_me", "password", "passwort", "secret", "admin", "default", "example",
    "test", "letmein", "qwerty", "123456", "1234", "master", "key", "understudy", "sk", "your", "my", "the",
    "here", "replace", "dummy", "demo", "dev", "local", "token", "api", "please", "now",
)  # fmt: skip


class WeakKey(ValueError):
    """A secret that could be guessed; the text says why and how to make a better one."""


def weakness(text: str) -> str:
    """Why ``text`` is too weak for a secret; "" when it is not.

    A secret is weak when it is short, when few different characters make it up, or when nothing of
    substance is left after the words that sample configurations are made of are taken out.
    """
    if len(text) < LEAST_LENGTH:
        return f"it has {len(text)} characters and needs at least {LEAST_LENGTH}"
    rest = text.lower()
    for word in sorted(_WORDS, key=len, reverse=True):
        rest = rest.replace(word, "")
    rest = "".join(sign for sign in rest if sign.isalnum())
    if len(rest) < LEAST_LENGTH // 2:
        return "it is made of words that everybody tries first"
    if len(set(text)) < _LEAST_DISTINCT:
        return "it repeats a few characters"
    return ""


def matches(text: str, digest: str) -> bool:
    """Compares in constant time."""
    return hmac.compare_digest(digest_of(text), digest)


def ensure(home: Home, env: Mapping[str, str]) -> tuple[str, str | None]:
    """``(digest, text)`` of the admin key in force; ``text`` only when it was made just now, to be shown
    once.

    The environment wins over the stored digest, which goes: what opened the page before shall not do so again when
    the variable is gone. Raises WeakKey for a guessable key and OSError when the data directory cannot be written.
    """
    path = home.secrets / "admin.sha256"
    given = env.get(VARIABLE, "")
    if given:
        why = weakness(given)
        if why:
            raise WeakKey(
                f"{VARIABLE} is too weak: {why}. Make one with: "
                'python3 -c "import secrets; print(secrets.token_urlsafe(32))"'
            )
        path.unlink(missing_ok=True)
        return digest_of(given), None
    if path.exists():
        stored = path.read_text(encoding="ascii").strip()
        if len(stored) == hashlib.sha256().digest_size * 2:
            return stored, None
    fresh = new_key("admin")
    write_whole(path, f"{fresh.digest}\n".encode("ascii"))
    return fresh.digest, fresh.text
