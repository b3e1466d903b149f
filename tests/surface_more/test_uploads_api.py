"""/v1/uploads through the unmodified openai client, over a restart too."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import time
from pathlib import Path
from typing import Any

import httpx
import msgspec
import openai
import pytest
from gateway_server import KEY, Gateway, gateway
from more_gateway import SETTINGS, client_of, policies_at
from more_gateway import served as serve
from scripted import Provider
from sdk_types import strictly

from gateway.client_data import data_side
from gateway.storage import uploads as storage_uploads
from gateway.storage.home import Home
from gateway.storage.uploads import PendingUpload, UploadRefused, UploadStore

CONTENT = os.urandom(1_000_000)
WHOLE: Any = {"filename": "../big.bin", "mime_type": "application/octet-stream", "purpose": "user_data"}


async def begun(client: openai.AsyncOpenAI, content: bytes = CONTENT, **more: Any) -> Any:
    return await client.uploads.create(bytes=len(content), **{**WHOLE, **more})


def left(served: Gateway) -> list[Path]:
    return [path for path in served.home.uploads.rglob("*") if path.name.startswith("part_")]


async def test_a_file_in_parts_whatever_their_order(client: openai.AsyncOpenAI, served: Gateway) -> None:
    made = await begun(client, expires_after={"anchor": "created_at", "seconds": 3600})
    assert (made.object, made.status, made.bytes, made.filename) == ("upload", "pending", len(CONTENT), "big.bin")
    assert made.expires_at == made.created_at + 3600 and made.file is None
    cuts = [CONTENT[at : at + 250_000] for at in range(0, len(CONTENT), 250_000)]
    parts = await asyncio.gather(*(client.uploads.parts.create(made.id, data=one) for one in cuts))
    assert {(one.object, one.upload_id) for one in parts} == {("upload.part", made.id)}
    spare = await client.uploads.parts.create(made.id, data=b"sent twice, and not used")
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in left(served)) and len(left(served)) == 5
    ids = [one.id for one in parts]
    wrong: list[tuple[Any, str]] = [
        ({"part_ids": ids[:-1]}, "part_ids"), ({"part_ids": [*ids, spare.id]}, "part_ids"),
        ({"part_ids": [*ids[:-1], ids[0]]}, "part_ids"), ({"part_ids": [*ids[:-1], "part_none"]}, "part_ids"),
        ({"part_ids": []}, "part_ids"), ({"part_ids": ids, "md5": "0" * 32}, "md5"),
        ({"part_ids": ids[::-1], "md5": hashlib.md5(CONTENT).hexdigest()}, "md5"), ({"part_ids": ids, "md5": "x"}, "md5"),
    ]  # fmt: skip
    for asked, param in wrong:
        with pytest.raises(openai.BadRequestError) as told:
            await client.uploads.complete(made.id, **asked)
        assert told.value.param == param, asked
    done = await client.uploads.complete(made.id, part_ids=ids, md5=hashlib.md5(CONTENT).hexdigest().upper())
    assert done.status == "completed" and done.file is not None
    assert (done.file.bytes, done.file.filename, done.file.purpose) == (len(CONTENT), "big.bin", "user_data")
    assert done.file.expires_at == done.file.created_at + 3600
    assert await client.files.retrieve(done.file.id) == done.file
    assert (await client.files.content(done.file.id)).content == CONTENT
    assert not left(served)
    again = await client.uploads.complete(made.id, part_ids=ids)  # an answer that was lost is asked for again
    assert again.file == done.file and len([one async for one in client.files.list()]) == 1
    for ask in (
        lambda: client.uploads.complete(made.id, part_ids=ids[:1]),
        lambda: client.uploads.parts.create(made.id, data=b"x"),
        lambda: client.uploads.cancel(made.id),
    ):
        with pytest.raises(openai.BadRequestError, match="completed already"):
            await ask()


async def test_the_clients_own_helper(client: openai.AsyncOpenAI, served: Gateway, tmp_path: Path) -> None:
    path = tmp_path / "big.jsonl"
    await asyncio.to_thread(path.write_bytes, CONTENT)
    for more in (
        {"file": path},
        {"file": CONTENT, "filename": "big.jsonl", "bytes": len(CONTENT)},
        {"file": path, "md5": hashlib.md5(CONTENT).hexdigest()},
    ):
        done = await client.uploads.upload_file_chunked(**more, mime_type="application/jsonl", purpose="batch", part_size=300_000)  # type: ignore[call-overload]
        assert done.status == "completed" and done.file.filename == "big.jsonl"
        assert (await client.files.content(done.file.id)).content == CONTENT
        await client.files.delete(done.file.id)
    assert not left(served)


async def test_answers_by_the_sdks_types(served: Gateway) -> None:
    from openai.types import Upload
    from openai.types.uploads import UploadPart

    async with httpx.AsyncClient(base_url=served.base_url, headers={"authorization": f"Bearer {KEY}"}) as http:
        answer = await http.post("/uploads", json={**WHOLE, "bytes": 3})
        strictly(Upload, answer.content)
        made = answer.json()
        answer = await http.post(f"/uploads/{made['id']}/parts", files={"data": ("p", b"abc")})
        strictly(UploadPart, answer.content)
        answer = await http.post(f"/uploads/{made['id']}/complete", json={"part_ids": [answer.json()["id"]]})
        strictly(Upload, answer.content)
        for body, param in (
            ({**WHOLE, "bytes": 0}, "bytes"), ({**WHOLE, "bytes": "3"}, "bytes"), ({**WHOLE, "bytes": True}, "bytes"),
            ({**WHOLE, "bytes": 3, "purpose": "x"}, "purpose"), ({**WHOLE, "bytes": 3, "filename": ""}, "filename"),
            ({**WHOLE, "bytes": 3, "mime_type": None}, "mime_type"),
            ({**WHOLE, "bytes": 3, "expires_after": {"anchor": "now", "seconds": 1}}, "expires_after.anchor"),
        ):  # fmt: skip
            answer = await http.post("/uploads", json=body)
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
        for form in ({"file": ("p", b"abc")}, {"data": ("p", b"")}, {"data": (None, b"abc")}):
            answer = await http.post(f"/uploads/{made['id']}/parts", files=form)
            assert answer.status_code == 400


async def test_cancelling_and_what_is_somebody_elses(
    client: openai.AsyncOpenAI, foreign: openai.AsyncOpenAI, served: Gateway
) -> None:
    made = await begun(client)
    part = await client.uploads.parts.create(made.id, data=CONTENT)
    for ask in (
        lambda: foreign.uploads.parts.create(made.id, data=b"x"),
        lambda: foreign.uploads.complete(made.id, part_ids=[part.id]),
        lambda: foreign.uploads.cancel(made.id),
        lambda: client.uploads.cancel("upload_..%2f..%2f"),
        lambda: client.uploads.cancel("upload_" + "0" * 32),
    ):
        with pytest.raises(openai.NotFoundError):
            await ask()
    other = await begun(foreign)
    with pytest.raises(openai.BadRequestError):  # a part of another upload is none of this one's
        await foreign.uploads.complete(other.id, part_ids=[part.id])
    stopped = await client.uploads.cancel(made.id)
    assert stopped.status == "cancelled" and not left(served)
    assert (await client.uploads.cancel(made.id)).status == "cancelled"
    with pytest.raises(openai.BadRequestError, match="cancelled already"):
        await client.uploads.parts.create(made.id, data=b"x")


async def test_bounds(client: openai.AsyncOpenAI, tmp_path: Path, upstream: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await client.uploads.create(bytes=3_000_000, **WHOLE)
    with pytest.raises(openai.APIStatusError) as told:  # four million are the project's, and three are spoken for
        await client.uploads.create(bytes=1_000_001, **WHOLE)
    assert (told.value.status_code, told.value.code) == (413, "quota_exceeded")
    await client.uploads.cancel(first.id)
    made = await begun(client, b"12345")
    monkeypatch.setattr(storage_uploads, "LARGEST_PART", 10)  # what may be sent twice
    for _ in range(3):
        await client.uploads.parts.create(made.id, data=b"12345")
    with pytest.raises(openai.BadRequestError, match="more bytes"):
        await client.uploads.parts.create(made.id, data=b"1")
    settings = SETTINGS.replace("project_bytes", "upload_bytes: 2000, project_bytes")
    async with serve(tmp_path / "other", upstream, settings) as small, client_of(small) as mine:
        with pytest.raises(openai.APIStatusError) as told:
            await mine.uploads.create(bytes=2001, **WHOLE)
        assert told.value.status_code == 413
        monkeypatch.setattr(storage_uploads, "MOST_OPEN", 2)
        await mine.uploads.create(bytes=5, **WHOLE), await mine.uploads.create(bytes=5, **WHOLE)
        with pytest.raises(openai.ConflictError):
            await mine.uploads.create(bytes=5, **WHOLE)


async def test_an_hour_later_it_is_gone(tmp_path: Path, upstream: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_side, "_SWEEP_S", 0.05)
    async with gateway(tmp_path, policies_at(tmp_path, upstream)) as made, client_of(made) as client:
        upload = await begun(client)
        part = await client.uploads.parts.create(upload.id, data=CONTENT)
        (file,) = made.home.uploads.rglob("upload.json")
        known = msgspec.json.decode(file.read_bytes(), type=PendingUpload)

        async def until(seconds_ago: float, gone: Path) -> None:
            ended = msgspec.structs.replace(known, expires_at=time.time() - seconds_ago)
            await asyncio.to_thread(file.write_bytes, msgspec.json.encode(ended))
            async with asyncio.timeout(30):
                while await asyncio.to_thread(gone.exists):
                    await asyncio.sleep(0.02)

        await until(1, file.parent / part.id)
        for ask in (
            lambda: client.uploads.parts.create(upload.id, data=b"x"),
            lambda: client.uploads.complete(upload.id, part_ids=[part.id]),
        ):
            with pytest.raises(openai.BadRequestError, match="expired"):
                await ask()
        await until(24 * 3600 + 1, file.parent)
        with pytest.raises(openai.NotFoundError):
            await client.uploads.cancel(upload.id)


async def test_a_restart_between_the_parts_loses_none(tmp_path: Path, upstream: Provider) -> None:
    async with serve(tmp_path, upstream) as made, client_of(made) as client:
        upload = await begun(client)
        first = await client.uploads.parts.create(upload.id, data=CONTENT[:400_000])
    async with serve(tmp_path, upstream) as made, client_of(made) as client:
        draft = made.home.files / f"{storage_uploads.file_id_of(upload.id)}.part"
        await asyncio.to_thread(draft.write_bytes, b"left by a process that was killed while it joined them")
        second = await client.uploads.parts.create(upload.id, data=CONTENT[400_000:])
        done = await client.uploads.complete(upload.id, part_ids=[first.id, second.id])
        assert done.file is not None and (await client.files.content(done.file.id)).content == CONTENT


def test_one_at_a_time_and_no_second_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_uploads, "_WAIT_S", 0.05)
    store = UploadStore(Home(tmp_path).prepare())
    now = time.time()
    upload = PendingUpload("upload_" + "a" * 32, "p", "k", "f", "batch", 3, now, now + 60)
    store.create(upload, 100)
    part = store.begin_part(upload)
    part.write(b"abc")
    asyncio.run(part.flush(least=0))
    store.add_part(upload, part)
    let_go, paths = store.take(upload, [part.id])
    assert isinstance(paths, list) and [path.read_bytes() for path in paths] == [b"abc"]
    for work in (lambda: store.take(upload, [part.id]), lambda: store.cancel(upload)):
        with pytest.raises(UploadRefused) as told:
            work()
        assert told.value.wait
    let_go()
    assert store.cancel(upload).status == "cancelled"
    assert storage_uploads.file_id_of(upload.id) == storage_uploads.file_id_of(upload.id)
