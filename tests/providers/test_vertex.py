"""Vertex AI: whose dialect is spoken where, and a service account's tokens, from a scripted Google."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import anthropic
import openai
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from gateway_server import KEY, Gateway, gateway
from scripted import Line, Provider, provider

from gateway.policy.files import PolicyError, load
from gateway.providers import VertexProvider
from gateway.providers.codec import AttemptFailed
from gateway.providers.vertex.google_account import (
    Account,
    Grant,
    NotAnAccount,
    TokenNeeded,
    account_of,
    assertion,
)
from gateway.resilience import grants

ASK: Any = [{"role": "user", "content": "hi"}]
GEMINI = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "Bonn"}]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 2},
}
CLAUDE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "end_turn", "stop_sequence": None,
    "content": [{"type": "text", "text": "Bonn"}], "usage": {"input_tokens": 4, "output_tokens": 2},
}  # fmt: skip


@cache
def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def key_file(token_uri: str = "https://oauth2.googleapis.com/token", **more: Any) -> str:
    pem = private_key().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    held = {"type": "service_account", "project_id": "own-project", "private_key_id": "k1", "private_key": pem.decode(),
            "client_email": "bot@own-project.iam.gserviceaccount.com", "token_uri": token_uri}  # fmt: skip
    return json.dumps({**held, **more})


def part(text: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


class Google:
    """Gives tokens ``token-1``, ``token-2``, … and answers whoever brings the newest."""

    def __init__(self) -> None:
        self.given = 0
        self.lasts = 3600
        self.refuses = False
        self.asked: list[Line] = []

    async def __call__(self, line: Line) -> None:
        if line.seen.path == "/token":
            if self.refuses:
                await line.answer(400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."})
                return
            self.given += 1
            await line.answer(200, {"access_token": f"token-{self.given}", "expires_in": self.lasts, "token_type": "Bearer"})
            return
        self.asked.append(line)
        if line.seen.headers.get("authorization") != f"Bearer token-{self.given}":
            await line.answer(401, {"error": {"code": 401, "message": "no", "status": "UNAUTHENTICATED"}})
            return
        await line.answer(200, CLAUDE if "/anthropic/" in line.seen.path else GEMINI)


@pytest.fixture
async def upstream() -> AsyncIterator[Provider]:
    async with provider() as made:
        made.behave = Google()
        yield made


@pytest.fixture
async def served(tmp_path: Path, upstream: Provider) -> AsyncIterator[Gateway]:
    folder = tmp_path / "policies"
    folder.mkdir()
    root = upstream.url.removesuffix("/v1")
    (folder / "gateway.yaml").write_text(f"""
providers:
  google: {{type: vertex, region: europe-west4, base_url: "{upstream.url}", service_account: "${{ACCOUNT}}"}}
  claude: {{type: vertex, region: global, publisher: anthropic, project: theirs, base_url: "{upstream.url}", service_account: "${{ACCOUNT}}"}}
keys: [{{name: tests, key: {KEY}, project: default}}]
timeouts: {{connect: 5, first_byte: 30, chunk_gap: 30, total: 60}}
retries: {{attempts: 1}}
""")
    async with gateway(tmp_path, folder, ACCOUNT=key_file(f"{root}/token")) as made:
        yield made


def google_of(upstream: Provider) -> Google:
    assert isinstance(upstream.behave, Google)
    return upstream.behave


async def test_gemini_behind_a_service_account(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    answers = await asyncio.gather(
        *(client.chat.completions.create(model="google/gemini-2.5-flash", messages=ASK) for _ in range(8))
    )
    assert {one.choices[0].message.content for one in answers} == {"Bonn"}
    google = google_of(upstream)
    assert google.given == 1 and len(google.asked) == 8, "however many wait, one token is asked for"
    place = "/v1/projects/own-project/locations/europe-west4/publishers/google/models/gemini-2.5-flash:generateContent"
    assert google.asked[0].seen.path == place
    form = parse_qs(upstream.seen[0].body.decode())
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    head, claims, signature = form["assertion"][0].split(".")
    assert part(head) == {"alg": "RS256", "typ": "JWT", "kid": "k1"}
    told = part(claims)
    assert told["iss"] == "bot@own-project.iam.gserviceaccount.com" and told["exp"] - told["iat"] == 3600
    assert told["scope"] == "https://www.googleapis.com/auth/cloud-platform" and told["aud"].endswith("/token")
    raw = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    private_key().public_key().verify(raw, f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())


async def test_claude_speaks_its_own_dialect_there(served: Gateway, client: openai.AsyncOpenAI, upstream: Provider) -> None:
    async with anthropic.AsyncAnthropic(base_url=served.url, api_key=KEY, max_retries=0) as claude:
        said = await claude.messages.create(model="claude/claude-sonnet-4-5@20250929", max_tokens=9, messages=ASK)
    assert said.content[0].type == "text" and said.content[0].text == "Bonn"
    await client.chat.completions.create(model="claude/claude-sonnet-4-5@20250929", messages=ASK)
    first, second = (line.seen for line in google_of(upstream).asked)
    assert first.path == "/v1/projects/theirs/locations/global/publishers/anthropic/models/claude-sonnet-4-5@20250929:rawPredict"
    assert "model" not in first.body and first.body["anthropic_version"] == "vertex-2023-10-16"
    assert "anthropic-version" not in first.headers and (first.body["max_tokens"], second.body["max_tokens"]) == (9, 8192)
    assert google_of(upstream).given == 1, "one account has one token, whoever uses it"


async def test_a_token_is_renewed_before_its_end_beside_the_calls(
    client: openai.AsyncOpenAI, upstream: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grants, "_SOONEST_S", 0.05)
    google = google_of(upstream)
    google.lasts = 300
    await client.chat.completions.create(model="google/gemini-2.5-flash", messages=ASK)
    while google.given < 2:
        await asyncio.sleep(0.01)
        monkeypatch.setattr(grants, "_SOONEST_S", 3600.0)
    await asyncio.sleep(0.05)  # the answer is read
    await client.chat.completions.create(model="google/gemini-2.5-flash", messages=ASK)
    assert google.given == 2


async def test_an_account_that_google_refuses_is_the_operators_affair(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    google_of(upstream).refuses = True
    for _ in range(3):
        with pytest.raises(openai.InternalServerError) as caught:
            await client.chat.completions.create(model="google/gemini-2.5-flash", messages=ASK)
        assert (caught.value.status_code, caught.value.code) == (502, "provider_credentials")
        assert "JWT" not in caught.value.message
    assert [one.path for one in upstream.seen] == ["/token"], "a refusal is remembered for a moment"


def test_who_stands_where() -> None:
    def url(model: str, *, stream: bool = False, **settings: Any) -> str:
        made = VertexProvider(project="p", api_key="k", **settings).build("v", "")
        return made.encode({"messages": ASK}, model, stream=stream).url

    models = "projects/p/locations"
    assert url("gemini-2.5-pro", region="global") == (
        f"https://aiplatform.googleapis.com/v1/{models}/global/publishers/google/models/gemini-2.5-pro:generateContent"
    )
    assert url("gemini-2.5-pro", region="us-central1", stream=True).startswith(
        f"https://us-central1-aiplatform.googleapis.com/v1/{models}/us-central1/"
    )
    assert url("claude-x", region="eu", publisher="anthropic", stream=True) == (
        f"https://aiplatform.eu.rep.googleapis.com/v1/{models}/eu/publishers/anthropic/models/claude-x:streamRawPredict"
    )
    for model in ("../x", "a/b", "x:rawPredict"):
        with pytest.raises(AttemptFailed):
            url(model, region="global")


def test_whose_prices_and_promises_hold_there() -> None:
    def settings(**more: Any) -> VertexProvider:
        return VertexProvider(project="p", api_key="k", **more)

    assert settings(region="us-central1").profile == "gemini"
    assert settings(region="global", publisher="anthropic").profile == "anthropic"
    assert settings(region="us-east5", publisher="anthropic").profile == "", "a region costs more than is listed"
    assert settings(region="global", publisher="anthropic").build("v", "").enforces("claude-sonnet-4-5").schema == "prompt"


def test_errors_of_both_kinds() -> None:
    codec = VertexProvider(region="global", project="p", publisher="anthropic", api_key="k").build("v", "")
    googles = codec.refuse(429, {}, b'[{"error": {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED"}}]', now=0)
    assert googles.failure.kind == "throttled" and "quota" in googles.error.message
    own = {"type": "error", "error": {"type": "not_found_error", "message": "model: x"}}
    assert codec.refuse(404, {}, json.dumps(own).encode(), now=0).error.code == "model_not_found"


def test_a_token_is_good_until_shortly_before_its_end() -> None:
    grant = Grant("v", account_of(key_file()))
    with pytest.raises(TokenNeeded):
        grant.token(0.0)
    grant.take(200, b'{"access_token": "t", "expires_in": 3600}', 0.0)
    assert grant.token(3500.0) == "t"
    with pytest.raises(TokenNeeded):
        grant.token(3580.0)
    for status, body, kind in ((200, b"{}", "failed"), (500, b"", "failed"), (429, b"", "failed"), (401, b"{}", "credentials"),
                               (200, b'{"access_token": "a\\r\\nb", "expires_in": 9}', "failed")):  # fmt: skip
        with pytest.raises(AttemptFailed) as caught:
            grant.take(status, body, 0.0)
        assert caught.value.failure.kind == kind


def test_a_key_file_is_json_or_a_path_and_says_what_is_wrong(tmp_path: Path) -> None:
    place = tmp_path / "key.json"
    place.write_text(key_file())
    assert account_of(str(place)) == account_of(key_file())
    assert assertion(account_of(key_file()), time.time()).count(".") == 2
    for text, why in (
        ("/no/such/file.json", "no file"), ("{", "not the JSON"), ('{"client_email": "a"}', "not the JSON"),
        (key_file(private_key="-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), "private_key"),
        (key_file("http://example.org/token"), "https"),
    ):  # fmt: skip
        with pytest.raises(NotAnAccount, match=why):
            account_of(text)
    assert isinstance(account_of(key_file()), Account)


@pytest.mark.parametrize(
    ("settings", "said"),
    [("region: global", "needs a 'service_account'"), ("region: global, api_key: k", "needs a 'project'"),
     ("region: global, project: p, service_account: nowhere.json", "no service account's key"), ("project: p, api_key: k", "region")],
)  # fmt: skip
def test_the_policies_say_what_is_missing(tmp_path: Path, settings: str, said: str) -> None:
    (tmp_path / "gateway.yaml").write_text(f"providers:\n  v: {{type: vertex, {settings}}}\n")
    with pytest.raises(PolicyError) as caught:
        load(tmp_path, {})
    assert said in str(caught.value) and "gateway.yaml:2" in str(caught.value)


def test_an_account_whose_variable_is_not_set_leaves_the_provider_disabled(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text('providers:\n  v: {type: vertex, region: global, service_account: "${NOBODY}"}\n')
    assert load(tmp_path, {}).disabled_providers == ("v",)
