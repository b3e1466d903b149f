"""The ``prompt`` parameter of the Responses API: templates of the policies, filled by the request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from gateway_server import Gateway, gateway, write_policies
from openai.types import responses
from scripted import Provider
from sdk_types import strictly

from gateway.policy.files import PolicyError, load

PROMPTS = """prompts:
  greeting:
    model: triage
    current: "2"
    versions:
      "1": {instructions: "Greet {{ name }}."}
      "2": {instructions: "Be {{tone}} to {{name}}.", messages: [{role: user, content: "{{picture}}"}, {role: assistant, content: "Seen."}]}
"""
PICTURE = {"type": "input_image", "image_url": "https://x.de/a.png", "detail": "auto"}
VALUES = {"tone": "kind", "name": {"type": "input_text", "text": "Ada"}, "picture": PICTURE}


@pytest.fixture
async def served(tmp_path: Path, upstream: Provider) -> AsyncIterator[Gateway]:
    policies = write_policies(tmp_path / "policies", {"first": upstream.url}, gateway=PROMPTS)
    async with gateway(tmp_path, policies) as made:
        yield made


async def test_a_prompt_is_filled(client: openai.AsyncOpenAI, http: httpx.AsyncClient, upstream: Provider) -> None:
    answer = await http.post("/v1/responses", json={"prompt": {"id": "greeting", "variables": VALUES}, "input": "Hi"})
    made = strictly(responses.Response, answer.content, beyond=frozenset({"store"}))
    assert (made.prompt.id, made.model) == ("greeting", "triage")
    turns = upstream.seen[0].body["messages"]
    assert [one["role"] for one in turns] == ["developer", "user", "assistant", "user"]
    assert turns[0]["content"] == "Be kind to Ada."
    assert turns[1]["content"] == [{"type": "image_url", "image_url": {"url": "https://x.de/a.png", "detail": "auto"}}]

    asked: Any = {"id": "greeting", "version": "1", "variables": {"name": "Bob"}}
    went_on = await client.responses.create(prompt=asked, previous_response_id=made.id, input="And Bob?")
    turns = upstream.seen[1].body["messages"]
    assert [one["role"] for one in turns] == ["developer", "user", "assistant", "user"]
    assert turns[0]["content"] == "Greet Bob." and went_on.prompt and went_on.prompt.version == "1"
    await client.responses.create(model="first/m", prompt=asked)  # a template alone is something to answer
    assert [one["role"] for one in upstream.seen[2].body["messages"]] == ["developer"]


async def test_what_does_not_fit_a_prompt_is_named(http: httpx.AsyncClient, upstream: Provider) -> None:
    for prompt, status, param in (
        ({"id": "nothing"}, 404, "prompt.id"), ({"id": "greeting", "version": "9"}, 404, "prompt.version"),
        ({"id": "greeting", "version": "1"}, 400, "prompt.variables.name"),
        ({"id": "greeting", "version": "1", "variables": {"name": "x", "more": "y"}}, 400, "prompt.variables.more"),
        ({"id": "greeting", "version": "1", "variables": {"name": PICTURE}}, 400, "prompt.variables.name"),
        ({"version": "1"}, 400, "prompt.id"), ("greeting", 400, "prompt"),
    ):  # fmt: skip
        answer = await http.post("/v1/responses", json={"prompt": prompt, "input": "hi"})
        assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), answer.text
    assert not upstream.seen


def test_a_prompts_current_version_is_there(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(PROMPTS.replace('current: "2"', 'current: "3"'))
    with pytest.raises(PolicyError) as caught:
        load(tmp_path, {})
    assert "gateway.yaml:4" in str(caught.value) and "no version '3'" in str(caught.value)
