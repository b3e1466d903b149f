"""Server-sent events: the same events, wherever the bytes were cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.sse import LARGEST_EVENT, EventParser, EventTooLarge

STREAMS = {
    "plain": (b'data: {"a":1}\n\ndata: [DONE]\n\n', [b'{"a":1}', b"[DONE]"]),
    "crlf": (b'data: {"a":1}\r\n\r\ndata: 2\r\n\r\n', [b'{"a":1}', b"2"]),
    "cr": (b"data: 1\r\rdata: 2\r\r", [b"1", b"2"]),
    "bom": (b"\xef\xbb\xbfdata: 1\n\n", [b"1"]),
    "comment": (b": ping\n\ndata: 1\n: more\n\n", [b"1"]),
    "multi line": (b"data: a\ndata: b\n\n", [b"a\nb"]),
    "no space": (b"data:1\n\n", [b"1"]),
    "other fields": (b"id: 7\nretry: 10\nevent: x\ndata: 1\n\n", [b"1"]),
    "umlaut": ("data: ä€😀\n\n".encode(), ["ä€😀".encode()]),
    "empty data": (b"data\n\ndata:\n\n", [b""]),
}


@pytest.mark.parametrize("name", STREAMS)
def test_whole_and_byte_by_byte(name: str) -> None:
    raw, expected = STREAMS[name]
    assert [event.data for event in EventParser().feed(raw)] == expected
    parser = EventParser()
    assert [event.data for byte in raw for event in parser.feed(bytes([byte]))] == expected
    assert not parser.pending


@given(st.sampled_from(sorted(STREAMS)), st.lists(st.integers(0, 60), max_size=6))
def test_any_cut(name: str, cuts: list[int]) -> None:
    raw, expected = STREAMS[name]
    edges = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    parser = EventParser()
    found = [e.data for a, b in itertools.pairwise(edges) for e in parser.feed(raw[a:b])]
    assert found == expected


def test_a_truncated_event_is_pending_and_not_dispatched() -> None:
    parser = EventParser()
    assert parser.feed(b'data: {"a":1}\n') == []
    assert parser.pending


def test_event_names_are_kept_for_their_event_only() -> None:
    first, second = EventParser().feed(b"event: error\ndata: 1\n\ndata: 2\n\n")
    assert (first.name, second.name) == (b"error", b"")


def test_an_endless_line_is_refused() -> None:
    parser = EventParser()
    with pytest.raises(EventTooLarge):
        for _ in range(LARGEST_EVENT // 65536 + 2):
            parser.feed(b"x" * 65536)


@given(st.binary(max_size=300))
def test_junk_never_raises(junk: bytes) -> None:
    EventParser().feed(junk)
