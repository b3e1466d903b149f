from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from clients_helpers import google_client, policies_over
from gateway_server import Gateway, gateway
from google import genai
from scripted import Provider


@pytest.fixture
async def served(tmp_path: Path, upstream: Provider) -> AsyncIterator[Gateway]:
    """Every provider dialect over one scripted server; ``triage`` is a task at the OpenAI-speaking one."""
    async with gateway(tmp_path, policies_over(tmp_path / "policies", upstream.url)) as made:
        yield made


@pytest.fixture
async def google(served: Gateway) -> AsyncIterator[genai.Client]:
    async with google_client(served.url) as made:
        yield made
