"""Plain data into the frozen configuration, naming every value that does not fit and what would.

msgspec stops at the first mistake, so each section, list item and map value is converted on its own, and a
value that was refused is taken out before the next try: one reading reports every mistake.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Any, get_type_hints

import msgspec
from msgspec import Struct, inspect

from gateway.config import Config, Model, Policy, Price, Task, YamlKey
from gateway.guardrails import GuardrailSettings
from gateway.policy.forms import form_missed
from gateway.policy.reading import Path, Source, dotted
from gateway.protocol.expected import IN_YAML, in_words
from gateway.providers import ProviderSettings

_AT = re.compile(r" - at `(key in )?\$?([^`]*)`$")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_UNKNOWN_FIELD = re.compile(r"unknown field `([^`]*)`")
_MISSING_FIELD = re.compile(r"missing required field `([^`]*)`")
_MAX_MISTAKES = 200
_LISTS: dict[str, type] = {"tasks": Task, "policies": Policy, "keys": YamlKey}
_MAPS: dict[str, Any] = {"providers": ProviderSettings, "guardrails": GuardrailSettings}
_TABLES: dict[str, type] = {"prices": Price, "models": Model}
_SET_BY_THE_READER = {"digest", "disabled_providers"}


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """A hint: the nearest of ``known``, else all of them; "" when there are none."""
    names = sorted(set(known))
    near = nearest(word, names)
    if near:
        return f"Did you mean '{near}'?"
    return f"Known: {', '.join(names)}." if names else ""


def nearest(word: object, known: Iterable[str]) -> str:
    """Which of ``known`` was probably meant; "" when it is none of them."""
    return next(iter(difflib.get_close_matches(str(word), sorted(set(known)), n=1, cutoff=0.6)), "")


class Converted(Struct, frozen=True):
    """``sections`` are the configuration's fields. ``entries``: each list item that could be read, by its path.
    ``unclean``: paths of what could not be read, or only after a mistake was taken out."""

    sections: dict[str, Any]
    entries: dict[Path, Any]
    unclean: set[Path]


def convert(source: Source) -> Converted:
    """The sections as configuration values.

    ``source.problems`` receives what is wrong. An item (a task, a provider, …) that cannot be read at all
    is left out of the result; whoever checks references looks names up in ``source.data``.
    """
    shorten(source.data)
    reader = _Reader(source)
    found: dict[str, Any] = {}
    kinds = {name: kind for name, kind in get_type_hints(Config).items() if name not in _SET_BY_THE_READER}
    for name, value in source.data.items():
        path: Path = (name,)
        if name not in kinds:
            message = f"there is no section '{name}'."
            source.problems.append(source.problem(path, message, did_you_mean(name, kinds)))
        elif value is None:
            continue  # a section whose entries are all commented out
        elif name in _LISTS:
            found[name] = list(reader.items(value, path, _LISTS[name]))
        elif name in _MAPS:
            found[name] = dict(reader.entries(value, path, _MAPS[name]))
        elif name in _TABLES:
            tables, kind = reader.entries(value, path, dict), _TABLES[name]
            found[name] = {key: dict(reader.entries(table, (*path, key), kind)) for key, table in tables}
        else:
            ok, section = reader.one(value, path, kinds[name])
            if ok:
                found[name] = section
    return Converted(sections=found, entries=reader.entries_read, unclean=reader.unclean)


def shorten(data: dict[str, Any]) -> None:
    """Writes the short forms out, in place: ``strategy: cascade`` means ``strategy: {type: cascade}``."""
    for name in ("providers", "guardrails"):
        section = data.get(name)
        if isinstance(section, dict):
            section.update({key: _typed(value) for key, value in section.items()})
    for policy in _maps_in(data.get("policies")):
        if "strategy" in policy:
            policy["strategy"] = _typed(policy["strategy"])
    promotion = data.get("promotion")
    for rules in _maps_in(list(promotion.values()) if isinstance(promotion, dict) else None):
        if isinstance(rules.get("gates"), list):
            rules["gates"] = [_typed(gate) for gate in rules["gates"]]
    for task in _maps_in(data.get("tasks")):
        match = task.get("match")
        if isinstance(match, str | dict):
            match = [match]
        if isinstance(match, list):
            task["match"] = [{"model": one} if isinstance(one, str) else one for one in match]


def _typed(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


def _maps_in(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        yield from (one for one in value if isinstance(one, dict))


class _Reader:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.unclean: set[Path] = set()
        self.entries_read: dict[Path, Any] = {}
        self._told = {problem.path for problem in source.problems}

    def items(self, value: Any, path: Path, kind: Any) -> Iterator[Any]:
        if not isinstance(value, list):
            self._add(path, "this section is a list.", "Start each entry with '- '.")
            return
        for index, item in enumerate(value):
            if (*path, index) in self.source.left_out:
                continue
            ok, found = self.one(item, (*path, index), kind)
            if ok:
                self.entries_read[(*path, index)] = found
                yield found

    def entries(self, value: Any, path: Path, kind: Any) -> Iterator[tuple[str, Any]]:
        if not isinstance(value, dict):
            self._add(path, "this is a map of names to settings.", "Write 'name: {...}'.")
            return
        for key, item in value.items():
            ok, found = self.one(item, (*path, key), kind)
            if ok:
                yield key, found

    def one(self, value: Any, path: Path, kind: Any) -> tuple[bool, Any]:
        """``(True, value)`` when it could be read, mistakes taken out; each mistake is reported."""
        for _ in range(_MAX_MISTAKES):
            try:
                return True, msgspec.convert(value, kind)
            except msgspec.ValidationError as error:
                self.unclean.add(path)
                steps = self._report(str(error), value, path, kind)
                if not steps or not _take_out(value, steps):
                    return False, None
        return False, None

    def _report(self, text: str, value: Any, path: Path, kind: Any) -> Path:
        """Adds one problem; returns the steps from ``value`` to what was refused, () for the value itself."""
        at, shape = _AT.search(text), inspect.type_info(kind)
        steps = _steps(text, at.group(2), value, kind) if at else ()
        reason = text[: at.start()] if at else text
        unknown = _UNKNOWN_FIELD.search(reason)
        inside = _shape_at(shape, value, steps)
        if unknown:
            name = unknown.group(1)
            known = (
                [one.encode_name for one in inside.fields] if isinstance(inside, inspect.StructType) else []
            )
            self._add((*path, *steps, name), f"there is no field '{name}' here.", did_you_mean(name, known))
            return (*steps, name)
        if steps and steps[-1] == "type" and reason.startswith("Invalid value"):
            union = _shape_at(shape, value, steps[:-1], pick=False)
            given = _value_at(value, steps)
            hint = did_you_mean(given, _tags(union))
            self._add((*path, *steps[:-1]), f"there is no {_noun((*path, *steps))} '{given}'.", hint)
            return ()
        if form := form_missed(reason):
            self._add((*path, *steps), *form)
            return steps
        missing = _MISSING_FIELD.search(reason)
        if missing:
            name = missing.group(1)
            self._add((*path, *steps), f"the required field '{name}' is missing.", field=name)
            return ()
        known_values = [str(one) for one in inside.values] if isinstance(inside, inspect.LiteralType) else []
        given = _value_at(value, steps)
        hint = did_you_mean(given, known_values) if known_values else ""
        if reason.startswith("Expected `str") and isinstance(given, int | float):
            hint = "Write it in quotes."
        self._add((*path, *steps), in_words(reason, IN_YAML).rstrip(".") + ".", hint)
        return steps

    def _add(self, path: Path, message: str, hint: str = "", *, field: str = "") -> None:
        """Adds a problem, unless it only follows from one that was told about the same value (or ``field``)."""
        cause = dotted((*path, field) if field else path)
        if any(one == cause or one.startswith((f"{cause}.", f"{cause}[")) for one in self._told):
            return
        self._told.add(cause)
        self.source.problems.append(self.source.problem(path, message, hint))


def _steps(text: str, place: str, value: Any, kind: Any) -> Path:
    """``.candidates[0].model`` as ("candidates", 0, "model"). msgspec writes ``[...]`` for a map's key: it is the one
    whose value is refused in the same words when it stands there alone."""
    steps: Path = ()
    for match in _STEP.finditer(place):
        if match.group(2) != "...":
            steps = (*steps, match.group(1) if match.group(1) is not None else int(match.group(2)))
            continue
        inside = _value_at(value, steps)
        keys = inside if isinstance(inside, dict) else ()
        guilty = next((key for key in keys if _refusal(_alone(value, steps, key), kind) == text), None)
        if guilty is None:
            break
        steps = (*steps, guilty)
    return steps


def _refusal(value: Any, kind: Any) -> str:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        return str(error)
    return ""


def _alone(value: Any, steps: Path, key: str) -> Any:
    """``value`` with nothing but ``key`` in the map at ``steps``."""
    if not steps:
        return {key: value[key]}
    first, inner = steps[0], _alone(value[steps[0]], steps[1:], key)
    if isinstance(value, dict):
        return {**value, first: inner}
    return [inner if at == first else one for at, one in enumerate(value)]


def _shape_at(shape: inspect.Type, value: Any, steps: Path, *, pick: bool = True) -> inspect.Type:
    """The type that is expected at ``steps``; a tagged union is narrowed by the data's own ``type``."""
    for step in steps:
        shape = _narrowed(shape, value)
        if isinstance(shape, inspect.StructType):
            found = next((one.type for one in shape.fields if one.encode_name == step), None)
            if found is None:
                return inspect.AnyType()
            shape = found
        elif isinstance(shape, inspect.ListType):
            shape = shape.item_type
        elif isinstance(shape, inspect.DictType):
            shape = shape.value_type
        value = _value_at(value, (step,))
    return _narrowed(shape, value) if pick else shape


def _narrowed(shape: inspect.Type, value: Any) -> inspect.Type:
    if isinstance(shape, inspect.Metadata):
        return _narrowed(shape.type, value)
    if not isinstance(shape, inspect.UnionType):
        return shape
    members = [one for one in shape.types if not isinstance(one, inspect.NoneType)]
    if isinstance(value, str):
        return next((one for one in members if isinstance(one, inspect.LiteralType)), shape)
    tag = value.get("type") if isinstance(value, dict) else None
    for one in members:
        if isinstance(one, inspect.StructType) and tag is not None and one.tag == tag:
            return one
    return _narrowed(members[0], value) if len(members) == 1 else shape


def _tags(shape: inspect.Type) -> list[str]:
    members = shape.types if isinstance(shape, inspect.UnionType) else (shape,)
    return [str(one.tag) for one in members if isinstance(one, inspect.StructType) and one.tag is not None]


def _value_at(value: Any, steps: Path) -> Any:
    for step in steps:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _take_out(value: Any, steps: Path) -> bool:
    """Removes what was refused so that the rest can be read; False when nothing is there to remove."""
    holder = _value_at(value, steps[:-1])
    if isinstance(holder, dict) and steps[-1] in holder:
        del holder[steps[-1]]
        return True
    return False


def _noun(path: Path) -> str:
    nouns = {
        "providers": "provider type",
        "guardrails": "guardrail type",
        "strategy": "strategy",
        "gates": "gate",
    }
    return next((nouns[part] for part in reversed(path) if isinstance(part, str) and part in nouns), "type")
