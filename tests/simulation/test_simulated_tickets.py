from __future__ import annotations

import random
from collections import Counter

import pytest

from benchmarks.simulation.labelling import DRIFTED, LABELS, label, scores
from benchmarks.simulation.phrases import SENTENCES, SHARES
from benchmarks.simulation.prompt import SYSTEM
from benchmarks.simulation.tickets import ticket, tickets

SEED = 11


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [ticket(SEED, number).text for number in range(6000)]


@pytest.fixture(scope="module")
def labels(texts: list[str]) -> list[str]:
    noise = random.Random(1)
    return [label(text, noise) for text in texts]


def test_the_same_seed_and_number_make_the_same_ticket() -> None:
    stream = tickets(SEED, start=40)
    assert [next(stream) for _ in range(5)] == [ticket(SEED, number) for number in range(40, 45)]
    assert ticket(SEED, 1) != ticket(SEED + 1, 1)


def test_tickets_are_practically_all_different_and_of_all_lengths(texts: list[str]) -> None:
    assert len(set(texts)) / len(texts) > 0.985
    lengths = sorted(len(text) for text in texts)
    assert lengths[len(lengths) // 10] < 60
    assert lengths[-len(lengths) // 10] > 200
    assert all(text.strip() and "{" not in text and "[" not in text for text in texts)


def test_some_tickets_hold_personal_data_and_some_hold_two_issues(texts: list[str]) -> None:
    assert 0.15 < sum("@" in text for text in texts) / len(texts) < 0.6
    several = sum(len(ticket(SEED, number).issues) > 1 for number in range(2000)) / 2000
    assert 0.05 < several < 0.2


def test_labels_grammar_and_guide_speak_of_the_same_labels() -> None:
    assert set(SHARES) == set(SENTENCES) == set(LABELS)
    assert all(f"\n{name}: " in SYSTEM for name in LABELS)
    assert 250 <= len(SYSTEM) / 4 <= 450


def test_labels_are_skewed_and_all_used(labels: list[str]) -> None:
    counts = Counter(labels)
    assert set(counts) == set(LABELS)
    assert counts.most_common(1)[0][1] < 0.2 * len(labels)
    assert min(counts.values()) < 0.04 * len(labels)


def test_asking_twice_disagrees_a_little(texts: list[str], labels: list[str]) -> None:
    again = random.Random(2)
    differs = sum(label(text, again) != before for text, before in zip(texts, labels, strict=True))
    assert 0.003 < differs / len(texts) < 0.03


def test_the_drift_touches_a_fifth_of_the_tickets_and_keeps_to_the_guide(texts: list[str]) -> None:
    before = [label(text, random.Random(3)) for text in texts]
    after = [label(text, random.Random(3), "drifted") for text in texts]
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert 0.17 < len(changed) / len(texts) < 0.25
    assert all(DRIFTED[old] == new for old, new in changed)
    assert set(after) <= set(LABELS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I am not asking for a refund. The app crashes when I open a report.", "bug.crash"),
        ("I want a refund of $50 and my lawyer will contact you.", "escalation.legal"),
        ("I don't want the subscription to renew.", "billing.cancellation"),
        ("Pleaes cacnel my subscripiton.", "billing.cancellation"),
        ("I want to cancel my subscription, and a refund for May.", "billing.cancellation"),
        ("Last time I got a refund very quickly. My parcel has not arrived.", "shipping.delay"),
        ("Someone logged in to my account from an unknown device.", "security.report"),
    ],
)
def test_context_decides(text: str, expected: str) -> None:
    found = scores(text)
    assert LABELS[found.index(max(found))] == expected


def test_a_linear_student_learns_the_task_but_not_perfectly(texts: list[str], labels: list[str]) -> None:
    """Trained on 1,500 labelled tickets it must be good enough for a cascade and not for all calls."""
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_union

    features = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2),
        TfidfVectorizer(
            analyzer="char_wb", ngram_range=(3, 4), sublinear_tf=True, min_df=3, max_features=15_000
        ),
    )
    model = LogisticRegression(C=20, max_iter=150).fit(features.fit_transform(texts[:1500]), labels[:1500])
    chances = model.predict_proba(features.transform(texts[3000:]))
    right = model.classes_[chances.argmax(axis=1)] == np.array(labels[3000:])
    by_confidence = right[np.argsort(-chances.max(axis=1))]
    assert 0.88 < right.mean() < 0.975
    assert by_confidence[: int(0.75 * len(right))].mean() >= 0.965
