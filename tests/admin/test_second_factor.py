"""The admin page's second factor: which codes count, that each counts once, and that guesses are braked."""

from __future__ import annotations

import base64
import threading
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from admin_desk import BASE, Desk
from admin_fakes import KEY, FakeClock, FakeControl, app_of, configuration, plausible
from litestar.testing import TestClient

from gateway.access.admin_key import WeakKey
from gateway.access.second_factor import (
    STEP_S,
    VARIABLE,
    SecondFactor,
    claims_in,
    code_at,
    new_secret,
    secret_in,
    step_at,
    step_of,
    uri_of,
)
from gateway.errors import Unavailable

SECRET = b"12345678901234567890"
"""The one of RFC 6238's own examples."""


@pytest.mark.parametrize(
    ("now", "code"),
    [
        (59, "287082"), (1111111109, "081804"), (1111111111, "050471"), (1234567890, "005924"), (2000000000, "279037"),
        (20000000000, "353130"),
    ],
)  # fmt: skip
def test_the_codes_are_the_rfcs(now: int, code: str) -> None:
    """Appendix B, SHA-1; of its eight digits the last six."""
    assert code_at(SECRET, step_at(now)) == code
    assert step_of(SECRET, code, now) == step_at(now)


def test_a_clock_may_be_one_step_off() -> None:
    now = 1_800_000_000.0
    for steps, counts in ((-2, False), (-1, True), (0, True), (1, True), (2, False)):
        assert (step_of(SECRET, code_at(SECRET, step_at(now) + steps), now) is not None) is counts
    assert step_of(SECRET, code_at(SECRET, 0), 0.0) == 0


@pytest.mark.parametrize("code", ["", "12345", "0000000", "١٢٣٤٥٦", "\ud800", "287082x", "-87082"])
def test_what_is_no_code_is_none(code: str) -> None:
    assert step_of(SECRET, code, 59.0) is None
    assert step_of(SECRET, "287 082", 59.0) is not None


async def test_each_code_counts_once(tmp_path: Path) -> None:
    clock = FakeClock()
    made = SecondFactor(SECRET, clock, claims_in(tmp_path / "codes"))
    here = step_at(clock())
    assert await made.takes(code_at(SECRET, here)) and not await made.takes(code_at(SECRET, here))
    assert await made.takes(code_at(SECRET, here - 1)), "another person's telephone may be slow"
    again = SecondFactor(SECRET, clock, claims_in(tmp_path / "codes"))
    assert not await again.takes(code_at(SECRET, here)), "not after a restart either"
    for _ in range(50):
        clock.now += STEP_S
        assert await again.takes(code_at(SECRET, step_at(clock())))
    assert len(list((tmp_path / "codes").iterdir())) <= 21, "what is long past is not kept"
    assert all(path.stat().st_mode & 0o077 == 0 and path.stat().st_size == 0 for path in (tmp_path / "codes").iterdir())


def test_of_many_at_once_one_claims_a_step(tmp_path: Path) -> None:
    taken: list[bool] = []
    at_once = threading.Barrier(8)

    def run() -> None:
        claim = claims_in(tmp_path / "codes")
        at_once.wait(30)
        taken.append(claim(7))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(taken) == [False] * 7 + [True]


async def test_what_cannot_be_noted_lets_nobody_in(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    clock = FakeClock()
    made = SecondFactor(SECRET, clock, claims_in(tmp_path / "file"))
    with pytest.raises(Unavailable, match="make room"):
        await made.takes(code_at(SECRET, step_at(clock())))


class Neighbour:
    """The other end of a bus between two: what one tells, the other hears at once."""

    def __init__(self) -> None:
        self.handlers: dict[str, Any] = {}
        self.other: Neighbour = self
        self.introduce: Any = None

    def tell(self, topic: str, *values: Any) -> None:
        self.other.handlers[topic](*values)

    mention = tell

    async def ask(self, topic: str, *values: Any) -> list[Any]:
        said = self.other.handlers[topic](*values)
        return [] if said is None else [said]

    def hear(self, topic: str, handler: Any) -> None:
        self.handlers[topic] = handler

    def greet(self, introduce: Any) -> None:
        self.introduce = introduce


async def test_a_code_that_was_used_at_one_worker_is_used_at_all() -> None:
    clock, near, far = FakeClock(), Neighbour(), Neighbour()
    near.other, far.other = far, near
    here, there = SecondFactor(SECRET, clock, bus=near), SecondFactor(SECRET, clock, bus=far)
    code = code_at(SECRET, step_at(clock()))
    assert await here.takes(code) and not await there.takes(code)
    late = Neighbour()
    near.other = late
    newcomer = SecondFactor(SECRET, clock, bus=late)
    near.introduce()
    assert not await newcomer.takes(code), "one that comes later is told"


def test_the_secret_of_the_environment() -> None:
    text = new_secret()
    assert len(text) == 32 and secret_in({VARIABLE: text}) == base64.b32decode(text)
    assert secret_in({VARIABLE: f" {text.lower()[:16]} {text.lower()[16:]} "}) == base64.b32decode(text)
    assert secret_in({}) is None and secret_in({VARIABLE: ""}) is None
    for wrong in ("changeme", "1" * 32, "A" * 24, "not base32!", "é" * 32):
        with pytest.raises(WeakKey, match="understudy admin totp") as told:
            secret_in({VARIABLE: wrong})
        assert wrong not in str(told.value)


def test_what_an_app_reads() -> None:
    parts = urlsplit(uri_of("ABC", "my gateway/1"))
    assert (parts.scheme, parts.netloc, parts.path) == ("otpauth", "totp", "/Understudy:admin@my%20gateway%2F1")
    assert parse_qs(parts.query) == {
        "secret": ["ABC"], "issuer": ["Understudy"], "algorithm": ["SHA1"], "digits": ["6"], "period": ["30"],
    }  # fmt: skip


@pytest.fixture
def guarded() -> Any:
    control, clock = FakeControl(plausible(), configuration()), FakeClock()
    with TestClient(app_of(control, clock, secret=SECRET), base_url=BASE) as client:
        yield Desk(client, control, clock)


def enter(desk: Desk, key: str = KEY, **more: str) -> Any:
    return desk.client.post("/admin/login", json={"key": key, **more})


def now_code(desk: Desk) -> str:
    return code_at(SECRET, step_at(desk.clock()))


def test_the_key_alone_opens_nothing(guarded: Desk) -> None:
    refusals = [enter(guarded), enter(guarded, code="000000"), enter(guarded, "wrong", code=now_code(guarded))]
    assert {one.status_code for one in refusals} == {401}
    assert len({one.text for one in refusals}) == 1, "it does not tell which of the two was wrong"
    assert guarded.get("session").status_code == 401
    assert enter(guarded, code=now_code(guarded)).status_code == 200
    assert guarded.get("session").status_code == 200
    told = [(line[1], line[3]) for line in guarded.control.state.audits]
    assert told == [
        ("login failed", "right admin key, wrong code"), ("login failed", "right admin key, wrong code"),
        ("login failed", "wrong admin key"), ("login", ""),
    ]  # fmt: skip


def test_a_code_opens_the_page_once(guarded: Desk) -> None:
    code = now_code(guarded)
    assert [enter(guarded, code=code).status_code for _ in range(2)] == [200, 401]
    guarded.clock.now += STEP_S
    assert enter(guarded, code=now_code(guarded)).status_code == 200


def test_guesses_of_the_code_are_braked_as_those_of_the_key(guarded: Desk) -> None:
    tried = [enter(guarded, code=f"{number:06}").status_code for number in range(7)]
    assert tried == [401] * 5 + [429] * 2
    assert enter(guarded, code=now_code(guarded)).status_code == 429
    guarded.clock.now += 61
    assert enter(guarded, code=now_code(guarded)).status_code == 200


def test_the_form_asks_for_a_code_only_where_there_is_one(guarded: Desk, desk: Desk) -> None:
    assert '<div id="second-factor">' in guarded.client.get("/admin").text
    assert '<div id="second-factor" hidden>' in desk.client.get("/admin").text
    assert enter(desk, code="123456").status_code == 200, "a code that nobody asked for is not looked at"
