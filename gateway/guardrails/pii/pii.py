"""Personal data in prompts: blocked, flagged, or replaced by placeholders that are put back into answers.

What patterns and check digits know is found here, at once. With ``presidio`` the process of the guard models is asked
as well: Presidio's own patterns, its national recognizers, and names and places by a model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from gateway.guardrails.asking import Helpers
from gateway.guardrails.guardrail import Guardrail, Scene
from gateway.guardrails.pii.operators import Operator, hashed, starred, token
from gateway.guardrails.pii.recognizers import Country, Found, Recognizer, finds_of, national
from gateway.guardrails.verdict import ALLOW, BLOCK, FLAG, Direction, Scope, Verdict
from gateway.texts.alike import alike
from gateway.texts.masking import find

_TELLING = re.compile(r"[0-9@]")
_KIND = re.compile(r"[A-Z][A-Z0-9_]{0,31}\Z")
_KEYED = frozenset({"hash", "tokenize"})
_SHORTEST_KEY = 16


class Presidio(Struct, frozen=True, forbid_unknown_fields=True):
    """``countries`` (``us``, ``uk``, ``de`` ...) choose among Presidio's national recognizers, ``phone_regions``
    (``US``) its telephone numbers. ``spacy``: a folder or an installed package of spaCy's with named entities;
    ``transformers``: a folder with a token-classification model. ``entities``: only these kinds; empty: all.
    ``min_score``: of a find."""

    language: str = "en"
    countries: list[str] = []
    phone_regions: list[str] = []
    entities: list[str] = []
    min_score: Annotated[float, Meta(ge=0, le=1)] = 0.4
    spacy: str = ""
    transformers: str = ""

    @property
    def spec(self) -> dict[str, Any]:
        return {
            "kind": "presidio", "language": self.language, "countries": sorted(self.countries),
            "phone_regions": sorted(self.phone_regions), "entities": sorted(self.entities),
            "min_score": self.min_score, "spacy": _whole(self.spacy), "transformers": _whole(self.transformers),
        }  # fmt: skip


def _whole(path: str) -> str:
    """A folder's whole path; a package's name as it is."""
    return str(Path(path).resolve()) if path and Path(path).is_dir() else path


class Pii(Guardrail, frozen=True, tag="pii", tag_field="type"):
    """``action``: mask (the provider sees what ``operator`` makes of it), block or flag. ``kinds``: only these; empty:
    all. ``operators``: for single kinds. ``key``: a secret of your own, which hash and tokenize need. ``keep``:
    characters at the end that the operator mask leaves. ``countries``: whose national identifiers are looked for;
    ``recognizers``: your own."""

    action: Literal["mask", "block", "flag"] = "mask"
    kinds: list[str] = []
    operator: Operator = "placeholder"
    operators: dict[str, Operator] = {}
    key: str = ""
    keep: Annotated[int, Meta(ge=0, le=12)] = 0
    countries: list[Country] = []
    recognizers: list[Recognizer] = []
    presidio: Presidio | None = None

    def __post_init__(self) -> None:
        for kind in (*self.kinds, *self.operators):
            if _KIND.match(kind) is None:
                raise ValueError(
                    f"'{kind}' is no kind of personal data: they are in capitals, such as EMAIL."
                )
        keyed = _KEYED & {self.operator, *self.operators.values()}
        if keyed and len(self.key) < _SHORTEST_KEY:
            raise ValueError(
                f"'{sorted(keyed)[0]}' needs 'key': a secret of at least {_SHORTEST_KEY} characters, such as "
                "${UNDERSTUDY_PII_KEY}."
            )

    @property
    def _plain(self) -> bool:
        return not (self.kinds or self.countries or self.recognizers)

    def finds(self, text: str) -> list[Found]:
        """What is found without asking, in order and without overlap."""
        found = find(text)
        if self._plain:
            return found
        if self.countries and _TELLING.search(read := alike(text)) is not None:
            found += national(self.countries, read)
        for recognizer in self.recognizers:
            found += finds_of(recognizer, text)
        return self._wanted(found)

    def _wanted(self, found: Sequence[Found]) -> list[Found]:
        """Of overlapping finds the one that begins first stays, and of those the longest."""
        kept: list[Found] = []
        for start, end, kind in sorted(found, key=lambda one: (one[0], -one[1])):
            if (not self.kinds or kind in self.kinds) and (not kept or start >= kept[-1][1]):
                kept.append((start, end, kind))
        return kept

    def check(self, text: str, direction: Direction, *, final: bool = True) -> Verdict:
        """Answers pass: what they hold of the client's own data is the client's, put back by the stage."""
        return ALLOW if direction == "out" else self._verdict(self.finds(text), text, "")

    def check_in(self, scene: Scene, text: str, direction: Direction, *, final: bool = True) -> Verdict:
        return ALLOW if direction == "out" else self._verdict(self.finds(text), text, scene.project)

    def _verdict(self, found: Sequence[Found], text: str, project: str) -> Verdict:
        if not found:
            return ALLOW
        if self.action != "mask":
            return BLOCK if self.action == "block" else FLAG
        if self.operator == "placeholder" and not self.operators:
            return Verdict("mask", tuple(found))
        changes, puts = [], []
        for start, end, kind in found:
            operator, value = self.operators.get(kind, self.operator), text[start:end]
            if operator == "placeholder":
                changes.append((start, end, kind))
            elif operator == "tokenize":
                changes.append((start, end, token(self.key, project, kind, value)))
            elif operator == "hash":
                puts.append((start, end, hashed(self.key, project, kind, value)))
            else:
                puts.append((start, end, starred(value, self.keep)))
        return Verdict("mask", tuple(changes), tuple(puts))

    @property
    def needs_scene(self) -> bool:
        plain = self.operator == "placeholder" and not self.operators
        return not plain and bool(_KEYED & {self.operator, *self.operators.values()})

    @property
    def scope(self) -> Scope:
        return "all"

    @property
    def reach(self) -> int:
        """Characters of an answer that have to be seen together: none."""
        return 0

    # ------------------------------------------------------------------ Presidio
    @property
    def models(self) -> list[dict[str, Any]]:
        return [] if self.presidio is None else [self.presidio.spec]

    @property
    def asks(self) -> bool:
        return self.presidio is not None

    @property
    def reads_names(self) -> bool:
        """A model that knows people and places by their sentences only guesses at identifiers."""
        return self.presidio is None or not (self.presidio.spacy or self.presidio.transformers)

    @property
    def reads_labels(self) -> bool:
        """They say who somebody is; that is what they are for."""
        return False

    @property
    def asks_to_change(self) -> bool:
        return self.action == "mask"

    def asks_about(self, text: str, direction: Direction) -> bool:
        """Names are anywhere; patterns need a digit or an ``@``."""
        if direction == "out" or self.presidio is None:
            return False
        named = self.presidio.spacy or self.presidio.transformers
        return bool(named) or _TELLING.search(text) is not None

    async def ask(
        self, texts: Sequence[str], direction: Direction, helpers: Helpers, scene: Scene
    ) -> list[Verdict]:
        """What Presidio finds beside what was found here already."""
        assert self.presidio is not None
        question: Mapping[str, Any] = {"spec": self.presidio.spec, "questions": list(texts)}
        verdicts = []
        for text, spans in zip(texts, await helpers.model(question), strict=True):
            known = self.finds(text)
            more = [
                (start, end, kind)
                for start, end, kind in spans
                if not any(start < other_end and other < end for other, other_end, _ in known)
            ]
            verdicts.append(self._verdict(self._wanted(more), text, scene.project))
        return verdicts
