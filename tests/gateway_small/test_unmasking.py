"""Placeholders come back however a model spells them: plainly, under JSON's escapes, or as Markdown."""

from __future__ import annotations

import json
import random
import time

import pytest

from gateway.texts.unmasking import Bare, Unmasker, put_back, unmask

VALUES = {"[EMAIL_1]": 'jane "j" <j@example.org>', "[CARD_1]": "4111", "[CARD_NUMBER_1]": Bare("4111")}


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (r"to \u005bCARD_1\u005d now", "to 4111 now"),
        (r"to [CARD\u005f1] now", "to 4111 now"),
        (r"to \u005B\u0043ARD_1] now", "to 4111 now"),
        (r"to \\u005bCARD_1\\u005d now", "to 4111 now"),
        (r"to \[CARD\_1\] now", "to 4111 now"),
        (r"to [CARD\_1] now", "to 4111 now"),
        (r"a \\[CARD_1] path", r"a \\4111 path"),
        (r"\u005bOTHER_1\u005d", r"\u005bOTHER_1\u005d"),
        (r"\u005b CARD_1 \u005d", r"\u005b CARD_1 \u005d"),
    ],
)
def test_spellings(said: str, meant: str) -> None:
    assert unmask(said, VALUES) == meant
    pieces, at = [], 0
    for start, end, value in put_back(said, VALUES):
        pieces += [said[at:start], value]
        at = end
    assert "".join((*pieces, said[at:])) == meant


def test_json_stays_json_at_every_depth() -> None:
    assert json.loads(unmask(r'{"to": "\u005bEMAIL_1\u005d"}', VALUES, in_json=True)) == {"to": VALUES["[EMAIL_1]"]}
    assert json.loads(unmask(r'{"n": "\u005bCARD_NUMBER_1\u005d"}', VALUES, in_json=True)) == {"n": 4111}
    inner = json.dumps({"to": "[EMAIL_1]"}).replace("[", r"\u005b")
    outer = json.dumps({"body": inner})
    said = json.loads(unmask(outer, VALUES, in_json=True))
    assert json.loads(said["body"]) == {"to": VALUES["[EMAIL_1]"]}


@pytest.mark.parametrize("seed", range(30))
def test_however_a_stream_is_cut_it_says_the_same(seed: int) -> None:
    rng = random.Random(seed)
    bits = [*VALUES, '"[CARD_NUMBER_1]"', r"\[CARD\_1\]", "\\", '"', "\\u00", "[", "[CARD", "plain ", r"\n", "]"]

    def spelt(name: str) -> str:
        return "".join(f"\\u{ord(one):04x}" if rng.random() < 0.3 else one for one in name)

    for _ in range(40):
        said = "".join(spelt(one) if one[0] in '["' else one for one in rng.choices(bits, k=6))
        cuts = sorted(rng.choices(range(len(said) + 1), k=rng.randrange(1, 9)))
        in_json = rng.random() < 0.5
        stream = Unmasker(VALUES, in_json=in_json)
        ends = zip([0, *cuts], [*cuts, len(said)], strict=True)
        got = "".join([stream.feed(said[a:b]) for a, b in ends]) + stream.finish()
        assert got == unmask(said, VALUES, in_json=in_json), said


def test_no_more_is_held_than_may_become_one() -> None:
    stream = Unmasker(VALUES)
    assert stream.feed("a line\\") == "a line"
    assert stream.feed("n and ") == "\\n and "
    assert stream.feed("\\u005bCAR") == ""
    assert stream.feed("PET") == "\\u005bCARPET"


def test_many_of_them_take_linear_time() -> None:
    values = {f"[EMAIL_{number}]": f"{number}@example.org" for number in range(2000)}
    short, long = (r"\u005bEMAIL_7] [EMAIL_8] \[EMAIL\_9\] " * times for times in (200, 3200))
    took = []
    for text in (short, long):
        began = time.process_time()
        assert "[EMAIL" not in unmask(text, values).replace("\\", "")
        took.append(time.process_time() - began)
    assert took[1] < 100 * took[0] + 0.5
