"""Which pages of other origins a browser may let read our answers (``server.cors_origins``; docs/security.md).

https://fetch.spec.whatwg.org/#http-cors-protocol. Only the API's own paths, where a key in a header says who asks, are
ever opened: the admin page knows its people by a cookie, which browsers send along by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Field = tuple[bytes, bytes]
ANY = "*"
API_PATHS = ("/v1/", "/v1beta/", "/openai/")
_EXPOSED = ", ".join((
    "x-request-id", "request-id", "retry-after", "retry-after-ms", "x-should-retry", "openai-processing-ms",
    "openai-version", "openai-model", "openai-organization", "openai-project", "x-ratelimit-limit-requests",
    "x-ratelimit-limit-tokens", "x-ratelimit-remaining-requests", "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-requests", "x-ratelimit-reset-tokens", "allow", "content-disposition", "location",
    "x-understudy-background", "x-understudy-cache", "x-understudy-call-id", "x-understudy-candidate",
    "x-understudy-certified", "x-understudy-confidence", "x-understudy-cost-usd", "x-understudy-engine",
    "x-understudy-field-confidence", "x-understudy-overhead-ms", "x-understudy-simulated", "x-understudy-task",
    "x-understudy-truncated", "*",
))  # fmt: skip
"""What a page may read of an answer's head. The star at the end covers what no list knows, where browsers heed it."""
_METHODS = b"GET, HEAD, POST, DELETE"
_LONGEST = 4096
"""Bytes of the header names that one preflight may ask for."""
_REMEMBERED_S = b"600"
_PORTS = {"http": ":80", "https": ":443"}


def plain(origin: str) -> str:
    """An origin as browsers write it: in lower case, without the scheme's own port."""
    scheme, _, place = origin.lower().partition("://")
    return f"{scheme}://{place.removesuffix(_PORTS.get(scheme, '/'))}" if place else origin


class Origins:
    """``on`` is False while no page may: then nothing here is asked. One object for the life of the gateway; policies
    that change reach it by :meth:`follow`."""

    def __init__(self, allowed: Sequence[str] = ()) -> None:
        self.on = False
        self._any = False
        self._heads: Mapping[str, tuple[tuple[Field, ...], str]] = {}
        self._others: tuple[tuple[Field, ...], str] = ((), "")
        self.follow(allowed)

    def follow(self, allowed: Sequence[str]) -> None:
        self._any = ANY in allowed
        self._heads = {} if self._any else {one: _head(one) for one in map(plain, allowed)}
        self._others = _head(ANY) if self._any else _written({"vary": "origin"})
        self.on = bool(allowed)

    def fields(self, origin: str) -> tuple[Field, ...]:
        """What every answer to a page of ``origin`` carries; "" is a request of no page."""
        return self._heads.get(origin, self._others)[0]

    def lines(self, origin: str) -> str:
        """The same as complete header lines."""
        return self._heads.get(origin, self._others)[1]

    def speaks(self, origin: str, host: str) -> bool:
        """Whether a WebSocket may be opened from ``origin`` ("" is no browser) to ``host``, the name it was asked for.
        Browsers ask nobody before they open one, so that the list is held against it here. What comes from that very
        name is no other origin's: some clients that are no browsers say it of themselves."""
        if not origin or self._any or origin in self._heads:
            return True
        scheme, _, place = plain(origin).partition("://")
        return scheme in _PORTS and bool(place) and place == host.lower().removesuffix(_PORTS[scheme])

    def preflight(self, path: str, headers: Sequence[Field]) -> list[Field] | None:
        """The head of the answer to a browser that asks whether it may; None when this is no such question or the
        page may not. Every header is allowed: a key comes in one, and no page can read another's."""
        asked = dict(headers)
        origin = asked.get(b"origin", b"").decode("latin-1")
        listed = origin in self._heads
        if b"access-control-request-method" not in asked or not path.startswith(API_PATHS):
            return None
        if not listed and not (self._any and origin):
            return None
        told = [*self.fields(origin), (b"access-control-allow-methods", _METHODS)]
        names = asked.get(b"access-control-request-headers", b"")
        if names and len(names) <= _LONGEST:
            told.append((b"access-control-allow-headers", names))
        if listed and asked.get(b"access-control-request-private-network") == b"true":
            told.append((b"access-control-allow-private-network", b"true"))
        varies = b"access-control-request-method, access-control-request-headers"
        return [*told, (b"access-control-max-age", _REMEMBERED_S), (b"vary", varies)]


def _head(origin: str) -> tuple[tuple[Field, ...], str]:
    told = {"access-control-allow-origin": origin, "access-control-expose-headers": _EXPOSED}
    return _written(told if origin == ANY else {**told, "vary": "origin"})


def _written(told: Mapping[str, str]) -> tuple[tuple[Field, ...], str]:
    fields = tuple((name.encode(), value.encode()) for name, value in told.items())
    return fields, "".join(f"{name}: {value}\r\n" for name, value in told.items())
