"""What Google's own client is told when something cannot be done, fails, or takes its time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from clients_helpers import answers, chunked, google_client, policies_over, streams
from gateway_server import Gateway, gateway
from google import genai
from google.genai import errors, types
from scripted import Line, Provider

pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")


async def test_errors_have_googles_shape(google: genai.Client, served: Gateway, upstream: Provider) -> None:
    async with google_client(served.url, "sk-nobody") as stranger:
        with pytest.raises(errors.ClientError) as wrong:
            await stranger.aio.models.generate_content(model="triage", contents="hi")
    assert (wrong.value.code, wrong.value.status) == (401, "UNAUTHENTICATED")
    with pytest.raises(errors.ClientError) as lost:
        await google.aio.models.generate_content(model="nobody", contents="hi")
    assert (lost.value.code, lost.value.status) == (404, "NOT_FOUND")
    upstream.behave = answers({"error": {"message": "slow down"}}, status=429, headers={"retry-after": "60"})
    with pytest.raises(errors.ClientError, match="slow down") as busy:
        await google.aio.models.generate_content(model="triage", contents="hi")
    assert (busy.value.code, busy.value.status) == (429, "RESOURCE_EXHAUSTED")
    details = busy.value.details["error"]["details"]
    assert {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "60s"} in details
    upstream.behave = answers({"error": {"message": "sk-upstream-secret"}}, status=401)
    with pytest.raises(errors.ServerError) as ours:
        await google.aio.models.generate_content(model="triage", contents="hi")
    assert ours.value.code == 502 and "sk-upstream-secret" not in str(ours.value)


REFUSED: list[Any] = [
    ({"response_modalities": ["IMAGE"]}, "generationConfig.responseModalities"),
    ({"cached_content": "cachedContents/x"}, "cachedContent"),
    ({"temperature": 3.0}, "generationConfig.temperature"),
    ({"response_mime_type": "text/x.enum"}, "generationConfig.responseMimeType"),
]


async def test_what_cannot_be_said_is_refused_by_name(google: genai.Client, upstream: Provider) -> None:
    for config, field in REFUSED:
        with pytest.raises(errors.ClientError) as caught:
            await google.aio.models.generate_content(
                model="triage", contents="hi", config=types.GenerateContentConfig(**config)
            )
        assert (caught.value.code, caught.value.status) == (400, "INVALID_ARGUMENT")
        violations = [one.get("fieldViolations") for one in caught.value.details["error"]["details"]]
        assert field in [one[0]["field"] for one in violations if one]
        assert not upstream.seen


async def test_a_cut_stream_ends_in_an_error(google: genai.Client, upstream: Provider) -> None:
    upstream.behave = streams(chunked({"content": "hel"}, done=False), cut=True)
    events = await google.aio.models.generate_content_stream(model="triage", contents="hi")
    assert (await anext(events)).text == "hel"
    with pytest.raises(errors.APIError):
        await anext(events)


async def test_signs_of_life_do_not_break_the_client(tmp_path: Path, upstream: Provider) -> None:
    """A comment would: this client reads every line that is no data as JSON."""

    async def slow(line: Line) -> None:
        await line.stream(chunked({"content": "hel"}, {"content": "lo"}), piece=150, pause=0.15)

    upstream.behave = slow
    policies = policies_over(tmp_path / "policies", upstream.url, "server: {ping_s: 0.05}\n")
    async with gateway(tmp_path, policies) as served, google_client(served.url) as google:
        events = await google.aio.models.generate_content_stream(model="triage", contents="hi")
        assert "".join([one.text or "" async for one in events]) == "hello"
