"""Patterns: they mean what Python's own engine says, and no pattern makes a long text slow."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.schemas.pattern_syntax import PatternRefused
from gateway.schemas.patterns import Pattern

ATOMS = st.sampled_from(["a", "b", "[ab]", "[^a]", ".", r"\d", r"\w", "[a-c1]", r"\.", r"\S"])
SIGNS = st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{2,}", "*?", "{0}"])
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(inner, SIGNS).map(lambda two: f"({two[0]}){two[1]}"),
        inner.map(lambda one: f"(?:^{one})"),
        inner.map(lambda one: f"(?:{one}$)"),
    ),
    max_leaves=8,
)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(PATTERNS, st.text("abc1. é", max_size=8))
def test_a_pattern_finds_what_pythons_engine_finds(pattern: str, text: str) -> None:
    expected = re.search(pattern.replace("$", r"\Z"), text, re.ASCII) is not None
    assert Pattern(pattern).found_in(text) is expected


@pytest.mark.parametrize(
    "pattern", ["^(a+)+$", "^(a|a)*$", "(a*)*b", "a*a*a*a*a*a*b", "^(([a-z])+.)+[A-Z]([a-z])+$", "(x+x+)+y", "^(?:a?){20}a{20}$"]
)  # fmt: skip
def test_patterns_that_hang_other_engines_are_linear_here(pattern: str) -> None:
    assert Pattern(pattern).found_in("a" * 50_000 + "!") is False


@pytest.mark.parametrize(
    "pattern",
    ["(?=a)", "(?!a)", "(?<=a)b", r"(a)\1", r"\bword", r"\p{L}", "(?P<x>a)", "a{2", "(a", "a)", "[a", "[z-a]", "a**", "*a", "^*", "\\"],
)  # fmt: skip
def test_what_needs_backtracking_or_is_a_mistake_is_refused(pattern: str) -> None:
    with pytest.raises(PatternRefused) as caught:
        Pattern(pattern)
    assert not caught.value.hostile


@pytest.mark.parametrize(
    "pattern",
    ["a" * 1001, "a{1001}", "((a{100}){100}){100}", "(((((){900}){900}){900}){900}){900}", "(" * 60 + ")" * 60, "((a{40}){40}){9}",
     "a{99999999999}"],
)  # fmt: skip
def test_patterns_past_a_bound_are_hostile(pattern: str) -> None:
    with pytest.raises(PatternRefused) as caught:
        Pattern(pattern)
    assert caught.value.hostile


def test_a_text_with_many_different_characters_keeps_the_table_small() -> None:
    pattern = Pattern("^.*(?:a|b).{50}$")
    assert pattern.found_in("".join(map(chr, range(0x4E00, 0x4E00 + 20_000)))) is False
    assert len(pattern._known) <= 300
