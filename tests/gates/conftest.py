from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from scripted import Provider, provider


@pytest.fixture
async def teacher() -> AsyncIterator[Provider]:
    async with provider() as made:
        yield made


@pytest.fixture
def engine() -> Provider:
    return Provider()
