"""What comes back from a provider: its answer as it arrives, or why there is none."""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Protocol

from gateway import errors
from gateway.providers.codec import AttemptFailed, UpstreamRequest, failed
from gateway.upstreams import http1
from gateway.upstreams.addresses import AddressRefused

LARGEST_ANSWER = 32 * 1024 * 1024


class HandshakeRefused(Exception):
    """A provider answered, but opened no WebSocket."""

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(f"status {status}")
        self.status, self.headers = status, headers


class StreamedRequest(UpstreamRequest, frozen=True, kw_only=True):
    """A request whose body is read as it is sent; ``pieces`` begins anew for each attempt."""

    pieces: Callable[[], AsyncIterator[bytes]]


class Lease(Protocol):
    """What a reply holds until it is released; ``used`` is told the tokens it cost."""

    def used(self, tokens: int) -> None: ...
    def leave(self) -> None: ...


class Reply:
    """An upstream answer whose headers have arrived. Release it, whatever happens; twice is fine."""

    def __init__(self, answer: http1.Answer, name: str, gap: float, deadline: float) -> None:
        self._answer, self._name, self._gap, self._deadline = answer, name, gap, deadline
        self.status = answer.status
        self.headers = answer.headers
        self.lease: Lease | None = None

    async def read(self) -> bytes:
        """The whole body. Raises AttemptFailed when it is cut, too slow or too large."""
        part = self.rest()
        if part is not None and len(part) <= LARGEST_ANSWER:
            return part
        parts: list[bytes] = []
        size = 0
        while part or (part := await self.piece()):
            size += len(part)
            if size > LARGEST_ANSWER:
                raise failed("failed", errors.UpstreamFailed(f"The provider '{self._name}' sent too much."))
            parts.append(part)
            part = b""
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def piece(self) -> bytes:
        """The next bytes of the body, b"" at its end; a gap longer than ``chunk_gap`` is a failure."""
        try:
            return await self._piece()
        except TimeoutError:
            raise took_too_long(self._name, "between two pieces of the answer") from None
        except (OSError, ValueError) as problem:
            raise broken(self._name, problem) from None

    def _piece(self) -> Awaitable[bytes]:
        return self._answer.piece(min(time.monotonic() + self._gap, self._deadline))

    def rest(self) -> bytes | None:
        """What is left of the body when nothing has to be waited for."""
        return self._answer.rest()

    def release(self) -> None:
        """Gives the connection back to the pool when the body was read to its end, else closes it."""
        self._answer.release()
        if self.lease is not None:
            self.lease.leave()


def took_too_long(name: str, when: str) -> AttemptFailed:
    return failed("timeout", errors.UpstreamTimeout(f"The provider '{name}' took too long {when}."))


def broken(name: str, problem: Exception) -> AttemptFailed:
    return failed(
        "failed",
        errors.UpstreamFailed(
            f"The connection to the provider '{name}' broke in the middle of the answer.",
            detail=type(problem).__name__,
        ),
    )


_UNKNOWN_AUTHORITY = frozenset({18, 19, 20, 21})
"""OpenSSL's codes for a certificate whose signer is not among the trusted ones, itself included."""


def _distrust(problem: Exception) -> str:
    """What is wrong with a certificate, for the log: OpenSSL's own sentence, which has nothing of the request, and what
    mends it where that is ours to do."""
    found = getattr(problem, "certificate_error", problem)
    why = getattr(found, "verify_message", "")
    if getattr(found, "verify_code", 0) in _UNKNOWN_AUTHORITY:
        why += (
            "; if it is a server of yours, start the gateway with SSL_CERT_FILE=FILE, the PEM file of the authority "
            "that signed it"
        )
    return f"{type(found).__name__}: {why}" if why else type(found).__name__


def unreachable(name: str, problem: Exception, *, untrusted: bool = False) -> AttemptFailed:
    """Why there is no connection; ``untrusted``: because of the provider's certificate."""
    cause = getattr(problem, "os_error", problem)
    if isinstance(cause, AddressRefused):
        return failed(
            "failed",
            errors.UpstreamFailed(
                f"The name of the provider '{name}' leads to an address that the gateway must not call, so nothing was "
                "sent to it. This is for the gateway's operator to mend.",
                code="provider_address",
                detail=f"{cause}; 'upstreams: {{{name}: {{private_addresses: true}}}}' allows private ones",
                refused=errors.Refused("provider_address", name),
            ),
        )
    if untrusted or isinstance(problem, ssl.SSLError):
        return failed(
            "failed",
            errors.UpstreamFailed(
                f"The TLS certificate of the provider '{name}' cannot be trusted, so nothing was sent to it. "
                "This is for the gateway's operator to mend.",
                code="provider_certificate",
                detail=f"provider '{name}': {_distrust(problem)}",
            ),
        )
    return failed(
        "failed",
        errors.UpstreamFailed(
            f"The provider '{name}' cannot be reached.",
            code="provider_unreachable",
            detail=f"provider '{name}': {type(problem).__name__}",
        ),
    )
