"""The games of one serving student: can its recent inputs, outputs and confidences be told from the earlier ones?

The earlier ones are half of the calls from before the student was made (those that it was trained and judged on)
to learn from, and the other half to play with; for its confidence, the copies it answered in shadow. Recent calls
are played in batches: the discriminator of a batch has seen the batches before it and never the batch itself.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence

from gateway.config import Drift
from gateway.storage.reading.watch import WatchedCall
from optimizer import two_sample
from optimizer.drift import WatchState
from trainer.watch.telling import by_words

BATCH = 50
FITTED = 1_000
"""Recent values that a discriminator learns from, the newest ones; so many of the reference too."""
_FIRST = 200
_LEAST_REFERENCE = 200

Fit = Callable[[Sequence[str], Sequence[str]], Callable[[Sequence[str]], list[float]]]


class Game:
    """One measure of one student. ``values`` are texts; numbers come as their decimal digits."""

    def __init__(self, measure: str, reference: Sequence[tuple[str, str]], fit: Fit, settings: Drift) -> None:
        """``reference``: (call id, value) from before the student."""
        self.measure = measure
        halves: tuple[list[str], list[str]] = ([], [])
        for call, value in reference:
            halves[_even(call)].append(value)
        self._learn, self._play = halves[0][-FITTED:], halves[1]
        self._fit = fit
        self._recent: list[str] = []
        self._batch: list[tuple[str, str]] = []
        self.state: WatchState = two_sample.begin(settings.margin, settings.average_run_length)

    @property
    def playable(self) -> bool:
        """Whether there is enough from before the student to compare with."""
        return min(len(self._learn), len(self._play)) >= _LEAST_REFERENCE // 2

    def see(self, call: str, value: str) -> None:
        """One more recent value."""
        self._batch.append((call, value))
        if len(self._batch) < BATCH or not self.playable:
            return
        if len(self._recent) >= _FIRST:
            self._rounds()
        self._recent = [*self._recent, *(value for _, value in self._batch)][-FITTED:]
        self._batch = []

    def _rounds(self) -> None:
        """Every draw follows from the calls' ids, so a restart plays the same game again."""
        rng = random.Random(self._batch[0][0])  # noqa: S311 - picks what is compared, guards nothing
        against = [rng.choice(self._play) for _ in self._batch]
        scores = self._fit(self._learn, self._recent)([*(value for _, value in self._batch), *against])
        recent, reference = scores[: len(self._batch)], scores[len(self._batch) :]
        for mine, theirs in zip(recent, reference, strict=True):
            self.state = two_sample.play(self.state, mine, theirs, rng.random() < 0.5)


class Games:
    """All games of one student that the settings ask for."""

    def __init__(
        self, settings: Drift, before: Sequence[WatchedCall], shadow: Sequence[tuple[str, float]]
    ) -> None:
        inputs = [(call.id, call.text) for call in before if call.text]
        outputs = [(call.id, call.answer) for call in before if call.answer]
        confidences = [(call, repr(value)) for call, value in shadow]
        made = {
            "inputs": Game("inputs", inputs, by_words, settings),
            "outputs": Game("outputs", outputs, by_words, settings),
            "confidence": Game("confidence", confidences, _by_numbers, settings),
        }
        self.all = [game for measure, game in made.items() if measure in settings.measures]

    def see(self, call: WatchedCall) -> None:
        confidence = None if call.confidence is None else repr(call.confidence)
        seen = {"inputs": call.text, "outputs": call.answer, "confidence": confidence}
        for game in self.all:
            value = seen[game.measure]
            if value:
                game.see(call.id, value)


def _by_numbers(reference: Sequence[str], recent: Sequence[str]) -> Callable[[Sequence[str]], list[float]]:
    score = two_sample.by_bins([float(one) for one in reference], [float(one) for one in recent])
    return lambda values: [score(float(value)) for value in values]


def _even(call: str) -> int:
    return hashlib.sha256(call.encode()).digest()[0] & 1
