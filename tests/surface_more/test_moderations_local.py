"""/v1/moderations answered by the guardrails, through the unmodified openai client."""

from __future__ import annotations

from pathlib import Path

import openai
import pytest
from gateway_server import gateway
from more_gateway import client_of, policies_at
from scripted import Provider

SURFACE = "surface: {moderations: local}\n"
SAFETY = """\
guardrails:
  threats: {type: blocklist, phrases: [hurt you], category: violence}
  words: {type: blocklist, phrases: [falcon], action: flag}
  personal: {type: pii}
  quiet: {type: blocklist, phrases: [heron], shadow: true}
  elsewhere: {type: blocklist, phrases: [stork], projects: [elsewhere]}
"""


async def test_the_guardrails_answer_in_openais_shape(tmp_path: Path, upstream: Provider) -> None:
    policies = policies_at(tmp_path, upstream, SURFACE)
    (policies / "safety.yaml").write_text(SAFETY)
    async with gateway(tmp_path, policies) as served, client_of(served) as client:
        texts = ["I will hurt you", "a falcon", "a@b.eu heron stork", "fine"]
        answer = await client.moderations.create(input=texts)
        assert [one.flagged for one in answer.results] == [True, True, False, False]
        assert answer.model == "guardrails" and answer.id.startswith("modr-")
        first, second = answer.results[0], answer.results[1]
        assert first.categories.violence and first.category_scores.violence == 1.0
        assert not first.categories.harassment_threatening and not second.categories.violence
        assert second.categories.to_dict()["words"] is True
        assert first.category_applied_input_types.violence == ["text"]
        parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "falcon"}]
        answer = await client.moderations.create(input=parts, model="omni-moderation-latest")  # type: ignore[arg-type]
        assert [one.flagged for one in answer.results] == [True] and answer.model == "omni-moderation-latest"
        assert upstream.seen == []


async def test_a_provider_may_still_be_named(tmp_path: Path, upstream: Provider) -> None:
    policies = policies_at(tmp_path, upstream, SURFACE)
    (policies / "safety.yaml").write_text("guardrails: {}\n")
    async with gateway(tmp_path, policies) as served, client_of(served) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await client.moderations.create(input="x")
        assert caught.value.code == "moderations_not_configured" and caught.value.status_code == 503
        assert "none of them reads" in caught.value.message
        with pytest.raises(openai.APIStatusError):
            await client.moderations.create(input="x", model="first/omni")
        assert upstream.seen[0].path == "/v1/moderations"
