"""Links to places that nobody allowed: in answers they carry data away, in requests they bring instructions in."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Literal
from urllib.parse import unquote

from msgspec import field

from gateway.guardrails.guardrail import Guardrail
from gateway.guardrails.verdict import ALLOW, BLOCK, FLAG, WAIT, Direction, Scope, Verdict

_LONGEST = 512  # characters of an authority: a host has 253 at most (RFC 1035)
# As browsers read them (WHATWG URL): a backslash is a slash, and after http: no slash is needed.
_START = re.compile(
    r"(?<![a-z0-9+.-])(?:(?P<web>https?|ftp|wss?):(?:[\t\r\n]*[/\\])*"
    r"|(?P<code>(?:javascript|vbscript):(?=\S)|data:(?=text/|application/|image/svg))"
    r"|(?P<other>[a-z][a-z0-9+.-]{1,20}):[/\\]{2,}"
    r"|(?<=[(\"'=<])[/\\]{2}(?=\w)|(?=www\.))",
    re.IGNORECASE,
)
_AUTHORITY = re.compile(r"\[?[^\s/\\?#\"'<>()\[\]{}|^`,;*]{0,512}")
_BROKEN = re.compile(r"[\t\r\n]+(?=[.@:%])")  # browsers take these out of an address
_PORT = re.compile(r":[0-9]{0,5}\Z")


class Urls(Guardrail, frozen=True, tag="urls", tag_field="type"):
    """``allow``: hosts, each with everything below it. Any other address is a find, and so is one with a user name,
    with a scheme that is not in ``schemes``, or one that two readers could read in two ways."""

    allow: list[str]
    schemes: list[str] = field(default_factory=lambda: ["https", "http"])
    action: Literal["block", "flag"] = "block"

    def __post_init__(self) -> None:
        for host in self.allow:
            if _ascii(host) is None or not re.fullmatch(r"[^\s/:@*?]+", host):
                raise ValueError(f"'allow' lists host names such as example.org, and {host!r} is none.")

    def check(self, text: str, direction: Direction, *, final: bool = True) -> Verdict:
        """Judges both directions. Unless ``final``, an address that reaches to the very end may go on: wait."""
        hosts = _hosts(tuple(self.allow))
        for found in _START.finditer(text):
            authority = _AUTHORITY.match(text, found.end())
            end = authority.end() if authority is not None else found.end()
            if not final and not text[end:].strip("\t\r\n") and len(text) - found.end() < _LONGEST:
                return WAIT
            if found["code"] is not None:
                if self._runs(found["code"].rstrip(":").lower(), direction):
                    return BLOCK if self.action == "block" else FLAG
                continue
            scheme = (found["web"] or found["other"] or "https").lower()
            if self._refuses(scheme, text[found.end() : end], hosts) or _BROKEN.match(text, end) is not None:
                return BLOCK if self.action == "block" else FLAG
        return ALLOW

    def _runs(self, scheme: str, direction: Direction) -> bool:
        """Whether it is a link that runs. What a client encloses begins with ``data:``, too."""
        return scheme not in self.schemes and (scheme != "data" or direction == "out")

    def _refuses(self, scheme: str, authority: str, hosts: frozenset[str]) -> bool:
        if not authority:
            return scheme not in ("http", "https")  # a bare "https://" leads nowhere
        host = _ascii(_PORT.sub("", unquote(authority.rstrip(".:!"))))
        if scheme not in self.schemes or host is None:
            return True
        labels = host.split(".")
        return not any(".".join(labels[at:]) in hosts for at in range(len(labels)))

    @property
    def scope(self) -> Scope:
        return "all"

    @property
    def reach(self) -> int:
        """Characters of an answer that have to be seen together: scheme and authority."""
        return _LONGEST + 64


@lru_cache(maxsize=64)
def _hosts(allow: tuple[str, ...]) -> frozenset[str]:
    return frozenset(host for host in map(_ascii, allow) if host is not None)


def _ascii(host: str) -> str | None:
    """The host as name servers know it: lower case, one form, IDNA (RFC 3490); None when it is no name.

    Look-alike letters of another alphabet give another name, as they do for a browser."""
    folded = unicodedata.normalize("NFKC", host).lower().rstrip(".")
    try:
        name = folded.encode("idna").decode()
    except UnicodeError:
        return None
    return name if re.fullmatch(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*", name) else None
