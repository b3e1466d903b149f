"""Every route with every kind of caller. The table of routes is the application's own: a new route without a key in
front of it fails here, and so does one whose scope is not the one its place says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_server import ADMIN, KEY, Gateway, gateway, write_policies
from migrated import migrated
from scripted import Provider

from gateway.access.keys import digest_of, new_key
from gateway.storage.commands import CreateKey
from gateway.storage.engine import write_engine
from gateway.storage.home import Home
from gateway.storage.values import Key
from gateway.storage.writing.writer import SqlWriter

OPEN = {
    ("GET", "/healthz"), ("GET", "/readyz"),
    ("GET", "/admin"), ("GET", "/admin/assets/{name}"), ("POST", "/admin/login"),
}  # fmt: skip
"""The only doors without a key: who is alive, and what it takes to log in."""

SCOPES = (
    ("DELETE /v1/models", "train"), ("/v1/files", "data"), ("/v1/feedback", "data"), ("/v1/fine_tuning", "train"),
    ("/v1/evals", "train"),
    ("/v1/uploads", "data"), ("/v1/vector_stores", "data"), ("/v1", "inference"), ("/openai", "inference"),
)  # fmt: skip
"""What a path, or one method of it, needs; the first that fits counts."""

JSON = {
    "model": "triage", "messages": [{"role": "user", "content": "hi"}], "input": "hi", "prompt": "hi", "voice": "alloy",
    "max_tokens": 9,
}  # fmt: skip
FORM = {"model": (None, "first/m"), "prompt": (None, "hi"), "purpose": (None, "batch"), "file": ("a.jsonl", b"{}\n")}
FORMS = {"/v1/files", "/v1/images/edits", "/v1/images/variations", "/v1/audio/transcriptions", "/v1/audio/translations"}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/completions": {"model": "triage", "prompt": "hi"},
    "/v1/messages/count_tokens": {"model": "triage", "messages": JSON["messages"]},
    "/v1/messages": {"model": "triage", "max_tokens": 9, "messages": JSON["messages"]},
    "/v1/responses": {"model": "triage", "input": "hi"},
    "/v1/models/{model}": {"contents": [{"parts": [{"text": "hi"}]}]},
    "/v1beta/models/{model}": {"contents": [{"parts": [{"text": "hi"}]}]},
    "/v1/batches": {"input_file_id": "file-nobody", "endpoint": "/v1/chat/completions", "completion_window": "24h"},
}
SETTINGS = "surface: {embeddings: first, images: first, audio: first, moderations: {provider: first, model: m}}\n"


def keys() -> dict[str, tuple[str, tuple[str, ...]]]:
    """By role: the key's text and its scopes."""
    scopes = {"inference": ("inference",), "data": ("data",), "train": ("train",), "nothing": ()}
    return {role: (new_key("inference").text, held) for role, held in scopes.items()}


def install(home: Home, made: dict[str, tuple[str, tuple[str, ...]]], **more: Any) -> None:
    migrated(home)
    writer = SqlWriter(write_engine(home.database_url))
    try:
        for role, (text, scopes) in made.items():
            writer.execute(CreateKey(
                Key(id=f"key_{role}", name=role, project="default", digest=digest_of(text), hint="sk-us-****", scopes=scopes,
                    models=(), requests_per_minute=None, created_at=time.time(), expires_at=None, revoked_at=None, **more),
                "tests",
            ))  # fmt: skip
    finally:
        writer.close()


@pytest.fixture(scope="module")
def made() -> dict[str, tuple[str, tuple[str, ...]]]:
    return keys()


@pytest.fixture
async def doors(
    tmp_path: Path, first: Provider, made: dict[str, tuple[str, tuple[str, ...]]]
) -> AsyncIterator[tuple[Gateway, httpx.AsyncClient]]:
    await asyncio.to_thread(install, Home(tmp_path / "home").prepare(), made)
    policies = write_policies(tmp_path / "policies", {"first": first.url}, gateway=SETTINGS)
    async with gateway(tmp_path, policies) as served, httpx.AsyncClient(base_url=served.url, timeout=60) as client:
        yield served, client


def table(served: Gateway) -> list[tuple[str, str]]:
    """(method, path) of every route; the path with its ``{parameters}``."""
    found = [
        (str(method), route.path_format)
        for route in served.app.routes
        for method in getattr(route, "methods", ())
        if method != "OPTIONS"
    ]
    assert len(found) > 30
    return sorted(found)


async def knock(client: httpx.AsyncClient, method: str, path: str, headers: dict[str, str]) -> httpx.Response:
    verb = ":generateContent" if method == "POST" else ""
    place = path.replace("{model}", "triage" + verb).replace("{call_id}", "chatcmpl-0").replace("{", "").replace("}", "")
    if method == "POST" and path in FORMS:
        return await client.request(method, place, headers=headers, files=FORM)
    body = BODIES.get(path, JSON) if method == "POST" else None
    return await client.request(method, place, headers=headers, json=body)


def needed(method: str, path: str) -> str:
    return next(scope for start, scope in SCOPES if path.startswith(start) or f"{method} {path}".startswith(start))


async def test_without_a_key_only_the_open_doors_open(doors: tuple[Gateway, httpx.AsyncClient], first: Provider) -> None:
    served, client = doors
    wrong = []
    for method, path in table(served):
        for headers in ({}, {"authorization": "Bearer sk-nobody-knows-this-key"}, {"authorization": "Basic eDp5"},
                        {"authorization": f"Bearer {digest_of(KEY)}"}, {"authorization": f"Bearer {KEY[:-1]}"},
                        {"x-api-key": KEY[:-1]}, {"cookie": f"understudy_session={ADMIN}"}):  # fmt: skip
            answer = await knock(client, method, path, headers)
            if ((method, path) in OPEN) == (answer.status_code == 401) and path != "/admin/login":
                wrong.append((method, path, headers, answer.status_code))
            assert KEY not in answer.text and ADMIN not in answer.text
    assert not wrong and not first.seen


@pytest.mark.parametrize("role", ["inference", "data", "train", "nothing"])
async def test_a_key_opens_what_its_scopes_say_and_nothing_else(
    doors: tuple[Gateway, httpx.AsyncClient], made: dict[str, tuple[str, tuple[str, ...]]], role: str
) -> None:
    served, client = doors
    text, scopes = made[role]
    wrong = []
    for method, path in table(served):
        if (method, path) in OPEN:
            continue
        code = (await knock(client, method, path, {"authorization": f"Bearer {text}"})).status_code
        if path.startswith(("/v1", "/openai")):
            good = code not in (401, 403) if needed(method, path) in scopes else code == 403
        else:
            good = path == "/metrics" or code in (401, 403)  # the metrics: see the next test
        if not good:
            wrong.append((method, path, code))
    assert not wrong, f"a key with the scopes {scopes} met these; a new path's scope belongs into SCOPES"


async def test_an_admin_key_calls_nothing_and_a_clients_key_does_not_open_the_page(
    doors: tuple[Gateway, httpx.AsyncClient], made: dict[str, tuple[str, tuple[str, ...]]]
) -> None:
    served, client = doors
    wrong = []
    for method, path in table(served):
        if path.startswith("/v1"):
            answer = await knock(client, method, path, {"authorization": f"Bearer {ADMIN}"})
            wrong += [] if answer.status_code == 403 else [(method, path, answer.status_code)]
    assert not wrong
    for text in (made["inference"][0], KEY):
        answer = await client.post("/admin/login", json={"key": text})
        assert answer.status_code == 401 and text not in answer.text
    for text, opens in ((ADMIN, True), (made["inference"][0], True), ("", False)):
        answer = await client.get("/metrics", headers={"authorization": f"Bearer {text}"} if text else {})
        assert (answer.status_code == 200) is opens
        assert KEY not in answer.text and made["inference"][0] not in answer.text


async def test_guesses_of_the_admin_key_are_braked_at_the_metrics_too(
    doors: tuple[Gateway, httpx.AsyncClient], made: dict[str, tuple[str, tuple[str, ...]]]
) -> None:
    _, client = doors

    async def asks(text: str) -> int:
        return (await client.get("/metrics", headers={"authorization": f"Bearer {text}"})).status_code

    assert [await asks(ADMIN) for _ in range(8)] == [200] * 8, "the right one is no guess"
    assert [await asks(f"{ADMIN[:-1]}{n}") for n in range(7)] == [401] * 5 + [429] * 2
    assert await asks(ADMIN) == 429, "not even the right one tells a guesser that it is"
    assert await asks(made["inference"][0]) == 200 and await asks(KEY) == 200
    assert [await asks(made["nothing"][0]) for _ in range(7)] == [403] * 7
