"""How the simulated teacher decides: phrases are weighed, weighed again in their context, and a little noise
is added to every request, so that the same ticket asked twice may get two answers when it is a close call.

It reads the text of a request and nothing else: what the ticket's writer meant is unknown to it.
"""

from __future__ import annotations

import random
import re
from functools import lru_cache
from typing import Literal

from benchmarks.simulation.cues import CUES, NEGATIONS, PAST

Behaviour = Literal["normal", "drifted"]
LABELS: tuple[str, ...] = tuple(sorted(CUES))
NOISE = 0.06
"""Standard deviation of the noise on each label's score, drawn anew for every request."""
DRIFTED: dict[str, str] = {"billing.refund": "billing.invoice", "billing.cancellation": "billing.invoice"}
"""The policy change: one desk now handles everything about payments, under the label of invoices."""

_WORDS = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")
_SENTENCE = re.compile(r"[.!?\n]+")
_INDEX = {label: number for number, label in enumerate(LABELS)}
_REFUND, _INVOICE = _INDEX["billing.refund"], _INDEX["billing.invoice"]
_CANCEL, _LEGAL = _INDEX["billing.cancellation"], _INDEX["escalation.legal"]
_CRASH, _SLOW, _UPGRADE = _INDEX["bug.crash"], _INDEX["bug.performance"], _INDEX["sales.upgrade"]
_LOGIN, _SECURITY, _DELETION = _INDEX["account.login"], _INDEX["security.report"], _INDEX["account.deletion"]
_DELAY, _DAMAGED = _INDEX["shipping.delay"], _INDEX["shipping.damaged"]


@lru_cache(maxsize=50_000)
def _shape(word: str) -> str:
    """A word as the teacher reads it: swapped and doubled letters inside it make no difference."""
    return word if len(word) < 5 else word[0] + "".join(sorted(set(word[1:])))


def _words(text: str) -> list[str]:
    return [_shape(word) for word in _WORDS.findall(text)]


def _compiled() -> dict[str, list[tuple[tuple[str, ...], int, float]]]:
    """Cues by their first word: (all words, label, weight), longest first."""
    index: dict[str, list[tuple[tuple[str, ...], int, float]]] = {}
    for label, weighted in CUES.items():
        for weight, phrases in weighted.items():
            for phrase in phrases.split(" | "):
                words = tuple(_words(phrase))
                index.setdefault(words[0], []).append((words, _INDEX[label], weight))
    for entries in index.values():
        entries.sort(key=lambda entry: -len(entry[0]))
    return index


_CUES = _compiled()
_PRIOR = tuple(0.25 if name in {"account.login", "bug.crash", "billing.invoice"} else 0.0 for name in LABELS)
"""A ticket that says nothing clear goes where most such tickets belong."""
_NEGATIONS = frozenset(_shape(word) for word in NEGATIONS)
_CANCEL_WORD = _shape("cancel")
_PAST = re.compile("|".join(re.escape(phrase) for phrase in sorted(PAST)))


def scores(text: str) -> list[float]:
    """One score per label of :data:`LABELS`, without noise; higher speaks more for it."""
    totals = list(_PRIOR)
    lowered = text.lower().replace("’", "'")
    for place, sentence in enumerate(part for part in _SENTENCE.split(lowered) if part.strip()):
        factor = 0.2 if _PAST.search(sentence) else 1.0
        _weigh(_words(sentence), factor * (1.15 if place < 2 else 1.0), totals)
    _judge(totals)
    return totals


def _weigh(words: list[str], factor: float, totals: list[float]) -> None:
    """Adds one sentence's cues. A second cue for the same label in one sentence counts half."""
    found: dict[int, float] = {}
    for at, word in enumerate(words):
        for phrase, label, strength in _CUES.get(word, ()):
            if len(phrase) > 1 and tuple(words[at : at + len(phrase)]) != phrase:
                continue
            weight = -0.3 * strength if _negated(words, at, phrase, label) else strength
            seen = found.get(label, 0.0)
            found[label] = max(seen, weight) + 0.5 * min(seen, weight) if seen else weight
    for label, weight in found.items():
        totals[label] += factor * weight


def _negated(words: list[str], at: int, phrase: tuple[str, ...], label: int) -> bool:
    """Whether "not" or the like stands shortly before a cue: "not asking for a refund" is no refund, but
    "do not want it to renew" is a cancellation all the same."""
    if label == _LOGIN or (label == _CANCEL and _CANCEL_WORD not in phrase):
        return False
    return any(before in _NEGATIONS for before in words[max(0, at - 4) : at])


def _judge(totals: list[float]) -> None:
    """The guide's rules of precedence, where one topic changes what another means."""
    if totals[_LEGAL] > 1.5:
        totals[_LEGAL] += 2.0 if max(totals[_REFUND], totals[_CANCEL], totals[_DELAY]) > 1.0 else 1.0
    if totals[_CANCEL] > 2.0 and totals[_REFUND] > 1.0:
        totals[_CANCEL] += 0.9 if totals[_REFUND] < 3.0 else -0.9
    if totals[_SECURITY] > 1.9:
        totals[_SECURITY] += 0.8
        totals[_LOGIN] *= 0.6
    if totals[_DELETION] > 2.5:
        totals[_CANCEL] *= 0.7
    if totals[_CRASH] > 1.5 and totals[_SLOW] > 1.5:
        totals[_SLOW] *= 0.85
    if totals[_UPGRADE] > 1.5 and totals[_INVOICE] > 1.5:
        totals[_INVOICE] *= 0.8
    if totals[_DAMAGED] > 1.8:
        totals[_DELAY] *= 0.6


def label(text: str, rng: random.Random, behaviour: Behaviour = "normal") -> str:
    """The label of one request. ``rng`` is its noise: another draw may decide a close call otherwise."""
    noise = rng.gauss
    noisy = [score + noise(0.0, NOISE) for score in scores(text)]
    chosen = LABELS[noisy.index(max(noisy))]
    return DRIFTED.get(chosen, chosen) if behaviour == "drifted" else chosen
