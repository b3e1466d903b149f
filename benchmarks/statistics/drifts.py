"""What the watch over inputs, outputs, confidence, latency and cost promises, by simulation."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from benchmarks.statistics.rows import Floats, Row, median, share
from optimizer import adwin, two_sample

MARGIN, RUN_LENGTH = 0.1, 10_000
_BATCH, _FIRST, _FITTED = 50, 200, 1_000
_BASE_MS, _SPREAD = 800.0, 0.5


def apart(rng: np.random.Generator, scale: int) -> Iterator[Row]:
    """One number a call, 1,000 reference values to learn from and 1,000 to play with, batches of 50 calls."""
    calm = np.array([rounds_to_alarm(rng, 0.0, 5_000) for _ in range(200 // scale)])
    yield share("nothing changes: an alarm within 5,000 calls", calm < 5_000, "rare: mean ≥ 10,000 rounds")
    slight = np.array([rounds_to_alarm(rng, 0.1, 5_000) for _ in range(100 // scale)])
    yield share(
        "moved by 0.1 standard deviations (told apart in 53 %): the same", slight < 5_000, "within the margin"
    )
    for moved in (0.5, 1.0, 2.0):
        delay = np.array([rounds_to_alarm(rng, moved, 5_000) for _ in range(100 // scale)])
        yield median(f"calls until a move by {moved:g} standard deviations is noticed", delay, "")


def rounds_to_alarm(rng: np.random.Generator, moved: float, most: int) -> float:
    """Recent calls until the alarm, ``most`` where there is none; those that only teach the discriminator count too."""
    learn, play = rng.normal(size=1_000).tolist(), rng.normal(size=1_000).tolist()
    state = two_sample.begin(MARGIN, RUN_LENGTH)
    recent: list[float] = []
    for seen in range(0, most, _BATCH):
        batch = rng.normal(moved, size=_BATCH).tolist()
        if len(recent) >= _FIRST:
            score = two_sample.by_bins(learn, recent)
            for value in batch:
                against = play[int(rng.integers(len(play)))]
                state = two_sample.play(state, score(value), score(against), bool(rng.random() < 0.5))
            if state.alarmed:
                return float(seen + _BATCH)
        recent = (recent + batch)[-_FITTED:]
    return float(most)


def rises(rng: np.random.Generator, scale: int) -> Iterator[Row]:
    """Log-normal latencies (median 800 ms, sigma 0.5), looked at after every 32nd call."""
    looks = 0
    alarms = 0
    for _ in range(200 // scale):
        window = adwin.Window()
        for value in latencies(rng, 3_200, 1.0):
            window = adwin.add(window, value)
            alarms += window.change is not None
        looks += 100
    found = np.arange(looks) < alarms
    yield share("nothing changes: an alarm, of all looks", found, "≤ 0.20 % a look")
    for times in (1.2, 1.5, 2.0):
        delay = np.array([calls_to_alarm(rng, times) for _ in range(100 // scale)])
        yield median(f"calls until latency × {times:g}, after 2,000 calls, is noticed", delay, "")


def calls_to_alarm(rng: np.random.Generator, times: float) -> float:
    window = adwin.Window()
    for value in latencies(rng, 2_000, 1.0):
        window = adwin.add(window, value)
    most = 10_000
    for number, value in enumerate(latencies(rng, most, times), start=1):
        window = adwin.add(window, value)
        if window.change is not None:
            return float(number)
    return float(most)


def latencies(rng: np.random.Generator, count: int, times: float) -> list[float]:
    """As the watch squeezes them: logarithms over the one of an hour."""
    drawn: Floats = rng.lognormal(math.log(_BASE_MS * times), _SPREAD, size=count)
    return [math.log1p(float(value)) / math.log1p(3_600_000.0) for value in drawn]
