"""Marks of passages become citations, wherever a stream is cut."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.file_search import Citing, Source, queries_of, told

SOURCES = [Source(f"file-{at}", f"{at}.txt") for at in range(1, 12)]
TEXT = "One.【1】 Both【2,3】, and【 11 †lines 3-9】. Not 【12】, not 【x】, 【1 nor 【】."
PLAIN = "One. Both, and. Not 【12】, not 【x】, 【1 nor 【】."
NOTES = [(4, "1.txt"), (9, "2.txt"), (9, "3.txt"), (14, "11.txt")]


def cited(pieces: list[str]) -> tuple[str, list[tuple[int, str]]]:
    citing, text, notes = Citing(SOURCES), "", []
    for found, some in [*(citing.take(one) for one in pieces), citing.end()]:
        text += found
        notes += [(one["file_citation"]["index"], one["file_citation"]["filename"]) for one in some]
    return text, notes


@given(st.lists(st.integers(0, len(TEXT)), max_size=20))
def test_cut_anywhere(cuts: list[int]) -> None:
    at = [0, *sorted(cuts), len(TEXT)]
    assert cited([TEXT[start:end] for start, end in itertools.pairwise(at)]) == (PLAIN, NOTES)


def test_the_next_text_begins_anew() -> None:
    citing = Citing(SOURCES)
    assert citing.take("a【1") == ("a", []) and citing.end() == ("【1", [])
    assert citing.take("b【1】")[1][0]["file_citation"]["index"] == 1


def test_a_text_that_is_held_back_is_bounded() -> None:
    citing = Citing(SOURCES)
    assert citing.take("【" + "a" * 500) == ("【" + "a" * 500, [])


def test_what_models_ask() -> None:
    assert queries_of('{"queries": [" a ", "a", "", 1, "b"]}') == ["a", "b"]
    assert queries_of('{"query": "a"}') == queries_of('{"queries": "a"}') == ["a"]
    assert queries_of("") == queries_of("[]") == queries_of("[" * 100_000) == queries_of('{"queries": {}}') == []


def test_nothing_was_found() -> None:
    assert told([], 1) == "Nothing was found."
