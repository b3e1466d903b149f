from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from gateway_server import Gateway, gateway, write_policies
from scripted import Provider


@pytest.fixture
async def served(tmp_path: Path, upstream: Provider) -> AsyncIterator[Gateway]:
    policies = write_policies(tmp_path / "policies", {"first": upstream.url})
    async with gateway(tmp_path, policies) as made:
        yield made
