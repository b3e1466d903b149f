"""A fresh student's examination on calls it never trained on: calibration chooses its threshold, the holdout
checks it. Pure but for the clock."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from optimizer.cascade import FINE, Calibration, calibrate
from optimizer.certificate import Rival, Screening
from optimizer.gates import Terms
from optimizer.scorers import Comparison, agrees
from optimizer.stats.intervals import clopper_pearson
from trainer.artifacts.predictor import answer
from trainer.datasets.versions import Row, Version
from trainer.recipes import SAME, TAUGHT, Trained
from trainer.training.generative import Generative

_TIMED_CALLS, _TIMED_GENERATIONS = 200, 20
_LABELS_SHOWN = 50
MIN_ANSWERED = 100
PROVISIONAL_ANSWERED = 50


class Exam(Struct, frozen=True):
    """``evidence`` is what the screening certificate holds; ``metrics`` is what people see."""

    evidence: Screening
    calibration: Calibration
    metrics: dict[str, Any]


class _Mark(Struct, frozen=True):
    row: Row
    confidence: float
    agree: bool


def examine(
    trained: Trained, version: Version, *, terms: Terms, comparison: Comparison, provisional: bool = False,
    rivals: Sequence[Rival] = (),
) -> Exam:  # fmt: skip
    """Answers the raw calibration and holdout calls and compares with the teacher. A cross-fitted student's
    calibration calls are those of its training part, each answered by a model that never saw its fold.
    ``provisional``: a threshold that cannot be certified yet is allowed. ``rivals``: the round's other candidates, for
    the certificate."""
    calibration = calibration_calls(trained, version, comparison)
    holdout = _mark(trained, version.part("holdout"), comparison)
    evidence = Screening(
        calibration=calibration,
        holdout=tuple((mark.confidence, mark.agree) for mark in holdout),
        min_answered=MIN_ANSWERED,
        provisional=PROVISIONAL_ANSWERED if provisional else UNSET,
        fine=FINE,
        rivals=tuple(rivals) or UNSET,
    )
    chosen = chosen_threshold(calibration, terms, provisional)
    metrics = {
        "calibration": msgspec.to_builtins(chosen),
        "holdout": _holdout(holdout, chosen.threshold),
        "labels": _by_label(holdout, chosen.threshold),
        "latency_ms": _latency(trained, [mark.row.text for mark in holdout[: _timed(trained)]]),
        "training": trained.numbers,
    }
    return Exam(evidence=evidence, calibration=chosen, metrics=metrics)


def calibration_calls(
    trained: Trained, version: Version, comparison: Comparison
) -> tuple[tuple[float, bool], ...]:
    """(confidence, agreed) of each call that may choose the student's threshold."""
    if trained.crossfit:
        marks = _crossfitted(trained, version.part("train"), comparison)
    else:
        marks = _mark(trained, version.part("calibration"), comparison)
    return tuple((mark.confidence, mark.agree) for mark in marks)


def chosen_threshold(calls: Sequence[tuple[float, bool]], terms: Terms, provisional: bool) -> Calibration:
    """As the certificate will derive it again."""
    return calibrate(
        calls, target=terms.target, delta=terms.delta, min_answered=MIN_ANSWERED,
        provisional=PROVISIONAL_ANSWERED if provisional else None,
    )  # fmt: skip


def _crossfitted(
    trained: Trained, rows: Sequence[Row], comparison: Comparison
) -> list[_Mark]:
    return [
        _Mark(
            row=row,
            confidence=confidence,
            agree=not row.disputed
            and (column == SAME if column < 0 else agrees(comparison, trained.answers[column], row.answer)),
        )
        for row, (confidence, column) in zip(rows, trained.crossfit, strict=True)
        if row.calibrates and column != TAUGHT
    ]


def _mark(trained: Trained, rows: Sequence[Row], comparison: Comparison) -> list[_Mark]:
    if not rows:
        return []
    ranked = answer(trained.parameters, trained.answers, [row.text for row in rows])
    return [
        _Mark(row=row, confidence=min(1.0, sure), agree=not row.disputed and agrees(comparison, said, row.answer))
        for row, ((said, sure), *_) in zip(rows, ranked, strict=True)
    ]


def _answered(marks: Sequence[_Mark], threshold: float | None) -> list[_Mark]:
    return [mark for mark in marks if threshold is not None and mark.confidence >= threshold]


def _holdout(marks: Sequence[_Mark], threshold: float | None) -> dict[str, Any]:
    """Agreement on answered calls with its 95 % interval, and the share of calls answered (coverage)."""
    answered = _answered(marks, threshold)
    agreed = sum(mark.agree for mark in answered)
    low, high = clopper_pearson(agreed, len(answered), 0.95)
    return {
        "n": len(marks),
        "answered": len(answered),
        "agreed": agreed,
        "coverage": len(answered) / len(marks) if marks else 0.0,
        "agreement": agreed / len(answered) if answered else None,
        "agreement_low": low,
        "agreement_high": high,
        "agreement_unfiltered": sum(mark.agree for mark in marks) / len(marks) if marks else None,
    }


def _by_label(marks: Sequence[_Mark], threshold: float | None) -> list[dict[str, Any]]:
    """One line for each of the teacher's most frequent answers on the holdout."""
    lines: dict[str, list[_Mark]] = defaultdict(list)
    for mark in marks:
        lines[mark.row.answer].append(mark)
    ordered = sorted(lines.items(), key=lambda line: (-len(line[1]), line[0]))[:_LABELS_SHOWN]
    return [
        {
            "answer": answer,
            "n": len(group),
            "answered": len(_answered(group, threshold)),
            "agreed": sum(mark.agree for mark in _answered(group, threshold)),
        }
        for answer, group in ordered
    ]


def _timed(trained: Trained) -> int:
    return _TIMED_GENERATIONS if isinstance(trained.parameters, Generative) else _TIMED_CALLS


def _latency(trained: Trained, texts: Sequence[str]) -> dict[str, float]:
    """Milliseconds of single calls in this process: the model's own time, without the wire."""
    took: list[float] = []
    for text in texts:
        started = time.perf_counter()
        answer(trained.parameters, trained.answers, [text])
        took.append((time.perf_counter() - started) * 1000.0)
    if not took:
        return {}
    took.sort()
    return {"n": float(len(took)), "p50": took[len(took) // 2], "p95": took[int(len(took) * 0.95)]}
