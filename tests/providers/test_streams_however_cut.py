"""What a codec makes of its provider's stream never depends on where the bytes were cut or on who framed them, and a stream
without its end is no answer. Where Gemini's ends only its transport knows: ``test_gemini_codec.py``."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
import test_anthropic_codec as anthropic
import test_bedrock_codec as bedrock
import test_cohere_codec as cohere
import test_gemini_codec as gemini
from bedrock_wire import codec as bedrock_codec
from dialects import read, spoiled, told
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.providers.codec import AttemptFailed, Codec

CLAUDES = {**anthropic.EXPECTED_MESSAGE, "citations": [anthropic.BY_PAGE], "server_blocks": [anthropic.SEARCHED]}
GOOGLES = (12, 8, 4, 3)  # the last counts, though the ones before were larger


class Case(NamedTuple):
    """``spare``: bytes at the stream's end that it could do without; None: its end is not in its bytes."""

    codec: Callable[[], Codec]
    stream: bytes
    message: dict[str, Any]
    counted: Callable[[Any], tuple[int, ...]]
    used: tuple[int, ...]
    spare: int | None

    def holds(self, pieces: list[bytes]) -> None:
        decoder = self.codec().stream()
        chunks = read(decoder, pieces)
        assert getattr(decoder, "done", False) or self.spare is None
        assert told(chunks)["choices"] == [
            {"index": 0, "message": self.message, "logprobs": None, "finish_reason": "tool_calls"}
        ]
        assert self.counted(chunks[-1].usage) == self.used
        assert "".join(chunk.text for chunk in chunks) == "Grüße, Bonn"
        assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["tool_calls"]


CASES = {
    "anthropic": Case(anthropic.codec, anthropic.STREAM, CLAUDES, anthropic.counted, anthropic.EXPECTED_USAGE, 1),
    "bedrock": Case(bedrock_codec, bedrock.STREAM, bedrock.EXPECTED, bedrock.counted, (35, 7, 20), 0),
    "cohere": Case(cohere.codec, cohere.STREAM, cohere.EXPECTED, cohere.counted, (5, 6, 5), 1),
    "gemini": Case(gemini.codec, gemini.STREAM, gemini.EXPECTED, gemini.counted, GOOGLES, None),
}
SPOILED = [(name, how) for name in CASES if name != "bedrock" for how in spoiled(CASES[name].stream)]
"""Bedrock's is binary: each message of it has its length and its checksum."""


@pytest.mark.parametrize("name", CASES)
def test_a_stream_whole_and_byte_by_byte(name: str) -> None:
    case = CASES[name]
    case.holds([case.stream])
    case.holds([bytes([byte]) for byte in case.stream])


def test_a_stream_may_end_as_openais_do() -> None:
    CASES["cohere"].holds([CASES["cohere"].stream + b"data: [DONE]\n\n"])


@pytest.mark.parametrize("name", CASES)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_stream_split_anywhere(name: str, data: st.DataObject) -> None:
    case = CASES[name]
    cuts = data.draw(st.lists(st.integers(0, len(case.stream)), max_size=8))
    case.holds([case.stream[a:b] for a, b in pairwise([0, *sorted(cuts), len(case.stream)])])


@pytest.mark.parametrize(("name", "how"), SPOILED)
def test_a_stream_as_others_would_write_it(name: str, how: str) -> None:
    CASES[name].holds([spoiled(CASES[name].stream)[how]])


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.spare is not None])
def test_a_stream_cut_anywhere_before_its_end_is_a_failure(name: str) -> None:
    case = CASES[name]
    for cut in range(len(case.stream) - (case.spare or 0)):
        with pytest.raises(AttemptFailed):
            read(case.codec().stream(), [case.stream[:cut]])
