"""What explain says of limits, budgets and keys is what the call would meet, and explaining takes nothing from them."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_server import ADMIN, gateway, write_policies
from migrated import migrated
from scripted import Provider

from gateway.access.keys import new_key
from gateway.cli import main
from gateway.storage.commands import CreateKey
from gateway.storage.home import Home
from gateway.storage.values import Key
from gateway.storage.writing.writers import open_writer

EXTRA = """
  - {name: free, candidates: [{provider: p, model: nobody-knows-its-price}], defaults: {temperature: 0.0}}
"""


def text_of(key: str) -> str:
    return f"a-key-for-{key}-0123456789"


def policies(tmp_path: Path, upstream: Provider) -> Path:
    folder = write_policies(tmp_path / "policies", {"p": upstream.url}, extra=EXTRA)
    settings = folder / "gateway.yaml"
    settings.write_text(settings.read_text().replace("keys: [", (
        f"keys: [{{name: few, key: {text_of('few')}, requests_per_minute: 2, concurrency: 1}}, "
        f"{{name: poor, key: {text_of('poor')}, budget_usd_day: 0.00001}}, "
    )))  # fmt: skip
    return folder


async def explained(http: httpx.AsyncClient, key: str, model: str) -> httpx.Response:
    if "x-csrf-token" not in http.headers:
        http.headers["x-csrf-token"] = (await http.post("/admin/login", json={"key": ADMIN})).json()["csrf"]
    return await http.post("/admin/explain", json={"body": body(model), "key": key})


def body(model: str) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 100}


async def met(http: httpx.AsyncClient, key: str, model: str) -> str:
    """The error's message, "" for an answer."""
    answer = await http.post(
        "/v1/chat/completions", json=body(model), headers={"authorization": f"Bearer {text_of(key)}"}
    )
    return "" if answer.status_code == 200 else str(answer.json()["error"]["message"])


def sentence(message: str) -> str:
    """Up to what depends on the moment."""
    return message.partition(" Please try again in")[0].partition(" It starts afresh in")[0]


async def test_limits_and_budgets_are_explained_as_they_are_met(tmp_path: Path, upstream: Provider) -> None:
    async with (
        gateway(tmp_path, policies(tmp_path, upstream)) as served,
        httpx.AsyncClient(base_url=served.url, timeout=30) as http,
    ):
        for key, model, refused in (
            ("few", "triage", ""), ("few", "triage", ""), ("few", "triage", "Rate limit reached for requests per minute"),
            ("poor", "triage", "You exceeded the budget of this API key"), ("poor", "free", "The price of 'p/nobody-knows"),
        ):  # fmt: skip
            for _ in range(3):  # as often as one likes: looking takes nothing
                told = (await explained(http, key, model)).json()
                assert sentence(told["error"]).startswith(refused) and bool(told["error"]) == bool(refused)
                assert told["plan"], "where the call would go is told beside it"
            assert sentence(await met(http, key, model)) == sentence(told["error"])
        assert told["defaults"] == {"temperature": 0.0}
        shown = (await http.get("/metrics", headers={"authorization": f"Bearer {text_of('few')}"})).text
        assert 'understudy_in_use{what="reservations"} 0.0' in shown


async def test_the_command_knows_budgets_by_the_ledger(
    tmp_path: Path, upstream: Provider, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = policies(tmp_path, upstream)
    home = await asyncio.to_thread(migrated, Home(tmp_path / "home").prepare())
    monkeypatch.setenv("UNDERSTUDY_HOME", str(home.root))
    asked = tmp_path / "body.json"
    command = ["explain", "--policies", str(folder), "--body", str(asked), "--key"]
    for key, model, refused in (("few", "triage", ""), ("poor", "triage", "the budget of this API key"), ("poor", "free", "price")):
        asked.write_text(json.dumps(body(model)))
        assert await asyncio.to_thread(main, [*command, key]) == bool(refused)
        assert refused in capsys.readouterr().out


async def test_a_key_that_no_longer_opens_is_said_to(tmp_path: Path, upstream: Provider) -> None:
    home = await asyncio.to_thread(migrated, Home(tmp_path / "home").prepare())
    made = new_key("inference")
    gone = Key(
        id="key_gone", name="gone", project="default", digest=made.digest, hint=made.hint, scopes=("inference",), models=(),
        requests_per_minute=None, created_at=1.0, expires_at=2.0, revoked_at=None,
    )  # fmt: skip
    with closing(open_writer(home)) as writer:
        await asyncio.to_thread(writer.execute, CreateKey(gone, "tests"))
    async with (
        gateway(tmp_path, policies(tmp_path, upstream), home) as served,
        httpx.AsyncClient(base_url=served.url, timeout=30) as http,
    ):
        answer = await explained(http, "gone", "triage")
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "The key 'gone' has expired: its calls are answered with a 401."
