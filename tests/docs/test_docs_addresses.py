"""Addresses that the pages name are served, by the method that stands before them."""

from __future__ import annotations

import re
from pathlib import Path

from docs_pages import CURRENT, prose
from gateway_server import gateway, write_policies

NAMED = re.compile(
    r"`(?:(GET|POST|PUT|DELETE|PATCH) )?(/(?:admin|v1|v1beta|readyz|healthz|metrics)\b[^`\s]*)`"
)


def as_route(path: str) -> re.Pattern[str]:
    """``/v1/models[/{model}]`` and the like, as what a route has to look like."""
    path = re.split(r"[?]", path.replace("[", "").replace("]", ""))[0].rstrip("/")
    path = re.sub(r"\\\{[^/:]*\\\}|…|\\\.\\\.\\\.|\\\*", "[^/]+", re.escape(path))
    return re.compile(re.sub(r":\w+$", "", path))


async def test_every_address_is_served(tmp_path: Path) -> None:
    async with gateway(
        tmp_path, write_policies(tmp_path / "p", {"first": "http://127.0.0.1:9/v1"})
    ) as served:
        routes = {route.path: set(getattr(route, "methods", ()) or ()) for route in served.app.routes}
    found = [(page.name, method, path) for page in CURRENT for method, path in NAMED.findall(prose(page))]
    assert len(found) > 40
    for page, method, path in found:
        wanted = as_route(path)
        fitting = [methods for route, methods in routes.items() if wanted.fullmatch(route)]
        if path.rstrip("/") in {"/v1", "/v1beta"}:
            fitting = [set()]
        assert fitting, f"{page}: nothing is served at {path}"
        assert not method or any(method in methods for methods in fitting), f"{page}: no {method} {path}"
