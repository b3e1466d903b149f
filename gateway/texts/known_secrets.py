"""Keys and tokens that are known by their shape. A leaf. Every pattern is linear in the text."""

from __future__ import annotations

import re
from collections.abc import Iterator

Span = tuple[int, int]

_SECRET = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"[sa]k-[A-Za-z0-9_-]{16,512}"  # OpenAI, Anthropic, our own
    r"|(?:AKIA|ASIA)[0-9A-Z]{16}(?![0-9A-Z])"  # AWS
    r"|gh[pousr]_[A-Za-z0-9]{20,255}|github_pat_[A-Za-z0-9_]{20,255}|glpat-[A-Za-z0-9_-]{16,255}"
    r"|xox[abeprs]-[A-Za-z0-9-]{10,255}|hooks\.slack\.com/services/[A-Za-z0-9/]{20,120}"  # Slack
    r"|AIza[0-9A-Za-z_-]{30,64}|ya29\.[0-9A-Za-z_-]{20,512}"  # Google
    r"|[srp]k_(?:live|test)_[A-Za-z0-9]{10,255}"  # Stripe
    r"|hf_[A-Za-z0-9]{20,255}|npm_[A-Za-z0-9]{30,255}|pypi-[A-Za-z0-9_-]{30,512}|gsk_[A-Za-z0-9]{20,255}"
    r"|do[op]_v1_[a-f0-9]{40,64}|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}"  # DigitalOcean, Shopify
    r"|SG\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,128}"  # SendGrid
    r"|eyJ[A-Za-z0-9_-]{8,4096}\.eyJ[A-Za-z0-9_-]{8,8192}\.[A-Za-z0-9_-]{8,2048}"  # signed JSON web token
    r")"
)
_AFTER_HYPHEN = ("sk-", "ak-", "glpat-", "pypi-")
_AFTER_LINE = ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "k_live_", "k_test_", "hf_", "npm_", "gsk_",
               "_v1_", "shpat_", "shpca_", "shppa_", "shpss_")  # fmt: skip
_OTHER = ("AKIA", "ASIA", "xox", "AIza", "ya29.", "SG.", "eyJ", "PRIVATE", "hooks.slack.com/")
_KEY_BEGIN = re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_END = re.compile(r"-----END [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----")


def may_hold(text: str) -> bool:
    """Whether ``secrets`` is worth asking. Substring tests cost nanoseconds, and clear most texts."""
    for sign in _OTHER:
        if sign in text:
            return True
    if "-" in text:
        for sign in _AFTER_HYPHEN:
            if sign in text:
                return True
    if "_" in text:
        for sign in _AFTER_LINE:
            if sign in text:
                return True
    return False


def secrets(text: str) -> Iterator[Span]:
    """Known prefixes, and private keys from their first line to their last (or to the end: it was cut)."""
    for found in _SECRET.finditer(text):
        yield found.span()
    at = 0
    while begin := _KEY_BEGIN.search(text, at):
        end = _KEY_END.search(text, begin.end())
        at = end.end() if end else len(text)
        yield begin.start(), at
