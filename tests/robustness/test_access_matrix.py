"""docs/access.md: which kind of key opens which path. The table is made by knocking at every route of the application
with every kind of key; a route that is added, or opened to somebody else, fails here until the page says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from gateway_server import ADMIN, Gateway, gateway, write_policies
from scripted import Provider
from test_every_door import SETTINGS, install, keys, knock, table

from gateway.storage.home import Home

PAGE = Path(__file__).resolve().parents[2] / "docs" / "access.md"
KINDS = ("no key", "`inference`", "`data`", "`train`", "admin key", "admin page")
MADE = keys()
_HEAD = f"| path | method | {' | '.join(KINDS)} |\n|{'---|' * (len(KINDS) + 2)}\n"


@pytest.fixture
async def served(tmp_path: Path, first: Provider) -> AsyncIterator[Gateway]:
    await asyncio.to_thread(install, Home(tmp_path / "home").prepare(), MADE)
    policies = write_policies(tmp_path / "policies", {"first": first.url}, gateway=SETTINGS)
    async with gateway(tmp_path, policies) as made:
        yield made


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


class Doors:
    """``opens`` says whether a route lets a kind of caller in, whatever it then makes of the request."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def opens(self, method: str, path: str, kind: str) -> bool:
        answer = await knock(self._client, method, path, await self._sent(kind))
        return answer.status_code not in (401, 403)

    async def _sent(self, kind: str) -> dict[str, str]:
        if kind == "no key":
            return {}
        if kind == "admin key":
            return bearer(ADMIN)
        if kind == "admin page":
            return await self._session()
        return bearer(MADE[kind.strip("`")][0])

    async def _session(self) -> dict[str, str]:
        """A fresh one each time: some of the doors end it."""
        answer = await self._client.post("/admin/login", json={"key": ADMIN})
        self._client.cookies.clear()
        return {"cookie": answer.headers["set-cookie"].partition(";")[0], "x-csrf-token": answer.json()["csrf"]}


async def rows_of(served: Gateway) -> list[str]:
    """The table's lines: methods of a path that open to the same callers share one."""
    found: dict[tuple[str, tuple[bool, ...]], list[str]] = {}
    async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
        doors = Doors(client)
        for method, path in sorted(table(served), key=lambda one: (one[1], one[0])):
            if path == "/admin/login":
                continue  # it looks at what it is given, not at who asks: the page says so in words
            opened = tuple([await doors.opens(method, path, kind) for kind in KINDS])
            found.setdefault((path, opened), []).append(method)
    return [
        f"| `{path}` | {', '.join(methods)} | {' | '.join('yes' if one else '' for one in opened)} |\n"
        for (path, opened), methods in found.items()
    ]


async def test_the_page_says_who_opens_what(served: Gateway) -> None:
    made = _HEAD + "".join(await rows_of(served))
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(_HEAD)
    shown = _HEAD + rest.partition("\n\n")[0].rstrip("\n") + "\n"
    assert shown == made, f"put this into docs/access.md in the place of its table:\n{made}"
