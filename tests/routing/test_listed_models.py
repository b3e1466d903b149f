"""What ``GET /v1/models`` lists: also the catalog's names that one provider serves, to keys that may call them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import openai
import pytest
from gateway_server import KEY, Gateway, gateway

from gateway.api.models import Listing
from gateway.context import Principal
from gateway.errors import GatewayError
from gateway.policy.files import read
from gateway.runtime import Runtime, build_runtime
from gateway.stages.assign import resolve
from gateway.storage.values import Snapshot

NARROW = "a-key-for-few-models-0001"
POLICIES = """
providers:
  openai: {{type: openai, api_key: sk-of-openai}}
  claude: {{type: anthropic, api_key: sk-of-anthropic}}
  groq: {{type: openai, profile: groq, api_key: sk-of-groq}}
aliases: {{quick: openai/gpt-4o-mini}}
tasks: [{{name: desk, candidates: [{{provider: openai, model: gpt-4o}}]}}]
keys:
  - {{name: tests, key: {key}, project: default}}
  - {{name: narrow, key: {narrow}, project: default, models: [desk, claude-sonnet-4-5]}}
"""
ANYBODY = Principal(key_id="k", project="default", scopes=("inference",), models=())


def write(folder: Path, text: str = POLICIES) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "gateway.yaml").write_text(text.format(key=KEY, narrow=NARROW))
    return folder


def runtime_of(folder: Path) -> Runtime:
    return build_runtime(read(folder, {}).config, Snapshot(generation=0, keys=(), students=(), students_off=False))


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(tmp_path, write(tmp_path / "policies")) as made:
        yield made


async def test_the_official_client_sees_the_catalogs_names_after_the_policies(client: openai.AsyncOpenAI) -> None:
    models = [one async for one in await client.models.list()]
    names = [one.id for one in models]
    assert names[:3] == ["desk", "openai/gpt-4o", "quick"] and len(names) == len(set(names))
    owners = {one.id: one.owned_by for one in models}
    assert (owners["gpt-4o-mini"], owners["gpt-4o"], owners["claude-sonnet-4-5"]) == ("openai", "openai", "claude")
    one = await client.models.retrieve("gpt-4o-mini")
    assert (one.id, one.object, one.owned_by) == ("gpt-4o-mini", "model", "openai")
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("gpt-of-nobody")


async def test_what_may_be_called_is_there_though_it_is_not_listed(client: openai.AsyncOpenAI, served: Gateway) -> None:
    one = await client.models.retrieve("claude/claude-of-tomorrow")
    assert (one.id, one.owned_by) == ("claude/claude-of-tomorrow", "claude")
    for name in ("nobody/claude-of-tomorrow", "claude/"):
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve(name)
    with pytest.raises(openai.NotFoundError):
        await client.with_options(api_key=NARROW).models.retrieve("claude/claude-of-tomorrow")


async def test_a_key_sees_what_it_may_call(served: Gateway) -> None:
    async with httpx.AsyncClient(base_url=served.url, timeout=60) as http:
        listed = await http.get("/v1/models", headers={"authorization": f"Bearer {NARROW}"})
        hidden = await http.get("/v1/models/gpt-4o-mini", headers={"authorization": f"Bearer {NARROW}"})
    assert [one["id"] for one in listed.json()["data"]] == ["desk", "claude-sonnet-4-5"]
    assert hidden.status_code == 404


async def test_googles_clients_page_through_the_same_names(served: Gateway) -> None:
    headers, found, token = {"x-goog-api-key": KEY}, [], ""
    async with httpx.AsyncClient(base_url=served.url, timeout=60, headers=headers) as http:
        while True:
            page = (await http.get(f"/v1beta/models?pageSize=40&pageToken={token}")).json()
            found += [one["name"].removeprefix("models/") for one in page["models"]]
            token = page.get("nextPageToken", "")
            if not token:
                break
        listed = await http.get("/v1/models", headers={"authorization": f"Bearer {KEY}"}, params={"key": ""})
        one = await http.get("/v1beta/models/claude-sonnet-4-5")
    assert {"desk", "gpt-4o-mini", "claude-sonnet-4-5"} <= set(found) and len(found) == len(set(found)) > 40
    assert one.json()["name"] == "models/claude-sonnet-4-5" and listed.status_code == 200


def test_every_listed_name_is_served_by_its_owner(tmp_path: Path) -> None:
    runtime = runtime_of(write(tmp_path))
    listed = Listing().of(runtime, ANYBODY)
    for name, entry in listed.items():
        if entry["owned_by"] != "understudy":
            assert resolve(runtime, name, "default").provider == entry["owned_by"], name
    assert "openai/gpt-oss-120b" not in listed, "it would be asked of the provider openai, not of groq that has it"
    assert listed["llama-3.1-8b-instant"]["owned_by"] == "groq"


def test_what_two_providers_have_is_listed_for_none_unless_the_policies_choose(tmp_path: Path) -> None:
    second = "  second: {{type: openai, api_key: sk-of-second}}\naliases"
    runtime = runtime_of(write(tmp_path, POLICIES.replace("aliases", second, 1)))
    listed = Listing().of(runtime, ANYBODY)
    assert "gpt-4o-mini" not in listed and listed["gpt-4o"]["owned_by"] == "openai"
    with pytest.raises(GatewayError, match="more than one provider"):
        resolve(runtime, "gpt-4o-mini", "default")


def test_it_is_put_together_once_for_a_runtime(tmp_path: Path) -> None:
    runtime, listing = runtime_of(write(tmp_path)), Listing()
    first, again = listing.of(runtime, ANYBODY), listing.of(runtime, ANYBODY)
    assert list(first) == list(again) and all(first[name] is again[name] for name in first)
    (tmp_path / "gateway.yaml").write_text("providers: {claude: {type: anthropic, api_key: sk-of-anthropic}}\n")
    assert "gpt-4o-mini" not in listing.of(runtime_of(tmp_path), ANYBODY)
