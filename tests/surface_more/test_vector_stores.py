"""/v1/vector_stores by the unmodified openai client: stores, files, batches, searches, bounds, and who may see what."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import os
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from gateway_server import KEY, Gateway
from made_keys import key_with
from more_gateway import FOREIGN, SETTINGS, client_of
from more_gateway import served as serve
from openai import types
from openai.types import vector_stores as file_types
from scripted import Line, Provider, usual
from sdk_types import strictly

from gateway.client_data import data_side
from gateway.config import Config
from gateway.policy.files import PolicyError, load
from gateway.storage.home import Home
from gateway.storage.vector_stores import VectorStores

TEXTS = {
    "refunds.txt": "Refunds are paid within fourteen days. Ask for a refund in the shop where you bought it.",
    "shipping.md": "# Shipping\nParcels leave the warehouse every morning. Shipping to islands takes a week.",
    "jobs.html": "<html><head><script>var hidden = 'refund'</script></head><body><h1>Jobs</h1><p>We hire cooks.</p></body></html>",
}
EMBEDDED = SETTINGS + "vector_stores: {model: {provider: first, model: m}}\n"


async def uploaded(client: openai.AsyncOpenAI, name: str, text: str | bytes = b"") -> str:
    data = text or TEXTS[name]
    raw = data.encode() if isinstance(data, str) else data
    return (await client.files.create(file=(name, raw), purpose="assistants")).id


async def filled(client: openai.AsyncOpenAI, **attributes: dict[str, Any]) -> str:
    """A store with the three texts, taken in; attributes by the first word of their names."""
    store = await client.vector_stores.create(name="help")
    for name in TEXTS:
        file = await client.vector_stores.files.create_and_poll(
            await uploaded(client, name), vector_store_id=store.id, poll_interval_ms=20,
            attributes=attributes.get(name.split(".")[0]),
        )  # fmt: skip
        assert file.status == "completed", file.last_error
    return store.id


async def found(client: openai.AsyncOpenAI, store: str, query: Any, **more: Any) -> list[str]:
    return [one.filename async for one in client.vector_stores.search(store, query=query, **more)]


async def test_the_life_of_a_store(client: openai.AsyncOpenAI) -> None:
    first = await uploaded(client, "refunds.txt")
    made = await client.vector_stores.create(
        name="help", file_ids=[first], metadata={"team": "shop"}, expires_after={"anchor": "last_active_at", "days": 3}
    )
    assert made.id.startswith("vs_") and made.status == "in_progress" and made.file_counts.total == 1
    file = await client.vector_stores.files.poll(first, vector_store_id=made.id, poll_interval_ms=20)
    assert (file.status, file.id, file.vector_store_id, file.last_error) == ("completed", first, made.id, None)
    ready = await client.vector_stores.retrieve(made.id)
    assert ready.status == "completed" and ready.file_counts.completed == 1 and ready.usage_bytes == file.usage_bytes > 0
    assert ready.expires_at is not None and ready.last_active_at is not None
    assert ready.expires_at - ready.last_active_at == 3 * 86_400
    results = await client.vector_stores.search(made.id, query="how do I get refunds?")
    assert results.data[0].file_id == first and results.data[0].filename == "refunds.txt"
    assert results.data[0].content[0].text == TEXTS["refunds.txt"] and 0 < results.data[0].score <= 1
    content = await client.vector_stores.files.content(first, vector_store_id=made.id)
    assert [one.text for one in content.data] == [TEXTS["refunds.txt"]]
    changed = await client.vector_stores.update(made.id, name="new", metadata={"a": "b"}, expires_after=None)
    assert (changed.name, changed.metadata, changed.expires_after, changed.expires_at) == ("new", {"a": "b"}, None, None)
    assert (await client.vector_stores.files.delete(first, vector_store_id=made.id)).deleted
    assert (await client.vector_stores.search(made.id, query="refunds")).data == []
    assert (await client.files.retrieve(first)).id == first, "the file itself stays"
    assert (await client.vector_stores.delete(made.id)).deleted
    for ask in (client.vector_stores.retrieve, client.vector_stores.delete):
        with pytest.raises(openai.NotFoundError):
            await ask(made.id)
    with pytest.raises(openai.NotFoundError):
        await client.vector_stores.search(made.id, query="refunds")


async def test_answers_by_the_sdks_types(client: openai.AsyncOpenAI, served: Gateway) -> None:
    file, headers = await uploaded(client, "refunds.txt"), {"authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(base_url=served.base_url, headers=headers) as http:

        async def told(kind: Any, method: str, path: str, body: Any = None) -> Any:
            answer = await http.request(method, path, json=body)
            assert answer.status_code == 200, answer.text
            return strictly(kind, answer.content)

        store = (await told(types.VectorStore, "POST", "/vector_stores", {})).id
        one = f"/vector_stores/{store}"
        await told(types.VectorStore, "GET", one)
        await told(types.VectorStore, "POST", one, {"expires_after": {"anchor": "last_active_at", "days": 1}})
        body = {"file_id": file, "attributes": {"a": "b", "n": 1.5, "t": True}}
        await told(file_types.VectorStoreFile, "POST", f"{one}/files", body)
        await client.vector_stores.files.poll(file, vector_store_id=store, poll_interval_ms=20)
        await told(file_types.VectorStoreFile, "GET", f"{one}/files/{file}")
        changed = await told(file_types.VectorStoreFile, "POST", f"{one}/files/{file}", {"attributes": {"x": False}})
        assert changed.attributes == {"x": False}
        for path, kind in ((f"{one}/files", file_types.VectorStoreFile), ("/vector_stores", types.VectorStore)):
            page = (await http.get(path)).json()
            assert [page[name] for name in ("object", "has_more")] == ["list", False]
            assert page["first_id"] == page["last_id"] == page["data"][0]["id"]
            strictly(kind, json.dumps(page["data"][0]))
        page = (await http.post(f"{one}/search", json={"query": ["refund", "shop"]})).json()
        assert page["search_query"] == ["refund", "shop"] and page["next_page"] is None
        strictly(types.VectorStoreSearchResponse, json.dumps(page["data"][0]))
        page = (await http.get(f"{one}/files/{file}/content")).json()
        strictly(file_types.FileContentResponse, json.dumps(page["data"][0]))
        batch = await told(file_types.VectorStoreFileBatch, "POST", f"{one}/file_batches", {"file_ids": [file]})
        await told(file_types.VectorStoreFileBatch, "GET", f"{one}/file_batches/{batch.id}")
        await told(file_types.VectorStoreFileBatch, "POST", f"{one}/file_batches/{batch.id}/cancel")
        await told(file_types.VectorStoreFileDeleted, "DELETE", f"{one}/files/{file}")
        await told(types.VectorStoreDeleted, "DELETE", one)


async def test_words_attributes_and_bounds_of_a_search(client: openai.AsyncOpenAI) -> None:
    store = await filled(client, refunds={"lang": "en", "year": 2024, "final": True}, shipping={"lang": "de", "year": 2025})
    assert await found(client, store, "refund") == ["refunds.txt"], "what a page hides is not read"
    assert (await found(client, store, "shipping parcels"))[0] == "shipping.md"
    assert set(await found(client, store, ["refund", "cooks"])) == {"refunds.txt", "jobs.html"}
    assert await found(client, store, "zebras, giraffes") == []
    every = "refunds shipping cooks the"
    assert len(await found(client, store, every, max_num_results=1)) == 1
    assert await found(client, store, every, ranking_options={"score_threshold": 0.99}) == []
    filters: list[tuple[Any, set[str]]] = [
        ({"type": "eq", "key": "lang", "value": "en"}, {"refunds.txt"}),
        ({"type": "ne", "key": "lang", "value": "en"}, {"shipping.md", "jobs.html"}),
        ({"type": "gte", "key": "year", "value": 2025}, {"shipping.md"}),
        ({"type": "lt", "key": "year", "value": 2025}, {"refunds.txt"}),
        ({"type": "in", "key": "lang", "value": ["de", "fr"]}, {"shipping.md"}),
        ({"type": "nin", "key": "lang", "value": ["de", "fr"]}, {"refunds.txt", "jobs.html"}),
        ({"type": "eq", "key": "final", "value": True}, {"refunds.txt"}),
        ({"type": "eq", "key": "final", "value": 1}, set()),
        ({"type": "gt", "key": "lang", "value": 5}, set()),
        ({"type": "and", "filters": [{"type": "eq", "key": "lang", "value": "en"}, {"type": "gt", "key": "year", "value": 2024}]}, set()),
        ({"type": "or", "filters": [{"type": "eq", "key": "lang", "value": "en"}, {"type": "eq", "key": "lang", "value": "de"}]},
         {"refunds.txt", "shipping.md"}),
    ]  # fmt: skip
    for wanted, names in filters:
        assert set(await found(client, store, every, filters=wanted)) == names, wanted
    deep: Any = {"type": "eq", "key": "a", "value": 1}
    for _ in range(9):
        deep = {"type": "and", "filters": [deep]}
    wrong: list[dict[str, Any]] = [
        {"filters": deep}, {"filters": {"type": "like", "key": "a", "value": "b"}}, {"filters": {"type": "and", "filters": []}},
        {"filters": {"type": "eq", "key": "a"}}, {"filters": {"type": "in", "key": "a", "value": "b"}}, {"filters": [1]},
        {"max_num_results": 0}, {"max_num_results": 51}, {"ranking_options": {"score_threshold": 2}},
        {"ranking_options": {"ranker": "best"}}, {"query": ""}, {"query": []}, {"query": ["x"] * 17},
    ]  # fmt: skip
    for more in wrong:
        body: dict[str, Any] = {"query": "refund", **more}
        with pytest.raises(openai.BadRequestError) as told:
            await client.vector_stores.search(store, **body)
        assert told.value.param is not None and told.value.param.startswith(next(iter(more))), more


async def test_a_file_is_cut_as_it_was_asked(client: openai.AsyncOpenAI) -> None:
    store = (await client.vector_stores.create()).id
    words = [f"word{number}" for number in range(400)]
    strategy: Any = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 50}}
    file = await client.vector_stores.files.create_and_poll(
        await uploaded(client, "long.txt", " ".join(words)), vector_store_id=store, poll_interval_ms=20,
        chunking_strategy=strategy,
    )  # fmt: skip
    assert file.chunking_strategy is not None and file.chunking_strategy.model_dump() == strategy
    chunks = [str(one.text) for one in (await client.vector_stores.files.content(file.id, vector_store_id=store)).data]
    assert len(chunks) > 5 and chunks[0].split()[0] == "word0" and chunks[-1].split()[-1] == "word399"
    assert all(set(one.split()) & set(other.split()) for one, other in itertools.pairwise(chunks))
    for static in ({"max_chunk_size_tokens": 99, "chunk_overlap_tokens": 0}, {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 51}):
        wrong: Any = {"type": "static", "static": static}
        with pytest.raises(openai.BadRequestError):
            await client.vector_stores.files.create(store, file_id=file.id, chunking_strategy=wrong)


@pytest.mark.parametrize(
    ("name", "raw", "code"),
    [("a.pdf", b"%PDF-1.7\x00\xff", "invalid_file"), ("a.png", b"\x89PNG\r\n\x00", "unsupported_file"),
     ("a.txt", b"   \n", "invalid_file"), ("b.txt", b"\xff\xfe\x00", "unsupported_file"), ("c.html", b"<p></p>", "invalid_file")],
)  # fmt: skip
async def test_what_is_no_text_fails_by_name(client: openai.AsyncOpenAI, name: str, raw: bytes, code: str) -> None:
    store = (await client.vector_stores.create()).id
    file = await client.vector_stores.files.create_and_poll(
        await uploaded(client, name, raw), vector_store_id=store, poll_interval_ms=20
    )
    assert file.status == "failed" and file.last_error is not None and file.last_error.code == code
    assert (await client.vector_stores.retrieve(store)).file_counts.failed == 1
    assert [one.id async for one in client.vector_stores.files.list(store, filter="failed")] == [file.id]
    assert [one.id async for one in client.vector_stores.files.list(store, filter="completed")] == []
    with pytest.raises(openai.BadRequestError):
        await client.vector_stores.files.content(file.id, vector_store_id=store)


async def test_another_project_sees_nothing(client: openai.AsyncOpenAI, foreign: openai.AsyncOpenAI) -> None:
    store = await filled(client)
    file = (await client.vector_stores.files.list(store)).data[0].id
    batch = await client.vector_stores.file_batches.create(store, file_ids=[file])
    theirs = await uploaded(foreign, "jobs.html")
    own = await foreign.vector_stores.create()
    for refused in (
        foreign.vector_stores.retrieve(store), foreign.vector_stores.update(store, name="x"), foreign.vector_stores.delete(store),
        foreign.vector_stores.search(store, query="refund"), foreign.vector_stores.files.create(store, file_id=theirs),
        foreign.vector_stores.files.retrieve(file, vector_store_id=store), foreign.vector_stores.files.list(store),
        foreign.vector_stores.files.content(file, vector_store_id=store), foreign.vector_stores.files.delete(file, vector_store_id=store),
        foreign.vector_stores.file_batches.retrieve(batch.id, vector_store_id=store),
        foreign.vector_stores.file_batches.cancel(batch.id, vector_store_id=store),
        foreign.vector_stores.files.create(own.id, file_id=file), foreign.vector_stores.create(file_ids=[file]),
        foreign.vector_stores.list(after=store),
    ):  # fmt: skip
        with pytest.raises(openai.NotFoundError):
            await refused
    assert [one.id async for one in foreign.vector_stores.list()] == [own.id]
    assert len(await found(client, store, "refunds shipping cooks")) == 3


async def test_a_file_that_goes_leaves_its_stores(client: openai.AsyncOpenAI, served: Gateway) -> None:
    store = await filled(client)
    file = (await client.vector_stores.search(store, query="refunds")).data[0].file_id
    await client.files.delete(file)
    assert "refunds.txt" not in await found(client, store, "refunds shop")
    assert (await client.vector_stores.retrieve(store)).file_counts.total == 2
    kept = b"".join(path.read_bytes() for path in served.home.vector_stores.rglob("*") if path.is_file())
    assert b"fourteen days" not in kept
    await client.vector_stores.delete(store)
    assert not [path for path in served.home.vector_stores.rglob("*") if path.is_file()]


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_who_deletes_stores_and_their_files_while_listing_reaches_the_end(client: openai.AsyncOpenAI, order: Any) -> None:
    store = await filled(client)
    more = [(await client.vector_stores.create(name=str(at))).id for at in range(3)]
    every = [one.id async for one in client.vector_stores.list(order=order, limit=2)]
    assert every == ([store, *more] if order == "asc" else [*more[::-1], store])
    page = await client.vector_stores.list(order=order, limit=2, before=every[3])
    assert [one.id for one in page.data] == every[1:3] and page.has_more
    files = 0
    async for one in client.vector_stores.files.list(store, limit=1, order=order):
        await client.vector_stores.files.delete(one.id, vector_store_id=store)
        files += 1
    assert files == 3
    gone = []
    async for store_seen in client.vector_stores.list(limit=1, order=order):
        await client.vector_stores.delete(store_seen.id)
        gone.append(store_seen.id)
    assert gone == every


async def test_batches_of_files(client: openai.AsyncOpenAI) -> None:
    store = (await client.vector_stores.create()).id
    uploads = [(name, text.encode()) for name, text in TEXTS.items()]
    done = await client.vector_stores.file_batches.upload_and_poll(store, files=uploads, poll_interval_ms=20)
    assert done.status == "completed" and done.file_counts.completed == done.file_counts.total == 3
    listed = [one async for one in client.vector_stores.file_batches.list_files(done.id, vector_store_id=store, limit=2)]
    assert len(listed) == 3 and len(await found(client, store, "refunds shipping cooks")) == 3
    bad = await uploaded(client, "x.png", b"\x89PNG\x00")
    each: Any = [{"file_id": bad}, {"file_id": listed[0].id, "attributes": {"a": 1}}]
    mixed = await client.vector_stores.file_batches.create_and_poll(store, files=each, poll_interval_ms=20)
    assert (mixed.status, mixed.file_counts.failed, mixed.file_counts.completed) == ("completed", 1, 1)
    for body in ({}, {"file_ids": []}, {"file_ids": [bad, bad]}, {"file_ids": [bad], "files": [{"file_id": bad}]}):
        with pytest.raises(openai.BadRequestError):
            await client.vector_stores.file_batches.create(store, **body)  # type: ignore[arg-type]


VECTORS = {"refund": [1.0, 0.0, 0.0], "ship": [0.0, 1.0, 0.0]}


async def embedding(line: Line) -> None:
    """Texts about refunds, or money, point one way, those about shipping another."""
    if not line.seen.path.endswith("/embeddings"):
        await usual(line)
        return
    texts = line.seen.body["input"]
    data = [
        {"object": "embedding", "index": at, "embedding":
            VECTORS["refund"] if "efund" in text or "money" in text else VECTORS["ship"] if "hip" in text else [0.0, 0.0, 1.0]}
        for at, text in enumerate(texts)
    ]  # fmt: skip
    usage = {"prompt_tokens": 3 * len(texts), "total_tokens": 3 * len(texts)}
    await line.answer(body={"object": "list", "model": "m", "data": data, "usage": usage})


@asynccontextmanager
async def embedded(tmp: Path, upstream: Provider) -> AsyncIterator[tuple[Gateway, openai.AsyncOpenAI]]:
    async with serve(tmp, upstream, EMBEDDED) as made, client_of(made) as client:
        yield made, client


async def test_meaning_is_searched_with_the_configured_model(tmp_path: Path, upstream: Provider) -> None:
    upstream.behave = embedding
    async with embedded(tmp_path, upstream) as (served, client):
        store = await filled(client)
        assert (await found(client, store, "I want my money back"))[0] == "refunds.txt", "no word of it is there"
        asked = await client.vector_stores.search(
            store, query="money", ranking_options={"ranker": "none", "score_threshold": 0.9}
        )
        assert [(one.filename, one.score) for one in asked.data] == [("refunds.txt", 1.0)]
        words: Any = {"ranker": "auto", "hybrid_search": {"embedding_weight": 0, "text_weight": 1}}
        before = len(upstream.seen)
        assert await found(client, store, "cooks", ranking_options=words) == ["jobs.html"]
        assert len(upstream.seen) == before, "by words alone nobody is asked"
        calls = [one for one in served.records() if getattr(one, "endpoint", "") == "embeddings"]
        assert len(calls) == 5 and all(one.prompt_tokens == 3 and one.cost_usd for one in calls)  # type: ignore[attr-defined]


async def test_a_model_that_refuses_is_told_with_the_file(tmp_path: Path, upstream: Provider) -> None:
    async def refuse(line: Line) -> None:
        await line.answer(400, {"error": {"message": "no such input", "type": "invalid_request_error", "param": None, "code": None}})

    upstream.behave = refuse
    async with embedded(tmp_path, upstream) as (_, client):
        store = (await client.vector_stores.create()).id
        file = await client.vector_stores.files.create_and_poll(
            await uploaded(client, "refunds.txt"), vector_store_id=store, poll_interval_ms=20
        )
        assert file.status == "failed" and file.last_error is not None and file.last_error.code == "server_error"
        assert "no such input" in file.last_error.message


async def test_who_asks_a_model_needs_its_scope(tmp_path: Path, upstream: Provider) -> None:
    upstream.behave = embedding
    async with embedded(tmp_path, upstream) as (served, client):
        store = await filled(client)
        async with client_of(served, await key_with(served, "data")) as lesser:
            assert (await lesser.vector_stores.retrieve(store)).id == store
            for refused in (
                lesser.vector_stores.search(store, query="x"),
                lesser.vector_stores.files.create(store, file_id=await uploaded(lesser, "jobs.html")),
            ):
                with pytest.raises(openai.PermissionDeniedError, match="inference"):
                    await refused


async def test_what_was_not_taken_in_is_after_a_restart(tmp_path: Path, upstream: Provider) -> None:
    release = asyncio.Event()

    async def slow(line: Line) -> None:
        await release.wait()
        await embedding(line)

    upstream.behave = slow
    async with embedded(tmp_path, upstream) as (_, client):
        store = (await client.vector_stores.create(file_ids=[await uploaded(client, "refunds.txt")])).id
        assert (await client.vector_stores.retrieve(store)).status == "in_progress"
    release.set()
    upstream.behave = embedding
    async with embedded(tmp_path, upstream) as (_, client):
        async with asyncio.timeout(60):
            while (await client.vector_stores.retrieve(store)).status != "completed":
                await asyncio.sleep(0.02)
        assert await found(client, store, "refunds") == ["refunds.txt"]


async def test_a_batch_that_is_cancelled_and_files_that_go_while_they_are_read(tmp_path: Path, upstream: Provider) -> None:
    release, asked = asyncio.Event(), asyncio.Event()

    async def slow(line: Line) -> None:
        asked.set()
        await release.wait()
        await embedding(line)

    upstream.behave = slow
    async with embedded(tmp_path, upstream) as (served, client):
        store = (await client.vector_stores.create()).id
        one, two = await uploaded(client, "refunds.txt"), await uploaded(client, "shipping.md")
        batch = await client.vector_stores.file_batches.create(store, file_ids=[one])
        await client.vector_stores.files.create(store, file_id=two)
        await asyncio.wait_for(asked.wait(), 30)
        stopped = await client.vector_stores.file_batches.cancel(batch.id, vector_store_id=store)
        assert (stopped.status, stopped.file_counts.cancelled) == ("cancelled", 1)
        await client.vector_stores.files.delete(two, vector_store_id=store)
        release.set()
        third = await client.vector_stores.files.create_and_poll(
            await uploaded(client, "jobs.html"), vector_store_id=store, poll_interval_ms=20
        )
        assert third.status == "completed"
        assert await found(client, store, "refunds shipping cooks") == ["jobs.html"]
        assert [path.name for path in served.home.vector_stores.rglob("chunks/*")] == [third.id]


async def test_a_store_that_nobody_uses_expires(tmp_path: Path, upstream: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_side, "_SWEEP_S", 0.05)
    async with serve(tmp_path, upstream) as served, client_of(served) as client:
        store = await filled(client)
        await client.vector_stores.update(store, expires_after={"anchor": "last_active_at", "days": 1})
        folder = next(served.home.vector_stores.glob("*/vs_*"))
        known = json.loads((folder / "store.json").read_text())
        (folder / "store.json").write_text(json.dumps({**known, "last_active_at": time.time() - 90_000}))
        os.utime(folder / "active", (1, 1))
        told = await client.vector_stores.retrieve(store)
        assert told.status == "expired"
        async with asyncio.timeout(30):
            while (folder / "chunks").exists() or (folder / "files").exists():
                await asyncio.sleep(0.02)
        for refused in (
            client.vector_stores.search(store, query="refund"),
            client.vector_stores.files.create(store, file_id=await uploaded(client, "jobs.html")),
            client.vector_stores.update(store, expires_after=None),
        ):
            with pytest.raises(openai.BadRequestError, match="has expired"):
                await refused
        assert (await client.vector_stores.update(store, name="old")).status == "expired"
        assert (await client.vector_stores.delete(store)).deleted


async def test_bounds(tmp_path: Path, upstream: Provider) -> None:
    few = SETTINGS + "vector_stores: {file_bytes: 1024, project_bytes: 1500, most: 2}\n"
    async with serve(tmp_path, upstream, few) as served, client_of(served) as client:
        store = (await client.vector_stores.create()).id
        statuses = []
        for size in (2000, 1000, 1000):
            file = await client.vector_stores.files.create_and_poll(
                await uploaded(client, "a.txt", "word " * (size // 5)), vector_store_id=store, poll_interval_ms=20
            )
            statuses.append((file.status, file.last_error.code if file.last_error else None))
        assert statuses == [("failed", "invalid_file"), ("completed", None), ("failed", "server_error")]
        await client.vector_stores.create()
        with pytest.raises(openai.RateLimitError):
            await client.vector_stores.create()
        kept = await uploaded(client, "jobs.html")
        many: Any = {f"k{at}": "v" for at in range(17)}
        for attributes in (many, {"k" * 65: "v"}, {"k": "v" * 513}, {"k": [1]}, {"k": None}):
            with pytest.raises(openai.BadRequestError):
                await client.vector_stores.files.create(store, file_id=kept, attributes=attributes)
        for body in ({"expires_after": {"anchor": "created_at", "days": 1}}, {"expires_after": {"anchor": "last_active_at", "days": 366}},
                     {"metadata": {"a": 1}}, {"name": 7}, {"file_ids": "x"}):  # fmt: skip
            with pytest.raises(openai.BadRequestError):
                await client.vector_stores.create(**body)  # type: ignore[arg-type]


def test_lines_that_are_erased_leave_the_chunks(tmp_path: Path) -> None:
    """What the trainer says after it has taken lines out of a file; who was reading the file before keeps nothing."""
    from gateway.storage.vector_stores import Chunks, VectorFile, VectorStore

    stores = VectorStores(Home(tmp_path))
    store = VectorStore("vs_" + "0" * 32, "mine", 1.0, 1.0)
    stores.put(store)
    file = VectorFile("file-" + "1" * 32, "key", 2.0)
    stores.attach(store, [file])
    done = VectorFile(file.id, "key", 2.0, status="completed")
    stores.finish(store, done, Chunks("a", ["jane was here"]))
    before = stores.generation("mine", store.id)
    stores.again("other", file.id)
    assert stores.chunks("mine", store.id, file.id).texts
    stores.again("mine", file.id)
    assert stores.generation("mine", store.id) != before
    assert [(one.id, name) for one, name in stores.waiting()] == [(store.id, file.id)]
    stores.finish(store, done, Chunks("a", ["jane was here"]))  # read before the lines went
    with pytest.raises(KeyError):
        stores.chunks("mine", store.id, file.id)
    again = stores.file("mine", store.id, file.id)
    stores.finish(store, VectorFile(file.id, "key", 2.0, status="completed", turn=again.turn), Chunks("a", ["was here"]))
    assert stores.chunks("mine", store.id, file.id).texts == ["was here"]
    assert stores.waiting() == []


def test_many_change_a_store_at_once(tmp_path: Path) -> None:
    from gateway.storage.vector_stores import VectorFile, VectorStore

    stores = VectorStores(Home(tmp_path))
    store = VectorStore("vs_" + "0" * 32, "mine", 1.0, 1.0)
    stores.put(store)
    names = [f"file-{number:032x}" for number in range(24)]

    def work(part: list[str]) -> None:
        for name in part:
            stores.attach(store, [VectorFile(name, "key", 2.0)])
            if int(name[-1], 16) % 2:
                stores.detach("mine", store.id, name)

    threads = [threading.Thread(target=work, args=(names[at::4],)) for at in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert [one.id for one in stores.files("mine", store.id)] == names[::2]


def test_nothing_is_left_of_a_store_that_goes_while_others_change_it(tmp_path: Path) -> None:
    from contextlib import suppress

    from gateway.storage.vector_stores import Chunks, VectorFile, VectorStore

    stores, file = VectorStores(Home(tmp_path)), VectorFile("file-" + "1" * 32, "key", 2.0)
    done = VectorFile(file.id, "key", 2.0, status="completed")
    for number in range(20):
        store = VectorStore(f"vs_{number:032x}", "mine", 1.0, 1.0)
        stores.put(store)
        stores.attach(store, [file])
        begun = threading.Barrier(4)

        def work(change: Any, begun: threading.Barrier = begun) -> None:
            begun.wait()
            for _ in range(3):
                with suppress(KeyError):
                    change()

        threads = [
            threading.Thread(target=work, args=(change,))
            for change in (
                lambda store=store: stores.attach(store, [file]),
                lambda store=store: stores.finish(store, done, Chunks("a", ["text"])),
                lambda store=store: stores.replace(store),
                lambda store=store: stores.delete(store),
            )
        ]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert stores.all("mine") == [] and stores.waiting() == []
    assert not [path for path in (tmp_path / "vector_stores").rglob("*") if path.is_file()]


def test_the_embedding_model_is_checked(tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "a.yaml").write_text(
        "providers:\n  first: {type: openai, base_url: 'http://127.0.0.1:1/v1', api_key: sk-x}\nvector_stores: {model: {provider: frist, model: m}}\n"
    )
    with pytest.raises(PolicyError, match="no provider is named 'frist'"):
        load(folder, {})
    assert Config().vector_stores.model is None


@pytest.mark.parametrize("key", [KEY, FOREIGN])
async def test_names_that_are_no_ids_are_nowhere(served: Gateway, key: str) -> None:
    async with httpx.AsyncClient(base_url=served.base_url, headers={"authorization": f"Bearer {key}"}) as http:
        for name in ("vs_x", "%2e%2e%2f", "vs_" + "G" * 32, "x" * 300):
            for path in ("", "/files", "/files/file-x", "/file_batches/vsfb_x"):
                answer = await http.get(f"/vector_stores/{name}{path}")
                assert answer.status_code == 404, (name, path)


async def test_nothing_more_is_paid_for_once_nobody_waits(tmp_path: Path, upstream: Provider) -> None:
    """Of a large file two portions are asked at most when its batch is cancelled after the first, or its key revoked."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def stepwise(line: Line) -> None:
        asked.set()
        await go_on.wait()
        await embedding(line)

    upstream.behave = stepwise
    strategy: Any = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 0}}
    async with embedded(tmp_path, upstream) as (_, client):
        store = (await client.vector_stores.create()).id
        large = await uploaded(client, "large.txt", "refund " * 20_000)
        batch = await client.vector_stores.file_batches.create(store, file_ids=[large], chunking_strategy=strategy)
        await asyncio.wait_for(asked.wait(), 30)
        await client.vector_stores.file_batches.cancel(batch.id, vector_store_id=store)
        go_on.set()
        small = await client.vector_stores.files.create_and_poll(
            await uploaded(client, "jobs.html"), vector_store_id=store, poll_interval_ms=20
        )
        assert small.status == "completed"
        again = await client.vector_stores.files.retrieve(large, vector_store_id=store)
        assert again.status == "cancelled"
    portions = [len(one.body["input"]) for one in upstream.seen]
    assert portions.count(64) == 1 and len(portions) == 2


async def test_documents_are_searched_like_text(client: openai.AsyncOpenAI) -> None:
    import docx

    made, into = docx.Document(), io.BytesIO()
    made.add_paragraph("Lighthouses are painted every third year.")
    made.save(into)
    store = (await client.vector_stores.create()).id
    file = await client.vector_stores.files.create_and_poll(
        await uploaded(client, "notes.docx", into.getvalue()), vector_store_id=store, poll_interval_ms=20
    )
    assert file.status == "completed", file.last_error
    assert await found(client, store, "when is a lighthouse painted?") == ["notes.docx"]
