"""Curation of the *training part*: a chain of small pure steps, each counted on the dataset's card.

Calibration and holdout stay raw traffic: they must look like what the student will meet. Every step takes the
columns of all calls and the positions that are left, oldest first, and returns the positions it keeps; nothing
is drawn at random. Ten calls and a million go the same way.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from msgspec import Struct, structs
from numpy.typing import NDArray

from gateway.config.learning import Curation
from gateway.storage.values import TrainingCall
from optimizer.languages import language
from trainer.datasets.columns import Codes, Columns, Rows, Tick, columns_of, newest, sizes
from trainer.datasets.near import clusters
from trainer.datasets.quality import looks, rated
from trainer.datasets.spread import Spread, Work, here

USER_SHARE, KEY_SHARE = 0.02, 0.10
"""The most of a training set that one end user and one key may make up (poisoning needs little more)."""
_LABEL_ROWS = 200
"""An answer with no more rows than this is never thinned out for balance."""
_CLOSED = 0.05
"""Answers are a closed set, and balance means something, while at most this share of the rows differ."""

Valid = Callable[[str], str]
"""What is wrong with the form of an answer, in a word or two; "" when it is what the task asks for."""


class Step(Struct, frozen=True):
    """What one step did. ``in_force`` is False for a step that is not asked for, or for a cap that too few
    principals make meaningless; ``found`` counts what the step looked for (contradictory inputs, clusters over the
    cap, …); ``noted`` counts what else it saw."""

    name: str
    rows_in: int
    rows_out: int
    found: int = 0
    in_force: bool = True
    noted: dict[str, int] = {}


def silent(_: float, __: str) -> None:
    """A tick for whoever does not wait."""


class Chain(Struct, frozen=True):
    """What the steps go by. ``valid``: None when the task asks for no form. ``spread``: where the work is done that
    looks at one text after the other."""

    rules: Curation = Curation()
    valid: Valid | None = None
    tick: Tick = silent
    spread: Spread = here

    def within(self, start: float, end: float) -> Chain:
        """The same, with its progress told as going from ``start`` to ``end``."""
        return structs.replace(self, tick=lambda done, what: self.tick(start + (end - start) * done, what))


def curate(
    calls: Sequence[TrainingCall], chain: Chain | None = None
) -> tuple[list[TrainingCall], list[Step]]:
    """The chain. Contradictions are settled before duplicates go, so that every call has its vote."""
    chain = chain or Chain()
    chain.tick(0.0, "reading what the calls say")
    columns, steps = columns_of(calls), []
    rows: Rows = np.arange(len(calls))
    within = chain.within(0.4, 0.9)
    for step in STEPS:
        rows, report = step(columns, rows, within)
        steps.append(report)
    chain.tick(1.0, "curated")
    return [calls[row] for row in rows], steps


def usable(columns: Columns, rows: Rows, _: Chain) -> tuple[Rows, Step]:
    """Complete answers, in words or in tool calls, to an input that is not empty. Words beside calls are no answer that
    a student could give."""
    kept = rows[columns.usable[rows]]
    called = sum(columns.calls[row].finish_reason == "tool_calls" for row in rows[~columns.usable[rows]])
    return kept, _step("usable_answer", rows, kept, noted={"tool_calls": called})


def well_formed(columns: Columns, rows: Rows, chain: Chain) -> tuple[Rows, Step]:
    """Answers that fit the response schema of the task, and calls whose arguments fit their tool's; an answer is looked
    at once, however often it was given. What was wrong is counted by kind."""
    if chain.valid is None:
        return rows, _step("schema", rows, rows, in_force=False)
    found = _judged(columns, rows, chain, Faults(chain.valid))[columns.answer[rows]]
    kept = rows[found == ""]
    return kept, _step("schema", rows, kept, noted=dict(Counter(found[found != ""].tolist())))


def spoken(columns: Columns, rows: Rows, chain: Chain) -> tuple[Rows, Step]:
    """Inputs in a language the task names. One that cannot be told stays and is counted."""
    if not chain.rules.languages:
        return rows, _step("language", rows, rows, in_force=False)
    wanted = ["", *chain.rules.languages]
    texts = [columns.calls[row].text for row in rows]
    spoken = chain.spread(languages_of, texts, lambda done: chain.tick(0.0, "telling languages"))
    kept = rows[np.isin(spoken, wanted)]
    return kept, _step("language", rows, kept, noted={"cannot be told": int((spoken == "").sum())})


def good(columns: Columns, rows: Rows, chain: Chain) -> tuple[Rows, Step]:
    """Answers worth at least ``least_quality`` of ten. One that nobody rated stays and is counted."""
    form = _judged(columns, rows, chain, looks_of)[columns.answer[rows]]
    said = np.fromiter(
        (math.inf if (score := rated(columns.calls[row])) is None else score for row in rows), dtype=float
    )
    kept = rows[np.minimum(form, said) >= chain.rules.least_quality]
    return kept, _step("quality", rows, kept, noted={"unrated": int(np.isinf(said).sum())})


def agreed(columns: Columns, rows: Rows, chain: Chain) -> tuple[Rows, Step]:
    """Of equal inputs (case and spacing aside) the most frequent answer stands, the newest at a tie; or none, with
    ``contradictions: drop``. Numbers count here, unlike in the split's groups: two amounts may well deserve two
    answers."""
    same, answer = columns.same[rows], columns.answer[rows]
    order = np.lexsort((answer, same))
    new = _starts(same[order], answer[order])
    first = np.flatnonzero(
        new
    )  # one for each (input, answer); lexsort is stable, so its last row is its newest
    votes = np.diff(np.r_[first, len(rows)])
    last = order[np.r_[first[1:], len(rows)] - 1] if len(rows) else first
    best = np.lexsort((last, votes, same[last]))
    wins = best[np.r_[_starts(same[last[best]])[1:], True]] if len(rows) else best
    stands = np.zeros(len(first), dtype=bool)
    stands[wins] = True
    rivals = np.bincount(same[last], minlength=1)
    if chain.rules.contradictions == "drop":
        stands &= rivals[same[last]] == 1
    keep = np.empty(len(rows), dtype=bool)
    keep[order] = np.repeat(stands, votes)
    return rows[keep], _step("contradictions", rows, rows[keep], found=int((rivals > 1).sum()))


def distinct(columns: Columns, rows: Rows, _: Chain) -> tuple[Rows, Step]:
    """One row for each text; the newest stays."""
    kept = rows[newest(columns.text[rows], 1)]
    return kept, _step("exact_duplicates", rows, kept)


def clusters_capped(columns: Columns, rows: Rows, chain: Chain) -> tuple[Rows, Step]:
    """At most ``cluster_cap`` rows, the newest, of near-identical inputs, however many send them."""
    found = clusters([columns.calls[row].text for row in rows], chain.tick, chain.spread)
    return _capped("near_duplicates", rows, found, chain.rules.cluster_cap)


def users_capped(columns: Columns, rows: Rows, _: Chain) -> tuple[Rows, Step]:
    return _share_capped("end_user_cap", rows, columns.user[rows], USER_SHARE)


def keys_capped(columns: Columns, rows: Rows, _: Chain) -> tuple[Rows, Step]:
    return _share_capped("key_cap", rows, columns.key[rows], KEY_SHARE)


def balanced(columns: Columns, rows: Rows, chain: Chain) -> tuple[Rows, Step]:
    """No answer of a closed set has more than ``balance`` times the rows of the median answer; the newest stay."""
    answers = columns.answer[rows]
    counts = np.bincount(answers)[np.unique(answers)] if len(rows) else np.empty(0, dtype=int)
    if chain.rules.balance is None or not 2 <= len(counts) <= _CLOSED * len(rows):
        return rows, _step("balance", rows, rows, in_force=False)
    cap = max(_LABEL_ROWS, math.floor(chain.rules.balance * float(np.median(counts))))
    return _capped("balance", rows, answers, cap)


STEPS: tuple[Callable[[Columns, Rows, Chain], tuple[Rows, Step]], ...] = (
    usable, well_formed, spoken, good, agreed, distinct, clusters_capped, users_capped, keys_capped, balanced,
)  # fmt: skip


def enough(principals: int, share: float) -> bool:
    """Whether a cap at ``share`` means something: twice as many principals as would fill the whole."""
    return principals >= 2 / share


def _share_capped(name: str, rows: Rows, principal: Codes, share: float) -> tuple[Rows, Step]:
    if not enough(len(np.unique(principal)), share):
        return rows, _step(name, rows, rows, in_force=False)
    return _capped(name, rows, principal, max(1, math.floor(share * len(rows))))


def _capped(name: str, rows: Rows, codes: Codes, cap: int) -> tuple[Rows, Step]:
    """The newest ``cap`` rows of each code."""
    kept = rows[newest(codes, cap)]
    return kept, _step(name, rows, kept, found=len(np.unique(codes[sizes(codes) > cap])))


def _judged(columns: Columns, rows: Rows, chain: Chain, judge: Work) -> NDArray[Any]:
    """``judge`` of each distinct answer that is left, by its code."""
    codes = np.unique(columns.answer[rows])
    answers = [columns.answers[code] for code in codes]
    told = chain.spread(judge, answers, lambda done: chain.tick(0.0, "looking at answers"))
    said = np.zeros(len(columns.answers), dtype=told.dtype)
    said[codes] = told
    return said


# ---------------------------------------------------------------- what looks at one text after the other
class Faults(Struct, frozen=True):
    """What is wrong with the form of answers, in a word or two each; "" when nothing is."""

    valid: Valid

    def __call__(self, answers: Sequence[str]) -> NDArray[np.str_]:
        return np.array([self.valid(answer) for answer in answers], dtype="U32")


def looks_of(answers: Sequence[str]) -> NDArray[np.float64]:
    return np.fromiter(map(looks, answers), dtype=float, count=len(answers))


def languages_of(texts: Sequence[str]) -> NDArray[np.str_]:
    return np.array([language(text) for text in texts], dtype="U2")


def _starts(*codes: Codes) -> NDArray[np.bool_]:
    """Where a run of equal (tuples of) codes begins."""
    if not len(codes[0]):
        return np.empty(0, dtype=bool)
    changes = np.any([one[1:] != one[:-1] for one in codes], axis=0)
    return np.concatenate(([True], changes))


def _step(
    name: str,
    rows: Rows,
    kept: Rows,
    *,
    found: int | None = None,
    in_force: bool = True,
    noted: dict[str, int] | None = None,
) -> Step:
    dropped = len(rows) - len(kept)
    return Step(name, len(rows), len(kept), dropped if found is None else found, in_force, noted or {})
