"""The extractor: JSON answers made of spans and labels, byte for byte in the teacher's style."""

from __future__ import annotations

import json
import random

import pytest

from trainer.artifacts.artifact import ArtifactRefused, load
from trainer.artifacts.predictor import answer
from trainer.artifacts.registry import as_trained, store
from trainer.features.layout import learn_layout
from trainer.features.values import NoLayout
from trainer.recipes import CannotLearn, Example, train_first

NAMES = ["Anna Berg", "Jonas Ito", "Mei Khan", "Luca Rossi", "Olga Novak"]
CITIES = ["Oslo", "Graz", "Riga", "Cork", "Lyon"]
THINGS = ["lamp", "mug", "desk chair", "kettle", "rain jacket"]


def ticket(rng: random.Random, style: tuple[str, str]) -> tuple[str, str]:
    wants = rng.choice(["refund", "repair"])
    items = rng.sample(THINGS, rng.choice([1, 2]))
    order = f"#{rng.randrange(1000, 99999)}" if rng.random() < 0.7 else None
    city, name = rng.choice(CITIES), rng.choice(NAMES)
    text = f"Please {wants} the {' and the '.join(items)}. {f'Order {order}. ' if order else ''}I live in {city}. Yours, {name}"
    value = {
        "name": name,
        "intent": wants,
        "order": order,
        "city": city.upper(),
        "items": items,
        "paid": wants == "refund",
    }
    return text, json.dumps(value, separators=style)


def tickets(count: int, seed: int, style: tuple[str, str] = (", ", ": ")) -> list[tuple[str, str]]:
    rng = random.Random(seed)
    return [ticket(rng, style) for _ in range(count)]


def learn(pairs, wanted="auto", folds=True):
    rows = [Example(text, said, 9, 1.0, n % 5 if folds else None) for n, (text, said) in enumerate(pairs)]
    return train_first(wanted, rows, seed=1, tick=lambda *_: None)


@pytest.fixture(scope="module")
def trained():
    return learn(tickets(150, 1))


@pytest.mark.parametrize("style", [(", ", ": "), (",", ":")])
def test_it_writes_the_teachers_json_byte_for_byte(style) -> None:
    name, made = learn(tickets(150, 1, style), folds=False)
    assert name == "extractor" and made.crossfit == ()
    fresh = tickets(100, 2, style)
    said = [ranked[0][0] for ranked in answer(made.parameters, (), [text for text, _ in fresh])]
    assert sum(given == wanted for given, (_, wanted) in zip(said, fresh, strict=True)) >= 92


def test_the_stored_student_says_the_same_and_keeps_its_evidence(trained, tmp_path) -> None:
    name, made = trained
    again = as_trained(store(tmp_path / "s-v1", name, made, "d" * 64, 1))
    texts = [text for text, _ in tickets(20, 3)] + ["", "完全に別の話", "x " * 3000]
    assert answer(again.parameters, (), texts) == answer(made.parameters, (), texts)
    assert again.crossfit == made.crossfit and len(made.crossfit) == 150
    assert sum(verdict == -1 for _, verdict in made.crossfit) > 140


def test_equal_examples_make_an_equal_artifact(tmp_path) -> None:
    made = [learn(tickets(60, 1), wanted=["extractor"], folds=False) for _ in range(2)]
    digests = {store(tmp_path / str(n) / "s-v1", *one, "d" * 64, 1).digest for n, one in enumerate(made)}
    assert len(digests) == 1


def test_it_is_sure_of_what_it_knows_and_not_of_the_rest(trained) -> None:
    """Its confidence is a probability: what was never seen to be wrong is nearly one, what is far from it is not."""
    _, made = trained
    known = [ranked[0][1] for ranked in answer(made.parameters, (), [text for text, _ in tickets(50, 4)])]
    asked = "my invoice of Tuesday has the wrong address in it, says Bob"
    (_, strange), *_ = answer(made.parameters, (), [asked])[0]
    assert 0.97 < sorted(known)[10] <= 1
    assert strange < 0.8


def test_a_list_of_entities_with_their_types() -> None:
    def row(rng: random.Random) -> tuple[str, str]:
        name, city = rng.choice(NAMES), rng.choice(CITIES)
        text = rng.choice(
            [f"{name} lives in {city} now", f"nothing to see in {city}", "nothing at all here", f"ask {name}"]
        )
        found = [
            {"type": kind, "value": one} for kind, one in (("person", name), ("place", city)) if one in text
        ]
        return text, json.dumps(found)

    rng = random.Random(5)
    name, made = learn([row(rng) for _ in range(150)], wanted=["extractor"], folds=False)
    assert name == "extractor"
    said = answer(made.parameters, (), ["Mei Khan lives in Riga now", "nothing at all here"])
    assert [ranked[0][0] for ranked in said] == [
        '[{"type": "person", "value": "Mei Khan"}, {"type": "place", "value": "Riga"}]',
        "[]",
    ]


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        (["plain words"] * 60, "not JSON objects or lists"),
        ([json.dumps({"a": {"b": n}}) for n in range(60)], "nested"),
        ([json.dumps({"summary": f"nobody said {n}"}) for n in range(60)], "neither in the input nor"),
        ([json.dumps({"a": n}, indent=n % 5 or None) for n in range(60)], "one style"),
        ([json.dumps({f"k{n}": 1}) for n in range(60)], "same keys"),
    ],
)
def test_it_says_which_answers_it_cannot_write(answers, reason) -> None:
    with pytest.raises(NoLayout, match=reason):
        learn_layout([(f"text {n}", one) for n, one in enumerate(answers)])


def test_a_task_without_json_is_refused_by_the_whole_ladder() -> None:
    with pytest.raises(CannotLearn, match=r"classifier: .*extractor: "):
        learn([(f"question {n}", f"free words {7 * n + 300}") for n in range(80)])


def test_a_layout_that_was_tampered_with_is_refused(trained, tmp_path) -> None:
    folder = tmp_path / "s-v1"
    store(folder, *trained, "d" * 64, 1)
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"absent":"null"', '"absent":"nul"'))
    with pytest.raises(ArtifactRefused, match="layout"):
        load(folder)


def test_rare_spans_are_found_not_rounded_to_nothing() -> None:
    """Most texts hold no name, so "nothing" is nearly always right: a fit that stops early never finds any."""
    rng = random.Random(3)
    words = ["we", "saw", "the", "red", "boat", "near", "a", "quiet", "shop", "on", "some", "long", "dry", "road"]

    def line() -> tuple[str, str]:
        said = rng.sample(words, 8)
        if rng.random() < 0.15:
            name = rng.choice(NAMES)
            at = rng.randrange(9)
            return " ".join([*said[:at], name, *said[at:]]), json.dumps([name])
        return " ".join(said), "[]"

    _, made = learn([line() for _ in range(400)], wanted=["extractor"], folds=False)
    fresh = [line() for _ in range(200)]
    said = [ranked[0][0] for ranked in answer(made.parameters, (), [text for text, _ in fresh])]
    found = [given == wanted for given, (_, wanted) in zip(said, fresh, strict=True) if wanted != "[]"]
    assert sum(found) / len(found) > 0.9


def test_several_closed_fields_make_one_object() -> None:
    """A fixed schema of labels needs no spans at all; combinations nobody has seen together are answered too."""
    rng = random.Random(5)
    moods, topics = {"angry": "terrible", "happy": "great"}, {"food": "soup", "room": "bed", "staff": "waiter"}

    def row(mood: str, topic: str) -> tuple[str, str]:
        value = {"mood": mood, "topic": topic, "urgent": mood == "angry"}
        return f"the {topics[topic]} was {moods[mood]} {rng.randrange(999)}", json.dumps(value)

    unseen = ("happy", "staff")
    pairs = [(m, t) for m in moods for t in topics if (m, t) != unseen]
    _, made = learn([row(*rng.choice(pairs)) for _ in range(200)], wanted=["extractor"], folds=False)
    text, wanted = row(*unseen)
    (said, sure), *_ = answer(made.parameters, (), [text])[0]
    assert said == wanted
    assert 0 < sure < 1
