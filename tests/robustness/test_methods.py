"""Methods: every path says which it serves, in the shape of its API, and answers HEAD as it answers GET."""

from __future__ import annotations

from typing import Any

import httpx
from gateway_server import Gateway
from rough import BODY, Start
from scripted import Provider, usual


def table(served: Gateway) -> dict[str, set[str]]:
    """What each path serves; ``GET`` brings ``HEAD``."""
    found = {route.path_format: set(getattr(route, "methods", ())) for route in served.app.routes}
    assert len(found) > 50
    return {path: methods | ({"HEAD"} if "GET" in methods else set()) for path, methods in found.items() if methods}


def listed(answer: httpx.Response) -> set[str]:
    return set(answer.headers["allow"].split(", "))


def shape(path: str, data: dict[str, Any]) -> None:
    if path.startswith("/v1/messages"):
        assert data["type"] == "error" and set(data["error"]) == {"type", "message"} and data["request_id"]
    elif path.startswith("/v1beta"):
        assert {"code", "message", "status"} <= set(data["error"])
    else:
        assert set(data["error"]) == {"message", "type", "param", "code"}


async def test_a_wrong_method_is_told_which_are_right(first: Provider, start: Start) -> None:
    async with start({"first": first.url}) as (served, client):
        for path, methods in table(served).items():
            place = path.replace("{", "").replace("}", "")
            for method in sorted({"PUT", "PATCH", "DELETE", "GET", "POST", "TRACE"} - methods):
                answer = await client.request(method, place)
                assert answer.status_code == 405 and listed(answer) == methods, (method, path, answer.text)
                shape(path, answer.json())
                assert answer.headers["x-request-id"]
            asked = await client.options(place)
            assert (asked.status_code, listed(asked), asked.content) == (204, methods, b""), path
    assert not first.seen


async def test_what_is_not_there_has_its_apis_shape_too(first: Provider, start: Start) -> None:
    async with start({"first": first.url}) as (_, client):
        for path in ("/v1/messages/nothing", "/v1beta/nothing", "/v1/nothing", "/nothing"):
            for method in ("GET", "POST", "PUT", "OPTIONS"):
                answer = await client.request(method, path)
                assert answer.status_code == 404
                shape(path, answer.json())
        answer = await client.put("/v1/models/triage:generateContent")
        assert answer.status_code == 405 and answer.json()["error"]["code"] == 405
        answer = await client.get("/v1/realtime")
        assert answer.status_code == 426 and answer.headers["upgrade"] == "websocket"
        assert listed(await client.post("/v1/realtime")) == {"GET", "HEAD"}
        assert listed(await client.options("/v1/realtime")) == {"GET", "HEAD"}


async def test_head_is_get_without_its_body(first: Provider, start: Start) -> None:
    first.behave = usual
    async with start({"first": first.url}) as (_, client):
        file = (await client.post("/v1/files", files={"file": ("a", b"12345")}, data={"purpose": "user_data"})).json()["id"]
        for path in ("/healthz", "/readyz", "/v1/models", "/v1/models/triage", "/v1/files", f"/v1/files/{file}/content", "/v1/files/none"):
            whole, head = await client.get(path), await client.head(path)
            assert (head.status_code, head.content) == (whole.status_code, b"")
            for name in ("content-type", "content-length"):
                assert head.headers[name] == whole.headers[name], path
        answer = await client.head("/v1/embeddings")
        assert answer.status_code == 405 and not answer.content
        assert (await client.post("/v1/chat/completions", json=BODY)).status_code == 200
