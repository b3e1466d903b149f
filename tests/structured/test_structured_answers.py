"""Structured answers through a running gateway: every dialect that does not guarantee them, repaired, counted, refused."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest
from gateway_server import ADMIN, Gateway
from scripted import Line, Provider
from structured_helpers import FORM, MODELS, RIGHT, SCHEMA, TOOL, WRONG, does, openai_answer, says

from gateway.storage.records import CallRecord

ASK: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where?"}]


def call_of(served: Gateway) -> CallRecord:
    (call,) = [one for one in served.records() if isinstance(one, CallRecord)]
    return call


@pytest.mark.parametrize("provider", MODELS)
async def test_a_wrong_answer_is_shown_to_its_author_once(
    client: openai.AsyncOpenAI, served: Gateway, upstream: Provider, provider: str
) -> None:
    upstream.behave = says(WRONG, RIGHT)
    answer = await client.chat.completions.create(
        model=f"{provider}/{MODELS[provider]}", messages=ASK, response_format=FORM
    )
    assert answer.choices[0].message.content == RIGHT
    first, second = (json.dumps(seen.body, ensure_ascii=False) for seen in upstream.seen)
    assert "days" in first  # the schema went out, in the request's own place or in words
    assert "'/days/1': must be of type integer" in second and "two" in second
    assert [one.outcome for one in call_of(served).attempts] == ["invalid", "ok"]


@pytest.mark.parametrize("provider", MODELS)
async def test_a_strict_tools_arguments_are_held_to_its_schema(
    client: openai.AsyncOpenAI, served: Gateway, upstream: Provider, provider: str
) -> None:
    upstream.behave = does(WRONG, RIGHT)
    answer = await client.chat.completions.create(
        model=f"{provider}/{MODELS[provider]}", messages=ASK, tools=[TOOL]
    )
    (call,) = answer.choices[0].message.tool_calls or []
    assert json.loads(call.function.arguments) == json.loads(RIGHT)  # type: ignore[union-attr]
    assert "'/days/1': must be of type integer" in json.dumps(upstream.seen[1].body)
    assert [one.outcome for one in call_of(served).attempts] == ["invalid", "ok"]


async def test_a_provider_that_guarantees_the_form_is_left_alone(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    upstream.behave = says(WRONG)
    hostile = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": {"$ref": "http://x"}}}
    answer = await client.chat.completions.create(model="strict/m", messages=ASK, response_format=hostile, tools=[TOOL])  # type: ignore[arg-type]
    assert answer.choices[0].message.content == WRONG
    assert upstream.seen[0].body["response_format"] == hostile and upstream.seen[0].body["tools"] == [TOOL]


@pytest.mark.parametrize("model", ["m", "gpt-4o"])
async def test_a_server_of_somebodys_own_is_checked_whatever_its_models_are_called(
    client: openai.AsyncOpenAI, served: Gateway, upstream: Provider, model: str
) -> None:
    upstream.behave = says(WRONG, RIGHT)
    answer = await client.chat.completions.create(model=f"own/{model}", messages=ASK, response_format=FORM)
    assert answer.choices[0].message.content == RIGHT and upstream.seen[0].body["response_format"] == FORM
    assert [one.outcome for one in call_of(served).attempts] == ["invalid", "ok"]
    upstream.behave = says(WRONG)
    plain = await client.chat.completions.create(model=f"own/{model}", messages=ASK)
    assert plain.choices[0].message.content == WRONG


async def test_what_the_policies_say_of_a_model_counts_for_a_server_of_ones_own(
    client: openai.AsyncOpenAI, upstream: Provider
) -> None:
    upstream.behave = says(WRONG)
    answer = await client.chat.completions.create(model="own/known", messages=ASK, response_format=FORM)
    assert answer.choices[0].message.content == WRONG


async def test_what_the_repair_cost_is_counted(client: openai.AsyncOpenAI, served: Gateway, upstream: Provider) -> None:
    upstream.behave = says(WRONG, RIGHT)
    raw = await client.chat.completions.with_raw_response.create(model="alone", messages=ASK, response_format=FORM)
    answer = raw.parse()
    assert answer.usage is not None and (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2000, 200)
    assert float(raw.headers["x-understudy-cost-usd"]) == pytest.approx(0.004)
    assert call_of(served).cost_usd == pytest.approx(0.004)


async def test_an_answer_that_stays_wrong_is_an_error_that_names_provider_and_place(
    client: openai.AsyncOpenAI, served: Gateway, upstream: Provider
) -> None:
    upstream.behave = says(WRONG, "I am sorry")
    with pytest.raises(openai.APIStatusError) as caught:
        await client.chat.completions.create(model="loyal", messages=ASK, response_format=FORM)
    assert (caught.value.status_code, caught.value.code) == (502, "invalid_structured_output")
    assert "'together'" in caught.value.message and "it is not JSON" in caught.value.message
    assert caught.value.response.headers["x-should-retry"] == "false"
    call = call_of(served)
    assert [one.outcome for one in call.attempts] == ["invalid", "invalid"]
    assert call.cost_usd == pytest.approx(0.004)  # paid for, though nobody was served


async def test_another_candidate_is_asked_when_the_first_stays_wrong(
    client: openai.AsyncOpenAI, served: Gateway, upstream: Provider
) -> None:
    upstream.behave = says(WRONG, WRONG, RIGHT)
    raw = await client.chat.completions.with_raw_response.create(model="two", messages=ASK, response_format=FORM)
    assert raw.headers["x-understudy-candidate"] == "strict/m"
    assert [one.outcome for one in call_of(served).attempts] == ["invalid", "invalid", "ok"]


async def test_the_policy_may_forbid_the_repair(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    upstream.behave = says(WRONG)
    with pytest.raises(openai.APIStatusError) as caught:
        await client.chat.completions.create(model="unrepaired", messages=ASK, response_format=FORM)
    assert caught.value.status_code == 502 and "/days/1" in caught.value.message
    assert "#/properties/days/items/type" in caught.value.message and len(upstream.seen) == 1


@pytest.mark.parametrize(("model", "asked"), [("alone", 1), ("always", 2)])
async def test_a_schema_that_is_not_strict_is_enforced_when_the_policy_says_so(
    client: openai.AsyncOpenAI, upstream: Provider, model: str, asked: int
) -> None:
    upstream.behave = says(WRONG, RIGHT)
    loose: Any = {"type": "json_schema", "json_schema": {"name": "trip", "schema": {**SCHEMA, "required": ["days"]}}}
    answer = await client.chat.completions.create(model=model, messages=ASK, response_format=loose)
    assert answer.choices[0].message.content == (WRONG if asked == 1 else RIGHT)
    assert len(upstream.seen) == asked


async def test_enforcement_can_be_switched_off(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    upstream.behave = says(WRONG)
    await client.chat.completions.create(model="never", messages=ASK, response_format=FORM)
    assert upstream.seen[0].body["response_format"] == FORM


async def test_json_mode_is_enforced_and_a_code_fence_is_taken_off(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    upstream.behave = says(f"```json\n{RIGHT}\n```", "[1]", RIGHT)
    form: Any = {"type": "json_object"}
    model = f"anthropic/{MODELS['anthropic']}"
    for asked in (1, 3):
        answer = await client.chat.completions.create(model=model, messages=ASK, response_format=form)
        assert answer.choices[0].message.content == RIGHT
        assert len(upstream.seen) == asked
    assert "it is JSON, but no object" in json.dumps(upstream.seen[2].body)


@pytest.mark.parametrize(("finish", "message"), [("length", {}), ("content_filter", {}), ("stop", {"refusal": "I will not"})])
async def test_an_answer_that_was_cut_or_refused_is_not_wrong(
    client: openai.AsyncOpenAI, upstream: Provider, finish: str, message: Any
) -> None:
    async def cut(line: Line) -> None:
        await line.answer(200, openai_answer('{"city": "Bo', finish=finish, **message))

    upstream.behave = cut
    answer = await client.chat.completions.create(model="alone", messages=ASK, response_format=FORM)
    assert answer.choices[0].finish_reason == finish and len(upstream.seen) == 1


async def test_of_several_choices_only_the_wrong_ones_are_asked_for_again(
    client: openai.AsyncOpenAI, upstream: Provider
) -> None:
    async def speak(line: Line) -> None:
        if len(upstream.seen) > 1:
            await line.answer(200, openai_answer(RIGHT))
            return
        one, two = openai_answer(RIGHT), openai_answer(WRONG)
        await line.answer(200, {**one, "choices": [one["choices"][0], {**two["choices"][0], "index": 1}]})

    upstream.behave = speak
    answer = await client.chat.completions.create(model="alone", messages=ASK, response_format=FORM, n=2)
    assert [(one.index, one.message.content) for one in answer.choices] == [(0, RIGHT), (1, RIGHT)]
    assert len(upstream.seen) == 2 and "n" not in upstream.seen[1].body


async def test_personal_data_that_is_masked_on_its_way_still_satisfies_the_schema(
    client: openai.AsyncOpenAI, upstream: Provider
) -> None:
    schema = {"type": "object", "properties": {"mail": {"type": "string", "pattern": "^[a-z.]+@example\\.com$"}},
              "required": ["mail"], "additionalProperties": False}  # fmt: skip

    async def echo(line: Line) -> None:
        said = line.seen.body["messages"][-1]["content"].removeprefix("Mine is ")
        await line.answer(200, openai_answer(json.dumps({"mail": said})))

    upstream.behave = echo
    form: Any = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}
    mine: Any = [{"role": "user", "content": "Mine is ada@example.com"}]
    answer = await client.chat.completions.create(model="alone", messages=mine, response_format=form)
    assert json.loads(answer.choices[0].message.content or "") == {"mail": "ada@example.com"}
    assert "ada@" not in json.dumps(upstream.seen[0].body) and len(upstream.seen) == 1


async def test_streams_are_held_until_they_are_right(client: openai.AsyncOpenAI, served: Gateway, upstream: Provider) -> None:
    for texts, prompt in (((RIGHT,), 1000), ((WRONG, RIGHT), 2000)):
        upstream.behave = says(*texts)
        stream = await client.chat.completions.create(
            model="alone", messages=ASK, response_format=FORM, stream=True, stream_options={"include_usage": True}
        )
        chunks = [one async for one in stream]
        assert "".join(one.choices[0].delta.content or "" for one in chunks if one.choices) == RIGHT
        assert chunks[-1].usage is not None and chunks[-1].usage.prompt_tokens == prompt


async def test_a_held_stream_that_stays_wrong_is_a_plain_error(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    upstream.behave = says(WRONG, WRONG)
    with pytest.raises(openai.APIStatusError) as caught:
        await client.chat.completions.create(model="alone", messages=ASK, response_format=FORM, stream=True)
    assert caught.value.status_code == 502


async def test_a_stream_that_is_passed_on_ends_in_an_error_when_it_was_wrong(
    client: openai.AsyncOpenAI, upstream: Provider
) -> None:
    upstream.behave = says(RIGHT, WRONG)
    stream = await client.chat.completions.create(model="passed", messages=ASK, response_format=FORM, stream=True)
    assert "".join([one.choices[0].delta.content or "" async for one in stream if one.choices]) == RIGHT
    stream = await client.chat.completions.create(model="passed", messages=ASK, response_format=FORM, stream=True)
    seen = ""
    with pytest.raises(openai.APIError) as caught:
        async for one in stream:
            seen += one.choices[0].delta.content or ""
    assert seen == WRONG and caught.value.code == "invalid_structured_output"


async def test_responses_and_messages_are_held_to_it_too(client: openai.AsyncOpenAI, http: httpx.AsyncClient, upstream: Provider) -> None:
    upstream.behave = says(WRONG, RIGHT, WRONG, RIGHT)
    text: Any = {"format": {"type": "json_schema", "name": "trip", "strict": True, "schema": SCHEMA}}
    answer = await client.responses.create(model="alone", input="Where?", text=text)
    assert answer.output_text == RIGHT
    body = {"model": "alone", "max_tokens": 100, "messages": [{"role": "user", "content": "Where?"}],
            "output_config": {"format": {"type": "json_schema", "schema": {**SCHEMA, "required": ["days"]}}}}  # fmt: skip
    said = await http.post("/v1/messages", json=body)
    assert said.json()["content"][0]["text"] == RIGHT and len(upstream.seen) == 4


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"type": "object", "properties": {"a": {"$ref": "https://example.com/x"}}}, "#/properties/a/$ref"),
        ({"type": "object", "$ref": "#"}, "'#'"),
        ({"type": "object", "properties": {"a": {"type": "string", "pattern": "((a{100}){100}){100}"}}}, "#/properties/a/pattern"),
        ({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}, "#/additionalProperties"),
        ({"type": "object", "properties": {f"p{at}": True for at in range(5001)}}, "#/properties"),
        ({"type": "text"}, "#/type"),
    ],
)  # fmt: skip
async def test_a_hostile_or_loose_schema_is_the_clients_error(
    client: openai.AsyncOpenAI, upstream: Provider, schema: Any, place: str
) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}
    tool: Any = {"type": "function", "function": {"name": "x", "strict": True, "parameters": schema}}
    for asked, param in (({"response_format": form}, "response_format"), ({"tools": [tool]}, "tools[0].function.parameters")):
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(model="two", messages=ASK, **asked)  # type: ignore[call-overload]
        assert (caught.value.code, caught.value.param) == ("invalid_json_schema", param)
        assert place in caught.value.message
    assert not upstream.seen


async def test_a_schema_that_cannot_be_enforced_here_goes_to_a_provider_that_does(
    client: openai.AsyncOpenAI, upstream: Provider
) -> None:
    upstream.behave = says(RIGHT)
    schema = {**SCHEMA, "unevaluatedProperties": False}
    form: Any = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}
    raw = await client.chat.completions.with_raw_response.create(model="two", messages=ASK, response_format=form)
    assert raw.headers["x-understudy-candidate"] == "strict/m"
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(model="alone", messages=ASK, response_format=form)
    assert "'together'" in caught.value.message and "unevaluatedProperties" in caught.value.message


async def test_a_schema_is_compiled_once(client: openai.AsyncOpenAI, http: httpx.AsyncClient, upstream: Provider) -> None:
    upstream.behave = says(*[RIGHT] * 5)
    for _ in range(5):
        await client.chat.completions.create(model="alone", messages=ASK, response_format=FORM)
    page = (await http.get("/metrics", headers={"authorization": f"Bearer {ADMIN}"})).text
    assert 'understudy_schemas{name="compiled"} 1.0' in page
