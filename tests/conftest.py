"""What every test may rely on."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import certifi
import pytest

if TYPE_CHECKING:  # what a test does not ask for is not loaded for it
    import anthropic
    import httpx
    import openai
    from gateway_server import Gateway
    from scripted import Provider

HEAVY = ("training", "trainer", "e2e", "tuning", "tools", "guards", "simulator")
"""Folders whose files take longest."""

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # the models of tests are tiny, and threads only wait for each other


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where processes share the files, those that take longest are handed out first and small ones fill the end."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=_weight)  # keeps the order within each folder


def _weight(item: pytest.Item) -> int:
    folder = item.path.parent.name
    return HEAVY.index(folder) if folder in HEAVY else len(HEAVY)


@pytest.fixture(scope="session", autouse=True)
def little_trust(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One certificate authority instead of some hundred and forty. Nothing here leaves the machine, and every client of
    HTTP that is made reads them all: that was half of what many a test took."""
    folder = tmp_path_factory.mktemp("trust")
    first, end, _ = certifi.contents().partition("-----END CERTIFICATE-----\n")
    (folder / "one.pem").write_text(first + end)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(folder / "one.pem"))
        patch.setenv("SSL_CERT_DIR", str(folder))
        yield


# A test of a gateway says how it is ``served``; what stands before and behind it is the same everywhere.
@pytest.fixture
async def upstream() -> AsyncIterator[Provider]:
    """A provider that answers as the test tells it."""
    from scripted import provider

    async with provider() as made:
        yield made


@pytest.fixture
async def client(served: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's own, which tries nothing twice."""
    import openai
    from gateway_server import KEY

    async with openai.AsyncOpenAI(base_url=served.base_url, api_key=KEY, max_retries=0) as made:
        yield made


@pytest.fixture
async def claude(served: Gateway) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """Anthropic's own, likewise."""
    import anthropic
    from gateway_server import KEY

    async with anthropic.AsyncAnthropic(base_url=served.url, api_key=KEY, max_retries=0) as made:
        yield made


@pytest.fixture
async def http(served: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    """No SDK: bytes and headers as they are."""
    import httpx
    from gateway_server import KEY

    async with httpx.AsyncClient(base_url=served.url, headers={"authorization": f"Bearer {KEY}"}) as made:
        yield made
