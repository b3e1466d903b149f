"""Admin sessions and the brake on guessing the admin key. In memory, of every worker: they tell each other, and
only a restart of the last one logs everybody out."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import deque
from collections.abc import Callable, Collection

from msgspec import Struct, structs

from gateway.sharing.bus import ALONE, Bus

IDLE_S = 15 * 60.0
ABSOLUTE_S = 12 * 3600.0
TRIES = 5
WINDOW_S = 60.0
_TOLD_S = 60.0
_MOST_SESSIONS = 256
_MOST_ADDRESSES = 1024
_LONGEST_BROWSER = 200


class Session(Struct, frozen=True):
    """A person who is logged in. Times are unix seconds; ``seen_at`` is when they last did something, ``seen_from``
    where they were then, ``browser`` what theirs calls itself. ``id`` names it to people and opens nothing."""

    csrf: str
    created_at: float
    seen_at: float
    id: str = ""
    address: str = ""
    seen_from: str = ""
    browser: str = ""

    def alive(self, now: float) -> bool:
        return now - self.seen_at < IDLE_S and now - self.created_at < ABSOLUTE_S


class Sessions:
    """Server-side sessions by the SHA-256 of their id, so that a memory dump holds no usable cookie."""

    def __init__(self, clock: Callable[[], float], bus: Bus = ALONE) -> None:
        self._clock, self._bus = clock, bus
        self._sessions: dict[bytes, Session] = {}
        self._over: deque[bytes] = deque(maxlen=_MOST_SESSIONS)
        """Closed by a person: a worker that could not hear of it, or has not yet, must not bring them back."""
        bus.hear("session", self._told)
        bus.hear("session over", self._end)
        bus.greet(self._introduce)

    async def open(self, address: str = "", browser: str = "") -> tuple[str, Session]:
        """A new 256-bit token and its session, known to every worker. The oldest session makes room when there are
        too many."""
        now = self._clock()
        self._sessions = {digest: one for digest, one in self._sessions.items() if one.alive(now)}
        while len(self._sessions) >= _MOST_SESSIONS:
            self._sessions.pop(next(iter(self._sessions)))
        token = secrets.token_urlsafe(32)
        session = Session(
            csrf=secrets.token_urlsafe(32), created_at=now, seen_at=now, id=secrets.token_hex(8), address=address,
            seen_from=address, browser=_shown(browser),
        )  # fmt: skip
        self._sessions[_digest(token)] = session
        await self._bus.ask("session", _digest(token), *_values(session))
        return token, session

    def find(self, token: str | None, *, extend: bool, address: str = "") -> Session | None:
        """The living session of ``token``. ``extend`` counts this request, from ``address``, as a sign of a person."""
        if not token:
            return None
        key, now = _digest(token), self._clock()
        session = self._sessions.get(key)
        if session is None:
            return None
        if not session.alive(now):
            del self._sessions[key]
            return None
        if extend:
            before, session = session, structs.replace(session, seen_at=now, seen_from=address or session.seen_from)
            self._sessions[key] = session
            if now // _TOLD_S != before.seen_at // _TOLD_S or session.seen_from != before.seen_from:
                self._bus.tell("session", key, *_values(session))
        return session

    async def close(self, token: str | None) -> None:
        if token:
            self._end(_digest(token))
            await self._bus.ask("session over", _digest(token))

    def alive(self) -> list[Session]:
        """Everybody who is logged in, at whichever worker; who was last seen comes first."""
        now = self._clock()
        return sorted((one for one in self._sessions.values() if one.alive(now)), key=lambda one: -one.seen_at)

    async def end(self, ids: Collection[str]) -> list[Session]:
        """Ends those of these sessions that live, at every worker, and tells which they were."""
        now = self._clock()
        found = [(digest, one) for digest, one in self._sessions.items() if one.id in ids and one.alive(now)]
        for digest, _ in found:
            self._end(digest)
            await self._bus.ask("session over", digest)
        return [one for _, one in found]

    # ------------------------------------------------------------------ what other workers tell
    def _end(self, digest: bytes) -> None:
        self._sessions.pop(digest, None)
        if digest not in self._over:  # also one that another worker has yet to introduce
            self._over.append(digest)

    def _introduce(self) -> None:
        for digest in self._over:
            self._bus.tell("session over", digest)
        for digest, session in self._sessions.items():
            self._bus.tell("session", digest, *_values(session))

    def _told(self, digest: bytes, csrf: str, created_at: float, seen_at: float, *more: str) -> None:
        """``more``: id, address, where last seen, browser; workers of an older version do not tell them."""
        mine = self._sessions.get(digest)
        if digest not in self._over and (mine is None or mine.seen_at < seen_at):
            self._sessions[digest] = Session(csrf, created_at, seen_at, *more[:4])


class LoginBrake:
    """At most :data:`TRIES` failed logins a minute from one address, and as many from everywhere together.

    A try counts from its start, so that parallel guesses cannot overtake the count; success gives it back. Tries at
    other workers count as well.
    """

    def __init__(self, clock: Callable[[], float], bus: Bus = ALONE) -> None:
        self._clock, self._bus = clock, bus
        bus.hear("login tried", self._count)
        bus.hear("login right", self._give_back)
        self._overall: deque[float] = deque()
        self._by_address: dict[str, deque[float]] = {}

    def begin(self, address: str) -> float:
        """Counts a try. → 0 when it may go on, else the seconds to wait (and nothing is counted)."""
        now = self._clock()
        self._forget(now)
        mine = self._by_address.get(address, deque())
        for tries in (mine, self._overall):
            if len(tries) >= TRIES:
                return max(1.0, tries[0] + WINDOW_S - now)
        self._count(address)
        self._bus.tell("login tried", address)
        return 0.0

    def _count(self, address: str) -> None:
        now, mine = self._clock(), self._by_address.get(address, deque())
        if len(self._by_address) >= _MOST_ADDRESSES:
            self._by_address.pop(next(iter(self._by_address)))
        self._by_address[address] = mine
        mine.append(now)
        self._overall.append(now)

    def succeeded(self, address: str) -> None:
        """The latest try from ``address`` was the right key: it does not count."""
        self._give_back(address)
        self._bus.tell("login right", address)

    def _give_back(self, address: str) -> None:
        for tries in (self._by_address.get(address), self._overall):
            if tries:
                tries.pop()

    def _forget(self, now: float) -> None:
        for tries in (self._overall, *self._by_address.values()):
            while tries and now - tries[0] >= WINDOW_S:
                tries.popleft()
        self._by_address = {address: tries for address, tries in self._by_address.items() if tries}


def key_matches(key: str, admin_digest: str) -> bool:
    """Whether SHA-256 of ``key`` is ``admin_digest`` (hex), in time that does not depend on the answer."""
    found = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    return hmac.compare_digest(found, admin_digest)


def same_secret(left: str, right: str) -> bool:
    return hmac.compare_digest(left.encode("utf-8", "surrogatepass"), right.encode())


def _values(session: Session) -> tuple[str | float, ...]:
    return structs.astuple(session)


def _shown(browser: str) -> str:
    """As much of what a browser says of itself as a person wants to read."""
    return "".join(sign if sign.isprintable() else " " for sign in browser[:_LONGEST_BROWSER]).strip()


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
