"""What a provider's error means, said once for every dialect: whose fault it is and what a client is told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct

from gateway import errors
from gateway.providers.codec import AttemptFailed, failed
from optimizer.routing.attempts import sensible_retry_after

_decode = msgspec.json.decode
_OURS = frozenset({401, 402, 403})
_AGAIN = frozenset({408, 409})
_LONGEST = 2000
_KEY = re.compile(r"(?<![A-Za-z0-9])(?:[sa]k-[A-Za-z0-9_*-]{12,512}|AIza[0-9A-Za-z_-]{30,64}|gsk_[A-Za-z0-9]{20,255})")
_ACCOUNT = re.compile(r"\b(?:org-|proj_)[A-Za-z0-9]{16,64}\b")
_REDACTED = "[redacted]"
_LOOP = 508
_OPENS = re.compile("auth|key|token|secret|cookie", re.IGNORECASE)
_SHORTEST_SECRET = 8
NOTHING_SENT: Mapping[str, str] = {}
_BUSY = frozenset({503, 529})
_NO_MONEY = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
"""What a provider answers with 429 although waiting does not help: our account is out of money or closed."""

_TOO_LONG = (
    "maximum context length", "context length exceeded", "exceeds the available context size", "prompt is too long",
    "maximum prompt length", "longer than the model's context length", "exceeds the context window",
    "exceeds the maximum number of tokens", "max_new_tokens` must be <=",
)  # fmt: skip
_SAID_KNOWABLY = (
    "maximum context length", "prompt is too long", "context window", "input tokens exceed",
    "exceed context limit",
)  # fmt: skip
"""How OpenAI and Anthropic say that a request is too long, which clients look for."""
_FILTERED = (
    "content management policy", "content exists risk", "violating our usage policy", "requires moderation",
    "flagged by", "safety system",
)  # fmt: skip
_ABOUT_THE_REQUEST = frozenset({400, 403, 413, 422})
_SAY_LITTLE = frozenset(
    {None, "", "invalid_request_error", "bad_request", "invalid_prompt", "invalid_argument"}
)

Blame = Literal["status", "operator", "client", "throttle", "provider"]


class Complaint(Struct, frozen=True):
    """A provider's own words about an error. ``blame`` overrides what the status says, for providers that
    answer 400 to a bad key. ``headers`` are passed on to a client that is being limited."""

    message: str = ""
    kind: str = ""
    param: str | None = None
    code: str | None = None
    blame: Blame = "status"
    retry_after: float | None = None
    headers: dict[str, str] = {}


def refusal(
    provider: str, status: int, headers: Mapping[str, str], complaint: Complaint, *, now: float,
    sent: Mapping[str, str] = NOTHING_SENT,
) -> AttemptFailed:  # fmt: skip
    """The failure that an error answer stands for.

    401, 402, 403 and a spent quota are about the gateway's own account and are never told as the client's fault; 429 is
    passed on with its waiting time; 408, 409, 5xx and what is no error at all are the provider's failure (503 and 529:
    it is overloaded; 504: it was too slow);
    any other 4xx is about the request and keeps the provider's words, without what opened it in ``sent``, the headers
    that the gateway sent: some providers repeat a request that they do not like.
    """
    complaint = understood(complaint, status)
    message = unkeyed(complaint.message, sent)[:_LONGEST]
    retry_after = complaint.retry_after
    if retry_after is None:
        retry_after = asked_wait(headers, now)
    blame = _blamed(complaint, status)
    if blame == "operator":
        return failed("credentials", _locked_out(provider, status))
    if blame == "throttle":
        return failed("throttled", _limiting(provider, complaint, message, retry_after), retry_after=retry_after)
    if blame == "provider":
        return failed("failed", _broken(provider, status, message, retry_after), retry_after=retry_after)
    return failed("refused", _refused(provider, status, complaint, message))


def unkeyed(message: str, sent: Mapping[str, str] = NOTHING_SENT) -> str:
    """A provider's words without keys, those that were ``sent`` among them, and without our account's name there."""
    for name, value in sent.items():
        secret = value.removeprefix("Bearer ")
        if len(secret) >= _SHORTEST_SECRET and _OPENS.search(name):
            message = message.replace(secret, _REDACTED)
    return _ACCOUNT.sub(_REDACTED, _KEY.sub(_REDACTED, message))


def _blamed(complaint: Complaint, status: int) -> Blame:
    """Whose fault it is. Who has no money left is limited for as long as nobody pays."""
    blame = complaint.blame if complaint.blame != "status" else _blame(status)
    if blame == "throttle" and (complaint.code in _NO_MONEY or complaint.kind in _NO_MONEY):
        return "operator"
    return blame


def _locked_out(provider: str, status: int) -> errors.GatewayError:
    return errors.UpstreamFailed(
        f"The provider '{provider}' refused the gateway's own credentials. "
        "This is for the gateway's operator to mend, not for you.",
        code="provider_credentials",
        detail=f"status {status}",
    )


def _limiting(provider: str, complaint: Complaint, message: str, wait: float | None) -> errors.GatewayError:
    passed_on = dict(complaint.headers)
    if wait is not None:
        passed_on |= errors.after(wait)
    return errors.RateLimited(
        message or f"The provider '{provider}' is limiting requests.",
        code=complaint.code or "rate_limit_exceeded",
        headers=passed_on,
    )


def _refused(provider: str, status: int, complaint: Complaint, message: str) -> errors.GatewayError:
    """About the request, in the provider's words."""
    if complaint.code == "context_length_exceeded":
        message = _knowably(message)
    return errors.ProviderRefused(
        status if 400 <= status < 500 or status == _LOOP else 400,
        message or f"The provider '{provider}' refused the request.",
        kind=complaint.kind or "invalid_request_error",
        param=complaint.param,
        code=complaint.code,
        headers={"x-should-retry": "false"} if status == _LOOP else {},
    )


def _knowably(message: str) -> str:
    """Agents shorten a conversation that is too long, and many know by the sentence, not by the code, that it is."""
    lower = message.lower()
    known = not message or any(phrase in lower for phrase in _SAID_KNOWABLY)
    return message if known else f"The prompt is too long: {message}"


def _broken(provider: str, status: int, detail: str, wait: float | None) -> errors.GatewayError:
    """A provider's failure as clients know it: one that is overloaded (529 is Anthropic's word for it) or was too slow
    is no bad gateway, and agents wait differently for each: as long as it asked for, else a second."""
    if status in _BUSY:
        return errors.UpstreamFailed(
            f"The provider '{provider}' is overloaded (status {status}). Try again shortly.",
            status=503, code="upstream_overloaded", detail=detail,
            headers=errors.after(wait or 1.0),
        )  # fmt: skip
    if status == 504:
        return errors.UpstreamTimeout(f"The provider '{provider}' took too long (status 504).", detail=detail)
    return errors.UpstreamFailed(f"The provider '{provider}' failed (status {status}).", detail=detail)


def asked_wait(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that a provider asks to wait: ``retry-after-ms`` (Azure, OpenAI), else ``retry-after``."""
    try:
        return sensible_retry_after(str(float(headers["retry-after-ms"]) / 1000), now)
    except (KeyError, ValueError):
        return sensible_retry_after(headers.get("retry-after"), now)


def understood(complaint: Complaint, status: int) -> Complaint:
    """Two refusals that clients and fallbacks act on have one code each, whatever a vendor calls them: where its own
    code says little, its sentence is read."""
    says_little = complaint.code in _SAY_LITTLE or (complaint.code or "").isdigit()
    if status not in _ABOUT_THE_REQUEST or not says_little or complaint.blame == "operator":
        return complaint
    lower = complaint.message.lower()
    if complaint.kind == "exceed_context_size_error" or any(phrase in lower for phrase in _TOO_LONG):
        return msgspec.structs.replace(
            complaint, code="context_length_exceeded", param=complaint.param or "messages", blame="client"
        )
    if any(phrase in lower for phrase in _FILTERED):
        return msgspec.structs.replace(complaint, code="content_filter", blame="client")
    return complaint


def _blame(status: int) -> Blame:
    if status in _OURS:
        return "operator"
    if status == 429:
        return "throttle"
    if status == _LOOP:
        return "client"  # asking again would only go round again
    return "client" if 400 <= status < 500 and status not in _AGAIN else "provider"


def nonsense(provider: str, what: str) -> AttemptFailed:
    """An answer that cannot be read is the provider's failure."""
    return failed("failed", errors.UpstreamFailed(f"The provider '{provider}' sent {what}."))


def object_in(provider: str, body: bytes) -> dict[str, Any]:
    """The JSON object of an answer or an event. Raises AttemptFailed."""
    try:
        data = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise nonsense(provider, "an answer that is not JSON") from None
    if not isinstance(data, dict):
        raise nonsense(provider, "an answer that is no JSON object")
    return data


def lenient(body: bytes) -> Any:
    """The JSON of an error body, None when it has none: an error page must not become another error."""
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def text_field(data: Any, *path: str) -> str:
    """A text inside nested maps; "" when it is not there."""
    for name in path:
        data = data.get(name) if isinstance(data, dict) else None
    return data if isinstance(data, str) else ""
