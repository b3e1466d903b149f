"""What uvicorn's parser lets pass and a gateway must not: two hosts, smuggled lengths and trailers, floods of headers,
HTTP/0.9. And what it stumbles over and a gateway must take: an offer to upgrade (RFC 9110, section 7.8: a server may
ignore it), which Java's HttpClient makes on every plain connection.

A request that two parsers could read in two ways is refused with its connection, in OpenAI's shape (RFC 9112,
section 11.2).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.errors import BadRequest, GatewayError

MOST_FIELDS = 100
LONGEST_HEAD = 64 * 1024
_FRAMING = 64 * 1024
_FRAMING_PER_BYTE = 16
"""Bytes around one byte of a body: chunks of a single byte need six, a flood of extensions or trailers more."""
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?")
_LINGER_S = 0.5
_HOP = frozenset({b"upgrade", b"http2-settings"})


class Refused(Exception):
    """The request is no request; ``error`` is what its sender is told."""

    def __init__(self, error: GatewayError) -> None:
        super().__init__(error.message)
        self.error = error


class _Trailers(list[tuple[bytes, bytes]]):
    """Where fields after the body go: nowhere. Whoever stood in front of the gateway has not seen them."""

    def append(self, field: tuple[bytes, bytes]) -> None:
        pass


class StrictProtocol(HttpToolsProtocol):
    _refusal: GatewayError | None = None
    _declined = False
    _in_headers = False
    refused = False
    """Nothing more is read from this connection."""
    _arrived = _head_bytes = _framing = 0
    _known_host = b""
    _known_names: Sequence[bytes] = ()
    _host_at = 0

    def data_received(self, data: bytes) -> None:
        if self.refused:
            return
        self._unset_keepalive_if_required()
        self._arrived = size = len(data)
        self._head_bytes += size
        self._framing += size
        try:
            self.parser.feed_data(data)
            self._check_sizes()
        except httptools.HttpParserUpgrade as offer:
            if self._should_upgrade():
                self.handle_websocket_upgrade()
            else:
                self._decline(data[offer.args[0] :])
        except (httptools.HttpParserError, Refused) as problem:
            if isinstance(problem, Refused):
                self._refusal = problem.error
            self.send_400_response("")

    def _check_sizes(self) -> None:
        if self._in_headers and self._head_bytes > LONGEST_HEAD:
            raise Refused(_too_long())
        reading = not self._in_headers and self.cycle is not None and not self.cycle.response_complete
        if reading and self._framing > _FRAMING:
            raise Refused(BadRequest("The request's body is framed in far more bytes than it holds."))

    # ------------------------------------------------------------------ httptools
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_headers, self._declined = True, False
        self._head_bytes = self._arrived

    def on_headers_complete(self) -> None:
        self._in_headers = False
        if self.parser.should_upgrade() and not self._should_upgrade():
            self._declined = True
            return
        error = self._ambiguous() or self._unwanted()
        if error is not None:
            self._refusal = error  # the parser wraps what is raised inside it
            raise Refused(error)
        self.accepted()
        self._framing = 0
        if not self.parser.should_upgrade():
            self.headers = _Trailers()

    def _unwanted(self) -> GatewayError | None:
        """Why a sound request is not read all the same."""
        return None

    def accepted(self) -> None:
        """The headers are here and mean one thing."""
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._framing -= _FRAMING_PER_BYTE * len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._declined:
            super().on_message_complete()

    def _ambiguous(self) -> GatewayError | None:
        headers = self.headers
        names = [name for name, _ in headers]
        if self._like_the_last(names):
            return None
        if len(names) > MOST_FIELDS:
            return _too_long()
        if (
            self._head_bytes > LONGEST_HEAD
            and sum(len(one) + len(two) + 4 for one, two in headers) > LONGEST_HEAD
        ):
            return _too_long()
        version, hosts = self.parser.get_http_version(), names.count(b"host")
        if version not in ("1.1", "1.0"):
            return BadRequest("Speak HTTP/1.1.", status=505)
        if hosts > 1 or (not hosts and version == "1.1"):
            return BadRequest("A request needs exactly one Host header.")
        if hosts and (host := headers[names.index(b"host")][1]) != self._known_host:
            if _HOST.fullmatch(host) is None:
                return BadRequest("The Host header is no host name.")
            self._known_host = host
        if names.count(b"authorization") > 1 or names.count(b"x-api-key") > 1:
            return BadRequest("A request may carry one key only.")
        if (
            b"transfer-encoding" in names
            and headers[names.index(b"transfer-encoding")][1].lower() != b"chunked"
        ):
            return BadRequest("The only transfer encoding that is understood is 'chunked'.", status=501)
        if hosts and b"transfer-encoding" not in names:
            self._known_names, self._host_at = names, names.index(b"host")
        return None

    def _like_the_last(self, names: Sequence[bytes]) -> bool:
        """Whether the request is as good as the one before it, in all that is looked at."""
        return (
            names == self._known_names
            and self._head_bytes <= LONGEST_HEAD
            and self.headers[self._host_at][1] == self._known_host
            and self.parser.get_http_version() == "1.1"
        )

    # ------------------------------------------------------------------ an offer that is not taken
    def _decline(self, rest: bytes) -> None:
        """Reads the request again as if it had not offered anything; ``rest`` is what follows its headers."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            self.send_400_response("")
            return
        kept = [(name, value) for name, value in self.headers if name not in _HOP and name != b"connection"]
        closes = any(name == b"connection" and b"close" in value.lower() for name, value in self.headers)
        kept.append((b"connection", b"close" if closes else b"keep-alive"))
        head = b"".join(b"%s: %s\r\n" % field for field in kept)
        version = self.parser.get_http_version().encode()
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"%s %s HTTP/%s\r\n%s\r\n" % (method, self.url, version, head) + rest)

    def send_400_response(self, msg: str) -> None:
        """Says what was wrong and closes: where the next request would begin is anybody's guess. Whoever is still
        sending is heard out for a moment, or a reset would take the answer away."""
        if self.refused or self.transport.is_closing():
            return
        self.refused = True
        error = self._refusal or BadRequest(
            "This is not a well-formed HTTP request.", code="malformed_request"
        )
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:  # bytes in the middle of an answer would be taken for its own
                self.transport.close()
                return
        reason = _REASONS.get(error.status, "Bad Request")
        more = "".join(f"{name}: {value}\r\n" for name, value in error.headers.items()).encode()
        self.transport.write(raw_answer(f"{error.status} {reason}", error.body(), more))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER_S, self.transport.close)


_REASONS = {
    431: "Request Header Fields Too Large", 501: "Not Implemented", 503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}  # fmt: skip


def _too_long() -> GatewayError:
    return BadRequest(
        f"The request has more than {MOST_FIELDS} header fields or {LONGEST_HEAD} bytes of them.",
        status=431,
        code="headers_too_large",
    )


def raw_answer(line: str, body: bytes, more: bytes = b"") -> bytes:
    """A whole answer for a connection that no application answers on; ``more``: header lines."""
    head = f"HTTP/1.1 {line}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
    return head.encode() + b"x-content-type-options: nosniff\r\n" + more + b"connection: close\r\n\r\n" + body
