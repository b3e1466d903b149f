"""What a provider says of a mistake reaches the client, and nothing of the gateway's own account does."""

from __future__ import annotations

import json

import pytest

from gateway.providers.codec import AttemptFailed
from gateway.providers.failures import Complaint, refusal, unkeyed
from gateway.providers.openai.provider import OpenAIProvider

KEY = "sk-" + "proj-a1B2c3D4e5F6g7H8i9J0"


@pytest.mark.parametrize("status", [400, 404, 422, 429, 500])
@pytest.mark.parametrize(
    ("said", "told"),
    [
        (f"No such model for key {KEY}.", "No such model for key [redacted]."),
        ("Incorrect key sk-proj-****************J0: see the docs.", "Incorrect key [redacted]: see the docs."),
        ("Rate limit reached for m in organization org-a1B2c3D4e5F6g7H8i9J0k1L2 on tokens.", "Rate limit reached for m in organization [redacted] on tokens."),
        ("Project `proj_a1B2c3D4e5F6g7H8i9J0` has no access.", "Project `[redacted]` has no access."),
        ("'max_tokens' is too large: org-chart, task-1 and sk-x are words.", "'max_tokens' is too large: org-chart, task-1 and sk-x are words."),
    ],
)  # fmt: skip
def test_keys_and_accounts_are_not_told(status: int, said: str, told: str) -> None:
    assert unkeyed(said) == told
    failure: AttemptFailed = refusal("first", status, {}, Complaint(message=said), now=0.0)
    assert KEY not in failure.error.message and "a1B2c3" not in failure.error.message
    if status in (400, 404, 422, 429):
        assert failure.error.message == told


def test_nor_by_an_error_inside_a_stream() -> None:
    body = {"error": {"message": f"The server broke with {KEY}", "type": "server_error", "code": None}}
    stream = OpenAIProvider(api_key=KEY, base_url="https://api.example.org/v1").build("first", "").stream()
    with pytest.raises(AttemptFailed) as caught:
        stream.feed(b"data: " + json.dumps(body).encode() + b"\n\n")
    assert caught.value.error.message == "The server broke with [redacted]"
