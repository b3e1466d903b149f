"""Google's service accounts: an access token for a signed assertion (RFC 7523). Sans IO; whoever owns sockets asks.

https://developers.google.com/identity/protocols/oauth2/service-account#httprest
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec
from msgspec import Struct

from gateway import errors
from gateway.providers.codec import UpstreamRequest, failed
from gateway.providers.failures import lenient, text_field

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
EARLY_S = 300.0
"""A token is renewed so long before its end."""
_LIFETIME_S = 3600
_LEAST_S = 30.0
_GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_encode = msgspec.json.encode

Identity = tuple[str, str, str]
"""Whose token it is: e-mail address, key and where tokens come from; empty for the machine's own."""


class NotAnAccount(ValueError):
    """What the policies hold is no service account's key; the text says why and repeats nothing of it."""


class Account(Struct, frozen=True):
    """The fields of a key file that matter here."""

    client_email: str
    private_key: str
    token_uri: str = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
    private_key_id: str = ""
    project_id: str = ""


def account_of(text: str) -> Account:
    """``text`` is a key file's JSON, or the path of the file. Raises NotAnAccount."""
    raw = text.strip()
    if not raw.startswith("{"):
        try:
            raw = Path(raw).read_text()
        except (OSError, ValueError):
            raise NotAnAccount("there is no file of this name that can be read, and it is no JSON") from None
    try:
        found = msgspec.json.decode(raw, type=Account)
        _private_key(found)
    except msgspec.DecodeError:
        raise NotAnAccount("it is not the JSON of a service account's key") from None
    except (ValueError, TypeError):
        raise NotAnAccount("its private_key cannot be read") from None
    where = urlsplit(found.token_uri)
    if where.scheme != "https" and where.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise NotAnAccount("its token_uri does not begin with https://")
    return found


def _private_key(account: Account) -> Any:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(account.private_key.encode(), None)
    if not isinstance(key, RSAPrivateKey):
        raise TypeError
    return key


def assertion(account: Account, now: float) -> str:
    """The signed token (RS256) that is exchanged for an access token. ``now``: unix seconds."""
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    head = {"alg": "RS256", "typ": "JWT", **({"kid": account.private_key_id} if account.private_key_id else {})}
    at = int(now)
    claims = {
        "iss": account.client_email, "scope": SCOPE, "aud": account.token_uri, "iat": at, "exp": at + _LIFETIME_S,
    }  # fmt: skip
    signed = b".".join(_base64url(_encode(part)) for part in (head, claims))
    signature = _private_key(account).sign(signed, PKCS1v15(), SHA256())
    return (signed + b"." + _base64url(signature)).decode()


def _base64url(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


class Grant:
    """The access token of one provider: what it is now and how the next one is asked for. Times are monotonic
    seconds but where it says otherwise. ``used``: somebody wanted it since it was given; ``account``: None for the
    identity of the machine, whose tokens are not asked for by a ``request``."""

    def __init__(self, provider: str, account: Account | None) -> None:
        self._provider, self.account = provider, account
        self._token, self._until = "", 0.0
        self.used = False

    @property
    def identity(self) -> Identity:
        """Grants of one account share its tokens, whichever reading of the policies made them."""
        account = self.account
        return (account.client_email, account.private_key, account.token_uri) if account is not None else ("", "", "")

    def good(self, now: float) -> bool:
        return now < self._until

    def token(self, now: float) -> str:
        """Raises TokenNeeded when there is none that is good now."""
        self.used = True
        if not self.good(now):
            raise TokenNeeded(self)
        return self._token

    def request(self, now: float) -> UpstreamRequest:
        """``now``: unix seconds. Signs, which takes a millisecond of CPU."""
        assert self.account is not None
        form = {"grant_type": _GRANT_TYPE, "assertion": assertion(self.account, now)}
        headers = {"content-type": "application/x-www-form-urlencoded"}
        return UpstreamRequest(self.account.token_uri, headers, urlencode(form).encode())

    def take(self, status: int, body: bytes, now: float) -> float:
        """The seconds for which the token in an answer is good. Raises AttemptFailed: ``credentials`` when Google
        refuses the account, ``failed`` when it fails."""
        data = lenient(body)
        token = text_field(data, "access_token")
        lasts = data.get("expires_in") if isinstance(data, dict) else None
        if status == 200 and token and isinstance(lasts, int) and token.isascii() and token.isprintable():
            self._token, self._until, self.used = token, now + max(_LEAST_S, lasts - _LEAST_S), False
            return float(lasts)
        refused = 400 <= status < 500 and status not in (408, 429)
        who = "service account" if self.account is not None else "machine's identity"
        whose = f"Google refused the {who} of the provider '{self._provider}'." if refused else (
            f"Google gave the provider '{self._provider}' no access token."
        )  # fmt: skip
        error = errors.UpstreamFailed(
            f"{whose} This is for the gateway's operator to mend, not for you.",
            code="provider_credentials",
            detail=f"status {status}: {text_field(data, 'error')}: {text_field(data, 'error_description')}"
            if status
            else "no metadata server answered: is this a machine of Google's?",
        )
        raise failed("credentials" if refused else "failed", error)

    def adopt(self, other: Grant) -> None:
        self._token, self._until = other._token, other._until


class TokenNeeded(Exception):
    """A request cannot be written before its provider's access token is there."""

    def __init__(self, grant: Grant) -> None:
        super().__init__("an access token is needed")
        self.grant = grant


def no_account(provider: str) -> errors.UpstreamFailed:
    return errors.UpstreamFailed(
        f"The provider '{provider}' has no service account. This is for the gateway's operator to mend.",
        code="provider_credentials",
    )
