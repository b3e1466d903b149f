"""Two scripted providers, and gateways before them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from gateway_server import KEY, Gateway, gateway, write_policies
from rough import Start
from scripted import Provider, provider


@pytest.fixture
async def first() -> AsyncIterator[Provider]:
    async with provider() as made:
        yield made


@pytest.fixture
async def spare() -> AsyncIterator[Provider]:
    async with provider() as made:
        yield made


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """``start({name: url}, routing, gateway)``: a running gateway and a client of it."""

    @asynccontextmanager
    async def made(
        urls: dict[str, str], extra: str = "", settings: str = ""
    ) -> AsyncIterator[tuple[Gateway, httpx.AsyncClient]]:
        policies = write_policies(tmp_path / "policies", urls, extra, settings)
        async with gateway(tmp_path, policies) as served:
            limits = httpx.Limits(max_connections=500, max_keepalive_connections=100)
            async with httpx.AsyncClient(
                base_url=served.url, headers={"authorization": f"Bearer {KEY}"}, limits=limits, timeout=30
            ) as client:
                yield served, client

    return made
