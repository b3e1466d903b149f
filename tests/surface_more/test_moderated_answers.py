"""The request field ``moderation``, answered by the guardrails, through the unmodified openai client."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from gateway_server import gateway
from more_gateway import client_of, policies_at
from scripted import Provider

LOCAL = "surface: {moderations: local}\n"
SAFETY = """\
guardrails:
  threats: {type: blocklist, phrases: [hurt you], action: flag, category: violence}
  personal: {type: pii}
"""
SCORE: dict[str, Any] = {"model": "omni-moderation-latest"}
THREAT = "I will hurt you, jane@example.org"


def blocking(side: str) -> dict[str, Any]:
    return {**SCORE, "policy": {side: {"mode": "block"}}}


def says(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


@contextlib.asynccontextmanager
async def asking(
    tmp_path: Path, upstream: Provider, surface: str = LOCAL, safety: str = SAFETY
) -> AsyncIterator[openai.AsyncOpenAI]:
    policies = policies_at(tmp_path, upstream, surface)
    (policies / "safety.yaml").write_text(safety)
    async with gateway(tmp_path, policies) as served, client_of(served) as client:
        yield client


async def test_chat_answers_with_what_was_found(tmp_path: Path, upstream: Provider) -> None:
    async with asking(tmp_path, upstream) as client:
        answer = await client.chat.completions.create(model="triage", messages=says(THREAT), moderation=SCORE)  # type: ignore[arg-type]
        found = answer.moderation
        assert found is not None and found.input.type == found.output.type == "moderation_results"
        asked, said = found.input.results[0], found.output.results[0]
        assert asked.flagged and asked.categories["violence"] and asked.category_scores["violence"] == 1.0
        assert not asked.categories["hate"] and asked.model == "omni-moderation-latest"
        assert not said.flagged
        sent = upstream.seen[-1].body
        assert "moderation" not in sent and "[EMAIL_1]" in sent["messages"][0]["content"]
        plain = await client.chat.completions.create(model="triage", messages=says(THREAT))  # type: ignore[arg-type]
        assert plain.moderation is None


async def test_a_stream_ends_with_what_was_found(tmp_path: Path, upstream: Provider) -> None:
    async with asking(tmp_path, upstream) as client:
        for moderation in (SCORE, blocking("output")):
            stream = await client.chat.completions.create(
                model="triage", messages=says(THREAT), moderation=moderation, stream=True  # type: ignore[arg-type]
            )  # fmt: skip
            chunks = [chunk async for chunk in stream]
            assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
            assert [chunk.moderation is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
            found = chunks[-1].moderation
            assert found is not None and found.input.type == "moderation_results"
            assert found.input.results[0].flagged and chunks[-1].choices == []


async def test_responses_tell_one_result_for_each_side(tmp_path: Path, upstream: Provider) -> None:
    async with asking(tmp_path, upstream) as client:
        answer = await client.responses.create(model="triage", input=THREAT, moderation=SCORE)  # type: ignore[arg-type]
        found = answer.moderation
        assert found is not None and found.input.type == found.output.type == "moderation_result"
        assert found.input.flagged and not found.output.flagged
        stream = await client.responses.create(model="triage", input=THREAT, moderation=SCORE, stream=True)  # type: ignore[arg-type]
        events = [event async for event in stream]
        last = events[-1]
        assert last.type == "response.completed" and last.response.moderation is not None
        assert last.response.moderation.input.type == "moderation_result"


@pytest.mark.parametrize("streamed", [False, True])
async def test_what_is_flagged_is_blocked_where_that_is_asked_for(
    tmp_path: Path, upstream: Provider, streamed: bool
) -> None:
    safety = f"{SAFETY}  greetings: {{type: blocklist, phrases: [hello], directions: [output], action: flag, category: hate}}\n"
    async with asking(tmp_path, upstream, safety=safety) as client:

        async def ask(text: str, moderation: dict[str, Any]) -> Any:
            answer = await client.chat.completions.create(
                model="triage", messages=says(text), moderation=moderation, stream=streamed  # type: ignore[arg-type]
            )  # fmt: skip
            return [chunk async for chunk in answer] if streamed else answer

        with pytest.raises(openai.BadRequestError) as caught:
            await ask(THREAT, blocking("input"))
        assert caught.value.code == "moderation_blocked" and "violence" in caught.value.message
        assert "hurt" not in caught.value.message and upstream.seen == []
        with pytest.raises(openai.APIError) as refused:
            await ask("hello", blocking("output"))  # the provider says hello
        assert refused.value.code == "moderation_blocked" and "answer was blocked" in refused.value.message
        assert await ask("good evening", SCORE)


async def test_a_wrong_wish_is_told(tmp_path: Path, upstream: Provider) -> None:
    wrong: list[tuple[Any, str]] = [
        ("yes", "moderation"),
        ({"policy": {}}, "moderation"),
        ({**SCORE, "policy": []}, "moderation.policy"),
        ({**SCORE, "policy": {"input": {"mode": "never"}}}, "moderation.policy.input.mode"),
    ]
    async with asking(tmp_path, upstream) as client:
        for moderation, param in wrong:
            with pytest.raises(openai.BadRequestError) as caught:
                await client.chat.completions.create(model="triage", messages=says("x"), moderation=moderation)  # type: ignore[arg-type]
            assert caught.value.param == param
    assert upstream.seen == []


async def test_a_judge_that_is_away_and_one_that_reads_no_input(tmp_path: Path, upstream: Provider) -> None:
    """One that may fail open finds nothing; without anybody who reads the input nobody can say."""
    far = 'type: webhook, url: "http://127.0.0.1:9/x", secret: a-secret-of-the-tests-0001, private_addresses: true'
    failing = f"guardrails:\n  far: {{{far}, directions: [output]}}\n"
    quiet = f"guardrails:\n  far: {{{far}, on_error: allow}}\n"
    async with asking(tmp_path, upstream, safety=quiet) as client:
        answer = await client.chat.completions.create(model="triage", messages=says("x"), moderation=SCORE)  # type: ignore[arg-type]
        assert answer.moderation is not None and answer.moderation.input.type == "moderation_results"
    (tmp_path / "more").mkdir()
    async with asking(tmp_path / "more", upstream, safety=failing) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await client.chat.completions.create(model="triage", messages=says("x"), moderation=SCORE)  # type: ignore[arg-type]
        assert caught.value.code == "moderations_not_configured"


async def test_without_the_setting_the_field_is_the_providers(tmp_path: Path, upstream: Provider) -> None:
    async with asking(tmp_path, upstream, surface="") as client:
        await client.chat.completions.create(model="triage", messages=says("x"), moderation=SCORE)  # type: ignore[arg-type]
        assert upstream.seen[-1].body["moderation"] == SCORE
