"""/v1/files through the unmodified openai client, over real sockets."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import sqlalchemy as sa
from gateway_server import KEY, Gateway
from made_keys import key_with
from more_gateway import client_of
from more_gateway import served as serve
from scripted import Provider

from gateway.api.files.routes import plain_name
from gateway.client_data import data_side
from gateway.storage import files as storage_files
from gateway.storage.engine import write_engine
from gateway.storage.tables.data import FILES


async def test_a_file_from_upload_to_deletion(client: openai.AsyncOpenAI, served: Gateway) -> None:
    content = os.urandom(2_500_000)
    made = await client.files.create(file=("notes.bin", content), purpose="user_data")
    assert (made.object, made.bytes, made.filename, made.status) == ("file", len(content), "notes.bin", "processed")
    waited = await client.files.wait_for_processing(made.id)
    assert waited.id == made.id and (await client.files.retrieve(made.id)) == made
    assert (await client.files.content(made.id)).content == content
    on_disk = served.home.files / made.id
    assert stat.S_IMODE(on_disk.stat().st_mode) == 0o600
    assert stat.S_IMODE(on_disk.parent.stat().st_mode) == 0o700
    gone = await client.files.delete(made.id)
    assert gone.deleted and not on_disk.exists()
    for ask in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError):
            await ask(made.id)


async def test_listing_pages_and_filters(client: openai.AsyncOpenAI) -> None:
    made = [
        await client.files.create(file=(f"{at}.jsonl", b"{}"), purpose="batch" if at % 2 else "evals")
        for at in range(5)
    ]
    ids = [one.id for one in made]
    assert [one.id async for one in client.files.list()] == ids[::-1]
    assert [one.id async for one in client.files.list(limit=2, order="asc")] == ids
    assert [one.id async for one in client.files.list(purpose="batch", order="asc")] == ids[1::2]
    page = await client.files.list(limit=2, order="asc", after=ids[1])
    assert [one.id for one in page.data] == ids[2:4] and page.has_more
    with pytest.raises(openai.BadRequestError):
        await client.files.list(limit=0)
    with pytest.raises(openai.NotFoundError) as told:
        await client.files.list(after="file-none")
    assert told.value.param == "after"
    with pytest.raises(openai.NotFoundError) as told:
        await client.batches.list(after="batch_none")
    assert told.value.param == "after"


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_who_deletes_files_while_listing_them_reaches_the_end(
    client: openai.AsyncOpenAI, foreign: openai.AsyncOpenAI, order: Any
) -> None:
    made = [(await client.files.create(file=(f"{at}", b"a"), purpose="evals")).id for at in range(5)]
    seen = []
    async for one in client.files.list(limit=2, order=order):
        await client.files.delete(one.id)
        seen.append(one.id)
    assert seen == (made if order == "asc" else made[::-1])
    with pytest.raises(openai.NotFoundError) as told:
        await foreign.files.list(after=made[2])
    assert told.value.param == "after", "it says nothing to another project"


async def test_another_project_sees_nothing(client: openai.AsyncOpenAI, foreign: openai.AsyncOpenAI) -> None:
    made = await client.files.create(file=("a.txt", b"a"), purpose="user_data")
    for ask in (foreign.files.retrieve, foreign.files.content, foreign.files.delete):
        with pytest.raises(openai.NotFoundError):
            await ask(made.id)
    assert [one async for one in foreign.files.list()] == []
    assert (await client.files.content(made.id)).content == b"a"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("/", "file"),
        ("..", "file"),
        ("a\0b\nc.txt", "abc.txt"),
        ("x" * 400, "x" * 255),
    ],
)
def test_a_file_name_is_only_a_name(given: str, kept: str) -> None:
    assert plain_name(given) == kept


async def test_a_file_name_leads_nowhere(client: openai.AsyncOpenAI, served: Gateway) -> None:
    made = await client.files.create(file=("../../../escape.txt", b"x"), purpose="user_data")
    assert made.filename == "escape.txt"
    assert [path.name for path in served.home.files.iterdir()] == [made.id]
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {KEY}"}) as http:
        for trick in ("..%2f..%2funderstudy.db", "%2e%2e", "file-" + "0" * 31 + "g", made.id + ".part"):
            answer = await http.get(f"{served.base_url}/files/{trick}/content")
            assert answer.status_code == 404, trick


async def test_too_large_and_over_the_quota(client: openai.AsyncOpenAI, served: Gateway) -> None:
    with pytest.raises(openai.APIStatusError) as large:
        await client.files.create(file=("large", bytes(3_000_001)), purpose="user_data")
    assert large.value.status_code == 413 and large.value.code == "request_too_large"
    await client.files.create(file=("one", bytes(2_900_000)), purpose="user_data")
    with pytest.raises(openai.APIStatusError) as over:
        await client.files.create(file=("two", bytes(1_200_000)), purpose="user_data")
    assert over.value.status_code == 413 and over.value.code == "quota_exceeded"
    assert len(list(served.home.files.iterdir())) == 1  # nothing half written stays


async def test_a_full_disk_is_told(
    client: openai.AsyncOpenAI, served: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(storage_files, "write_all", full)
    with pytest.raises(openai.APIStatusError) as told:
        await client.files.create(file=("a", b"abc"), purpose="user_data")
    assert told.value.status_code == 503 and told.value.code == "disk_full"
    monkeypatch.undo()
    assert list(served.home.files.iterdir()) == []
    await client.files.create(file=("a", b"abc"), purpose="user_data")


async def test_a_file_expires(
    client: openai.AsyncOpenAI, served: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    after: Any = {"anchor": "created_at", "seconds": 3600}
    made = await client.files.create(file=("a", b"abc"), purpose="batch", expires_after=after)
    assert made.expires_at is not None and made.expires_at - made.created_at in (3600, 3601)
    with pytest.raises(openai.BadRequestError) as short:
        await client.files.create(
            file=("a", b"a"), purpose="batch", expires_after={"anchor": "created_at", "seconds": 5}
        )
    assert short.value.param == "expires_after.seconds"


@pytest.mark.parametrize(
    ("body", "kind", "param"),
    [
        (b"{}", "application/json", None),
        (b"--b\r\nnonsense", "multipart/form-data; boundary=b", None),
        (b"--b--\r\n", "multipart/form-data; boundary=b", "file"),
        (
            b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n--b--\r\n',
            "multipart/form-data; boundary=b",
            "purpose",
        ),
    ],
)
async def test_malformed_uploads(served: Gateway, body: bytes, kind: str, param: str | None) -> None:
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {KEY}", "content-type": kind}) as http:
        answer = await http.post(f"{served.base_url}/files", content=body)
    assert answer.status_code == 400 and answer.json()["error"]["param"] == param
    assert list(served.home.files.iterdir()) == []


async def test_many_parts_and_a_client_that_leaves(served: Gateway) -> None:
    part = b'--b\r\ncontent-disposition: form-data; name="a"\r\n\r\n1\r\n'
    headers = {"authorization": f"Bearer {KEY}", "content-type": "multipart/form-data; boundary=b"}
    async with httpx.AsyncClient(headers=headers) as http:
        answer = await http.post(f"{served.base_url}/files", content=part * 65 + b"--b--\r\n")
    assert answer.status_code == 400 and "64 parts" in answer.text
    _reader, writer = await asyncio.open_connection("127.0.0.1", int(served.url.rsplit(":", 1)[1]))
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"POST /v1/files HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9999\r\n{head}\r\n".encode())
    writer.write(b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\nhalf')
    await writer.drain()
    for _ in range(2000):
        if list(served.home.files.iterdir()):
            break
        await asyncio.sleep(0.01)
    writer.close()
    for _ in range(2000):
        if not list(served.home.files.iterdir()):
            break
        await asyncio.sleep(0.01)
    assert list(served.home.files.iterdir()) == []


async def test_no_key(served: Gateway) -> None:
    async with httpx.AsyncClient() as http:
        answer = await http.get(f"{served.base_url}/files")
    assert answer.status_code == 401


async def test_a_key_without_the_scope(served: Gateway) -> None:
    texts = {scope: await key_with(served, scope) for scope in ("inference", "data")}
    async with httpx.AsyncClient(base_url=served.base_url) as http:
        allowed = {"authorization": f"Bearer {texts['data']}"}
        lacking = {"authorization": f"Bearer {texts['inference']}"}
        for _ in range(2000):
            if (answer := await http.get("/files", headers=allowed)).status_code == 200:
                break
            await asyncio.sleep(0.02)
        assert answer.status_code == 200
        upload: Any = {"data": {"purpose": "user_data"}, "files": {"file": ("a", b"a")}}
        made_file = (await http.post("/files", headers=allowed, **upload)).json()["id"]
        for method, path, options in (
            ("GET", "/files", {}),
            ("POST", "/files", upload),
            ("GET", f"/files/{made_file}", {}),
            ("GET", f"/files/{made_file}/content", {}),
            ("DELETE", f"/files/{made_file}", {}),
        ):
            answer = await http.request(method, path, headers=lacking, **options)
            assert answer.status_code == 403, (method, path)
            assert "lacks the scope 'data'" in answer.json()["error"]["message"]
    assert [path.name for path in served.home.files.iterdir()] == [made_file]


async def test_the_sweeper_deletes_what_has_expired(
    tmp_path: Path, upstream: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_side, "_SWEEP_S", 0.05)
    after: Any = {"anchor": "created_at", "seconds": 3600}
    async with serve(tmp_path, upstream) as served, client_of(served) as client:
        gone = await client.files.create(file=("a", b"abc"), purpose="batch", expires_after=after)
        kept = await client.files.create(file=("b", b"abc"), purpose="batch", expires_after=after)
        engine = write_engine(served.home.database_url)
        with engine.begin() as connection:
            connection.execute(sa.update(FILES).where(FILES.c.id == gone.id).values(expires_at=1.0))
        for _ in range(2000):
            if not (served.home.files / gone.id).exists():
                break
            await asyncio.sleep(0.02)
        assert [path.name for path in served.home.files.iterdir()] == [kept.id]
        for _ in range(2000):
            with engine.connect() as connection:
                rows = connection.execute(sa.select(FILES.c.id)).scalars().all()
            if rows == [kept.id]:
                break
            await asyncio.sleep(0.02)
        engine.dispose()
        assert rows == [kept.id]
        assert [one.id async for one in client.files.list()] == [kept.id]
