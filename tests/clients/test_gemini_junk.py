"""Whatever a Gemini client sends is understood or refused by name; nothing else comes out."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import BadRequest
from gateway.protocol.chat import ChatRequest, Usage
from gateway.protocol.gemini.answer import GenerateWriter
from gateway.protocol.gemini.request import chat_body, read

_NAMES = """
contents parts role text inlineData inline_data mimeType data fileData fileUri functionCall functionResponse name args id
response thought thoughtSignature systemInstruction tools functionDeclarations parameters type properties items anyOf
enum nullable required toolConfig functionCallingConfig mode allowedFunctionNames generationConfig temperature
responseSchema responseMimeType thinkingConfig thinkingBudget thinkingLevel includeThoughts stopSequences logprobs
"""
NAMES = _NAMES.split()
WORDS = [
    "user",
    "model",
    "OBJECT",
    "STRING",
    "ARRAY",
    "ANY",
    "AUTO",
    "application/json",
    "image/png",
    "f",
    "",
]
SCALARS = st.one_of(st.sampled_from(WORDS), st.integers(-2, 9), st.booleans(), st.none(), st.floats(0, 2))
JUNK: Any = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=20,
)
FINE = {"contents": [{"parts": [{"text": "hi"}]}]}


@settings(max_examples=400, deadline=None)
@given(body=st.dictionaries(st.sampled_from(NAMES), JUNK, max_size=5), fine=st.booleans())
def test_requests(body: dict[str, Any], fine: bool) -> None:
    try:
        chat = chat_body(read(body | (FINE if fine else {})), "m", stream=False)
    except BadRequest as refused:
        assert refused.message and refused.param is not None
        return
    assert msgspec.convert(chat, ChatRequest).messages


DELTA = st.sampled_from(
    ["content", "reasoning_content", "refusal", "tool_calls", "annotations", "images", "extra_content"]
)
INNER = [
    "url_citation",
    "url",
    "start_index",
    "function",
    "name",
    "arguments",
    "id",
    "index",
    "google",
    "thought_signature",
]
ANY: Any = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(INNER), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(
    deltas=st.lists(st.dictionaries(DELTA, ANY, max_size=3), max_size=4),
    index=st.integers(0, 2),
    junk=st.lists(ANY, max_size=2),
)
def test_answers(deltas: list[dict[str, Any]], index: int, junk: list[Any]) -> None:
    """A provider's junk is left out; the answer ends as every answer does."""
    token = {"token": "a", "logprob": junk, "top_logprobs": junk}
    logprobs = {"content": [token, *junk]}
    writer = GenerateWriter("gen_1", "m", thinks=True)
    for delta in deltas:
        writer.chunk(
            {"choices": [{"index": index, "delta": delta, "finish_reason": None, "logprobs": logprobs}]}
        )
    last = writer.last(Usage(prompt=3, completion=2))
    assert last["usageMetadata"]["totalTokenCount"] == 5
    assert all(candidate["finishReason"] for candidate in last["candidates"])
