from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import openai
import pytest
import uvicorn
from litestar import Litestar, Request, Response
from small_fakes import completion

from gateway.api.stored.routes import stored_routes
from gateway.context import Principal
from gateway.errors import GatewayError, Unauthenticated
from gateway.storage.recent import DELETED, RecentCalls
from gateway.storage.records import CallRecord, CallText, DeletionRecord, MetadataRecord
from gateway.storage.values import StoredCompletion


class Database:
    """The reader's two queries over a list, as the database orders and filters them."""

    def __init__(self) -> None:
        self.rows: list[StoredCompletion] = []

    def completion(self, project: str, call_id: str) -> StoredCompletion | None:
        return next((row for row in self.rows if (row.project, row.id) == (project, call_id)), None)

    def completion_place(self, project: str, call_id: str) -> tuple[float, str] | None:
        found = self.completion(project, call_id)
        return (found.created_at, found.id) if found is not None else None

    def completions(
        self, project: str, *, model: str | None, metadata: dict[str, str], after: str | None, limit: int,
        descending: bool,
    ) -> list[StoredCompletion]:  # fmt: skip
        rows = [row for row in self.rows if row.project == project and model in (None, row.model)]
        rows = [row for row in rows if metadata.items() <= row.metadata.items()]
        rows.sort(key=lambda row: (row.created_at, row.id), reverse=descending)
        if after is not None:
            mark = self.completion(project, after)
            assert mark is not None
            rows = rows[rows.index(mark) + 1 :]
        return rows[:limit]


class House:
    """A control with a reader and a recorder."""

    def __init__(self) -> None:
        self.reader, self.recorder, self.records = Database(), self, []  # type: ignore[var-annotated]

    def append(self, record: Any) -> None:
        self.records.append(record)


def row(number: int, project: str = "p1", **changes: Any) -> StoredCompletion:
    base = StoredCompletion(
        id=f"chatcmpl-{number:03}", project=project, created_at=1_700_000_000.0 + number, model="m",
        request={"model": "m", "messages": [{"role": "user", "content": f"question {number}"}]},
        answer=completion(f"answer {number}"), metadata={"n": str(number % 2)},
    )  # fmt: skip
    return msgspec.structs.replace(base, **changes)


def record(number: int, text: str = "hi", *, visible: bool = True, mask: bool = True) -> CallRecord:
    body = {"model": "m", "messages": [{"role": "user", "content": text}], "temperature": 0.5}
    capture = CallText(
        request=msgspec.json.encode(body), answer=msgspec.json.encode(completion(text)), visible=visible,
        trainable=False, mask=mask, retention_days=1,
    )  # fmt: skip
    return CallRecord(
        id=f"chatcmpl-{number:03}", request_id="r", created_at=1_700_000_000.0 + number, project="p1", key_id="k",
        end_user="", session="", task="", fingerprint="", model_asked="m", provider="", model="", student="",
        status="ok", http_status=200, error_code="", stream=False, latency_ms=1.0, first_byte_ms=None,
        overhead_ms=0.1, attempts=[], prompt_tokens=1, cached_tokens=0, completion_tokens=1,
        tokens_estimated=False, cost_usd=None, teacher_cost_usd=None, confidence=None, arm="plain",
        propensity=1.0, reason="", config_digest="", verdicts=[], metadata={"n": str(number % 2)}, text=capture,
    )  # fmt: skip


def test_recent_calls_are_masked_bounded_and_forgotten() -> None:
    recent = RecentCalls(max_calls=3)
    for number in range(5):
        recent.remember(record(number, "I am jane@example.org"))
    recent.remember(record(9, visible=False))
    assert len(recent) == 3 and [one.id[-1] for one in recent.list("p1")] == ["2", "3", "4"]
    found = recent.get("p1", "chatcmpl-004")
    assert isinstance(found, StoredCompletion)
    assert found.request["messages"][0]["content"] == "I am [EMAIL_1]"
    assert found.answer["choices"][0]["message"]["content"] == "I am [EMAIL_1]"
    assert recent.get("p2", "chatcmpl-004") is None
    recent.metadata("p1", "chatcmpl-004", {"feedback.score": "1"})
    again = recent.get("p1", "chatcmpl-004")
    assert isinstance(again, StoredCompletion) and again.metadata == {"feedback.score": "1"}
    recent.forget("p1", "chatcmpl-004")
    assert recent.get("p1", "chatcmpl-004") is DELETED and recent.deleted("p1") == {"chatcmpl-004"}
    recent.remember(record(4))
    assert recent.get("p1", "chatcmpl-004") is DELETED


def test_recent_calls_are_bounded_by_bytes() -> None:
    recent = RecentCalls(max_bytes=10_000)
    for number in range(20):
        recent.remember(record(number, "x" * 1000))
    assert 0 < len(recent) < 6


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[str, House, RecentCalls]]:
    house, recent = House(), RecentCalls()

    def who(headers: Any) -> Principal:
        project = headers.get("authorization", "").removeprefix("Bearer ")
        if project not in ("p1", "p2"):
            raise Unauthenticated("no")
        return Principal(key_id=f"key_{project}", project=project)

    def refuse(_: Request[Any, Any, Any], error: GatewayError) -> Response[bytes]:
        return Response(error.body(), status_code=error.status, media_type="application/json")

    app = Litestar(
        stored_routes(house, recent, who),  # type: ignore[arg-type]
        exception_handlers={GatewayError: refuse},  # type: ignore[dict-item]
        openapi_config=None, logging_config=None,
    )  # fmt: skip
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/v1", house, recent
    server.should_exit = True
    thread.join(60)


@pytest.fixture
def client(served: tuple[str, House, RecentCalls]) -> Iterator[openai.OpenAI]:
    _, house, recent = served
    house.records.clear()
    house.reader.rows = [row(number) for number in range(30)] + [row(100, "p2")]
    recent.__init__()  # type: ignore[misc]
    for number in range(28, 33):
        recent.remember(record(number))
    with openai.OpenAI(base_url=served[0], api_key="p1", max_retries=0) as found:
        yield found


def ids(page: Any) -> list[int]:
    return [int(one.id[-3:]) for one in page]


def test_listing_merges_memory_and_database(client: openai.OpenAI) -> None:
    page = client.chat.completions.list()
    assert ids(page.data) == list(range(20)) and page.has_more
    assert ids(client.chat.completions.list(limit=7)) == list(range(33))
    assert ids(client.chat.completions.list(limit=7, order="desc")) == list(range(32, -1, -1))
    assert ids(client.chat.completions.list(limit=100, metadata={"n": "1"})) == list(range(1, 33, 2))
    assert ids(client.chat.completions.list(model="other")) == []
    assert ids(client.chat.completions.list(after="chatcmpl-030")) == [31, 32]


def test_one_call_and_its_messages(client: openai.OpenAI) -> None:
    found = client.chat.completions.retrieve("chatcmpl-003")
    assert found.choices[0].message.content == "answer 3" and found.model == "m"
    assert found.model_extra is not None and found.metadata == {"n": "1"}  # type: ignore[attr-defined]
    assert client.chat.completions.retrieve("chatcmpl-032").temperature == 0.5  # type: ignore[attr-defined]
    messages = client.chat.completions.messages.list("chatcmpl-003")
    assert [(one.id, one.role, one.content) for one in messages] == [("chatcmpl-003-0", "user", "question 3")]


@pytest.mark.parametrize("number", [3, 29, 32])
def test_an_update_is_feedback_and_is_seen_at_once(
    client: openai.OpenAI, served: tuple[str, House, RecentCalls], number: int
) -> None:
    call_id = f"chatcmpl-{number:03}"
    updated = client.chat.completions.update(call_id, metadata={"feedback.score": "1"})
    assert updated.metadata == {"feedback.score": "1"}  # type: ignore[attr-defined]
    assert client.chat.completions.retrieve(call_id).metadata == {"feedback.score": "1"}  # type: ignore[attr-defined]
    assert ids(client.chat.completions.list(metadata={"feedback.score": "1"})) == [number]
    (record,) = served[1].records
    assert isinstance(record, MetadataRecord)
    assert (record.call_id, record.project, record.actor) == (call_id, "p1", "key_p1")


@pytest.mark.parametrize("number", [3, 29, 32])
def test_a_deleted_call_is_gone_at_once(
    client: openai.OpenAI, served: tuple[str, House, RecentCalls], number: int
) -> None:
    call_id = f"chatcmpl-{number:03}"
    gone = client.chat.completions.delete(call_id)
    assert (gone.object, gone.id, gone.deleted) == ("chat.completion.deleted", call_id, True)
    assert isinstance(served[1].records[0], DeletionRecord)
    for attempt in (client.chat.completions.retrieve, client.chat.completions.delete):
        with pytest.raises(openai.NotFoundError):
            attempt(call_id)
    assert number not in ids(client.chat.completions.list(limit=5))


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_who_deletes_what_is_listed_reaches_the_end(client: openai.OpenAI, order: Any) -> None:
    for one in client.chat.completions.list(limit=7, order=order):
        client.chat.completions.delete(one.id)
    assert ids(client.chat.completions.list()) == []


def test_a_foreign_call_does_not_exist(client: openai.OpenAI) -> None:
    for call_id in ("chatcmpl-100", "chatcmpl-zzz"):
        for attempt in (
            client.chat.completions.retrieve,
            client.chat.completions.delete,
            lambda one: client.chat.completions.update(one, metadata={}),
            client.chat.completions.messages.list,
        ):
            with pytest.raises(openai.NotFoundError):
                attempt(call_id)  # type: ignore[operator]
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.list(after="chatcmpl-100")


def test_bad_requests_are_told_what_to_mend(client: openai.OpenAI) -> None:
    for metadata in ({"k": "v" * 513}, {"k" * 65: "v"}, {str(at): "v" for at in range(17)}, {"k": 3}):
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.update("chatcmpl-003", metadata=metadata)  # type: ignore[arg-type]
    with pytest.raises(openai.BadRequestError, match="Only 'metadata'"):
        client.chat.completions.update("chatcmpl-003", metadata={}, extra_body={"model": "x"})
    for query in ({"limit": "0"}, {"limit": "x"}, {"order": "up"}):
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.list(extra_query=query)
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="nobody").chat.completions.list()
