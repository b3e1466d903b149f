"""The operator's key: kept as a hash, shown once, never guessable."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

import pytest

from gateway.access.admin_key import WeakKey, ensure, matches, weakness
from gateway.storage.home import Home

STRONG = "correct-horse-battery-staple-91"


def test_a_key_is_made_once_and_only_its_hash_is_kept(tmp_path: Path) -> None:
    home = Home(tmp_path).prepare()
    digest, text = ensure(home, {})
    assert text is not None
    assert text.startswith("ak-us-")
    assert digest == hashlib.sha256(text.encode()).hexdigest()
    assert matches(text, digest)
    assert not matches(text + "x", digest)
    assert ensure(home, {}) == (digest, None)
    stored = home.secrets / "admin.sha256"
    assert stored.read_text() == f"{digest}\n"
    assert stored.stat().st_mode & 0o077 == 0


def test_the_environments_key_wins(tmp_path: Path) -> None:
    home = Home(tmp_path).prepare()
    ensure(home, {})
    digest, text = ensure(home, {"UNDERSTUDY_ADMIN_KEY": STRONG})
    assert text is None
    assert matches(STRONG, digest)


def test_nothing_of_a_key_that_a_person_chose_is_written_down(tmp_path: Path) -> None:
    """Whoever steals the data directory has nothing to guess at; and what opened the page before does not again."""
    home = Home(tmp_path).prepare()
    before, _ = ensure(home, {})
    digest, _ = ensure(home, {"UNDERSTUDY_ADMIN_KEY": STRONG})
    left = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert digest.encode() not in left and before.encode() not in left and STRONG.encode() not in left
    after, shown = ensure(home, {})
    assert shown is not None and after not in (before, digest)


def test_a_damaged_file_is_replaced(tmp_path: Path) -> None:
    home = Home(tmp_path).prepare()
    (home.secrets / "admin.sha256").write_text("abc")
    assert ensure(home, {})[1] is not None


@pytest.mark.parametrize(
    "text",
    [
        "short", "changeme", "changemechangeme", "change-me-please-now", "sk-1234567890123456", "password123456789",
        "aaaaaaaaaaaaaaaaaaaaaa", "my-secret-admin-key", "your-api-key-here-1234", "understudy-admin-secret-key",
    ],
)  # fmt: skip
def test_what_everybody_tries_first_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(WeakKey, match="UNDERSTUDY_ADMIN_KEY is too weak"):
        ensure(Home(tmp_path).prepare(), {"UNDERSTUDY_ADMIN_KEY": text})


def test_random_keys_are_strong() -> None:
    assert not any(weakness(secrets.token_urlsafe(24)) for _ in range(2000))
