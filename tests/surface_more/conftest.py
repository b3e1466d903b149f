from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import openai
import pytest
from gateway_server import Gateway
from more_gateway import FOREIGN, client_of
from more_gateway import served as serve
from scripted import Provider


@pytest.fixture
async def served(tmp_path: Path, upstream: Provider) -> AsyncIterator[Gateway]:
    async with serve(tmp_path, upstream) as made:
        yield made


@pytest.fixture
async def client(served: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with client_of(served) as made:
        yield made


@pytest.fixture
async def foreign(served: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with client_of(served, FOREIGN) as made:
        yield made
