"""Prompt injection and jailbreaks in what users and tools say: by rules, and by a fitted model where one is named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta, Struct

from gateway.guardrails.asking import Helpers
from gateway.guardrails.compiled import compiled
from gateway.guardrails.disguises import run_together
from gateway.guardrails.guardrail import Guardrail, Scene
from gateway.guardrails.injection.order_rules import ORDERS, is_data
from gateway.guardrails.injection.rules import RULES, matches, structure
from gateway.guardrails.model_folder import check_label, sorter_spec
from gateway.guardrails.plain import hidden, plain, variants
from gateway.guardrails.verdict import ALLOW, BLOCK, FLAG, Direction, Scope, Verdict

if TYPE_CHECKING:
    from gateway.guardrails.injection.fitted import Fitted

_HIDDEN = 2.0  # who encodes an instruction does not want it to be seen
_PIECE, _OVERLAP = 65_536, 8_192  # characters
_REMEMBERED = 4096  # characters: longer texts are judged afresh, so that the cache stays small


class Transformer(Struct, frozen=True, forbid_unknown_fields=True):
    """A sequence-classification model by its folder; ``label`` is its word for an attack."""

    model: str
    label: str = "INJECTION"
    threshold: Annotated[float, Meta(gt=0, le=1)] = 0.5

    def __post_init__(self) -> None:
        try:
            check_label(self.model, self.label)
        except ValueError as problem:
            raise ValueError(f"'model' cannot be used: {problem}.") from None


class Injection(Guardrail, frozen=True, tag="injection", tag_field="type"):
    """``action``: block, or flag (recorded on the call, which goes on). ``threshold``: rules' weights that sum
    up to it are an attack; lower catches more and errs more. ``model``: a folder made by ``understudy guards train``,
    asked about what the rules let pass. ``transformer``: a model that is asked about what both let pass.
    What the operator writes (system and developer messages) is not read: it may well tell a model whom to play."""

    action: Literal["block", "flag"] = "block"
    threshold: float = 1.0
    model: str | None = None
    transformer: Transformer | None = None

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 10:
            raise ValueError("'threshold' must be more than 0 and at most 10.")
        for one in (*RULES, *ORDERS):
            compiled(one.source)  # no request waits for it
        if self.model is not None:
            try:
                _fitted(self.model)
            except ValueError as problem:
                raise ValueError(f"'model' cannot be used: {problem}") from None

    def check(self, text: str, direction: Direction, *, final: bool = True) -> Verdict:
        """Reads requests only: answers pass."""
        return ALLOW if direction == "out" else self._said(self._is_attack(text, data=False))

    def check_data(self, text: str) -> Verdict:
        """Reads orders too, which nobody who wrote a document has to give."""
        return self._said(self._is_attack(text, data=True))

    def _said(self, attack: bool) -> Verdict:
        if not attack:
            return ALLOW
        return BLOCK if self.action == "block" else FLAG

    def _is_attack(self, text: str, *, data: bool) -> bool:
        if any(score(piece, data=data) >= self.threshold for piece in _pieces(text)):
            return True
        return self.model is not None and _fitted(self.model).attacks(text)

    @property
    def reach(self) -> int:
        """Characters of an answer that have to be seen together: none."""
        return 0

    @property
    def scope(self) -> Scope:
        return "untrusted"

    # ------------------------------------------------------------------ the transformer
    @property
    def asks(self) -> bool:
        return self.transformer is not None

    @property
    def models(self) -> list[dict[str, Any]]:
        return [] if self.transformer is None else [sorter_spec(self.transformer.model)]

    def asks_about(self, text: str, direction: Direction) -> bool:
        return direction == "in"

    async def ask(
        self, texts: Sequence[str], direction: Direction, helpers: Helpers, scene: Scene
    ) -> list[Verdict]:
        """The text is read as it stands, and with its disguises off."""
        assert self.transformer is not None
        label, least = self.transformer.label, self.transformer.threshold
        found = BLOCK if self.action == "block" else FLAG
        readings = [[text, folded] if (folded := plain(text)) != text.lower() else [text] for text in texts]
        asked = [one for several in readings for one in several]
        scores = iter(await helpers.model({"spec": self.models[0], "questions": asked}))
        highest = [max(next(scores)[label] for _ in several) for several in readings]
        return [found if score >= least else ALLOW for score in highest]


def _fitted(path: str) -> Fitted:
    from gateway.guardrails.injection.fitted import load  # numpy is loaded only where a model is configured

    return load(path)


def _pieces(text: str) -> Iterator[str]:
    """A very long text in parts that overlap: no look through it takes so long that other threads have to wait."""
    if len(text) <= _PIECE:
        yield text
        return
    for start in range(0, len(text) - _OVERLAP, _PIECE - _OVERLAP):
        yield text[start : start + _PIECE]


def score(text: str, *, data: bool = False) -> float:
    """The highest sum of weights that any reading of ``text`` reaches. ``data``: it is what a tool returned or a
    document. Pure; earlier turns come from a cache."""
    return _remembered(text, data) if len(text) <= _REMEMBERED else _score(text, data)


def _score(text: str, data: bool) -> float:
    more = ORDERS if data or is_data(text) else ()
    extra = sum(weight for _, weight in structure(text))
    folded = plain(text)
    highest = extra + sum(weight for _, weight in matches(folded, more))
    readings = variants(folded)
    if any(run_together(reading) for reading in (folded, *readings)):
        highest = max(highest, extra + 1.0)
    for reading in readings:
        highest = max(highest, extra + sum(weight for _, weight in matches(reading, more)))
    for reading in hidden(text):
        highest = max(highest, _HIDDEN * sum(weight for _, weight in matches(reading, more)))
    return highest


_remembered = lru_cache(maxsize=512)(_score)
