"""Every error a client may see, in OpenAI's shape. A leaf: it imports nothing of ours.

An error is born with its status, code and the sentence that tells the client what to mend, so that nobody
downstream composes messages from exception strings. ``detail`` is for our log only and never leaves: whoever answers
with an error calls :func:`note_detail`.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

_encode = msgspec.json.encode
_log = logging.getLogger("understudy.errors")
_LONGEST_DETAIL = 500


def in_seconds(wait: float) -> str:
    """``wait``, in seconds, as ``retry-after`` tells it: whole, and never too short."""
    return str(int(wait + 0.999))


def after(wait: float) -> dict[str, str]:
    """When to ask again, in whole seconds and, for SDKs that read them, in milliseconds: never too early."""
    return {"retry-after": in_seconds(max(wait, 1e-3)), "retry-after-ms": str(max(1, math.ceil(wait * 1000)))}


class Refused(Struct, frozen=True):
    """Why somebody was not let in, for the operator: one of a few fixed words, and what may be shown of what they
    came with (never a key)."""

    reason: str
    what: str = ""


class GatewayError(Exception):
    """An answer that is an error: ``status`` and OpenAI's ``{message, type, param, code}``."""

    status = 500
    kind = "server_error"
    code: str | None = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        detail: str = "",
        refused: Refused | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code if code is not None else type(self).code
        self.status = status if status is not None else type(self).status
        self.headers = dict(headers or {})
        self.detail = detail
        self.refused = refused

    def payload(self) -> dict[str, Any]:
        """The JSON object of the answer; all four keys are always present, as clients expect."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}

    def body(self) -> bytes:
        return _encode(self.payload())


@contextlib.contextmanager
def at(param: str) -> Iterator[None]:
    """An error inside is the fault of this parameter."""
    try:
        yield
    except GatewayError as error:
        error.param = param
        raise


def note_detail(error: GatewayError, request_id: str) -> None:
    """Logs what the client is not told of an error that is its answer, for the operator who is given the id."""
    if error.detail:
        what = error.detail[:_LONGEST_DETAIL]
        _log.warning("request %s: answered with %d %s: %s", request_id, error.status, error.code, what)


class BadRequest(GatewayError):
    status, kind, code = 400, "invalid_request_error", None


class CannotDo(BadRequest):
    """A provider cannot do what the client asks of it; ``param`` is its name in chat's form of the request."""


class Unauthenticated(GatewayError):
    status, kind, code = 401, "invalid_request_error", "invalid_api_key"


class UnknownKey(Unauthenticated):
    """A key that this program could have made, and that nobody knows: it may be younger than what is known."""


class Forbidden(GatewayError):
    status, kind, code = 403, "invalid_request_error", "permission_denied"


class NotFound(GatewayError):
    status, kind, code = 404, "invalid_request_error", "not_found"


class MethodNotAllowed(GatewayError):
    status, kind, code = 405, "invalid_request_error", "method_not_allowed"


class RequestTimeout(GatewayError):
    status, kind, code = 408, "invalid_request_error", "request_timeout"


class Conflict(GatewayError):
    status, kind, code = 409, "invalid_request_error", "conflict"


class TooLarge(GatewayError):
    status, kind, code = 413, "invalid_request_error", "request_too_large"


class Unprocessable(GatewayError):
    status, kind, code = 422, "invalid_request_error", "unprocessable"


class RateLimited(GatewayError):
    status, kind, code = 429, "requests", "rate_limit_exceeded"


class Internal(GatewayError):
    """Our own fault; the text is fixed so that nothing inside leaks."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(
            "The gateway failed to handle this request. Quote the x-request-id header when you report it.",
            detail=detail,
        )


class UpstreamFailed(GatewayError):
    """The provider could not be reached, answered nonsense, or refused our own credentials."""

    status, kind, code = 502, "server_error", "upstream_error"


class Unavailable(GatewayError):
    status, kind, code = 503, "server_error", "service_unavailable"


class UpstreamTimeout(GatewayError):
    status, kind, code = 504, "server_error", "upstream_timeout"


class ProviderRefused(GatewayError):
    """The provider's own 4xx about the *client's* request, passed on with the provider's code and param."""

    status, kind, code = 400, "invalid_request_error", None

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, param=param, status=status, headers=headers)
        self.kind = kind
        self.code = code
