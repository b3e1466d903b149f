"""A gateway in front of providers that do not guarantee a form."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import openai
import pytest
from gateway_server import KEY, Gateway, gateway
from scripted import Provider, provider
from structured_helpers import POLICIES, ROUTING


@pytest.fixture
async def upstream() -> AsyncIterator[Provider]:
    async with provider() as made:
        yield made


@pytest.fixture
async def served(tmp_path: Path, upstream: Provider) -> AsyncIterator[Gateway]:
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "gateway.yaml").write_text(POLICIES.format(url=upstream.url, key=KEY))
    (policies / "routing.yaml").write_text(ROUTING)
    async with gateway(tmp_path, policies) as made:
        yield made


@pytest.fixture
async def client(served: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=served.base_url, api_key=KEY, max_retries=0) as made:
        yield made


@pytest.fixture
async def http(served: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=served.url, headers={"authorization": f"Bearer {KEY}"}) as made:
        yield made
