"""Promotion in the light of many questions: rare events, slices, a judge, and rounds under a false discovery rate."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.statistics.guarantees import ALPHA, NULL
from benchmarks.statistics.rows import Row, mean, share
from optimizer.stats.eprocess import log_wealth
from optimizer.stats.multiplicity import divide, e_lond, spend, within_round
from optimizer.stats.rare import rare_wealth

LIMIT = 0.005


def rare(rng: np.random.Generator, scale: int) -> Iterator[Row]:
    """Toxicity at 0.5 %, looked at after each of 3,000 answers."""
    runs, answers = 1000 // scale, 3_000
    events = (rng.random((runs, answers)) < LIMIT).astype(float)
    passed = np.array([rare_wealth(record, LIMIT) >= 1 / ALPHA for record in events])
    failed = np.array([rare_wealth(record, LIMIT, mirrored=True) >= 1 / ALPHA for record in events])
    yield share("students exactly at 0.5 % passed", passed, f"≤ {ALPHA:.0%}")
    yield share("the same: failed", failed, f"≤ {ALPHA:.0%}")
    for rate in (0.0005, 0.001, 0.02):
        record = (rng.random((runs // 4, answers)) < rate).astype(float)
        mirrored = rate > LIMIT
        told = np.array([rare_wealth(one, LIMIT, mirrored=mirrored) >= 1 / ALPHA for one in record])
        yield share(f"students at {rate:.2%} {'failed' if mirrored else 'passed'} within 3,000", told, "")


def slices(rng: np.random.Generator, scale: int) -> Iterator[Row]:
    """Six slices of 800 pairs, all at the null: is any served? And with one bad slice: which are?"""
    runs, parts, pairs = 2000 // scale, 6, 800
    needed = np.log(1 / within_round(ALPHA, parts))
    best = log_wealth(rng.random((runs, parts, pairs)) < NULL, NULL).max(axis=2)
    yield share(
        "any of 6 slices at the null served, each under its share of alpha",
        (best >= needed).any(axis=1),
        f"≤ {ALPHA:.0%}",
    )
    yield share(
        "the same, had each been judged at 5% by itself", (best >= np.log(1 / ALPHA)).any(axis=1), "nothing"
    )
    truth = np.array([0.985] * 5 + [0.85])
    agree = rng.random((runs, parts, pairs)) < truth[None, :, None]
    served = log_wealth(agree, NULL).max(axis=2) >= needed
    yield share(
        "five good slices and one at 85 %: the bad one served", served[:, 5], f"≤ {ALPHA / parts:.2%}"
    )
    yield mean("the same: good slices served", served[:, :5].mean(axis=1), "", ".1%")
    whole = agree.transpose(0, 2, 1).reshape(runs, -1)
    yield share(
        "the same without slices: the student promoted at all",
        log_wealth(whole, NULL).max(axis=1) >= np.log(1 / ALPHA),
        "",
    )


def quality(rng: np.random.Generator, scale: int) -> Iterator[Row]:
    """A judge's words on 1,500 pairs, looked at after each: worth 93 % of the teacher (the null), and as good."""
    runs, pairs = 2000 // scale, 1_500
    null = 0.93 / 1.93
    for decided in (0.2, 0.6):  # share of pairs that are no tie
        for worth, preferred in (("93% of the teacher", null), ("as much as the teacher", 0.5)):
            wins = decided / 2 + (preferred - 0.5)
            words = rng.choice([1.0, 0.0, 0.5], (runs, pairs), p=[wins, decided - wins, 1 - decided])
            passed = log_wealth(words, null).max(axis=1) >= np.log(1 / ALPHA)
            promised = f"≤ {ALPHA:.0%}" if preferred < 0.5 else ""
            yield share(f"worth {worth}, {1 - decided:.0%} ties: passed within 1,500 pairs", passed, promised)


def discovery(rng: np.random.Generator, scale: int) -> Iterator[Row]:
    """Twenty rounds, in each a coin decides between a student at the null and one at 97 %; 700 pairs each."""
    runs, rounds, pairs = 1000 // scale, 20, 700
    false: dict[str, list[float]] = {"family": [], "discovery": []}
    good: dict[str, list[float]] = {"family": [], "discovery": []}
    ever = {"family": 0, "discovery": 0}
    for _ in range(runs):
        bad = rng.random(rounds) < 0.5
        truth = np.where(bad, NULL, 0.97)
        best = log_wealth(rng.random((rounds, pairs)) < truth[:, None], NULL).max(axis=1)
        for control in ("family", "discovery"):
            promoted = np.zeros(rounds, bool)
            for number in range(rounds):
                earlier = int(promoted.sum())
                level = (
                    spend(ALPHA, number + 1) if control == "family" else e_lond(ALPHA, number + 1, earlier)
                )
                promoted[number] = best[number] >= np.log(1 / level)
            false[control].append((promoted & bad).sum() / max(1, promoted.sum()))
            good[control].append((promoted & ~bad).sum() / max(1, (~bad).sum()))
            ever[control] += bool((promoted & bad).any())
    for control, promise in (("family", ""), ("discovery", f"≤ {ALPHA:.0%}")):
        yield mean(
            f"errors: {control}: share of bad ones among the promoted",
            np.array(false[control]),
            promise,
            ".2%",
        )
        yield mean(f"errors: {control}: share of the good ones promoted", np.array(good[control]), "", ".1%")
        flags = np.zeros(runs, bool)
        flags[: ever[control]] = True
        yield share(
            f"errors: {control}: a bad one ever promoted",
            flags,
            f"≤ {ALPHA:.0%}" if control == "family" else "",
        )
    assert divide(ALPHA, ALPHA, 2, earlier_promotions=1, control="discovery").alpha == e_lond(ALPHA, 2, 1)
