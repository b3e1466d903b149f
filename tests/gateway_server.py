"""A whole gateway inside the test's event loop: real sockets, real spool, real SQLite, scripted providers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from litestar import Litestar
from migrated import migrated
from scripted import Provider

from gateway.bootstrap import build
from gateway.resilience.connections import protocol, websocket_protocol
from gateway.server import DrainingServer, bounds_of
from gateway.storage.home import Home

KEY = "a-key-for-the-tests-0001"
ADMIN = "ak-us-tests-0Jw9rXq7LmP2vTz8"


class PromptServer(DrainingServer):
    """Looks more often whether it is to stop: uvicorn does so ten times a second."""

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            await asyncio.sleep(0.01)


@dataclass
class Gateway:
    url: str
    home: Home
    policies: Path
    app: Litestar
    server: DrainingServer

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    def records(self) -> list[object]:
        """Everything in the spool, in order."""
        from gateway.storage.spooling.reader import SpoolReader

        found: list[object] = []
        reader = SpoolReader(self.home)
        while (batch := reader.read(1000)).records:
            found.extend(batch.records)
            reader.commit(batch)
        return found

TRUSTED = "{structured: strict, json_mode: strict, strict_tools: strict}"
"""``traits`` of a stand-in whose word on forms counts as OpenAI's."""


def write_policies(folder: Path, provider_urls: dict[str, str], extra: str = "", gateway: str = "") -> Path:
    """One provider each that counts as OpenAI, a task ``triage`` over all of them in order, captured; ``extra`` is
    routing YAML."""
    folder.mkdir(parents=True, exist_ok=True)
    providers = "\n".join(
        f'  {name}: {{type: openai, base_url: "{url}", traits: {TRUSTED}, api_key: sk-upstream-secret}}'
        for name, url in provider_urls.items()
    )
    prices = "\n".join(
        f"  {name}: {{m: {{input: 2.5, cached_input: 1.25, output: 10.0, as_of: '2026-01-01', source: test}}}}"
        for name in provider_urls
    )
    candidates = ", ".join(f"{{provider: {name}, model: m}}" for name in provider_urls)
    timeouts = "" if "timeouts:" in gateway else "timeouts: {connect: 30, first_byte: 30, chunk_gap: 30, total: 60}\n"
    (folder / "gateway.yaml").write_text(
        f"providers:\n{providers}\nprices:\n{prices}\n"
        f"keys: [{{name: tests, key: {KEY}, project: default}}]\n"
        f"{timeouts}retries: {{attempts: 3, base_s: 0.01, cap_s: 0.05}}\n{gateway}\n"
    )
    (folder / "routing.yaml").write_text(
        f"tasks:\n  - name: triage\n    candidates: [{candidates}]\n    capture: {{rate: 1.0}}\n{extra}"
    )
    return folder


@asynccontextmanager
async def gateway(tmp: Path, policies: Path, home: Home | None = None, **env: str) -> AsyncIterator[Gateway]:
    """``home``: one whose database is somebody else's business."""
    home = home or await asyncio.to_thread(migrated, Home(tmp / "home").prepare())
    app, settings = build(home, policies, {"UNDERSTUDY_ADMIN_KEY": ADMIN, **env})
    config = uvicorn.Config(app, host="127.0.0.1", port=0, http=protocol(bounds_of(settings.server, 4096)), ws=websocket_protocol, log_config=None,
                            access_log=False, server_header=False, proxy_headers=False)  # fmt: skip
    server = PromptServer(config, app.state.drain, settings.server.shutdown_s)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    running = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.005)
        if running.done():
            running.result()
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Gateway(f"http://127.0.0.1:{port}", home, policies, app, server)
    finally:
        server.should_exit = True
        await running


def served_over(policies: str) -> Any:
    """The fixture ``served`` of a file that has policies of its own: ``{url}`` in them is where the scripted provider
    answers, ``{key}`` the key of the tests."""

    @pytest.fixture
    async def served(tmp_path: Path, upstream: Provider) -> AsyncIterator[Gateway]:
        folder = tmp_path / "policies"
        folder.mkdir()
        (folder / "gateway.yaml").write_text(policies.format(url=upstream.url, key=KEY))
        async with gateway(tmp_path, folder) as made:
            yield made

    return served
