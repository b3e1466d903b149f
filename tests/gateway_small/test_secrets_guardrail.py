from __future__ import annotations

import base64

import pytest

from gateway.guardrails.secrets import Secrets, entropy, secrets

KEY = "sk-" + "a1B2c3D4e5F6g7H8i9J0"
DRAWN = "q7Zp2LxV9tRk4WmB"
PRIVATE = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEow8a7bQ2\n" * 200 + "-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    "text",
    [
        f"use {KEY} please",
        f"password: {DRAWN}",
        f'{{"client_secret": "{DRAWN}"}}',
        f"export API_KEY={DRAWN}",
        f"Authorization: Bearer {DRAWN}",
        f"the token is {DRAWN}.",
        f"DATABASE_URL=postgres://shop:{DRAWN}@db.example.org:5432/shop",
        f"redis://:{DRAWN}@[::1]:6379",
        "Authorization: Basic " + base64.b64encode(f"jane:{DRAWN}".encode()).decode(),
        "https://hooks.slack.com/services/T01ABCDEF/B01ABCDEF/" + DRAWN,
        "dop_v1_" + "0a1b2c3d" * 8,
        PRIVATE,
    ],
)
@pytest.mark.parametrize("direction", ["in", "out"])
def test_credentials_are_stopped_in_both_directions(text: str, direction: str) -> None:
    assert Secrets().check(text, direction).action == "block"  # type: ignore[arg-type]
    assert Secrets(action="flag").check(text, direction).action == "flag"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "commit 3f786850e387550fdab836ed7e6dc881de23001b fixed it",
        "sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "request key: 123e4567-e89b-12d3-a456-426614174000",
        "primary key: order_id_2024_archive",
        "password: correcthorsebatterystaple",
        "api_key: YOUR_API_KEY_123456",
        "token: ${GITHUB_TOKEN_2}",
        "cache key: /static/app.3f9a2c1b.js",
        '<img src="data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4">',
        "The secret is that we met in Paris2024 by chance.",
        "max_tokens: 4096, monkey = banana",
        "postgres://user:password@localhost/db and https://user:${PASSWORD_1}@host",
        "see https://example.org:8080/@jane2024 and http://a.example.org/x:y1z2w3v4@b",
        "The basic requirements2024andmore are here, basic YWJjZGVmZ2hpamtsbW5v",
        "",
    ],
)
def test_hashes_names_and_images_pass(text: str) -> None:
    assert Secrets().check(text, "in").action == "allow"


def test_masking_takes_out_the_value_and_leaves_the_word() -> None:
    text = f"password: {DRAWN}, then {KEY}"
    verdict = Secrets(action="mask").check(text, "in")
    assert verdict.action == "mask"
    assert [text[start:end] for start, end, _ in verdict.changes] == [DRAWN, KEY]


@pytest.mark.parametrize("secret", [f"here: {KEY} ", f"password: {DRAWN} "])
def test_a_stream_waits_for_the_end_of_a_run_and_then_stops(secret: str) -> None:
    guard = Secrets()
    said = [guard.check(secret[:end], "out", final=False).action for end in range(1, len(secret) + 1)]
    assert said[-1] == "block"
    assert said[-2] == "wait"
    assert "block" not in said[:-1]
    assert guard.check(secret.rstrip(), "out", final=True).action == "block"


def test_a_private_key_is_stopped_before_its_end_is_seen() -> None:
    for guard in (Secrets(), Secrets(action="mask")):
        assert guard.check(PRIVATE[:60], "out", final=False).action == "block"


def test_many_words_for_credentials_cost_linear_time() -> None:
    assert secrets("key: token secret is " * 20_000) == []
    assert entropy("") == 0
    assert entropy("abab") == 1
