"""Files in chat as Mistral, Perplexity and OpenRouter have them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.catalog import Traits
from gateway.providers import OpenAIProvider
from gateway.providers.codec import AttemptFailed, DocumentRefused

DATA, ADDRESS = "JVBERi0xLjQK", "https://a.example/paper.pdf"
PDF = f"data:application/pdf;base64,{DATA}"
DOCX = f"data:application/vnd.openxmlformats-officedocument.wordprocessingml.document;base64,{DATA}"
ASK: dict[str, Any] = {"type": "text", "text": "What does it say?"}


def sent(profile: str, file: dict[str, Any], **more: Any) -> Any:
    """The file's part as that vendor is sent it."""
    made = OpenAIProvider(api_key="k", profile=profile, **more).build("p", "")
    body = {"messages": [{"role": "user", "content": [ASK, {"type": "file", "file": file}]}]}
    before = json.dumps(body)
    wire = json.loads(made.encode(body, "m", stream=False).body)
    assert json.dumps(body) == before, "the request is still there for the next candidate"
    text, part = wire["messages"][0]["content"]
    assert text == ASK
    return part


CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("mistral", {"file_data": PDF, "filename": "a.pdf"}, {"type": "document_url", "document_url": PDF, "document_name": "a.pdf"}),
    ("mistral", {"file_data": DATA}, {"type": "document_url", "document_url": PDF}),
    ("mistral", {"file_url": ADDRESS}, {"type": "document_url", "document_url": ADDRESS}),
    ("perplexity", {"file_data": PDF, "filename": "a.pdf"}, {"type": "file_url", "file_url": {"url": DATA}, "file_name": "a.pdf"}),
    ("perplexity", {"file_data": DOCX}, {"type": "file_url", "file_url": {"url": DATA}}),
    ("perplexity", {"file_url": ADDRESS}, {"type": "file_url", "file_url": {"url": ADDRESS}}),
    ("openrouter", {"file_data": PDF, "filename": "a.pdf"}, {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}}),
    ("openrouter", {"file_url": ADDRESS, "filename": "a.pdf"}, {"type": "file", "file": {"filename": "a.pdf", "file_data": ADDRESS}}),
]  # fmt: skip


@pytest.mark.parametrize(("profile", "file", "told"), CASES)
def test_files_go_out_in_the_vendors_own_words(profile: str, file: dict[str, Any], told: dict[str, Any]) -> None:
    assert sent(profile, file) == told


@pytest.mark.parametrize("profile", ["mistral", "openrouter"])
def test_of_other_types_the_text_goes_in_their_place(profile: str) -> None:
    with pytest.raises(DocumentRefused):
        sent(profile, {"file_data": DOCX})


def test_what_has_no_place_there_is_refused_by_its_name() -> None:
    for profile in ("mistral", "perplexity"):
        with pytest.raises(AttemptFailed) as caught:
            sent(profile, {"file_id": "file-at-openai"})
        assert (caught.value.failure.kind, caught.value.error.param) == ("unsupported", "file_id")
    for profile in ("mistral", "perplexity", "openrouter"):
        with pytest.raises(AttemptFailed) as caught:
            sent(profile, {"file_url": "file:///etc/passwd"})
        assert caught.value.error.param == "file_url"
    with pytest.raises(AttemptFailed) as caught:
        sent("groq", {"file_url": ADDRESS})
    assert (caught.value.failure.kind, caught.value.error.param) == ("unsupported", "file_url")


def test_an_operator_may_say_so_of_a_server_of_their_own() -> None:
    own = {"base_url": "http://127.0.0.1:9/v1", "traits": Traits(files_as="address")}
    assert sent("openai", {"file_url": ADDRESS}, **own) == {"type": "file", "file": {"file_data": ADDRESS}}


