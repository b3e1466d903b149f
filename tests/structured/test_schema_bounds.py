"""Schemas that are made to hurt, faults with their places, and the cache."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.schemas.cache import Schemas
from gateway.schemas.compile import compiled
from gateway.schemas.problems import SchemaRefused
from gateway.schemas.running import TooCostly


def deep(levels: int) -> Any:
    schema: Any = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


def wide(properties: int) -> Any:
    return {"type": "object", "properties": {f"p{at}": {"type": "string"} for at in range(properties)}}


HOSTILE: dict[str, tuple[Any, str]] = {
    "deep": (deep(70), "#/items"),
    "very deep": (deep(5000), "#"),
    "wide": (wide(5001), "#/properties"),
    "many": ({"anyOf": [{"enum": [at]} for at in range(10_001)]}, "#/anyOf/9999"),
    "bytes": ({"enum": ["x" * 300_000]}, "#"),
    "long names": ({"properties": {"n" * 1000: {"properties": {f"p{at}": True for at in range(4000)}}}}, "#/properties/nnn"),
    "remote": ({"$ref": "https://example.com/schema.json"}, "#/$ref"),
    "a file": ({"properties": {"a": {"$ref": "file:///etc/passwd"}}}, "#/properties/a/$ref"),
    "itself": ({"$ref": "#"}, "#"),
    "a ring": ({"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"$ref": "#/$defs/b"}]}, "b": {"$ref": "#/$defs/a"}}}, "#/$defs/"),
    "a ring of conditions": ({"if": {"not": {"$ref": "#"}}}, "#"),
    "a pattern's repeats": ({"pattern": "((a{100}){100}){100}"}, "#/pattern"),
    "a pattern's length": ({"pattern": "a" * 2000}, "#/pattern"),
    "a property's pattern": ({"patternProperties": {"(a{1000}){3}": True}}, "#/patternProperties/"),
    "many patterns": ({"allOf": [{"pattern": "a{900}"} for _ in range(30)]}, "#/allOf/"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_schema_is_refused_with_its_place(name: str) -> None:
    schema, place = HOSTILE[name]
    with pytest.raises(SchemaRefused) as caught:
        Schemas().of(schema, strict=False)
    assert caught.value.why == "hostile"
    assert caught.value.path.startswith(place)


@pytest.mark.parametrize(
    ("schema", "why", "place"),
    [
        ({"type": "text"}, "invalid", "#/type"),
        ({"properties": {"a": 3}}, "invalid", "#/properties/a"),
        ({"required": "a"}, "invalid", "#/required"),
        ({"minLength": -1}, "invalid", "#/minLength"),
        ({"multipleOf": 0}, "invalid", "#/multipleOf"),
        ({"anyOf": []}, "invalid", "#/anyOf"),
        ({"$ref": "#/$defs/none"}, "invalid", "#/$ref"),
        ([], "invalid", "#"),
        ({"pattern": "(?=a)"}, "unsupported", "#/pattern"),
        ({"unevaluatedProperties": False}, "unsupported", "#/unevaluatedProperties"),
        ({"$ref": "#anchor"}, "unsupported", "#/$ref"),
    ],
)  # fmt: skip
def test_what_is_no_schema_or_not_enforceable_says_so(schema: Any, why: str, place: str) -> None:
    with pytest.raises(SchemaRefused) as caught:
        compiled(schema)
    assert (caught.value.why, caught.value.path) == (why, place)


def test_a_schema_that_multiplies_its_own_work_is_stopped() -> None:
    doubling = {"$defs": {f"d{at}": {"allOf": [{"$ref": f"#/$defs/d{at + 1}"}] * 2} for at in range(40)}, "$ref": "#/$defs/d0"}
    doubling["$defs"]["d40"] = {"type": "string"}  # type: ignore[index]
    with pytest.raises(TooCostly):
        compiled(doubling).faults("x", 3)


def test_a_large_honest_answer_is_within_its_work() -> None:
    row = {"type": "object", "properties": {name: {"type": ["string", "null"]} for name in "abcdefgh"}, "additionalProperties": False}
    value = [dict.fromkeys("abcdefgh", "text") for _ in range(2000)]
    assert compiled({"type": "array", "items": row}).faults(value, 2000 * 100) == []


def test_faults_name_the_place_in_the_value_and_the_rule_but_never_the_value() -> None:
    schema = {
        "type": "object", "additionalProperties": False, "required": ["items"],
        "properties": {"items": {"type": "array", "items": {"type": "object", "properties": {"a/b": {"type": "integer"}}}}},
    }  # fmt: skip
    faults = compiled(schema).faults({"items": [{"a/b": 1}, {"a/b": "secret"}], "more": 1}, 50)
    assert [(fault.at, fault.rule) for fault in faults] == [
        ("/items/1/a~1b", "#/properties/items/items/properties/a~1b/type"),
        ("/more", "#/additionalProperties"),
    ]
    assert not any("secret" in str(fault) for fault in faults)


def test_at_most_five_faults_are_told() -> None:
    assert len(compiled({"items": {"type": "string"}}).faults(list(range(100)), 300)) == 5


STRICT = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"type": "array", "items": STRICT}, "#/type"),
        ({**STRICT, "anyOf": [STRICT]}, "#/anyOf"),
        ({**STRICT, "additionalProperties": True}, "#/additionalProperties"),
        ({**STRICT, "required": []}, "#/required"),
        ({**STRICT, "properties": {"a": {**STRICT, "required": []}}}, "#/properties/a/required"),
        ({**STRICT, "$defs": {"x": {"anyOf": [{"type": "object"}]}}}, "#/$defs/x/anyOf/0/additionalProperties"),
        ({**STRICT, "properties": {"a": {"type": "array", "items": {"type": ["object", "null"]}}}},
         "#/properties/a/items/additionalProperties"),
    ],
)  # fmt: skip
def test_openais_strict_rules(schema: Any, place: str) -> None:
    schemas = Schemas()
    schemas.of(schema, strict=False)
    with pytest.raises(SchemaRefused) as caught:
        schemas.of(schema, strict=True)
    assert (caught.value.why, caught.value.path) == ("strict", place)
    assert schemas.of(STRICT, strict=True).faults({"a": "x"}, 10) == []


def test_a_schema_is_compiled_once_for_its_bytes() -> None:
    schemas = Schemas()
    first = schemas.of(STRICT, strict=True)
    assert schemas.of({**STRICT}, strict=True) is first
    assert schemas.of(dict(reversed(STRICT.items())), strict=True) is not first  # other bytes
    for _ in range(3):
        with pytest.raises(SchemaRefused):
            schemas.of({"$ref": "#"}, strict=False)
    counts = schemas.counts()
    assert (counts["compiled"], counts["refused"], counts["hits"], counts["entries"]) == (2, 1, 3, 3)


def test_the_cache_is_bounded_in_entries_and_bytes() -> None:
    few = Schemas(entries=2)
    kept = few.of({"const": 0}, strict=False)
    for at in range(1, 4):
        few.of({"const": at}, strict=False)
        assert few.of({"const": 0}, strict=False) is kept  # asked for again and again
    assert few.counts()["entries"] == 2 and few.counts()["evicted"] == 2
    small = Schemas(weight=100_000)
    for at in range(100):
        small.of({"items": {"const": at}}, strict=False)
        small.of(wide(1000 + at), strict=False)  # too large to keep
    assert 0 < small.counts()["bytes"] <= 100_000
