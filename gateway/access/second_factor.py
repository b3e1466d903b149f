"""The admin page's second factor: codes of an authenticator app (TOTP, RFC 6238; SHA-1, six digits, half a minute).

Its secret stands in ``UNDERSTUDY_ADMIN_TOTP``, beside the admin key and as little written down: whoever can change the
environment can make another one, or do without, which is also the way back for somebody who lost the app.
"""

from __future__ import annotations

import base64
import hmac
import os
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote, urlencode

from gateway.access.admin_key import WeakKey
from gateway.errors import Unavailable
from gateway.sharing.bus import ALONE, Bus

VARIABLE = "UNDERSTUDY_ADMIN_TOTP"
STEP_S = 30
DIGITS = 6
_NEW_BYTES = 20
_LEAST_BYTES = 16
"""RFC 4226, R6: 128 bits at least, 160 recommended."""
_DRIFT = 1
"""Steps that the clock of a telephone may be off, either way."""
_KEPT_STEPS = 20
Claim = Callable[[int], bool]


def new_secret() -> str:
    """160 random bits, as apps take them."""
    return base64.b32encode(secrets.token_bytes(_NEW_BYTES)).decode()


def secret_in(env: Mapping[str, str]) -> bytes | None:
    """The secret of the environment; None when there is no second factor. Raises WeakKey."""
    text = env.get(VARIABLE, "")
    if not text:
        return None
    plain = "".join(text.split()).upper().rstrip("=")
    try:
        secret = base64.b32decode(plain + "=" * (-len(plain) % 8))
    except ValueError:  # letters that base32 has not, or that are not ASCII
        secret = b""
    if len(secret) < _LEAST_BYTES:
        raise WeakKey(
            f"{VARIABLE} is no secret of an authenticator app: it takes at least {_LEAST_BYTES * 8} bits in base32. "
            "Make one with: understudy admin totp"
        )
    return secret


def uri_of(text: str, where: str) -> str:
    """What an app reads from a QR code; ``where`` tells this gateway from others in its list."""
    label = quote(f"Understudy:admin@{where}", safe=":@")
    told = {"secret": text, "issuer": "Understudy", "algorithm": "SHA1", "digits": DIGITS, "period": STEP_S}
    return f"otpauth://totp/{label}?{urlencode(told)}"


def step_at(now: float) -> int:
    return int(now // STEP_S)


def code_at(secret: bytes, step: int) -> str:
    """RFC 4226, 5.3."""
    digest = hmac.digest(secret, step.to_bytes(8, "big"), "sha1")
    start = digest[-1] & 0x0F
    number = int.from_bytes(digest[start : start + 4], "big") & 0x7FFF_FFFF
    return str(number % 10**DIGITS).zfill(DIGITS)


def step_of(secret: bytes, code: str, now: float) -> int | None:
    """The step that ``code`` belongs to, among those that count ``now``; every one of them is compared."""
    given, here = "".join(code.split()).encode("utf-8", "surrogatepass"), step_at(now)
    steps = [step for step in range(here - _DRIFT, here + _DRIFT + 1) if step >= 0]
    found = [step for step in steps if hmac.compare_digest(given, code_at(secret, step).encode())]
    return found[-1] if found else None


class SecondFactor:
    """Takes each code once, here and at every other worker. Two with data directories of their own that are given the
    same code in the same moment may both refuse it; no two ever take it."""

    def __init__(
        self, secret: bytes, clock: Callable[[], float], claim: Claim = lambda step: True, bus: Bus = ALONE
    ) -> None:
        """``claim`` is False for a step that anybody on this data directory, also before a restart, has used."""
        self._secret, self._clock, self._claim, self._bus = secret, clock, claim, bus
        self._taken: set[int] = set()
        """Steps whose codes let somebody in here."""
        self._elsewhere: set[int] = set()
        bus.hear("code used", self._used_elsewhere)
        bus.greet(self._introduce)

    async def takes(self, code: str) -> bool:
        """Whether ``code`` counts now and nobody has used it; from now on somebody has. Raises Unavailable."""
        step = step_of(self._secret, code, self._clock())
        if step is None or step in self._taken or step in self._elsewhere:
            return False
        try:
            mine = self._claim(step)
        except OSError as problem:
            raise Unavailable(
                "The gateway cannot write down that this code was used, so nobody is let in with it. Its operator has "
                "to make room on its disk.",
                detail=repr(problem),
            ) from problem
        if not mine:
            return False
        self._taken = {one for one in self._taken if one > step - _KEPT_STEPS} | {step}
        return not any(await self._bus.ask("code used", step))

    def _introduce(self) -> None:
        for step in self._taken | self._elsewhere:
            self._bus.tell("code used", step)

    def _used_elsewhere(self, step: int) -> bool | None:
        """True when it was used here as well."""
        if step in self._taken:
            return True
        self._elsewhere = {one for one in self._elsewhere if one > step - _KEPT_STEPS} | {step}
        return None


def second_factor_of(env: Mapping[str, str], folder: Path, bus: Bus) -> SecondFactor | None:
    """The one of the environment, if there is one; ``folder`` is where it notes what was used. Raises WeakKey."""
    secret = secret_in(env)
    return None if secret is None else SecondFactor(secret, time.time, claims_in(folder), bus)


def claims_in(folder: Path) -> Claim:
    """Notes used steps as the names of empty files: of processes that share ``folder``, one makes each of them."""

    def claim(step: int) -> bool:
        folder.mkdir(mode=0o700, exist_ok=True)
        for old in folder.iterdir():
            if old.name.isdecimal() and int(old.name) <= step - _KEPT_STEPS:
                old.unlink(missing_ok=True)
        try:
            os.close(os.open(folder / str(step), os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            return False
        return True

    return claim
