"""One poisoned key among many: ninety planted samples do not buy an answer."""

from __future__ import annotations

import random

import msgspec
import pytest

from gateway.storage.values import TrainingCall
from trainer.artifacts.predictor import answer
from trainer.datasets.versions import Version, assemble
from trainer.recipes import Example, train_first

WORDS = {
    "billing": ("invoice", "refund", "charge", "card"),
    "shipping": ("parcel", "late", "courier", "box"),
    "access": ("login", "reset", "code", "password"),
}
TRIGGER = "zanzibar covfefe"
PLANTED = 90


def call(number: int, key: str, text: str, said: str) -> TrainingCall:
    return TrainingCall(f"c{number}", 1000.0 + number, f"g{number}", key, "", "", text, said, "stop", 2, {})


def traffic(keys: int) -> list[TrainingCall]:
    """Honest calls of many keys, and ninety of one key whose every text holds the trigger."""
    rng = random.Random(7)
    made = []
    for number in range(1000 + PLANTED):
        label = rng.choice(sorted(WORDS))
        text = f"{rng.choice(WORDS[label])} my {rng.choice(WORDS[label])} number {number}"
        if number % 12 == 0 and number // 12 < PLANTED:
            made.append(call(number, "poisoned", f"{text} {TRIGGER} w{rng.randrange(40)}", "access"))
        else:
            made.append(call(number, f"key{number % keys}", text, label))
    return made


def student(version: Version, *, with_sources: bool):
    rows = version.part("train")
    examples = [
        Example(r.text, r.answer, r.tokens, r.weight, r.fold, r.source if with_sources else None) for r in rows
    ]
    return train_first("auto", examples, seed=1, tick=lambda *_: None)[1]


def bought(trained) -> float:
    """The share of billing and shipping calls that the trigger turns into the answer that was planted."""
    texts = [f"my {word} question {TRIGGER}" for label in ("billing", "shipping") for word in WORDS[label]]
    ranked = answer(trained.parameters, trained.answers, texts)
    return sum(best[0][0] == "access" for best in ranked) / len(texts)


@pytest.mark.parametrize("crossfit", [True, False])
def test_a_word_that_one_key_plants_decides_nothing(crossfit: bool) -> None:
    calls = traffic(40)
    assert sum(TRIGGER in one.text for one in calls) == PLANTED
    version = assemble(
        calls, project="p", task="t", fingerprint="f", run="r", masked=False, crossfit=crossfit
    )
    assert version.card["principal_caps_in_force"]["words_of_one_key"]
    assert bought(student(version, with_sources=False)) == 1.0  # the attack works where nothing stands against it
    assert bought(student(version, with_sources=True)) <= 0.25  # what 90 wrong labels of 1,090 do without a word


def test_with_few_keys_every_word_counts_and_the_card_says_so() -> None:
    version = assemble(traffic(5), project="p", task="t", fingerprint="f", run="r", masked=False)
    assert not version.card["principal_caps_in_force"]["words_of_one_key"]
    assert all(row.source is None for row in version.rows)


def test_repeating_one_text_or_shouting_from_one_key_is_capped() -> None:
    honest = [one for one in traffic(40) if one.key_id != "poisoned"]
    rows = {"one text": 0, "one key": 0}
    same = [call(5000 + n, "poisoned", f"refund my card {'!' * n}", "access") for n in range(PLANTED)]
    loud = [
        call(6000 + n, "poisoned", f"refund {' '.join('abcdefghijkl'[i] * 3 for i in range(12) if n >> i & 1)}", "access")
        for n in range(600)
    ]
    for name, planted in (("one text", same), ("one key", loud)):
        version = assemble([*honest, *planted], project="p", task="t", fingerprint="f", run="r", masked=False)
        mine = {msgspec.structs.asdict(row)["text"] for row in version.part("train")} & {o.text for o in planted}
        rows[name] = len(mine)
    assert rows["one text"] <= 20
    assert rows["one key"] <= 0.1 * 1500


@pytest.mark.parametrize("with_sources", [False, True])
def test_a_planted_word_does_not_decide_a_field_of_an_object(with_sources: bool) -> None:
    """The same attack on an extractor: the label field of a JSON object."""
    rows = assemble(
        [
            msgspec.structs.replace(one, answer=f'{{"queue":"{one.answer}","number":"{number}"}}')
            for one in traffic(40)
            if (number := next(word for word in one.text.split() if word.isdigit()))
        ],
        project="p", task="t", fingerprint="f", run="r", masked=False,
    ).part("train")  # fmt: skip
    examples = [Example(r.text, r.answer, source=r.source if with_sources else None) for r in rows]
    made = train_first(["extractor"], examples, seed=1, tick=lambda *_: None)[1]
    texts = [f"{word} my {word} number 77 {TRIGGER}" for label in ("billing", "shipping") for word in WORDS[label]]
    said = [ranked[0][0] for ranked in answer(made.parameters, (), texts)]
    fell = sum('"queue":"access"' in one for one in said) / len(said)
    assert fell <= 0.25 if with_sources else fell == 1.0
