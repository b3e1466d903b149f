"""OpenAI's graders through the stock client, models asked through the whole gateway."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from gateway_server import KEY, TRUSTED, Gateway, gateway
from made_keys import key_with
from scripted import COMPLETION, Line, Provider
from tuning_parts import until

sys.path.append(str(Path(__file__).resolve().parents[1] / "trainer"))
from test_encoder import tiny_bert

from gateway.storage.records import CallRecord

ALL_FALSE = {
    "formula_parse_error", "sample_parse_error", "truncated_observation_error", "unresponsive_reward_error",
    "invalid_variable_error", "other_error", "python_grader_server_error", "python_grader_runtime_error",
    "model_grader_server_error", "model_grader_refusal_error", "model_grader_parse_error",
}  # fmt: skip
CHECK = {"type": "string_check", "name": "same", "input": "{{sample.output_text}}", "reference": "{{item.label}}", "operation": "eq"}  # fmt: skip
SCORE = {"type": "score_model", "name": "judge", "model": "triage", "input": [{"role": "user", "content": "Grade: {{sample.output_text}}"}]}  # fmt: skip
LABEL = {
    **SCORE,
    "type": "label_model",
    "name": "tone",
    "labels": ["kind", "rude"],
    "passing_labels": ["kind"],
}
SLOW = "a-key-for-one-call-a-minute"
FEW = "a-key-that-may-call-one-model"
POLICIES = """
providers:
  teacher: {{type: openai, base_url: "{url}", api_key: unused, traits: {traits}}}
  own: {{type: openai, base_url: "{url}", api_key: unused}}
prices: {{teacher: {{m: {{input: 2.5, output: 10.0, as_of: '2026-01-01', source: test}}}}}}
keys:
  - {{name: tests, key: {key}, project: default}}
  - {{name: slow, key: {slow}, project: default, requests_per_minute: 1}}
  - {{name: few, key: {few}, project: default, models: [other]}}
tasks: [{{name: triage, candidates: [{{provider: teacher, model: m}}]}}]
guardrails: {{falcon: {{type: blocklist, phrases: [project falcon]}}}}
timeouts: {{first_byte: 60, chunk_gap: 60, total: 60}}
retries: {{attempts: 2, base_s: 0.01, cap_s: 0.02}}
fine_tuning: {{encoder: "{encoder}"}}
"""


def completion(content: str | None, **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content, "refusal": None, **more}
    return {**COMPLETION, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}


def says(content: str | None, **more: Any) -> Any:
    async def behave(line: Line) -> None:
        await line.answer(200, completion(content, **more))

    return behave


@pytest.fixture
async def served(root: Path, upstream: Provider) -> AsyncIterator[Gateway]:
    folder = root / "policies"
    folder.mkdir()
    encoder = tiny_bert(root / "bert")
    text = POLICIES.format(url=upstream.url, traits=TRUSTED, key=KEY, few=FEW, slow=SLOW, encoder=encoder)
    (folder / "all.yaml").write_text(text)
    async with gateway(root, folder) as made:
        yield made


async def run(client: openai.AsyncOpenAI, grader: Any, sample: str, item: Any = None) -> Any:
    more = {} if item is None else {"item": item}
    return await client.fine_tuning.alpha.graders.run(grader=grader, model_sample=sample, **more)


def flags(found: Any) -> set[str]:
    """The errors that are told."""
    told = found.metadata.errors.model_dump(by_alias=True)
    assert set(told) >= ALL_FALSE
    return {name for name, value in told.items() if value is True}


async def test_text_graders_score_without_a_provider(client, upstream: Provider) -> None:
    found = await run(client, CHECK, "billing", {"label": "billing"})
    assert (found.reward, found.sub_rewards, flags(found)) == (1.0, {}, set())
    assert (found.metadata.name, found.metadata.type, found.metadata.token_usage) == (
        "same",
        "string_check",
        None,
    )
    assert found.metadata.execution_time > 0
    similar = {"type": "text_similarity", "name": "near", "input": "my refund", "reference": "my refund"}
    for metric in ("cosine", "fuzzy_match", "bleu", "gleu", "rouge_1", "rouge_l"):
        found = await run(client, {**similar, "evaluation_metric": metric}, "x")
        assert found.reward == pytest.approx(1.0, abs=1e-5)
    far = await run(client, {**similar, "reference": "parcel late box", "evaluation_metric": "cosine"}, "x")
    assert far.reward < 0.99
    assert not upstream.seen


async def test_a_model_grades_as_a_call_of_the_same_key(client, served: Gateway, upstream: Provider) -> None:
    upstream.behave = says('{"result": 0.75}')
    found = await run(
        client, {**SCORE, "sampling_params": {"seed": 4, "max_completions_tokens": 50}}, "hello there"
    )
    assert (found.reward, flags(found)) == (0.75, set())
    assert (found.metadata.token_usage, found.metadata.sampled_model_name) == (1100, "triage")
    assert found.model_dump(by_alias=True)["model_grader_token_usage_per_model"] == {"triage": 1100}
    asked = upstream.seen[0].body
    assert (asked["messages"], asked["seed"]) == ([{"role": "user", "content": "Grade: hello there"}], 4)
    assert asked["response_format"]["json_schema"]["strict"] is True
    record = next(one for one in served.records() if isinstance(one, CallRecord))
    assert (record.task, record.project, record.status) == ("triage", "default", "ok")
    assert record.cost_usd is not None
    assert record.cost_usd > 0


async def test_a_multi_grader_reckons_with_its_parts(client, upstream: Provider) -> None:
    upstream.behave = says('{"result": "kind"}')
    multi = {
        "type": "multi", "name": "all", "graders": {"same": CHECK, "tone": LABEL},
        "calculate_output": "0.25 * same + 0.75 * max(tone, 0)",
    }  # fmt: skip
    found = await run(client, multi, "rude words", {"label": "kind words"})
    assert (found.reward, found.sub_rewards) == (0.75, {"same": 0.0, "tone": 1.0})
    assert (found.metadata.scores, found.metadata.token_usage) == ({"same": 0.0, "tone": 1.0}, 1100)
    single = await run(
        client, {**multi, "graders": CHECK, "calculate_output": "1 - same"}, "a", {"label": "b"}
    )
    assert single.reward == 1.0
    upstream.seen.clear()
    broken = await run(client, {**multi, "calculate_output": "same + nobody"}, "a", {"label": "a"})
    assert (broken.reward, flags(broken)) == (0.0, {"formula_parse_error"})
    nought = await run(
        client, {**multi, "graders": CHECK, "calculate_output": "1 / same"}, "a", {"label": "b"}
    )
    assert (nought.reward, flags(nought)) == (0.0, {"other_error"})
    assert not upstream.seen  # nobody is paid for a formula that cannot be read


async def test_what_keeps_a_grader_from_a_score_is_told_by_its_flag(client, upstream: Provider) -> None:
    assert flags(await run(client, CHECK, "a", {"other": 1})) == {"invalid_variable_error"}
    assert flags(await run(client, {**CHECK, "input": "{{7*7}}"}, "a", {"label": "49"})) == {
        "invalid_variable_error"
    }
    assert flags(await run(client, {**CHECK, "input": "{{sample.output_json.x}}"}, "{", {"label": 1})) == {
        "sample_parse_error"
    }
    long = {**CHECK, "input": "{{sample.output_text}}{{sample.output_text}}"}
    assert flags(await run(client, long, "x" * 150_000, {"label": 1})) == {"truncated_observation_error"}
    upstream.behave = says("0.75 I would say")
    found = await run(client, SCORE, "a")
    assert (found.reward, flags(found), found.metadata.token_usage) == (
        0.0,
        {"model_grader_parse_error"},
        1100,
    )
    assert flags(await run(client, {**SCORE, "model": "own/m"}, "a")) == {"model_grader_parse_error"}
    upstream.behave = says(None, refusal="I will not")
    assert flags(await run(client, SCORE, "a")) == {"model_grader_refusal_error"}

    async def down(line: Line) -> None:
        await line.answer(500, {"error": {"message": "boom"}})

    upstream.behave = down
    multi = {
        "type": "multi",
        "name": "all",
        "graders": {"same": CHECK, "judge": SCORE},
        "calculate_output": "same",
    }
    found = await run(client, multi, "a", {"label": "a"})
    assert (found.reward, found.sub_rewards) == (1.0, {"same": 1.0, "judge": None})
    assert flags(found) == {"model_grader_server_error"}
    assert found.metadata.errors.model_dump(by_alias=True)["model_grader_server_error_details"]


async def test_validation_finds_beforehand_what_would_never_score(client, upstream: Provider) -> None:
    validate = client.fine_tuning.alpha.graders.validate
    assert (await validate(grader=CHECK)).grader.type == "string_check"
    for grader, param, words in (
        ({"type": "python", "name": "p", "source": "import os"}, "grader.type", "executes no code"),
        ({**CHECK, "input": "{{7*7}}"}, "grader.input", "no variable"),
        ({"type": "text_similarity", "name": "n", "input": "a", "reference": "b", "evaluation_metric": "meteor"},
         "grader.evaluation_metric", "meteor"),
        ({"type": "multi", "name": "m", "graders": {"a": CHECK}, "calculate_output": "a +"}, "grader.calculate_output", "lacks"),
        ({"type": "unheard_of", "name": "x"}, "grader.type", "unheard_of"),
        ({**CHECK, "operation": "matches"}, "grader.operation", "matches"),
        ({**CHECK, "more": 1}, "grader", "more"),
        ({"type": "string_check"}, "grader.name", "Missing"),
    ):  # fmt: skip
        with pytest.raises(openai.BadRequestError) as caught:
            await validate(grader=grader)
        assert caught.value.param == param
        assert words in caught.value.message
        assert caught.value.type == "invalid_request_error"
    assert not upstream.seen


async def test_what_the_key_may_not_do_its_graders_may_not_either(
    client, served: Gateway, upstream: Provider
) -> None:
    upstream.behave = says('{"result": 1}')
    with pytest.raises(openai.NotFoundError):
        await run(client, {**SCORE, "model": "no-such-model"}, "a")
    with pytest.raises(openai.APIStatusError, match="falcon"):
        await run(client, SCORE, "tell me of project falcon")
    async with openai.AsyncOpenAI(base_url=served.base_url, api_key=FEW, max_retries=0) as few:
        with pytest.raises(openai.NotFoundError):
            await run(
                few,
                {"type": "multi", "name": "m", "graders": {"a": CHECK, "b": SCORE}, "calculate_output": "a"},
                "a",
                {"label": "a"},
            )
        assert (await run(few, CHECK, "a", {"label": "a"})).reward == 1.0
    async with openai.AsyncOpenAI(base_url=served.base_url, api_key="nobody", max_retries=0) as nobody:
        with pytest.raises(openai.AuthenticationError):
            await run(nobody, CHECK, "a", {"label": "a"})
    assert not upstream.seen


async def test_limits_count_what_graders_ask(served: Gateway, upstream: Provider) -> None:
    upstream.behave = says('{"result": 1}')
    async with openai.AsyncOpenAI(base_url=served.base_url, api_key=SLOW, max_retries=0) as slow:
        assert (await run(slow, SCORE, "a")).reward == 1.0
        with pytest.raises(openai.RateLimitError):
            await run(slow, SCORE, "b")
        assert (await run(slow, CHECK, "a", {"label": "a"})).reward == 1.0
    assert len(upstream.seen) == 1


async def test_a_key_for_training_alone_asks_no_model(served: Gateway, upstream: Provider) -> None:
    async with openai.AsyncOpenAI(base_url=served.base_url, api_key=await key_with(served, "train"), max_retries=0) as trainer:

        async def known() -> Any:
            try:
                return await run(trainer, CHECK, "a", {"label": "a"})
            except openai.AuthenticationError:
                return None

        assert (await until(known, bool)).reward == 1.0
        with pytest.raises(openai.PermissionDeniedError, match="inference"):
            await run(trainer, SCORE, "a")
    assert not upstream.seen


ODD: tuple[Any, ...] = (None, -1, 1e300, "", "{{", [], [[1]], {"type": "multi"}, "\x00\u202e")


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, one in inner:
        yield (*path, name)
        yield from places(one, (*path, name))


async def test_odd_values_anywhere_are_the_clients_to_mend(served: Gateway, upstream: Provider) -> None:
    upstream.behave = says('{"result": 1}')
    near = {**CHECK, "type": "text_similarity", "evaluation_metric": "gleu"}
    near.pop("operation")
    tone = {**LABEL, "input": [{"role": "user", "content": [{"type": "input_text", "text": "a"}, "b"]}]}
    parts = {
        "same": CHECK,
        "near": near,
        "judge": {**SCORE, "range": [0, 1], "sampling_params": {"seed": 1}},
        "tone": tone,
    }
    multi = {"type": "multi", "name": "all", "graders": parts, "calculate_output": "same + near"}
    body = {"grader": multi, "model_sample": "a", "item": {"label": ["a"]}}
    asked = 0
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {KEY}"}) as http:
        for path in places(body):
            for odd in ODD:
                changed = json.loads(json.dumps(body))
                inside = changed
                for step in path[:-1]:
                    inside = inside[step]
                inside[path[-1]] = odd
                for act in ("run", "validate"):
                    sent = changed if act == "run" else {"grader": changed["grader"]}
                    answer = await http.post(f"{served.base_url}/fine_tuning/alpha/graders/{act}", json=sent)
                    asked += 1
                    assert answer.status_code in (200, 400, 404), (path, odd, answer.text)
                    if answer.status_code != 200:
                        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert asked > 500


async def test_a_client_that_leaves_frees_the_model(served: Gateway, upstream: Provider) -> None:
    async def hang(line: Line) -> None:
        await line.hang()

    upstream.behave = hang
    async with httpx.AsyncClient() as http:
        body = json.dumps({"grader": SCORE, "model_sample": "a"})
        headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        url = f"{served.base_url}/fine_tuning/alpha/graders/run"
        asking = asyncio.create_task(http.post(url, content=body, headers=headers))
        while not upstream.seen:
            await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await asyncio.wait_for(upstream.seen[0].peer_left.wait(), 60)
