"""Feedback on calls and sessions: shown at once, logged, heard by curation, masked, and erased with its call."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import httpx
import msgspec
import openai
import pytest
from gateway_server import KEY, gateway
from scripted import provider
from tuning_parts import policies

sys.path.append(str(Path(__file__).resolve().parents[1] / "trainer"))
from lesson_home import captured, store_records

from gateway.storage.engine import write_engine
from gateway.storage.home import Home
from gateway.storage.reading.reader import open_reader
from gateway.storage.records import DeletionRecord, FeedbackRecord
from gateway.storage.tables import FEEDBACK_LOG
from trainer.datasets.curate import curate


async def test_feedback_shows_on_the_completion_at_once(root: Path) -> None:
    async with provider() as upstream:
        folder = policies(root / "policies")
        text = (folder / "all.yaml").read_text()
        (folder / "all.yaml").write_text(text.replace("http://127.0.0.1:9/v1", upstream.url))
        async with (
            gateway(root, folder) as served,
            openai.AsyncOpenAI(base_url=served.base_url, api_key=KEY, max_retries=0) as client,
        ):
            made = await client.chat.completions.create(
                model="triage", store=True, messages=[{"role": "user", "content": "hi"}]
            )
            answer: Any = await client.post(
                "/feedback", cast_to=object, body={"call_id": made.id, "rating": 0.9, "comment": "fine"}
            )
            assert (answer["object"], answer["score"]) == ("feedback", 0.9)
            found = await client.chat.completions.retrieve(made.id)
            assert found.metadata == {"feedback.score": "0.9"}
            (record,) = [one for one in served.records() if isinstance(one, FeedbackRecord)]
            assert (record.project, record.texts) == ("default", {"comment": "fine"})
            for body, message in (
                ({"rating": 1}, "Name either"),
                ({"call_id": "a", "session_id": "b", "rating": 1}, "Name either"),
                ({"call_id": "a"}, "Say something"),
                ({"call_id": "a", "rating": 5}, "from 0 to 1"),
                ({"call_id": "a", "passed": 1}, "true or false"),
                ({"call_id": "a", "correction": 1}, "must be text"),
                ({"call_id": "a", "stars": 1}, "Unknown parameter"),
            ):
                with pytest.raises(openai.BadRequestError, match=message):
                    await client.post("/feedback", cast_to=object, body=body)
            async with httpx.AsyncClient() as nobody:
                assert (await nobody.post(f"{served.base_url}/feedback", json={})).status_code == 401


def said(home: Home) -> set[tuple[str, str, str]]:
    with write_engine(home.database_url).connect() as connection:
        return {(row.call_id, row.name, row.value) for row in connection.execute(FEEDBACK_LOG.select())}


def feedback(
    call: str = "", session: str = "", project: str = "p", score: float | None = None, **texts: str
) -> Any:
    return FeedbackRecord(call, session, project, "k", 2000.0, score, texts)


def test_it_reaches_the_log_and_curation_and_goes_with_its_call(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").prepare()
    calls = [
        captured(number, f"text number {chr(97 + number)}", "yes", 1000.0 + number) for number in range(6)
    ]
    calls[4:] = [msgspec.structs.replace(call, session="s") for call in calls[4:]]
    early = feedback("chatcmpl-0", score=1.0)  # it comes before its call
    store_records(home, [early, *calls])
    store_records(home, [
        feedback("chatcmpl-1", score=0.0, correction="write to me@example.com"),
        feedback("chatcmpl-2", project="elsewhere", score=0.0),
        feedback("chatcmpl-3", comment="hm"),
        feedback(session="s", score=0.2),
    ])  # fmt: skip
    assert said(home) == {
        ("chatcmpl-0", "feedback.score", "1"),
        ("chatcmpl-1", "feedback.score", "0"),
        ("chatcmpl-1", "feedback.correction", "write to [EMAIL_1]"),
        ("chatcmpl-3", "feedback.comment", "hm"),
        ("chatcmpl-4", "feedback.score", "0.2"),
        ("chatcmpl-5", "feedback.score", "0.2"),
    }
    reader = open_reader(home)
    found = reader.training_calls("p", "triage", "f" * 16, limit=100)
    kept, steps = curate(found)
    reader.close()
    assert {call.call_id for call in kept} == {"chatcmpl-0", "chatcmpl-2", "chatcmpl-3"}
    assert next(step for step in steps if step.name == "quality").found == 3
    store_records(home, [DeletionRecord("chatcmpl-1", "p", "k", 3000.0)])
    left = {entry for entry in said(home) if entry[0] == "chatcmpl-1"}
    assert left == {("chatcmpl-1", "feedback.score", "0")}
