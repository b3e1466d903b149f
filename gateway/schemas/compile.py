"""A JSON Schema (draft 2020-12, without what needs a second document) as one function. Older drafts' lists of
items and ``dependencies`` are read as well (``older``).

Every bound is checked while it is compiled, so that a schema which is made to hurt costs as little as its size.
``format``, ``content*`` and ``default`` are annotations, as the draft says; unknown keywords are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from gateway.schemas.keywords import SIMPLE, compiled_pattern, whole
from gateway.schemas.older import current
from gateway.schemas.parts import anything, condition, items, joined, matches, nothing, properties
from gateway.schemas.patterns import Pattern
from gateway.schemas.problems import Fault, SchemaRefused, place, step
from gateway.schemas.running import Check, Run, TooCostly, every

MAX_DEPTH = 60
MAX_SCHEMAS = 10_000
MAX_PROPERTIES = 5000
MAX_PATHS = 2_000_000
"""Characters of the paths to all schemas together: long names around many schemas would cost memory."""
MAX_STATES = 20_000
"""Of all patterns of a schema together."""
_UNSUPPORTED = frozenset({"unevaluatedProperties", "unevaluatedItems", "$dynamicRef", "$recursiveRef"})
_INDEX = re.compile(r"(?:0|[1-9][0-9]{0,5})\Z")
_BESIDE = frozenset({"$defs", "definitions"})
_BASE_WORK, _WORK_PER_CHARACTER = 50_000, 20


class Validator:
    """A compiled schema."""

    def __init__(self, check: Check, weight: int) -> None:
        self._check = check
        self.weight = weight
        """About how many bytes it holds."""

    def faults(self, value: Any, size: int) -> list[Fault]:
        """The first faults of a value whose text has ``size`` characters; none when it fits. Raises TooCostly."""
        run = Run(_BASE_WORK + _WORK_PER_CHARACTER * size)
        try:
            self._check(value, "", run)
        except RecursionError:
            raise TooCostly from None
        return run.faults


def compiled(schema: Any) -> Validator:
    """Raises SchemaRefused."""
    try:
        compiler = _Compiler(schema)
        check = compiler.root()
        return Validator(check, compiler.weight())
    except RecursionError:
        raise SchemaRefused("hostile", "#", "is nested too deeply") from None


class _Compiler:
    def __init__(self, document: Any) -> None:
        self._document = document
        self._done: dict[str, Check] = {}
        self._beside: dict[str, set[str]] = {}
        """For each place, the places that look at the very same value: a ring of these would never end."""
        self._wanted: list[tuple[str, Any]] = []
        self._schemas = self._properties = self._paths = self._states = self._patterns = 0
        self._makers: dict[str, Callable[[Any, str, str, int], Check]] = {
            "$ref": self._ref, "allOf": self._all, "anyOf": self._any, "oneOf": self._one, "not": self._not,
            "prefixItems": self._prefix, "propertyNames": self._names,
            "dependentSchemas": self._dependent, "pattern": self._pattern,
        }  # fmt: skip

    def root(self) -> Check:
        check = self._schema(self._document, "#", 0)
        while self._wanted:
            path, schema = self._wanted.pop()
            if path not in self._done:
                self._done[path] = self._schema(schema, path, 0)  # also when it is a boolean
        self._refuse_rings()
        return check

    def weight(self) -> int:
        return self._schemas * 1500 + self._paths + self._states * 400 + self._patterns * 10_000

    # ------------------------------------------------------------------ one schema
    def _schema(self, schema: Any, path: str, depth: int) -> Check:
        self._schemas += 1
        if depth > MAX_DEPTH:
            raise SchemaRefused("hostile", path, f"is nested more than {MAX_DEPTH} levels deep")
        if self._schemas > MAX_SCHEMAS:
            raise SchemaRefused("hostile", path, f"a schema may hold {MAX_SCHEMAS} schemas")
        self._paths += len(path)
        if self._paths > MAX_PATHS:
            raise SchemaRefused("hostile", path, "has names that are too long for so many schemas")
        if isinstance(schema, bool):
            return anything if schema else nothing(path)
        if not isinstance(schema, dict):
            raise SchemaRefused("invalid", path, "must be an object or a boolean")
        schema = current(schema, path)
        self._beside.setdefault(path, set())
        checks = [
            check for name, value in schema.items() for check in self._keyword(name, value, path, depth)
        ]
        checks += self._together(schema, path, depth)
        made = self._done[path] = joined(checks)
        return made

    def _keyword(self, name: str, value: Any, path: str, depth: int) -> list[Check]:
        here = step(path, name)
        if name in SIMPLE:
            return [SIMPLE[name](value, here)]
        if name in self._makers:
            return [self._makers[name](value, here, path, depth)]
        if name in _BESIDE:
            for key, one in _object(value, here).items():  # unused ones have to be sound too
                self._schema(one, step(here, key), depth + 1)
        elif name == "$id" and path != "#":
            raise SchemaRefused("unsupported", here, "only the whole schema may have an '$id'")
        elif name in _UNSUPPORTED:
            raise SchemaRefused("unsupported", here, f"the keyword '{name}' cannot be enforced here")
        return []

    def _inside(self, schema: Any, path: str, owner: str, depth: int) -> Check:
        """A schema for the same value as its owner's."""
        self._beside.setdefault(owner, set()).add(path)
        return self._schema(schema, path, depth + 1)

    # ------------------------------------------------------------------ references
    def _ref(self, value: Any, path: str, owner: str, depth: int) -> Check:
        if not isinstance(value, str):
            raise SchemaRefused("invalid", path, "must be a text")
        if not value.startswith("#"):
            raise SchemaRefused("hostile", path, "only references inside the schema ('#/…') are followed")
        target = "#"
        found: Any = self._document
        pointer = unquote(value[1:])
        if pointer and not pointer.startswith("/"):
            raise SchemaRefused("unsupported", path, "a reference must be a JSON pointer ('#/$defs/name')")
        for part in pointer.split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(found, dict) and name in found:
                target, found = step(target, name), found[name]
            elif isinstance(found, list) and _INDEX.match(name) and int(name) < len(found):
                target, found = step(target, int(name)), found[int(name)]
            else:
                raise SchemaRefused("invalid", path, f"'{value[:80]}' leads nowhere")
        self._beside[owner].add(target)
        if target != "#" and target not in self._done:
            self._wanted.append((target, found))
        done = self._done

        def check(value: Any, at: str, run: Run) -> bool:
            run.spend(1)
            return done[target](value, at, run)

        return check

    def _refuse_rings(self) -> None:
        """Raises SchemaRefused for a schema that refers to itself without looking further into the value."""
        clear: set[str] = set()
        for start in self._beside:
            if start in clear:
                continue
            trail, on_trail = [(start, iter(self._beside[start]))], {start}
            while trail:
                place, ways = trail[-1]
                way = next((one for one in ways if one not in clear), None)
                if way is None:
                    trail.pop()
                    on_trail.discard(place)
                    clear.add(place)
                elif way in on_trail:
                    raise SchemaRefused("hostile", way, "refers to itself without end")
                else:
                    trail.append((way, iter(self._beside.get(way, ()))))
                    on_trail.add(way)

    # ------------------------------------------------------------------ schemas for the same value
    def _several(self, value: Any, path: str, owner: str, depth: int) -> list[Check]:
        if not isinstance(value, list) or not value:
            raise SchemaRefused("invalid", path, "must be a list of schemas")
        return [self._inside(one, step(path, at), owner, depth) for at, one in enumerate(value)]

    def _all(self, value: Any, path: str, owner: str, depth: int) -> Check:
        return joined(self._several(value, path, owner, depth))

    def _any(self, value: Any, path: str, owner: str, depth: int) -> Check:
        checks = self._several(value, path, owner, depth)

        def check(value: Any, at: str, run: Run) -> bool:
            return any(run.fits(one, value, at) for one in checks) or run.fault(
                at, path, "fits none of the alternatives"
            )

        return check

    def _one(self, value: Any, path: str, owner: str, depth: int) -> Check:
        checks = self._several(value, path, owner, depth)

        def check(value: Any, at: str, run: Run) -> bool:
            fitting = sum(run.fits(one, value, at) for one in checks)
            return fitting == 1 or run.fault(at, path, f"fits {fitting} of the alternatives, not exactly one")

        return check

    def _not(self, value: Any, path: str, owner: str, depth: int) -> Check:
        inner = self._inside(value, path, owner, depth)

        def check(value: Any, at: str, run: Run) -> bool:
            return not run.fits(inner, value, at) or run.fault(at, path, "must not be of this form")

        return check

    def _dependent(self, value: Any, path: str, owner: str, depth: int) -> Check:
        rules = {
            name: self._inside(one, step(path, name), owner, depth)
            for name, one in _object(value, path).items()
        }

        def check(value: Any, at: str, run: Run) -> bool:
            if not isinstance(value, dict):
                return True
            return every(rule(value, at, run) for name, rule in rules.items() if name in value)

        return check

    # ------------------------------------------------------------------ parts of a value
    def _prefix(self, value: Any, path: str, owner: str, depth: int) -> Check:
        if not isinstance(value, list) or not value:
            raise SchemaRefused("invalid", path, "must be a list of schemas")
        checks = [self._schema(one, step(path, at), depth + 1) for at, one in enumerate(value)]

        def check(value: Any, at: str, run: Run) -> bool:
            if not isinstance(value, list):
                return True
            pairs = enumerate(zip(value, checks, strict=False))
            return every(one(item, place(at, position), run) for position, (item, one) in pairs)

        return check

    def _names(self, value: Any, path: str, owner: str, depth: int) -> Check:
        inner = self._schema(value, path, depth + 1)

        def check(value: Any, at: str, run: Run) -> bool:
            return not isinstance(value, dict) or every(inner(name, place(at, name), run) for name in value)

        return check

    def _pattern(self, value: Any, path: str, owner: str, depth: int) -> Check:
        pattern = self._made(value, path)

        def check(value: Any, at: str, run: Run) -> bool:
            return not isinstance(value, str) or matches(pattern, value, run) or run.fault(
                at, path, "does not match the pattern"
            )  # fmt: skip

        return check

    def _made(self, value: Any, path: str) -> Pattern:
        pattern = compiled_pattern(value, path)
        self._patterns += 1
        self._states += pattern.states
        if self._states > MAX_STATES:
            raise SchemaRefused("hostile", path, f"patterns may have {MAX_STATES} states together")
        return pattern

    # ------------------------------------------------------------------ keywords that read each other
    def _together(self, schema: dict[str, Any], path: str, depth: int) -> list[Check]:
        found = []
        if not schema.keys().isdisjoint(("properties", "patternProperties", "additionalProperties")):
            found.append(self._object_check(schema, path, depth))
        if "items" in schema:
            prefix = schema.get("prefixItems")
            skip = len(prefix) if isinstance(prefix, list) else 0
            found.append(items(self._schema(schema["items"], step(path, "items"), depth + 1), skip))
        if "contains" in schema:
            found.append(self._contains(schema, path, depth))
        if "if" in schema:
            branches = [
                self._inside(schema.get(name, True), step(path, name), path, depth)
                for name in ("if", "then", "else")
            ]
            found.append(condition(*branches))
        return found

    def _contains(self, schema: dict[str, Any], path: str, depth: int) -> Check:
        here = step(path, "contains")
        inner = self._schema(schema["contains"], here, depth + 1)
        least = whole(schema.get("minContains", 1), step(path, "minContains"))
        most = schema.get("maxContains")
        limit = whole(most, step(path, "maxContains")) if most is not None else None

        def check(value: Any, at: str, run: Run) -> bool:
            if not isinstance(value, list):
                return True
            found = sum(run.fits(inner, item, at) for item in value)
            fits = found >= least and (limit is None or found <= limit)
            return fits or run.fault(at, here, f"holds {found} items of the wanted form")

        return check

    def _object_check(self, schema: dict[str, Any], path: str, depth: int) -> Check:
        here = step(path, "properties")
        named = _object(schema.get("properties", {}), here)
        self._properties += len(named)
        if self._properties > MAX_PROPERTIES:
            raise SchemaRefused("hostile", here, f"a schema may have {MAX_PROPERTIES} properties")
        checks = {name: self._schema(one, step(here, name), depth + 1) for name, one in named.items()}
        here = step(path, "patternProperties")
        patterns = [
            (self._made(name, step(here, name)), self._schema(one, step(here, name), depth + 1))
            for name, one in _object(schema.get("patternProperties", {}), here).items()
        ]
        here = step(path, "additionalProperties")
        more = schema.get("additionalProperties", True)
        rest = None if more is True else self._schema(more, here, depth + 1)
        return properties(checks, patterns, rest, here if more is False else "")


def _object(value: Any, path: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise SchemaRefused("invalid", path, "must be an object")
