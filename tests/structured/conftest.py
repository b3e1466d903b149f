"""A gateway in front of providers that do not guarantee a form."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from gateway_server import KEY, Gateway, gateway
from scripted import Provider
from structured_helpers import POLICIES, ROUTING


@pytest.fixture
async def served(tmp_path: Path, upstream: Provider) -> AsyncIterator[Gateway]:
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "gateway.yaml").write_text(POLICIES.format(url=upstream.url, key=KEY))
    (policies / "routing.yaml").write_text(ROUTING)
    async with gateway(tmp_path, policies) as made:
        yield made
