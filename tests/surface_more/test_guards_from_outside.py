"""Guardrails that ask a provider or a webhook, in a whole gateway: fail closed, in time boxes, with masked texts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from gateway_server import KEY, Gateway, gateway, write_policies
from scripted import COMPLETION, Line, Provider, chunk, provider, sse

MAIL = "jane@example.org"
SECRET = "a-secret-of-the-tests-0001"


@asynccontextmanager
async def guarded(tmp: Path, upstream: Provider, judge: Provider, safety: str) -> AsyncIterator[Gateway]:
    folder = write_policies(tmp / "policies", {"first": upstream.url})
    main = folder / "gateway.yaml"
    main.write_text(main.read_text().replace(
        "providers:\n", f'providers:\n  judge: {{type: openai, base_url: "{judge.url}", api_key: sk-judge-0001}}\n', 1
    ))  # fmt: skip
    (folder / "safety.yaml").write_text(safety)
    async with gateway(tmp, folder) as made:
        yield made


def saying(text: str) -> Any:
    async def behave(line: Line) -> None:
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        await line.answer(body={**COMPLETION, "choices": [choice]})

    return behave


def scoring(words: dict[str, tuple[str, float]]) -> Any:
    """A moderation API that flags texts with one of ``words``."""

    async def behave(line: Line) -> None:
        results = []
        for text in line.seen.body["input"]:
            scores = {"hate": 0.01, "violence": 0.01}
            scores |= {category: score for word, (category, score) in words.items() if word in text}
            flags = {name: score > 0.5 for name, score in scores.items()}
            results.append({"flagged": any(flags.values()), "categories": flags, "category_scores": scores})
        await line.answer(body={"id": "modr-1", "model": "m", "results": results})

    return behave


def client_of(made: Gateway) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=made.base_url, api_key=KEY, max_retries=0)


async def ask(made: Gateway, text: str) -> Any:
    async with client_of(made) as client:
        return await client.chat.completions.create(
            model="triage", messages=[{"role": "user", "content": text}]
        )


MODERATED = """
guardrails:
  privacy: {type: pii}
  outside: {type: moderation, provider: judge, thresholds: {violence: 0.4}}
"""


async def test_openai_moderation_judges_masked_texts_in_both_directions(tmp_path: Path) -> None:
    async with provider() as upstream, provider() as judge:
        judge.behave = scoring({"kill": ("violence", 0.45), "slur": ("hate", 0.9)})
        async with guarded(tmp_path, upstream, judge, MODERATED) as made:
            assert (await ask(made, f"I am {MAIL}")).choices[0].message.content == "hello"
            assert judge.seen[0].path == "/v1/moderations" and judge.seen[0].body["input"] == ["I am [EMAIL_1]"]
            assert judge.seen[0].headers["authorization"] == "Bearer sk-judge-0001"
            with pytest.raises(openai.BadRequestError, match="'outside'"):
                await ask(made, "kill them")
            assert len(upstream.seen) == 1
            await ask(made, "a slur")  # of a category without a threshold
            upstream.behave = saying("I will kill")
            with pytest.raises(openai.BadRequestError, match="answer was blocked"):
                await ask(made, "hello")


async def test_streams_are_judged_before_they_leave(tmp_path: Path) -> None:
    pieces = [chunk({"content": f"word {number} "}) for number in range(40)]
    bad = [*pieces, chunk({"content": "kill"}), *pieces, chunk({}, "stop")]

    async def stream(line: Line) -> None:
        await line.stream(sse(bad))

    safety = MODERATED.replace("thresholds", "window: 100, thresholds")
    async with provider() as upstream, provider() as judge:
        upstream.behave, judge.behave = stream, scoring({"kill": ("violence", 0.9)})
        async with guarded(tmp_path, upstream, judge, safety) as made:
            said, turns = "", [{"role": "user", "content": "hello"}]
            async with client_of(made) as client:
                stream_of = await client.chat.completions.create(model="triage", messages=turns, stream=True)  # type: ignore[call-overload]
                with pytest.raises(openai.APIError, match="'outside'"):
                    async for one in stream_of:
                        said += one.choices[0].delta.content or ""
            assert said.startswith("word 0 word 1") and "kill" not in said and len(said) > 200


@pytest.mark.parametrize("fault", ["away", "slow", "nonsense"])
async def test_a_judge_that_fails_stops_the_call(tmp_path: Path, fault: str) -> None:
    async def behave(line: Line) -> None:
        if fault == "slow":
            await line.hang()
        elif fault == "away":
            await line.answer(status=500, body={"error": {"message": "x"}})
        else:
            await line.answer(body={"results": []})

    open_too = MODERATED.replace("thresholds", "timeout_ms: 300, thresholds")
    async with provider() as upstream, provider() as judge:
        judge.behave = behave
        async with guarded(tmp_path, upstream, judge, open_too) as made:
            with pytest.raises(openai.InternalServerError, match="guardrail failed"):
                await ask(made, "hello")
            assert upstream.seen == []


async def test_one_that_may_fail_open_is_noted(tmp_path: Path) -> None:
    async def away(line: Line) -> None:
        await line.answer(status=500, body={})

    safety = MODERATED.replace("thresholds", "on_error: allow, thresholds")
    async with provider() as upstream, provider() as judge:
        judge.behave = away
        async with guarded(tmp_path, upstream, judge, safety) as made:
            await ask(made, "hello")
            await asyncio.sleep(0.05)
            assert any("outside:error-allow" in getattr(one, "verdicts", ()) for one in made.records())


LLAMA = """
guardrails:
  llama: {type: judge_model, provider: judge, model: llama-guard, hazards: [S1, S10]}
"""


async def test_a_model_like_llama_guard(tmp_path: Path) -> None:
    async with provider() as upstream, provider() as judge, guarded(tmp_path, upstream, judge, LLAMA) as made:
        judge.behave = saying("\n\nsafe")
        assert (await ask(made, "hi")).choices[0].message.content == "hello"
        assert judge.seen[0].body["messages"] == [{"role": "user", "content": "hi"}]
        assert judge.seen[1].body["messages"][-1] == {"role": "assistant", "content": "hello"}
        judge.behave = saying("unsafe\nS7")  # a hazard that the policy does not name
        await ask(made, "hi again")
        judge.behave = saying("unsafe\nS2,S10")
        with pytest.raises(openai.BadRequestError, match="'llama'"):
            await ask(made, "hi once more")
        judge.behave = saying("I cannot help with that")
        with pytest.raises(openai.InternalServerError, match="guardrail failed"):
            await ask(made, "and again")


def hooked(judge: Provider) -> str:
    address = f"http://127.0.0.1:{judge.port}/check"
    return (
        "guardrails:\n  privacy: {type: pii}\n"
        f'  own: {{type: webhook, url: "{address}", secret: {SECRET}, directions: [input, output]}}\n'
    )


async def test_a_webhook_is_signed_and_its_verdict_counts(tmp_path: Path) -> None:
    actions: list[Any] = []

    async def behave(line: Line) -> None:
        verdicts = [actions.pop(0) if actions else {"action": "allow"} for _ in line.seen.body["texts"]]
        await line.answer(body={"verdicts": verdicts})

    async with provider() as upstream, provider() as judge:
        judge.behave = behave
        async with guarded(tmp_path, upstream, judge, hooked(judge)) as made:
            actions += [{"action": "rewrite", "text": "write to [EMAIL_1], kindly"}, {"action": "flag"}]
            await ask(made, f"write to {MAIL}")
            seen = judge.seen[0]
            assert seen.body == {
                "type": "guardrail.check", "direction": "in", "project": "default", "texts": ["write to [EMAIL_1]"],
            }  # fmt: skip
            client = openai.OpenAI(api_key="x", webhook_secret=SECRET)
            client.webhooks.verify_signature(json.dumps(seen.body, separators=(",", ":")), seen.headers)
            assert upstream.seen[0].body["messages"][0]["content"] == "write to [EMAIL_1], kindly"
            actions.append({"action": "block"})
            with pytest.raises(openai.BadRequestError, match="'own'"):
                await ask(made, "hello")
            actions.append({"action": "maybe"})
            with pytest.raises(openai.InternalServerError):
                await ask(made, "hello")


async def test_moderations_are_answered_with_the_providers_scores(tmp_path: Path) -> None:
    async with provider() as upstream, provider() as judge:
        judge.behave = scoring({"kill": ("violence", 0.45)})
        async with guarded(tmp_path, upstream, judge, "surface: {moderations: local}\n" + MODERATED) as made:
            async with client_of(made) as client:
                told = await client.moderations.create(input=["kill them", "hello"])
            assert told.results[0].categories.violence and told.results[0].category_scores.violence == 0.45
            assert told.results[0].flagged and not told.results[1].flagged
            assert told.results[1].category_scores.violence == 0.01


@pytest.mark.parametrize(
    ("safety", "says"),
    [
        ("x: {type: moderation, provider: nobody}", "no provider is named"),
        ("x: {type: webhook, url: 'http://169.254.169.254/x', secret: a-secret-of-the-tests-0001}", "must not be called"),
        ("x: {type: blocklist, phrases: [a], timeout_ms: 10}", "asks nobody"),
        ("x: {type: classifier, model: /nowhere, labels: {A: 0.5}}", "there is no folder"),
        ("x: {type: detoxify}", "download: true"),
    ],
)
async def test_what_cannot_work_is_said_by_the_check(tmp_path: Path, safety: str, says: str) -> None:
    from gateway.policy.files import PolicyError, load

    folder = write_policies(tmp_path / "policies", {"first": "http://127.0.0.1:9/v1"})
    (folder / "safety.yaml").write_text(f"guardrails:\n  {safety}\n")
    with pytest.raises(PolicyError, match=says):
        load(folder, {})


async def test_other_doors_ask_as_well(tmp_path: Path) -> None:
    async with provider() as upstream, provider() as judge:
        judge.behave = scoring({"kill": ("violence", 0.9)})
        async with guarded(tmp_path, upstream, judge, MODERATED) as made, httpx.AsyncClient() as http:
            for path, body in (
                ("embeddings", {"input": ["fine", "kill"]}), ("responses", {"input": "kill"}), ("completions", {"prompt": "kill"}),
                ("messages", {"max_tokens": 5, "messages": [{"role": "user", "content": "kill"}]}),
            ):  # fmt: skip
                answer = await http.post(
                    f"{made.base_url}/{path}", json={"model": "triage", **body}, headers={"authorization": f"Bearer {KEY}"}
                )
                assert answer.status_code == 400 and "'outside'" in answer.text, path
            assert upstream.seen == []


async def test_packages_that_are_not_there_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway.policy import guard_checks
    from gateway.policy.files import PolicyError, load

    monkeypatch.setattr(guard_checks, "find_spec", lambda name: None if name == "spacy" else object())
    folder = write_policies(tmp_path / "policies", {"first": "http://127.0.0.1:9/v1"})
    (folder / "safety.yaml").write_text("guardrails:\n  x: {type: pii, presidio: {}}\n")
    with pytest.raises(PolicyError, match=r"needs spacy, which is not installed(.|\n)*understudy\[guardrails\]"):
        load(folder, {})
