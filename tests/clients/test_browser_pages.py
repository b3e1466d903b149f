"""Pages of other origins in a real Chromium: OpenAI's own client for browsers, and plain ``fetch``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from chromium import async_api, in_chromium, launching
from clients_helpers import HERE, absent
from gateway_server import ADMIN, KEY, Gateway, gateway, write_policies
from scripted import COMPLETION, Line, Provider, chunk, sse

pytestmark = in_chromium
CLIENT = HERE / "node" / "node_modules" / "openai"
ASK = {"model": "triage", "messages": [{"role": "user", "content": "hi"}]}
PATH = "/v1/chat/completions"


class Site:
    """Serves one page and the client's own modules: a web application of somebody else's."""

    def __init__(self) -> None:
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://localhost:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
        file = CLIENT / path.removeprefix("/openai/")
        body, kind, status = b"<!doctype html><title>app</title>", "text/html", "200 OK"
        if path.startswith("/openai/"):
            found = file.is_file()
            body, kind, status = (file.read_bytes(), "text/javascript", status) if found else (b"", "text/plain", "404 Not Found")
        head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()


async def behave(line: Line) -> None:
    if line.seen.body.get("stream"):
        await line.stream(sse([chunk({"role": "assistant", "content": "hel"}), chunk({"content": "lo"}), chunk({}, "stop")]))
    else:
        await line.answer(200, COMPLETION)


@pytest.fixture
async def site() -> AsyncIterator[str]:
    async with Site() as url:
        yield url


@pytest.fixture
async def served(tmp_path: Path, upstream: Provider, site: str) -> AsyncIterator[Gateway]:
    upstream.behave = behave
    settings = f"server: {{cors_origins: ['{site}', 'https://APP.example.com:443']}}"
    policies = write_policies(tmp_path / "policies", {"first": upstream.url}, gateway=settings)
    async with gateway(tmp_path, policies) as made:
        yield made


@pytest.fixture
async def browser() -> AsyncIterator[async_api.Browser]:
    async with async_api.async_playwright() as playwright:
        opened = await playwright.chromium.launch(**launching())
        yield opened
        await opened.close()


@pytest.fixture
async def page(browser: async_api.Browser, site: str) -> async_api.Page:
    made = await browser.new_page()
    await made.goto(site)
    return made


SDK = """async ({base, key, admin}) => {
  const {default: OpenAI} = await import("/openai/index.mjs");
  const made = (apiKey) => new OpenAI({baseURL: base + "/v1", apiKey, dangerouslyAllowBrowser: true, maxRetries: 0,
    organization: "org-1", project: "proj-1"});
  const client = made(key), ask = {model: "triage", messages: [{role: "user", content: "hi"}]};
  const told = {};
  const {data, response} = await client.chat.completions.create(ask, {headers: {"x-understudy-task": "triage"}}).withResponse();
  told.text = data.choices[0].message.content;
  told.head = Object.fromEntries(["x-request-id", "x-ratelimit-limit-requests", "x-understudy-candidate", "openai-processing-ms"]
    .map((name) => [name, response.headers.get(name) !== null]));
  told.streamed = "";
  const stream = await client.chat.completions.create({...ask, stream: true}).withResponse();
  for await (const one of stream.data) told.streamed += one.choices[0]?.delta?.content ?? "";
  told.stream_id = stream.response.headers.get("x-request-id") !== null;
  const error = async (work) => { try { await work(); return null; } catch (caught) { return [caught.status, caught.code, !!caught.requestID]; } };
  told.stranger = await error(() => made("sk-nobody-knows-this-one").chat.completions.create(ask));
  told.wrong = await error(() => client.chat.completions.create({...ask, messages: []}));
  told.lost = await error(() => client.files.retrieve("file-none"));
  told.models = (await client.models.list()).data.length > 0;
  const file = await client.files.create({purpose: "batch", file: new File(["{}"], "a.jsonl")});
  told.deleted = (await client.files.delete(file.id)).deleted;
  const plain = async (path, more) => { try { const got = await fetch(base + path, more); return got.status; } catch (caught) { return String(caught.name); } };
  told.unknown = await plain("/v1/nothing");
  told.method = await fetch(base + "/v1/files", {method: "DELETE"}).then((got) => [got.status, got.headers.get("allow")]);
  told.cookies = await plain("/v1/models", {credentials: "include", headers: {authorization: "Bearer " + key}});
  const asAdmin = {headers: {authorization: "Bearer " + admin}};
  told.admin = [await plain("/admin"), await plain("/admin/api/overview", asAdmin), await plain("/healthz"), await plain("/metrics", asAdmin)];
  return told;
}"""


async def test_openais_client_for_browsers_works_from_a_page_that_is_listed(page: async_api.Page, served: Gateway) -> None:
    if not CLIENT.is_dir():
        absent("'npm ci' in tests/clients/node brings OpenAI's client")
    told = await page.evaluate(SDK, {"base": served.url, "key": KEY, "admin": ADMIN})
    assert told.pop("text") == COMPLETION["choices"][0]["message"]["content"]
    head = told.pop("head")
    assert head.pop("x-ratelimit-limit-requests") in (True, False) and all(head.values())
    assert told == {
        "streamed": "hello", "stream_id": True, "stranger": [401, "invalid_api_key", True], "wrong": [400, "empty_array", True],
        "lost": [404, "not_found", True], "models": True, "deleted": True, "unknown": 404,
        "method": [405, "GET, HEAD, OPTIONS, POST"], "cookies": "TypeError", "admin": ["TypeError"] * 4,
    }  # fmt: skip


async def test_a_page_that_is_not_listed_reads_nothing(browser: async_api.Browser, served: Gateway) -> None:
    async with Site() as other:
        page = await browser.new_page()
        await page.goto(other)
        told = await page.evaluate(
            """async ({base, key, ask}) => {
              const post = {method: "POST", headers: {authorization: "Bearer " + key, "content-type": "application/json"}, body: JSON.stringify(ask)};
              const plain = async (path, more) => { try { return (await fetch(base + path, more)).status; } catch (caught) { return caught.name; } };
              return [await plain("/v1/chat/completions", post), await plain("/v1/models"), await plain("/v1/nothing")];
            }""",
            {"base": served.url, "key": KEY, "ask": ASK},
        )
    assert told == ["TypeError"] * 3


def asks(origin: str, method: str = "POST", names: str = "") -> dict[str, str]:
    told = {"origin": origin, "access-control-request-method": method}
    return told | ({"access-control-request-headers": names} if names else {})


async def test_the_heads_of_preflights_and_answers(served: Gateway, site: str) -> None:
    wanted = "authorization,content-type,openai-organization,x-stainless-lang,x-understudy-task"
    async with httpx.AsyncClient(base_url=served.url) as http:
        told = await http.options(PATH, headers=asks("https://app.example.com", names=wanted))
        assert (told.status_code, told.content) == (204, b"")
        head = told.headers
        assert head["access-control-allow-origin"] == "https://app.example.com"
        assert head["access-control-allow-headers"] == wanted and int(head["access-control-max-age"]) > 0
        assert "POST" in head["access-control-allow-methods"] and "origin" in head.get_list("vary", split_commas=True)
        assert "access-control-allow-credentials" not in head and "x-request-id" in head
        for path in ("/admin", "/admin/login", "/admin/api/overview", "/metrics", "/healthz"):
            told = await http.options(path, headers=asks(site, names="authorization"))
            assert not [name for name in told.headers if name.startswith("access-control")]
        told = await http.options(PATH, headers=asks("https://evil.example"))
        assert told.headers["vary"] == "origin" and "access-control-allow-origin" not in told.headers
        key = {"authorization": f"Bearer {KEY}"}
        for origin, allowed in ((site, site), ("https://evil.example", None), ("", None)):
            more = {"origin": origin} if origin else {}
            for body in (ASK, {**ASK, "stream": True}, {**ASK, "messages": []}):
                for _ in range(2):  # the second time the connection knows the head
                    told = await http.post(PATH, json=body, headers=key | more)
                    assert told.headers.get("access-control-allow-origin") == allowed
                    assert told.headers["vary"] == "origin"
                    exposed = told.headers.get("access-control-expose-headers", "")
                    assert ("x-request-id" in exposed and "retry-after" in exposed) is (allowed is not None)


async def change(served: Gateway, settings: str) -> None:
    main = served.policies / "gateway.yaml"
    lines = [one for one in main.read_text().splitlines() if not one.startswith("server:")]
    main.write_text("\n".join([*lines, settings]) + "\n")
    served.app.state.reload()


async def test_origins_change_with_the_policies_and_none_is_the_default(served: Gateway, site: str) -> None:
    key = {"authorization": f"Bearer {KEY}", "origin": "https://anybody.example"}
    async with httpx.AsyncClient(base_url=served.url) as http:

        async def until(settings: str, expected: str | None) -> httpx.Response:
            await change(served, settings)
            async with asyncio.timeout(30):
                while True:
                    told = await http.post(PATH, json=ASK, headers=key)
                    if told.headers.get("access-control-allow-origin") == expected:
                        return told
                    await asyncio.sleep(0.05)

        told = await until("server: {cors_origins: ['*']}", "*")
        assert "vary" not in told.headers
        told = await http.options(PATH, headers=asks("https://anybody.example", names="authorization"))
        assert told.headers["access-control-allow-headers"] == "authorization"
        told = await until("", None)
        assert not [name for name in told.headers if name.startswith("access-control")]
        assert "vary" not in told.headers


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ("['https://app.example.com/']", "is not an origin"),
        ("['app.example.com']", "is not an origin"),
        ("['null']", "is not an origin"),
        ("['*', 'https://app.example.com']", "stands for all origins"),
    ],
)
def test_what_no_browser_sends_is_refused(tmp_path: Path, settings: str, complaint: str) -> None:
    from gateway.policy.files import PolicyError, read

    policies = write_policies(tmp_path, {"first": "http://127.0.0.1:9"}, gateway=f"server: {{cors_origins: {settings}}}")
    with pytest.raises(PolicyError) as caught:
        read(policies, os.environ)
    assert complaint in str(caught.value) and "server.cors_origins" in str(caught.value)


def test_all_origins_are_a_warning(tmp_path: Path) -> None:
    from gateway.policy.files import read

    policies = write_policies(tmp_path, {"first": "http://127.0.0.1:9"}, gateway="server: {cors_origins: ['*']}")
    warnings: list[Any] = [str(one) for one in read(policies, os.environ).warnings]
    assert len(warnings) == 1 and "every origin" in warnings[0]
