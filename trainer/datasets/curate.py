"""Curation of the *training part*: a chain of small pure steps, each counted on the dataset's card.

Calibration and holdout stay raw traffic: they must look like what the student will meet. Every step takes and
returns calls oldest first and is deterministic.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Sequence

from msgspec import Struct

from gateway.storage.values import TrainingCall

Calls = list[TrainingCall]

LEAST_FEEDBACK = 8.0
"""Out of ten. A call without feedback stays."""
CLUSTER_CAP = 20
"""Rows of one cluster of near-identical inputs, however often it was sent."""
USER_SHARE, KEY_SHARE = 0.02, 0.10
"""The most of a training set that one end user and one key may make up (poisoning needs little more)."""
_WORD = re.compile(r"[^\W\d_]+")


class Step(Struct, frozen=True):
    """What one step did. ``in_force`` is False for a cap that too few principals make meaningless; ``found``
    counts what the step looked for (contradictory inputs, clusters over the cap, …)."""

    name: str
    rows_in: int
    rows_out: int
    found: int = 0
    in_force: bool = True


def curate(calls: Sequence[TrainingCall]) -> tuple[Calls, list[Step]]:
    """The chain. Contradictions are settled before duplicates go, so that every call has its vote."""
    kept, steps = list(calls), []
    for step in (usable, well_received, agreed, distinct, clusters_capped, users_capped, keys_capped):
        kept, report = step(kept)
        steps.append(report)
    return kept, steps


def usable(calls: Calls) -> tuple[Calls, Step]:
    """Complete answers: finish_reason ``stop`` and not empty, to an input that is not empty."""
    kept = [
        call for call in calls if call.finish_reason == "stop" and call.answer.strip() and call.text.strip()
    ]
    return kept, Step("usable_answer", len(calls), len(kept), found=len(calls) - len(kept))


def well_received(calls: Calls) -> tuple[Calls, Step]:
    """Drops answers whose feedback is below 8 of 10."""
    kept = [call for call in calls if (score := feedback(call)) is None or score >= LEAST_FEEDBACK]
    return kept, Step("feedback", len(calls), len(kept), found=len(calls) - len(kept))


def feedback(call: TrainingCall) -> float | None:
    """``feedback.score`` of the call's metadata on a scale of ten: values in [0, 1] are shares, values up
    to 10 are taken as they are. None when there is none or it is not such a number."""
    try:
        score = float(call.metadata.get("feedback.score", ""))
    except ValueError:
        return None
    if not math.isfinite(score) or not 0 <= score <= 10:
        return None
    return score * 10 if score <= 1 else score


def agreed(calls: Calls) -> tuple[Calls, Step]:
    """Of equal inputs (case and spacing aside) the most frequent answer stands, the newest at a tie. Numbers
    count here, unlike in the split's groups: two amounts may well deserve two answers."""
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    newest: dict[tuple[str, str], int] = {}
    inputs = [" ".join(call.text.casefold().split()) for call in calls]
    for position, (same, call) in enumerate(zip(inputs, calls, strict=True)):
        votes[same][call.answer] += 1
        newest[same, call.answer] = position
    winner: dict[str, str] = {}
    for same, counts in votes.items():
        winner[same] = max((count, newest[same, answer], answer) for answer, count in counts.items())[2]
    kept = [call for same, call in zip(inputs, calls, strict=True) if call.answer == winner[same]]
    contradictory = sum(len(counts) > 1 for counts in votes.values())
    return kept, Step("contradictions", len(calls), len(kept), found=contradictory)


def distinct(calls: Calls) -> tuple[Calls, Step]:
    """One row for each text; the newest stays."""
    newest = {call.text: position for position, call in enumerate(calls)}
    kept = [call for position, call in enumerate(calls) if newest[call.text] == position]
    return kept, Step("exact_duplicates", len(calls), len(kept), found=len(calls) - len(kept))


def clusters_capped(calls: Calls) -> tuple[Calls, Step]:
    """At most ``CLUSTER_CAP`` rows, the newest, of inputs that have the same words in any order."""
    kept, over = _capped(calls, _bag_of_words, CLUSTER_CAP)
    return kept, Step("near_duplicates", len(calls), len(kept), found=over)


def users_capped(calls: Calls) -> tuple[Calls, Step]:
    return _share_capped("end_user_cap", calls, lambda call: (call.key_id, call.end_user), USER_SHARE)


def keys_capped(calls: Calls) -> tuple[Calls, Step]:
    return _share_capped("key_cap", calls, lambda call: call.key_id, KEY_SHARE)


def _bag_of_words(call: TrainingCall) -> Hashable:
    return frozenset(Counter(_WORD.findall(call.text.casefold())).items()) or call.text


def enough(principals: Collection[Hashable], share: float) -> bool:
    """Whether a cap at ``share`` means something: twice as many principals as would fill the whole."""
    return len(principals) >= 2 / share


def _share_capped(
    name: str, calls: Calls, principal: Callable[[TrainingCall], Hashable], share: float
) -> tuple[Calls, Step]:
    if not enough({principal(call) for call in calls}, share):
        return calls, Step(name, len(calls), len(calls), in_force=False)
    kept, over = _capped(calls, principal, max(1, math.floor(share * len(calls))))
    return kept, Step(name, len(calls), len(kept), found=over)


def _capped(calls: Calls, key: Callable[[TrainingCall], Hashable], cap: int) -> tuple[Calls, int]:
    """The newest ``cap`` calls of each key, and how many keys had more."""
    seen: Counter[Hashable] = Counter()
    kept: Calls = []
    for call in reversed(calls):
        seen[key(call)] += 1
        if seen[key(call)] <= cap:
            kept.append(call)
    return kept[::-1], sum(count > cap for count in seen.values())
