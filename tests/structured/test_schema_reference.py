"""Compiled schemas against the reference implementation in Python (``jsonschema``), on schemas and values at random."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.schemas.compile import compiled
from gateway.schemas.problems import SchemaRefused

jsonschema = pytest.importorskip("jsonschema", reason="pip install 'understudy[dev]'")
NAMES = st.sampled_from(["a", "b", "c", "x/y", "~"])
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 6), st.sampled_from([0.5, 1.0, 2.5]), st.sampled_from(["", "a", "ab", "abc", "1"])
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=4)),
    max_leaves=8,
)
TYPE = st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"])
COUNT = st.integers(0, 3)
PATTERN = st.sampled_from(["^a", "b$", "^[ab]+$", "a|1", "^.{2}$"])
LEAF: dict[str, st.SearchStrategy[Any]] = {
    "type": st.one_of(TYPE, st.lists(TYPE, min_size=1, max_size=3, unique=True)),
    "enum": st.lists(VALUES, min_size=1, max_size=4),
    "const": VALUES,
    "minimum": st.integers(-2, 4), "maximum": st.integers(-2, 4),
    "exclusiveMinimum": st.integers(-2, 4), "exclusiveMaximum": st.integers(-2, 4),
    "multipleOf": st.integers(1, 3),
    "minLength": COUNT, "maxLength": COUNT, "minItems": COUNT, "maxItems": COUNT,
    "minProperties": COUNT, "maxProperties": COUNT, "uniqueItems": st.booleans(),
    "required": st.lists(NAMES, max_size=2, unique=True),
    "dependentRequired": st.dictionaries(NAMES, st.lists(NAMES, max_size=2, unique=True), max_size=2),
    "pattern": PATTERN,
    "$ref": st.sampled_from(["#/$defs/leaf", "#/$defs/x~1y", "#/$defs/tree"]),
}  # fmt: skip


def some(choices: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    picked = st.lists(st.sampled_from(sorted(choices)), min_size=1, max_size=3, unique=True)
    return picked.flatmap(lambda names: st.fixed_dictionaries({name: choices[name] for name in names}))


def wider(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(inner, min_size=1, max_size=3)
    return some({
        **LEAF, "properties": st.dictionaries(NAMES, inner, max_size=3), "additionalProperties": inner,
        "patternProperties": st.dictionaries(PATTERN, inner, max_size=2), "propertyNames": inner,
        "items": inner, "prefixItems": several, "contains": inner, "minContains": COUNT, "maxContains": COUNT,
        "allOf": several, "anyOf": several, "oneOf": several, "not": inner, "if": inner, "then": inner, "else": inner,
        "dependentSchemas": st.dictionaries(NAMES, inner, max_size=2),
    })  # fmt: skip


SCHEMAS = st.recursive(st.one_of(st.booleans(), some(LEAF)), wider, max_leaves=6)
DEFS: dict[str, Any] = {
    "leaf": {"type": ["integer", "string"]},
    "x/y": {"minimum": 1},
    "tree": {
        "anyOf": [{"type": "integer"}, {"type": "array", "items": {"$ref": "#/$defs/tree"}},
                  {"type": "object", "additionalProperties": {"$ref": "#/$defs/tree"}}],
    },
}  # fmt: skip


@settings(max_examples=300, deadline=None, derandomize=True)
@given(SCHEMAS, st.lists(VALUES, min_size=3, max_size=6))
def test_it_says_what_the_reference_says(schema: Any, values: list[Any]) -> None:
    whole = {**schema, "$defs": DEFS} if isinstance(schema, dict) else schema
    ours, reference = compiled(whole), jsonschema.Draft202012Validator(whole)
    for value in values:
        faults = ours.faults(value, 100)
        assert (not faults) is reference.is_valid(value), (whole, value)
        assert all(fault.rule.startswith("#") for fault in faults)


def older(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    rules = st.one_of(st.lists(NAMES, max_size=2, unique=True), inner)
    return some({
        **{name: LEAF[name] for name in ("type", "const", "minimum", "maxLength", "required")},
        # the reference cannot read "additionalItems" beside a boolean
        "items": st.one_of(inner.filter(lambda one: isinstance(one, dict)), st.lists(inner, max_size=3)),
        "additionalItems": inner,
        "dependencies": st.dictionaries(NAMES, rules, max_size=3), "allOf": st.lists(inner, min_size=1, max_size=2),
        "properties": st.dictionaries(NAMES, inner, max_size=2),
    })  # fmt: skip


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.recursive(st.one_of(st.booleans(), some({"type": TYPE, "minimum": st.integers(-2, 4)})), older, max_leaves=6),
    st.lists(VALUES, min_size=3, max_size=6),
)
def test_older_spellings_say_what_their_draft_says(schema: Any, values: list[Any]) -> None:
    ours, reference = compiled(schema), jsonschema.Draft7Validator(schema)
    for value in values:
        assert (not ours.faults(value, 100)) is reference.is_valid(value), (schema, value)


@pytest.mark.parametrize(
    "schema",
    [
        {"items": [True], "prefixItems": [True]},
        {"dependencies": {"a": ["b"]}, "dependentRequired": {"a": ["c"]}},
        {"dependencies": ["a"]},
    ],
)
def test_two_spellings_of_one_thing_are_refused(schema: Any) -> None:
    with pytest.raises(SchemaRefused):
        compiled(schema)
